"""Recommendations: the results of a recommender."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from movie_core.search.movies import Movie

MAX_RECOMMENDED = 500
"""Maximum length of a list of recommendations or similar movies, over all pages."""
MAX_REASONS = 3
MAX_MODEL_MOVIES = 20_000
"""Maximum number of movies in a model: all rated movies first, then the most popular ones."""

Progress = Callable[[str, float], None]
"""A callback with the current step and its completed fraction, 0 to 1."""


class Tier(StrEnum):
    """The basis of a list."""

    PERSONAL = "personal"
    """The user's ratings."""
    POPULAR = "popular"
    """Popularity, as the user has no ratings yet."""


class ReasonKind(StrEnum):
    """The kinds of reasons for a recommendation."""

    BECAUSE_YOU_RATED = "because_you_rated"
    LIKED_TOGETHER = "liked_together"
    """Users who liked one movie also liked the other."""
    ALIKE = "alike"
    """The movies share genres and have similar release years."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A movie that is a reason for a recommendation."""

    kind: ReasonKind
    movie_id: str
    title: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recommended movie, by id. Scores are comparable within one list only."""

    movie_id: str
    score: float
    reasons: tuple[Reason, ...] = ()
    """At most `MAX_REASONS`, the strongest first."""


@dataclass(frozen=True, slots=True)
class RecommendationPage:
    """One page of recommendations, best first."""

    total: int
    """Length of the list over all pages, at most `MAX_RECOMMENDED`."""
    items: tuple[Recommendation, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """When a model was trained and the size of its training data."""

    made_at: datetime
    ratings: int
    users: int
    movies: int


@dataclass(frozen=True, slots=True)
class RecommendedMovie:
    """A recommended movie."""

    movie: Movie
    score: float
    reasons: tuple[Reason, ...] = ()
