"""Movies, what is asked about them, and the pages that answer."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from movie_core.clock import utc_now
from movie_core.errors import InvalidParameter, InvalidQuery
from movie_core.provenance import CacheStatus
from movie_core.text import normalise_query

MAX_ID = 200
"""Characters of a movie's id."""
MAX_GENRE = 60
"""Characters of a genre's name in a filter."""


_YEARS = re.compile(r"([0-9]{4})(?:\.\.([0-9]{4}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Movie:
    """A movie as a source tells it; what the source doesn't know stays empty and is left out of answers.

    `id` is opaque and belongs to its source: stores key a movie by (source, id).
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
    """Any scale of the source's own, greater is better known; only its order counts."""
    alt_titles: tuple[str, ...] = ()
    """Other titles that a search should find it by; not part of answers."""


class Order(StrEnum):
    """How matches are ordered; ties are broken by the source so that the order is total."""

    RELEVANCE = "relevance"
    POPULARITY = "popularity"
    """Best known first."""
    YEAR = "year"
    """Newest first, unknown years last."""
    PERSONAL = "personal"
    """By the taste of who asks. Sources never see it: `Discovery` makes it of the order of relevance."""


class Capability(StrEnum):
    """What a source can do beyond searching by text; the services ask before they use it."""

    DETAILS = "details"
    SUGGEST = "suggest"
    GENRES = "genres"
    YEAR = "year"
    GENRE = "genre"
    ORDER = "order"
    EXCLUDE = "exclude"
    """Leave given movies out, and out of the total."""


@dataclass(frozen=True, slots=True)
class Years:
    """An inclusive range of release years."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Years":
        """`1999` or `1990..1999`; anything else raises `InvalidParameter`."""
        match = _YEARS.fullmatch(text)
        if match is None:
            raise InvalidParameter("year must be spelled 1999 or 1990..1999", field="year")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise InvalidParameter("the first year of a range must not be greater than its last", field="year")
        return cls(first, last)

    def __contains__(self, year: object) -> bool:
        return isinstance(year, int) and self.first <= year <= self.last

    def __str__(self) -> str:
        return f"{self.first:04}" if self.first == self.last else f"{self.first:04}..{self.last:04}"


@dataclass(frozen=True, slots=True)
class MovieQuery:
    """What is looked for. Always normal: `text` is what `normalise_query` makes of the text given."""

    text: str = ""
    """Empty asks for all movies."""
    years: Years | None = None
    genre: str | None = None
    order: Order = Order.RELEVANCE
    without: frozenset[str] = frozenset()
    """Ids of movies to be left out of the matches."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", normalise_query(self.text))

    @classmethod
    def parse(
        cls, text: str | None = None, *, year: str | None = None, genre: str | None = None, order: str | None = None
    ) -> "MovieQuery":
        """From the strings of a request; None means left out. Raises `InvalidQuery` or `InvalidParameter`."""
        return cls(
            text=text or "",
            years=None if year is None else Years.parse(year),
            genre=None if genre is None else _parse_genre(genre),
            order=Order.RELEVANCE if order is None else _parse_order(order),
        )

    @property
    def needs(self) -> frozenset[Capability]:
        """What a source must be able to do to answer this."""
        wanted = {
            Capability.YEAR: self.years is not None,
            Capability.GENRE: self.genre is not None,
            Capability.ORDER: self.order not in {Order.RELEVANCE, Order.PERSONAL},
            Capability.EXCLUDE: bool(self.without),
        }
        return frozenset(ability for ability, is_wanted in wanted.items() if is_wanted)

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The query as request parameters, defaults left out, always in the same order."""
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
    """One page of matches, and where it comes from."""

    total: int
    """Matches in all, not only on this page; the source's own count."""
    items: tuple[Movie, ...]
    source: str
    """The name of the source: `third_party`, `tmdb`, `catalogue` or `local`."""
    fetched_at: datetime = field(default_factory=utc_now)
    """When the source said so; aware, UTC."""
    state: CacheStatus = CacheStatus.LIVE
    fresh_until: datetime | None = None
    """Of what is remembered: when it becomes stale, or became so."""
    skipped: tuple[int, ...] = ()
    """Places on this page, the first is 0, whose item could not be used and is left out of `items`."""


@dataclass(frozen=True, slots=True)
class FoundMovie:
    """One movie, and where it comes from."""

    movie: Movie
    source: str
    fetched_at: datetime = field(default_factory=utc_now)
    state: CacheStatus = CacheStatus.LIVE


@dataclass(frozen=True, slots=True)
class Genre:
    """A genre and how many movies of the source have it."""

    name: str
    movies: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load did to a catalogue, in movies. `unchanged` were there already, field for field."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
