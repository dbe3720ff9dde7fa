"""Ratings: scale, a user's ratings, and matching of imported rows with movies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from movie_core.errors import InvalidRating
from movie_core.search.movies import Movie
from movie_core.text import normalise_title

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


def apply_rating(ratings: dict[str, Rating], new: NewRating, now: datetime) -> RatingChange:
    """Add a rating to a user's ratings by movie id (`ratings`, changed in place), by the rules of `RatingStore.put`."""
    old = ratings.get(new.movie_id)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieIdentity:
    """Identification of a movie in an imported row; every field is optional."""

    movie_id: str | None = None
    """Id in our catalogue."""
    imdb_id: str | None = None
    """`tt` and at least seven digits."""
    tmdb_id: str | None = None
    title: str | None = None
    year: int | None = None


class MovieIndex:
    """Index of movies by id, IMDb id, TMDB id and normalised title."""

    def __init__(self, movies: Iterable[Movie] = ()) -> None:
        self._ids: dict[str, Movie] = {}
        self._imdb: dict[str, list[Movie]] = {}
        self._tmdb: dict[str, list[Movie]] = {}
        self._titles: dict[str, list[Movie]] = {}
        for movie in movies:
            self.add(movie)

    def add(self, movie: Movie) -> None:
        """Add a movie; a no-op if its id is indexed already."""
        if movie.id in self._ids:
            return
        self._ids[movie.id] = movie
        for index, external_id in ((self._imdb, movie.imdb_id), (self._tmdb, movie.tmdb_id)):
            if external_id:
                index.setdefault(external_id, []).append(movie)
        titles = (movie.title, movie.original_title or movie.title, *movie.alt_titles)
        for key in dict.fromkeys(map(normalise_title, titles)):
            self._titles.setdefault(key, []).append(movie)

    def by_id(self, identity: MovieIdentity) -> list[Movie]:
        """The movies with the first of our id, IMDb id and TMDB id that is given and known."""
        if identity.movie_id in self._ids:
            return [self._ids[identity.movie_id]]
        return self._imdb.get(identity.imdb_id or "") or self._tmdb.get(identity.tmdb_id or "") or []

    def find(self, identity: MovieIdentity) -> Movie | None:
        """The matching movie by the rules of `MovieCatalogue.match`; None without a match or with several."""
        matches = self.by_id(identity)
        if not matches and identity.title:
            same_title = self._titles.get(normalise_title(identity.title), [])
            matches = [movie for movie in same_title if movie.year is not None and movie.year == identity.year]
            matches = matches or [movie for movie in same_title if _is_near(movie.year, identity.year)]
        return matches[0] if len(matches) == 1 else None


def _is_near(year: int | None, other: int | None) -> bool:
    return year is None or other is None or abs(year - other) <= 1


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


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Result of an import."""

    accepted: int
    rejected: tuple[Rejection, ...]
    """In order of rows."""
