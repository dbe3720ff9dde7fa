"""TMDB (The Movie Database) as a source: search, discover and details of its API v3.

https://developer.themoviedb.org/reference tells what it speaks. Its lists come in pages of 20, numbered from 1, and
no page past 500 is given out, so that 10,000 movies of any list can be reached.
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeGuard, TypeVar

import httpx

from movie_adapters.sources.http import SourceFault, SourceHttp, clean_text
from movie_core.clock import utc_now
from movie_core.errors import FilterUnsupported, MovieNotFound
from movie_core.paging import Window
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, Order
from movie_core.search.retry_policy import StatusSet

TMDB_URL = "https://api.themoviedb.org/3"
TMDB_ATTRIBUTION = "This product uses the TMDB API but is not endorsed or certified by TMDB."
"""What TMDB asks every product to show, beside its logo where there is a page (its FAQ, "attribution")."""
POSTER_URL = "https://image.tmdb.org/t/p/w500"
"""Posters 500 pixels wide."""

PAGE_SIZE = 20
MAX_PAGE = 500
REACHABLE = PAGE_SIZE * MAX_PAGE
MAX_AT_ONCE = 6
"""Requests under way at once for one call; TMDB bears some 50 a second."""
MAX_CAST = 10
MAX_TITLE, MAX_NAME, MAX_OVERVIEW = 500, 200, 2000
"""Characters; longer texts are cut."""
MAX_NUMBER = 1_000_000_000
"""Ids, totals and measures stay below; whatever claims more is broken."""
DAY = 86_400.0
"""Seconds that the genres are kept."""
RETRY_DAILY = 600.0
"""Seconds until a daily value that couldn't be read anew is tried again."""
KEEP_LISTINGS = 5.0
"""Seconds that the pages of an answer that failed wait for its repeat."""
MAX_LISTINGS = 500
FIRST_YEAR = 1800
"""No film is older."""

_SORT = {
    Order.RELEVANCE: "popularity.desc",  # nothing was asked for, so what is best known fits best
    Order.POPULARITY: "popularity.desc",
    Order.YEAR: "primary_release_date.desc",
}
_MOVIE_ID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_V3_KEY = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_IMDB_ID = re.compile(r"tt[0-9]{7,10}", re.ASCII)
_DATE = re.compile(r"([0-9]{4})-[0-9]{2}-[0-9]{2}", re.ASCII)
_IMAGE_PATH = re.compile(r"/[A-Za-z0-9_.-]{1,100}", re.ASCII)

_T = TypeVar("_T")
_Params = tuple[tuple[str, str], ...]
_log = logging.getLogger(__name__)


