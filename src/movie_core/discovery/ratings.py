"""Ratings: their scale, a user's list, and what an import brings."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from movie_core.clock import iso_time
from movie_core.errors import InvalidRating
from movie_core.search.movies import Movie

LOWEST = 0.5
HIGHEST = 10.0
LIKED = 8.0
"""From here on a rating says that the movie was liked."""
MAX_RATINGS = 20_000
"""Ratings that a user may have."""
MAX_IMPORT = 5_000
"""Rows of one import."""
MAX_TITLE = 1_000
"""Characters by which titles are told apart; composing marks takes time that grows with the square of their number."""

_ARTICLE = "the|an?|las?|l[eo]s?|l'|une?|una|des|el|il|gli|i|der|die|das|den|det|de|het|en|eine?|os?|as|uma?"
_BEHIND = re.compile(rf"(.+),\s*({_ARTICLE})", re.IGNORECASE | re.DOTALL)
_BEFORE = re.compile(rf"(?:(l')|({_ARTICLE})\s)\s*(.+)", re.IGNORECASE | re.DOTALL)


def check_rating(rating: float) -> float:
    """The rating, where it is 0.5 to 10 in steps of a half; else raises `InvalidRating`."""
    if not LOWEST <= rating <= HIGHEST or 2 * rating % 1:  # a NaN fails the first of these
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
class RatingChange:
    """What became of a rating that was to be kept."""

    rating: Rating
    is_change: bool
    """False where the user had given that movie the same rating already."""


def apply_rating(own: dict[str, Rating], new: NewRating, now: datetime) -> RatingChange:
    """Put a new rating among a user's own, which are by id of the movie, as `RatingStore.put` has it."""
    old = own.get(new.movie_id)
    is_change = old is None or old.rating != new.rating
    if old is None or is_change or new.rated_at is not None:
        old = own[new.movie_id] = Rating(
            new.movie_id, new.title, new.year, new.rating, (new.rated_at or now).astimezone(UTC)
        )
    return RatingChange(old, is_change)


def exported(source: str, rating: Rating) -> dict[str, Any]:
    """A rating as JSON can hold it, with the source that the movie's id is of."""
    return {"source": source, **asdict(rating), "rated_at": iso_time(rating.rated_at)}


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
class MovieIdentity:
    """What a file says of a movie, so that it can be found among ours."""

    movie_id: str | None = None
    """Our own id."""
    imdb_id: str | None = None
    """`tt` and at least seven digits."""
    tmdb_id: str | None = None
    title: str | None = None
    year: int | None = None


def title_spellings(title: str) -> tuple[str, ...]:
    """A title with its article in front, and behind as lists have it: `The Matrix` and `Matrix, The`."""
    title = title.strip().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if behind := _BEHIND.fullmatch(title):
        return f"{behind[2]} {behind[1]}", title
    if before := _BEFORE.fullmatch(title):
        return title, f"{before[3]}, {before[1] or before[2]}"
    return (title,)


def normalise_title(title: str) -> str:
    """The same for titles that differ in case, accents, punctuation, blanks, or in where the article stands. A title
    of nothing but punctuation is its own key."""
    title = title[:MAX_TITLE]
    text = title_spellings(title)[0].replace("&", " and ")
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(filter(str.isalnum, folded)) or "".join(title.split())


class MovieIndex:
    """Movies, found by what a file says of them."""

    def __init__(self, movies: Iterable[Movie] = ()) -> None:
        self._ids: dict[str, Movie] = {}
        self._imdb: dict[str, list[Movie]] = {}
        self._tmdb: dict[str, list[Movie]] = {}
        self._titles: dict[str, list[Movie]] = {}
        for movie in movies:
            self.add(movie)

    def add(self, movie: Movie) -> None:
        """One that is there already changes nothing."""
        if movie.id in self._ids:
            return
        self._ids[movie.id] = movie
        for by, value in ((self._imdb, movie.imdb_id), (self._tmdb, movie.tmdb_id)):
            if value:
                by.setdefault(value, []).append(movie)
        titles = (movie.title, movie.original_title or movie.title, *movie.alt_titles)
        for key in dict.fromkeys(map(normalise_title, titles)):
            self._titles.setdefault(key, []).append(movie)

    def by_id(self, identity: MovieIdentity) -> list[Movie]:
        """Those that the first id which is told and known leads to."""
        if identity.movie_id in self._ids:
            return [self._ids[identity.movie_id]]
        return self._imdb.get(identity.imdb_id or "") or self._tmdb.get(identity.tmdb_id or "") or []

    def find(self, identity: MovieIdentity) -> Movie | None:
        """The one movie that this is, as `MovieCatalogue.match` has it."""
        found = self.by_id(identity)
        if not found and identity.title:
            titled = self._titles.get(normalise_title(identity.title), [])
            found = [one for one in titled if one.year is not None and one.year == identity.year]
            found = found or [one for one in titled if _is_about(one.year, identity.year)]
        return found[0] if len(found) == 1 else None


def _is_about(year: int | None, told: int | None) -> bool:
    return year is None or told is None or abs(year - told) <= 1


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A readable row of an import."""

    row: int
    """Counted from 1, without the header."""
    identity: MovieIdentity
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
class ImportResult:
    """What an import came to."""

    accepted: int
    rejected: tuple[Rejection, ...]
    """By row."""
