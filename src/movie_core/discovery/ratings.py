"""Ratings: scale, a user's ratings, and imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from movie_core.discovery.movie_matching import MatchedBy, MovieIdentity
from movie_core.errors import InvalidRating
from movie_core.search.movies import Movie

LOWEST = 0.5
HIGHEST = 10.0
LIKED = 8.0
"""Minimum rating of a movie that the user likes."""
MAX_RATINGS = 20_000
"""Maximum number of ratings of a user."""
MAX_IMPORT = 5_000
"""Maximum number of rows of an import."""


def check_rating(rating: float) -> float:
    """Return the rating as a float; raise `InvalidRating` unless it is 0.5 to 10 in steps of 0.5."""
    if not LOWEST <= rating <= HIGHEST or 2 * rating % 1:  # NaN fails the first condition
        raise InvalidRating(f"rating must be {LOWEST} to {HIGHEST:g} in steps of a half", field="rating")
    return float(rating)


@dataclass(frozen=True, slots=True)
class Rating:
    """A user's rating of a movie, with a copy of title and year, for when the movie is no longer in the catalogue."""

    movie_id: str
    title: str
    year: int | None
    rating: float
    """`LOWEST` to `HIGHEST` in steps of 0.5."""
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class NewRating:
    """A rating to be stored."""

    movie_id: str
    title: str
    year: int | None
    rating: float
    rated_at: datetime | None = None
    """None: now, or the time of the stored rating if that has the same value."""


@dataclass(frozen=True, slots=True)
class RatingChange:
    """Result of storing a rating."""

    rating: Rating
    is_change: bool
    """False if the stored rating already had this value."""


def apply_rating(
    ratings: dict[str, Rating], new: NewRating, now: datetime, *, keep_newer: bool = False
) -> RatingChange:
    """Add a rating to a user's ratings by movie id (`ratings`, changed in place), by the rules of `RatingStore.put`."""
    old = ratings.get(new.movie_id)
    if old is not None and keep_newer and old.rated_at > (new.rated_at or now):
        return RatingChange(old, is_change=False)
    is_change = old is None or old.rating != new.rating
    if old is None or is_change or new.rated_at is not None:
        old = ratings[new.movie_id] = Rating(
            new.movie_id, new.title, new.year, new.rating, (new.rated_at or now).astimezone(UTC)
        )
    return RatingChange(old, is_change)


@dataclass(frozen=True, slots=True)
class ExportedRating:
    """A rating, with the source of the movie id."""

    source: str
    movie_id: str
    title: str
    year: int | None
    rating: float
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class RatingExport:
    """All data of a user in a `RatingStore`."""

    ratings: Sequence[ExportedRating]


def exported(source: str, rating: Rating) -> ExportedRating:
    """Returns a rating for the export of its user."""
    rated_at = rating.rated_at.astimezone(UTC)
    return ExportedRating(source, rating.movie_id, rating.title, rating.year, rating.rating, rated_at)


@dataclass(frozen=True, slots=True)
class RatedMovie:
    """A movie with the user's rating."""

    movie: Movie
    rating: float
    rated_at: datetime


@dataclass(frozen=True, slots=True)
class RatedMovies:
    """One page of a user's ratings, newest first."""

    total: int
    items: tuple[RatedMovie, ...]


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A valid row of an import."""

    row: int
    """Row number from 1, header excluded."""
    identity: MovieIdentity
    rating: float
    """On the scale `LOWEST` to `HIGHEST`."""
    rated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected row with the reason."""

    row: int
    code: str
    detail: str
    identity: MovieIdentity | None = field(default=None, compare=False)
    """The movie of the row, if it is known: a movie without a usable rating is not that of another row either."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Result of storing a list of rows."""

    accepted: int
    rejected: tuple[Rejection, ...]
    """In order of rows."""


@dataclass(frozen=True, slots=True)
class NearMatch:
    """An accepted row whose year is not exactly that of the movie."""

    row: int
    title: str | None
    year: int | None
    movie: Movie


@dataclass(frozen=True, slots=True)
class ImportResult(BatchResult):
    """Result of an import of ratings."""

    superseded: tuple[int, ...] = ()
    """Accepted rows that are not stored, because another row or the stored rating is newer."""
    matched_by: Mapping[MatchedBy, int] = field(default_factory=dict)
    """Numbers of accepted rows."""
    near_matches: tuple[NearMatch, ...] = ()
    """In order of rows."""
