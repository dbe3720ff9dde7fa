"""Personal order: the results of a search in the order of one user's taste."""

ORDERED = 100
"""Results that taste may move: the first so many, by relevance."""
ORDER_SECONDS = 600
"""How long an order is kept, so that its pages fit together also when the user rates in between."""
MAX_ORDERS = 50
"""Orders kept for one user."""
