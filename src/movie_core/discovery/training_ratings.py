"""Ratings of people without accounts, such as those of a published data set. They only train the recommender."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from movie_core.discovery.movie_matching import MatchedBy

MAX_TRAINING_RATINGS = 2_000_000
"""Maximum number of imported ratings. Training on so many takes 0.6 GB."""


class TrainingRating(NamedTuple):
    """A rating by a person without an account."""

    user: int
    """A number that has no meaning outside of its import."""
    movie_id: str
    rating: float
    """From `ratings.LOWEST` to `ratings.HIGHEST` in steps of 0.5."""
    rated_at: int
    """Seconds since 1970."""


class FileRating(NamedTuple):
    """A row of a file with the ratings of many people."""

    user: str
    movie: str
    """The movie as the file identifies it."""
    rating: float
    """As in `TrainingRating`."""
    rated_at: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class TrainingImport:
    """Result of an import of training ratings."""

    ratings: int
    users: int
    movies: int
    matched_by: Mapping[MatchedBy, int]
    """Number of the file's movies by what identified them."""
    unused: Mapping[str, int]
    """Number of unused rows by reason, a phrase in plain English."""
