"""Personal order: the results of a search in the order of one user's taste."""

import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from movie_core.search.movies import Movie

ORDERED = 100
"""Results that taste may move: the first so many, by relevance."""
ORDER_SECONDS = 600
"""How long an order is kept, so that its pages fit together also when the user rates in between."""
MAX_ORDERS = 50
"""Orders kept for one user."""

WEIGHT = 2.0
"""What taste weighs against relevance, once there are many ratings."""
HALF_TRUSTED = 5
"""With so many ratings taste has half of that weight."""

_APOSTROPHES = re.compile("['`\N{ACUTE ACCENT}\N{RIGHT SINGLE QUOTATION MARK}\N{PRIME}]")
_ARTICLES = frozenset(("the", "a", "an"))


def personal_order(
    text: str, movies: Sequence[Movie], taste: Mapping[str, float], rated: Collection[str]
) -> list[Movie]:
    """The movies, given by falling relevance, by relevance and taste together.

    Movies that have the text as their title keep their places, and so do those that the user has rated: a source puts
    an exact title first, and there it stays. The others are ordered by z(relevance) + w * z(taste): relevance falls
    evenly from place to place, z is the distance from the mean in standard deviations, and w is
    `WEIGHT` * n / (n + `HALF_TRUSTED`) after n ratings. What taste doesn't know counts as 0.
    """
    places = [place for place, movie in enumerate(movies) if movie.id not in rated and not is_exact(text, movie)]
    weight = WEIGHT * len(rated) / (len(rated) + HALF_TRUSTED)
    liking = _standardised([taste.get(movies[place].id, 0.0) for place in places])
    relevance = _standardised([-place for place in places])
    scores = {place: relevance[n] + weight * liking[n] for n, place in enumerate(places)}
    ordered = list(movies)
    for place, source in zip(places, sorted(places, key=lambda place: (-scores[place], place)), strict=True):
        ordered[place] = movies[source]
    return ordered


def is_exact(text: str, movie: Movie) -> bool:
    """Whether the text is a title of the movie, seeing through case, accents, punctuation and a leading article; the
    year of the movie may follow."""
    asked = _words(text)
    if not asked:
        return False
    titles = [_words(title) for title in (movie.title, movie.original_title, *movie.alt_titles) if title]
    return asked in titles or (asked[-1] == str(movie.year) and asked[:-1] in titles)


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", text.replace("&", " and ")).casefold())
    letters = "".join(c if c.isalnum() else " " for c in folded if not unicodedata.combining(c))
    words = letters.split()
    if len(words) > 1 and words[-1] in _ARTICLES and "," in text:  # `Matrix, The`
        return words[:-1]
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words


def _standardised(values: Sequence[float]) -> list[float]:
    """Distances from the mean in standard deviations; all 0 where the values don't differ."""
    if not values:
        return []
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / spread if spread > 1e-12 * (1 + abs(mean)) else 0.0 for value in values]
