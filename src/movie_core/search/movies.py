"""Movies, queries for them, and result pages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from movie_core.clock import utc_now
from movie_core.errors import InvalidParameter, InvalidQuery, MovieNotFound
from movie_core.provenance import CacheStatus
from movie_core.text import normalise_query

MAX_ID = 200
"""Maximum length of a movie id, in characters."""
MAX_GENRE = 60
"""Maximum length of a genre name in a filter, in characters."""

_YEARS = re.compile(r"([0-9]{4})(?:\.\.([0-9]{4}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Movie:
    """A movie as a source returns it; unknown fields are empty and left out of responses.

    `id` is opaque and unique within its source: stores identify a movie by (source, id).
    """

    id: str
    title: str
    year: int | None = None
    genres: tuple[str, ...] = ()
    original_title: str | None = None
    overview: str | None = None
    runtime_minutes: int | None = None
    directors: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    poster_url: str | None = None
    imdb_id: str | None = None
    tmdb_id: str | None = None
    popularity: float | None = None
    """On any scale of the source, greater is more popular; only the order is used."""
    alt_titles: tuple[str, ...] = ()
    """Other titles that a search matches; not part of responses."""


@dataclass(frozen=True, slots=True)
class ListedMovie:
    """A movie of a list that is imported into a catalogue."""

    movie: Movie
    fields: frozenset[str]
    """The fields of `Movie` that the list has. The others are unknown and do not change a stored movie."""
    has_own_id: bool = True
    """Whether the id was chosen for this catalogue. False for a generated id and for that of another provider: the
    stored movie with the same title, year and people is the same movie."""


class Order(StrEnum):
    """Order of matches. Sources break ties, so that the order is total."""

    RELEVANCE = "relevance"
    POPULARITY = "popularity"
    """Most popular first."""
    YEAR = "year"
    """Newest first, unknown years last."""
    PERSONAL = "personal"
    """By the user's affinities. Sources never get it: `Discovery` derives it from the order of relevance."""


class Capability(StrEnum):
    """An optional feature of a source, beyond text search; services check for it before they use it."""

    DETAILS = "details"
    SUGGEST = "suggest"
    GENRES = "genres"
    YEAR = "year"
    GENRE = "genre"
    ORDER = "order"
    EXCLUDE = "exclude"
    """Exclude given movies from the results and the total."""


@dataclass(frozen=True, slots=True)
class Years:
    """An inclusive range of release years."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Years":
        """Parse `1999` or `1990..1999`. Raises `InvalidParameter`."""
        match = _YEARS.fullmatch(text)
        if match is None:
            raise InvalidParameter("year must be written as 1999 or 1990..1999", field="year")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise InvalidParameter("the first year of a range must not be after its last", field="year")
        return cls(first, last)

    def __contains__(self, year: object) -> bool:
        return isinstance(year, int) and self.first <= year <= self.last

    def __str__(self) -> str:
        return f"{self.first:04}" if self.first == self.last else f"{self.first:04}..{self.last:04}"


@dataclass(frozen=True, slots=True)
class MovieQuery:
    """A search query; its `text` is always normalised by `normalise_query`."""

    text: str = ""
    """Empty matches all movies."""
    years: Years | None = None
    genre: str | None = None
    order: Order = Order.RELEVANCE
    exclude_ids: frozenset[str] = frozenset()
    """Ids of movies excluded from the matches."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", normalise_query(self.text))

    @classmethod
    def parse(
        cls, text: str | None = None, *, year: str | None = None, genre: str | None = None, order: str | None = None
    ) -> "MovieQuery":
        """Parse request parameters; None means absent. Raises `InvalidQuery` or `InvalidParameter`."""
        return cls(
            text=text or "",
            years=None if year is None else Years.parse(year),
            genre=None if genre is None else _parse_genre(genre),
            order=Order.RELEVANCE if order is None else _parse_order(order),
        )

    @property
    def required_capabilities(self) -> frozenset[Capability]:
        """The capabilities that a source needs for this query."""
        required = {
            Capability.YEAR: self.years is not None,
            Capability.GENRE: self.genre is not None,
            Capability.ORDER: self.order not in {Order.RELEVANCE, Order.PERSONAL},
            Capability.EXCLUDE: bool(self.exclude_ids),
        }
        return frozenset(capability for capability, is_required in required.items() if is_required)

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Return the query as request parameters, without defaults, always in the same order."""
        pairs = (
            ("query", self.text),
            ("year", "" if self.years is None else str(self.years)),
            ("genre", self.genre or ""),
            ("order", "" if self.order is Order.RELEVANCE else self.order.value),
        )
        return tuple(pair for pair in pairs if pair[1])


def _parse_genre(text: str) -> str:
    try:
        name = normalise_query(text)
    except InvalidQuery as error:
        raise InvalidParameter("genre must be the name of a genre", field="genre") from error
    if not 1 <= len(name) <= MAX_GENRE:
        raise InvalidParameter(f"genre must have 1 to {MAX_GENRE} characters", field="genre")
    return name


def _parse_order(text: str) -> Order:
    try:
        return Order(text)
    except ValueError:
        names = ", ".join(Order)
        raise InvalidParameter(f"order must be one of {names}", field="order") from None


@dataclass(frozen=True, slots=True)
class MoviePage:
    """One page of matches and its provenance."""

    total: int
    """Number of all matches, as the source counts them."""
    items: tuple[Movie, ...]
    source: str
    """The name of the source: `third_party`, `tmdb`, `catalogue` or `local`."""
    fetched_at: datetime = field(default_factory=utc_now)
    """When the source returned it; aware, UTC."""
    cache_status: CacheStatus = CacheStatus.LIVE
    fresh_until: datetime | None = None
    """For a cached page: when it becomes or became stale."""
    skipped: tuple[int, ...] = ()
    """Positions on this page, from 0, whose item is unusable and missing from `items`."""


class NoMatch(MovieNotFound):
    """A search has no matches."""

    def __init__(self, page: MoviePage) -> None:
        """Takes the empty page."""
        super().__init__("no movie matches")
        self.page = page
        self.suggestions: Sequence[str] = ()
        """Texts to search for instead, best first."""


@dataclass(frozen=True, slots=True)
class FoundMovie:
    """One movie and its provenance."""

    movie: Movie
    source: str
    fetched_at: datetime = field(default_factory=utc_now)
    cache_status: CacheStatus = CacheStatus.LIVE


@dataclass(frozen=True, slots=True)
class Genre:
    """A genre and the number of movies that have it."""

    name: str
    movies: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Numbers of movies that a load changed in a catalogue. `unchanged` ones were present with equal fields."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
