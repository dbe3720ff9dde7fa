"""Recommendations: what a recommender answers with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from movie_core.search.movies import Movie

MAX_RECOMMENDED = 500
"""Movies that a list of recommendations, or of similar movies, goes on for."""
MAX_REASONS = 3
MAX_MODEL_MOVIES = 20_000
"""Movies that a model knows: every rated one first, then the best known."""

Progress = Callable[[str, float], None]
"""Called with what is being done and the part of it that is done, 0 to 1."""


class Tier(StrEnum):
    """What a list rests on."""

    PERSONAL = "personal"
    POPULAR = "popular"
    """The user has rated nothing yet."""


class ReasonKind(StrEnum):
    BECAUSE_YOU_RATED = "because_you_rated"
    LIKED_TOGETHER = "liked_together"
    """Who liked the one liked the other."""
    ALIKE = "alike"
    """They share genres, and about the time of their release."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A movie that a place in a list is owed to."""

    kind: ReasonKind
    movie_id: str
    title: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A movie of a list, by id. Scores compare within a list only."""

    movie_id: str
    score: float
    reasons: tuple[Reason, ...] = ()
    """At most `MAX_REASONS`, the weightiest first."""


@dataclass(frozen=True, slots=True)
class RecommendationPage:
    """One page of a list, best first."""

    total: int
    """At most `MAX_RECOMMENDED`."""
    items: tuple[Recommendation, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model was made of."""

    made_at: datetime
    ratings: int
    users: int
    movies: int


@dataclass(frozen=True, slots=True)
class SuggestedMovie:
    """A movie of a list."""

    movie: Movie
    score: float
    reasons: tuple[Reason, ...] = ()
