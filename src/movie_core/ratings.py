"""Ratings: their scale, a user's list, and what an import brings."""

from dataclasses import dataclass
from datetime import datetime

from movie_core.errors import InvalidRating
from movie_core.movies import Movie

LOWEST = 0.5
HIGHEST = 10.0
LIKED = 8.0
"""From here on a rating says that the movie was liked."""
MAX_RATINGS = 20_000
"""Ratings that a user may have."""
MAX_IMPORT = 5_000
"""Rows of one import."""


def check_rating(rating: float) -> float:
    """The rating, where it is 0.5 to 10 in steps of a half; else raises `InvalidRating`."""
    if not LOWEST <= rating <= HIGHEST or not (2 * rating).is_integer():  # a NaN fails the first of these
        raise InvalidRating(f"rating must be {LOWEST} to {HIGHEST:g} in steps of a half", field="rating")
    return float(rating)


@dataclass(frozen=True, slots=True)
class Rating:
    """What a user gave a movie, with enough of the movie to name it even where it is in no catalogue any more."""

    movie_id: str
    title: str
    year: int | None
    rating: float
    """`LOWEST` to `HIGHEST` in halves."""
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class NewRating:
    """A rating to be kept."""

    movie_id: str
    title: str
    year: int | None
    rating: float
    rated_at: datetime | None = None
    """None is now, or the time when the very same rating was given already."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a rating that was to be kept."""

    rating: Rating
    is_change: bool
    """False where the user had given that movie the same rating already."""


@dataclass(frozen=True, slots=True)
class RatedMovie:
    """A movie of a user's list."""

    movie: Movie
    rating: float
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class RatedMovies:
    """One page of a user's list, newest first."""

    total: int
    items: tuple[RatedMovie, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a file says of a movie, so that it can be found among ours."""

    movie_id: str | None = None
    """Our own id."""
    imdb_id: str | None = None
    """`tt` and at least seven digits."""
    tmdb_id: str | None = None
    title: str | None = None
    year: int | None = None


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A readable row of an import."""

    row: int
    """Counted from 1, without the header."""
    identity: Identity
    rating: float
    """On our scale."""
    rated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row of a list that could not be used, and why."""

    row: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to."""

    accepted: int
    rejected: tuple[Rejection, ...]
    """By row."""