def tmdb_http(
    token: str,
    *,
    timeout: float,
    retry_status: StatusSet,
    base_url: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> SourceHttp:
    """The way to TMDB. `token` is the read access token of an account there, or its API key of 32 hex digits.

    `timeout` is seconds for one try; `base_url`, with its `/3`, replaces `TMDB_URL`. Raises `ValueError`, which tells
    nothing of the token, for one that can't be sent.
    """
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("a TMDB token is one word of letters, digits and punctuation")
    is_key = _V3_KEY.fullmatch(token) is not None
    return SourceHttp(
        base_url or TMDB_URL,
        timeout=timeout,
        retry_status=retry_status,
        headers={} if is_key else {"Authorization": f"Bearer {token}"},
        parameters=(("api_key", token),) if is_key else (),  # TMDB takes it nowhere else
        transport=transport,
    )


class TmdbMovieSource:
    """A `MovieSource` over TMDB. Each request is tried once; `ResilientMovieSource` brings the patience.

    TMDB searches by text, optionally within one year, or lists by genre, years and order; a query that wants both
    raises `FilterUnsupported`. Totals end at `REACHABLE`. Movies that TMDB marks as adult are left out, in details too.
    """

    name = "tmdb"
    capabilities = frozenset(Capability) - {Capability.EXCLUDE}

    def __init__(self, http: SourceHttp, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock
        self._genre_names = _Daily(self._read_genre_names, clock)
        self._genre_counts = _Daily(self._count_genres, clock)
        self._listings: dict[tuple[str, _Params], tuple[float, _Listing]] = {}
        self._is_refused = False

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        for ability in query.needs - self.capabilities:
            raise FilterUnsupported(f"TMDB can't apply {ability}", field=ability)
        check_query(query)
        if query.years is not None and query.years.last < FIRST_YEAR:
            return MoviePage(total=0, items=(), source=self.name)
        names = await self._genre_names.get()
        genre_id = find_genre(names, query.genre)
        if query.genre is not None and genre_id is None:
            return MoviePage(total=0, items=(), source=self.name)
        path, params = list_request(query, genre_id)
        first = min(window.offset // PAGE_SIZE + 1, MAX_PAGE)
        # The first page says how many there are, so that no page is asked for in vain.
        listings = [await self._listing(path, _on_page(params, first))]
        last = min((window.offset + window.limit - 1) // PAGE_SIZE + 1, MAX_PAGE, listings[0].pages)
        listings += await self._all_listings([(path, _on_page(params, page)) for page in range(first + 1, last + 1)])
        self._forget(path, [_on_page(params, page) for page in range(first, last + 1)])
        return page_of(query, window, first, listings, names)

    async def get(self, movie_id: str) -> FoundMovie:
        if not _MOVIE_ID.fullmatch(movie_id):
            raise MovieNotFound("no such movie")
        try:
            body = await self._get(f"movie/{movie_id}", (("append_to_response", "credits"),))
        except SourceFault as fault:
            if fault.status == 404:
                raise MovieNotFound("no such movie") from None
            raise
        movie = parse_movie(body, {})
        if movie is None or movie.id != movie_id:
            raise _wrong_shape("told of another movie, or of none")
        if body.get("adult") is True:
            raise MovieNotFound("no such movie")
        return FoundMovie(movie, self.name)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        query = MovieQuery(text)
        if not query.text:
            return ()
        names = await self._genre_names.get()
        path, params = list_request(query, None)
        listing = await self._listing(path, _on_page(params, 1))
        self._forget(path, [_on_page(params, 1)])
        return pick_movies(listing.results, query, names)[:limit]

    async def genres(self) -> Sequence[Genre]:
        return await self._genre_counts.get()

    async def _read_genre_names(self) -> Mapping[int, str]:
        return parse_genres(await self._get("genre/movie/list", ()))

    async def _count_genres(self) -> Sequence[Genre]:
        names = await self._genre_names.get()
        queries = [list_request(MovieQuery(genre=name), genre_id) for genre_id, name in names.items()]
        requests = [(path, _on_page(params, 1)) for path, params in queries]
        totals = [listing.total for listing in await self._all_listings(requests)]
        for path, params in requests:
            self._forget(path, [params])
        counts = dict(zip(names.values(), totals, strict=True))
        return tuple(Genre(name, counts[name]) for name in sorted(counts) if counts[name])

    async def _all_listings(self, requests: Sequence[tuple[str, _Params]]) -> list["_Listing"]:
        """In their order, at most `MAX_AT_ONCE` at a time. When some fail, the others are waited for all the same: a
        repeat finds them.
        """
        places = asyncio.Semaphore(MAX_AT_ONCE)

        async def one(path: str, params: _Params) -> "_Listing":
            async with places:
                return await self._listing(path, params)

        outcomes = await asyncio.gather(*(one(*request) for request in requests), return_exceptions=True)
        faults = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if faults:  # one that no repeat can mend goes first
            raise min(faults, key=lambda fault: isinstance(fault, SourceFault) and fault.retryable)
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    async def _listing(self, path: str, params: _Params) -> "_Listing":
        """One page. It is kept for a repeat until `_forget`, `KEEP_LISTINGS` at the longest."""
        now = self._clock()
        when, kept = self._listings.pop((path, params), (0.0, None))
        if kept is None or now - when > KEEP_LISTINGS:
            when, kept = now, parse_listing(await self._get(path, params), int(dict(params)["page"]))
        while len(self._listings) >= MAX_LISTINGS:
            del self._listings[next(iter(self._listings))]
        self._listings[path, params] = when, kept
        return kept

    def _forget(self, path: str, every_params: Iterable[_Params]) -> None:
        for params in every_params:
            self._listings.pop((path, params), None)

    async def _get(self, path: str, params: _Params) -> Any:
        try:
            body = await self._http.get(path, params)
        except SourceFault as fault:
            if fault.status not in {401, 403}:
                raise
            if not self._is_refused:  # once, not for every search until somebody mends it
                _log.error("TMDB refuses the token in MOVIE_SOURCE_TOKEN (status %d)", fault.status)
            self._is_refused = True
            raise SourceFault("status", "refuses our token", status=fault.status, retryable=False) from None
        self._is_refused = False
        return body


class _Daily(Generic[_T]):
    """A value that is read when it is first wanted and again a day later.

    Callers who come while it is being read share that reading. The value of yesterday serves on while TMDB gives no
    new one; without one the fault goes to the callers.
    """

    def __init__(self, read: Callable[[], Awaitable[_T]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._value: _T | None = None
        self._until = float("-inf")
        self._reading: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        if self._value is not None and self._clock() < self._until:
            return self._value
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._renew())
            self._reading.add_done_callback(_retrieve)
        # Shielded: one caller who leaves must not end the reading for the others.
        return await asyncio.shield(self._reading)

    async def _renew(self) -> _T:
        try:
            self._value = await self._read()
        except SourceFault as fault:
            if self._value is None:
                raise
            _log.warning("TMDB's genres could not be read anew: %s", fault.detail)
            self._until = self._clock() + RETRY_DAILY
        else:
            self._until = self._clock() + DAY
        return self._value


def _retrieve(reading: asyncio.Task[Any]) -> None:
    # So that a fault which all callers were too impatient to see isn't reported as lost.
    if not reading.cancelled():
        reading.exception()


@dataclass(frozen=True, slots=True)
class _Listing:
    """One page of a list, as TMDB tells it."""

    total: int
    """Movies of the whole list, also those that no page gives out."""
    pages: int
    results: Sequence[Any]
    fetched_at: datetime = field(default_factory=utc_now)

    @property
    def reachable(self) -> int:
        return min(self.total, self.pages * PAGE_SIZE, REACHABLE)


def check_query(query: MovieQuery) -> None:
    """Raise `FilterUnsupported` for what TMDB can't do: its text search knows one year and no more."""
    if not query.text:
        return
    if query.genre is not None:
        raise FilterUnsupported("the source tmdb can't look for a text within a genre", field="genre")
    if query.order is not Order.RELEVANCE:
        raise FilterUnsupported("the source tmdb orders what a text finds by relevance only", field="order")
    if query.years is not None and query.years.first != query.years.last:
        raise FilterUnsupported("the source tmdb can look for a text within one year, not within several", field="year")


def find_genre(names: Mapping[int, str], name: str | None) -> int | None:
    """The id of a genre, whatever the case of its name; None when there is none."""
    wanted = (name or "").casefold()
    return next((genre_id for genre_id, known in names.items() if known.casefold() == wanted), None)


def list_request(query: MovieQuery, genre_id: int | None) -> tuple[str, _Params]:
    """Path and parameters, but the page's number, that ask TMDB for what `check_query` let pass."""
    adult = ("include_adult", "false")
    if query.text:
        year = () if query.years is None else (("primary_release_year", f"{query.years.first}"),)
        return "search/movie", (("query", query.text), adult, *year)
    years: _Params = ()
    if query.years is not None:
        years = (
            ("primary_release_date.gte", f"{max(query.years.first, FIRST_YEAR)}-01-01"),
            ("primary_release_date.lte", f"{query.years.last}-12-31"),
        )
    genre = () if genre_id is None else (("with_genres", str(genre_id)),)
    return "discover/movie", (adult, ("sort_by", _SORT[query.order]), *years, *genre)


def _on_page(params: _Params, page: int) -> _Params:
    return (*params, ("page", str(page)))


def page_of(
    query: MovieQuery, window: Window, first: int, listings: Sequence[_Listing], names: Mapping[int, str]
) -> MoviePage:
    """The window of a list whose pages from `first` on are `listings`. No usable movie in it is a `SourceFault`."""
    # Pages are cached apart from each other over there and may differ by a few; the greatest total contradicts none.
    total = max(listing.reachable for listing in listings)
    rows = {
        (first + number - 1) * PAGE_SIZE + place: row
        for number, listing in enumerate(listings)
        for place, row in enumerate(listing.results)
    }
    items: dict[str, Movie] = {}
    skipped = []
    for place in range(window.offset, min(window.offset + window.limit, total)):
        picked = pick_movies([rows[place]] if place in rows else [], query, names)
        if picked and picked[0].id not in items:
            items[picked[0].id] = picked[0]
        else:
            skipped.append(place - window.offset)
    if window.offset < total and not items:
        raise _wrong_shape("answered with a page that holds no usable movie")
    return MoviePage(
        total=total,
        items=tuple(items.values()),
        source=TmdbMovieSource.name,
        fetched_at=min(listing.fetched_at for listing in listings),
        skipped=tuple(skipped),
    )


def pick_movies(rows: Sequence[Any], query: MovieQuery, names: Mapping[int, str]) -> tuple[Movie, ...]:
    """The movies of these rows that can be used and fit the query, each once."""
    found: dict[str, Movie] = {}
    for row in rows:
        movie = parse_movie(row, names)
        if movie is None or row.get("adult") is True:
            continue
        # TMDB filters by an index that may lag behind the data it shows.
        if query.years is not None and movie.year not in query.years:
            continue
        if query.genre is not None and query.genre.casefold() not in {genre.casefold() for genre in movie.genres}:
            continue
        found[movie.id] = movie
    return tuple(found.values())


def parse_listing(body: Any, page: int) -> _Listing:
    """A list's page of that number; `SourceFault` of kind `wrong_shape` for anything else."""
    known = body if isinstance(body, dict) else {}
    total, pages, results = known.get("total_results"), known.get("total_pages"), known.get("results")
    if not isinstance(results, list) or not _is_count(total) or not _is_count(pages):
        raise _wrong_shape("answered without a list of movies and their number")
    if known.get("page") != page:
        raise _wrong_shape("answered with another page than was asked for")
    if (total == 0 and results) or (total > 0 and pages == 0):
        raise _wrong_shape("contradicts itself about the number of movies")
    return _Listing(total, pages, results[:PAGE_SIZE])


def parse_genres(body: Any) -> Mapping[int, str]:
    """Names of genres by id; `SourceFault` of kind `wrong_shape` for anything else."""
    rows = body.get("genres") if isinstance(body, dict) else None
    if rows == []:
        return {}
    names = {
        row["id"]: name
        for row in _dicts(rows)
        if _is_count(row.get("id")) and (name := _text(row.get("name"), MAX_NAME)) is not None
    }
    if not names:
        raise _wrong_shape("answered without genres")
    return names


def parse_movie(row: Any, names: Mapping[int, str]) -> Movie | None:
    """A row of a list, or details with their credits; None without an id and a title. `names` are genres by id."""
    if not isinstance(row, dict):
        return None
    number, title = row.get("id"), _text(row.get("title"), MAX_TITLE)
    if not _is_count(number) or number == 0 or title is None:
        return None
    original = _text(row.get("original_title"), MAX_TITLE)
    runtime, popularity = row.get("runtime"), row.get("popularity")
    credits = row.get("credits")
    crew, cast = (_dicts(credits.get(part)) if isinstance(credits, dict) else [] for part in ("crew", "cast"))
    if "genres" in row:
        genres = _names(_dicts(row["genres"]))
    else:
        ids = row.get("genre_ids")
        genres = tuple(
            dict.fromkeys(names[i] for i in (ids if isinstance(ids, list) else ()) if _is_count(i) and i in names)
        )
    return Movie(
        id=str(number),
        title=title,
        year=_year(row.get("release_date")),
        genres=genres,
        original_title=None if original == title else original,
        overview=_text(row.get("overview"), MAX_OVERVIEW),
        runtime_minutes=runtime if _is_count(runtime) and runtime else None,
        directors=_names(person for person in crew if person.get("job") == "Director"),
        cast=_names(sorted(cast, key=_billing))[:MAX_CAST],
        countries=_names(_dicts(row.get("production_countries"))),
        poster_url=_matching(_IMAGE_PATH, row.get("poster_path"), prefix=POSTER_URL),
        imdb_id=_matching(_IMDB_ID, row.get("imdb_id")),
        tmdb_id=str(number),
        popularity=float(popularity) if _is_measure(popularity) else None,
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER


def _is_measure(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER


def _dicts(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _names(rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    names = (_text(row.get("name"), MAX_NAME) for row in rows)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _billing(person: dict[str, Any]) -> float:
    place = person.get("order")
    return float(place) if _is_measure(place) else math.inf


def _text(value: Any, longest: int) -> str | None:
    return (clean_text(value)[:longest].rstrip() or None) if isinstance(value, str) else None


def _year(date: Any) -> int | None:
    match = _DATE.fullmatch(date) if isinstance(date, str) else None
    return int(match[1]) if match and int(match[1]) >= FIRST_YEAR else None


def _matching(pattern: re.Pattern[str], value: Any, prefix: str = "") -> str | None:
    return prefix + value if isinstance(value, str) and pattern.fullmatch(value) else None


def _wrong_shape(detail: str) -> SourceFault:
    return SourceFault("wrong_shape", detail, status=200)
