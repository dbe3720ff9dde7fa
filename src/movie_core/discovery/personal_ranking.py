"""Personal order: search results ordered by relevance and by one user's affinities."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from movie_core.search.movies import Movie
from movie_core.text import title_words

MAX_REORDERED = 100
"""Number of results, the first by relevance, that are reordered."""
ORDER_SECONDS = 600
"""Lifetime of a stored order. Its pages stay consistent when the user rates movies in between."""
MAX_ORDERS = 50
"""Maximum number of stored orders per user."""

WEIGHT = 2.0
"""Weight of affinity relative to relevance, in the limit of many ratings."""
HALF_TRUSTED = 5
"""Number of ratings at which affinity has half of `WEIGHT`."""

_YEAR_LAST = re.compile(r"\W+(\d{4})\W*$")


@dataclass(frozen=True, slots=True)
class ExportedOrder:
    """A stored order, with the source of the movie ids."""

    source: str
    key: str
    """The search; see `PersonalOrderStore`."""
    movie_ids: Sequence[str]
    kept_at: datetime
    """When it was stored."""


@dataclass(frozen=True, slots=True)
class OrderExport:
    """All data of a user in a `PersonalOrderStore`."""

    orders: Sequence[ExportedOrder]


def personal_order(
    text: str, movies: Sequence[Movie], affinities: Mapping[str, float], rated: Collection[str]
) -> list[Movie]:
    """Reorder movies, given by falling relevance, by relevance and affinity.

    Exact title matches keep their positions, because a source ranks them first, and so do movies that the user has
    rated. The others are ordered by z(relevance) + w * z(affinity): relevance falls linearly with the position, z is
    the standard score (distance from the mean in standard deviations), and w is `WEIGHT` * n / (n + `HALF_TRUSTED`)
    after n ratings. A movie without affinity counts as 0.
    """
    positions = [
        position for position, movie in enumerate(movies) if movie.id not in rated and not is_exact(text, movie)
    ]
    weight = WEIGHT * len(rated) / (len(rated) + HALF_TRUSTED)
    affinity = _standard_scores([affinities.get(movies[position].id, 0.0) for position in positions])
    relevance = _standard_scores([-position for position in positions])
    scores = {position: relevance[n] + weight * affinity[n] for n, position in enumerate(positions)}
    ordered = list(movies)
    ranked = sorted(positions, key=lambda position: (-scores[position], position))
    for position, original in zip(positions, ranked, strict=True):
        ordered[position] = movies[original]
    return ordered


def is_exact(text: str, movie: Movie) -> bool:
    """Whether the text equals a title of the movie by `movie_core.text.title_words`; the movie's year may follow."""
    if not text:
        return False
    titles = [title_words(title) for title in (movie.title, movie.original_title, *movie.alt_titles) if title]
    if title_words(text) in titles:
        return True
    dated = _YEAR_LAST.search(text)
    return dated is not None and int(dated[1]) == movie.year and title_words(text[: dated.start()]) in titles


def _standard_scores(values: Sequence[float]) -> list[float]:
    """Distances from the mean in standard deviations; all 0 if the values are equal."""
    if not values:
        return []
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / spread if spread > 1e-12 * (1 + abs(mean)) else 0.0 for value in values]
