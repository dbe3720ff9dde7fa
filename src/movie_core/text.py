"""Text as users type it: normalisation and limits."""

import unicodedata

from movie_core.errors import InvalidQuery

MAX_QUERY = 200
"""Characters of a query once normalised."""
NFC_SHARE = 4
"""NFC makes a text at most so many times shorter, in characters and in bytes of UTF-8. Longer ones are too long without
being composed, and must not be: the time for that grows with the square of how many marks follow each other."""


def normalise_query(text: str) -> str:
    """NFC, outer blanks (any Unicode space) stripped, inner runs of them made one space.

    Control characters (tab and NUL too, looked for before stripping), lone surrogates, and more than `MAX_QUERY`
    characters afterwards raise `InvalidQuery`. Every other character stays as it is. Idempotent.
    """
    if len(text) > 16 * MAX_QUERY:  # before any work on it, blanks included
        raise InvalidQuery(f"query must have at most {MAX_QUERY} characters", field="query")
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            raise InvalidQuery("query must not contain control characters or broken Unicode", field="query")
    normal = " ".join(text.split())
    if len(normal) <= NFC_SHARE * MAX_QUERY:
        normal = " ".join(unicodedata.normalize("NFC", normal).split())
    if len(normal) > MAX_QUERY:
        raise InvalidQuery(f"query must have at most {MAX_QUERY} characters", field="query")
    return normal
