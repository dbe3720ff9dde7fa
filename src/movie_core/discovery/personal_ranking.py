"""Personal order: search results ordered by relevance and by one user's affinities."""

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from movie_core.canonical_words import exact_keys, query_forms, title_forms
from movie_core.search.movies import Movie
from movie_core.text import split_years

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
    """Whether the text is exactly a title of the movie, as a search of a catalogue decides it: by the forms of
    `movie_core.canonical_words`, where the text may contain the year of the movie or an adjacent one."""
    if not text:
        return False
    typed, dated = _parsed(text)
    keys = typed.union(*(keys for keys, year in dated if movie.year is not None and abs(year - movie.year) <= 1))
    titles = (movie.title, movie.original_title, *movie.alt_titles)
    return any(not keys.isdisjoint(exact_keys(title_forms(title))) for title in titles if title)


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> tuple[frozenset[str], list[tuple[frozenset[str], int]]]:
    """The keys of the text, and the keys without each year in it together with that year."""
    dated = [(exact_keys(query_forms(rest)), year) for rest, year in split_years(text)]
    return exact_keys(query_forms(text)), dated


def _standard_scores(values: Sequence[float]) -> list[float]:
    """Distances from the mean in standard deviations; all 0 if the values are equal."""
    if not values:
        return []
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / spread if spread > 1e-12 * (1 + abs(mean)) else 0.0 for value in values]
