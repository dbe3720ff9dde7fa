"""TMDB (The Movie Database) as a source: search, discover and details of its API v3.

The API reference is https://developer.themoviedb.org/reference. Lists have pages of 20 items, numbered from 1 to 500,
so that 10,000 movies of any list can be reached.
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
from movie_core.outage_log import OutageLog
from movie_core.paging import Window
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery, Order
from movie_core.search.retry_policy import StatusSet
from movie_core.single_flight import SingleFlight

TMDB_URL = "https://api.themoviedb.org/3"
TMDB_ATTRIBUTION = "This product uses the TMDB API but is not endorsed or certified by TMDB."
"""The text that TMDB requires every product to show, with its logo where there is a page (its FAQ, "attribution")."""
POSTER_URL = "https://image.tmdb.org/t/p/w500"
"""Base URL of posters, 500 pixels wide."""

PAGE_SIZE = 20
MAX_PAGE = 500
REACHABLE = PAGE_SIZE * MAX_PAGE
"""Maximum number of movies of one list that can be requested."""
MAX_CONCURRENT = 6
"""Concurrent requests of one call; TMDB allows some 50 per second."""
MAX_CAST = 10
MAX_TITLE, MAX_NAME, MAX_OVERVIEW = 500, 200, 2000
"""Maximum lengths in characters; longer texts are cut."""
MAX_NUMBER = 1_000_000_000
"""Ids, totals and measures are smaller; a greater number is invalid."""
DAY = 86_400.0
"""Seconds for which the genres are cached."""
REFRESH_BACKOFF = 600.0
"""Seconds until a failed refresh of the genres is retried."""
PAGE_TTL = 5.0
"""Seconds for which the list pages of a failed call are cached, so that its retry does not fetch them again."""
MAX_CACHED_PAGES = 500
FIRST_YEAR = 1800
"""No movie is older."""

_SORT = {
    Order.RELEVANCE: "popularity.desc",  # without a text, the most popular movies are the most relevant
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
    """Make the HTTP client for TMDB. `token` is an account's API read access token, or its API key of 32 hex digits.

    `timeout` is in seconds, for one attempt; `base_url`, including its `/3`, replaces `TMDB_URL`. Raises `ValueError`,
    without the token in its text, for a token that cannot be sent.
    """
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("a TMDB token must be one word of letters, digits and punctuation")
    is_key = _V3_KEY.fullmatch(token) is not None
    return SourceHttp(
        base_url or TMDB_URL,
        timeout=timeout,
        retry_status=retry_status,
        headers={} if is_key else {"Authorization": f"Bearer {token}"},
        parameters=(("api_key", token),) if is_key else (),  # TMDB accepts it nowhere else
        transport=transport,
    )


class TmdbMovieSource:
    """A `MovieSource` over TMDB. Each request is attempted once; `ResilientMovieSource` adds retries.

    TMDB searches by text, optionally within one year, or lists by genre, years and order; a query that combines both
    raises `FilterUnsupported`. Totals end at `REACHABLE`. Movies that TMDB marks as adult are left out, also by `get`.
    """

    name = "tmdb"
    capabilities = frozenset(Capability) - {Capability.EXCLUDE}

    def __init__(self, http: SourceHttp, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._clock = clock
        self._genre_names = _DailyValue(self._fetch_genre_names, clock)
        self._genre_counts = _DailyValue(self._count_genres, clock)
        self._pages: dict[tuple[str, _Params], tuple[float, _ListPage]] = {}
        self._token_rejection = OutageLog(
            _log,
            unavailable="TMDB rejects the token in MOVIE_SOURCE_TOKEN (status %d)",
            recovered="TMDB accepts the token in MOVIE_SOURCE_TOKEN again",
            level=logging.ERROR,
        )

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        for capability in sorted(query.required_capabilities - self.capabilities):
            raise FilterUnsupported(f"the source tmdb does not support {capability}", field=capability)
        check_query(query)
        if query.years is not None and query.years.last < FIRST_YEAR:
            return MoviePage(total=0, items=(), source=self.name)
        names = await self._genre_names.get()
        genre_id = find_genre(names, query.genre)
        if query.genre is not None and genre_id is None:
            return MoviePage(total=0, items=(), source=self.name)
        path, params = list_request(query, genre_id)
        first = min(window.offset // PAGE_SIZE + 1, MAX_PAGE)
        # The first page has the total, so that no page past the end is requested.
        pages = [await self._list_page(path, _with_page(params, first))]
        last = min((window.offset + window.limit - 1) // PAGE_SIZE + 1, MAX_PAGE, pages[0].pages)
        pages += await self._list_pages([(path, _with_page(params, page)) for page in range(first + 1, last + 1)])
        self._drop_cached(path, [_with_page(params, page) for page in range(first, last + 1)])
        return page_of(query, window, first, pages, names)

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
            raise _wrong_shape("sent another movie, or none")
        if body.get("adult") is True:
            raise MovieNotFound("no such movie")
        return FoundMovie(movie, self.name)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        query = MovieQuery(text)
        if not query.text:
            return ()
        names = await self._genre_names.get()
        path, params = list_request(query, None)
        page = await self._list_page(path, _with_page(params, 1))
        self._drop_cached(path, [_with_page(params, 1)])
        return pick_movies(page.results, query, names)[:limit]

    async def genres(self) -> Sequence[Genre]:
        return await self._genre_counts.get()

    async def _fetch_genre_names(self) -> Mapping[int, str]:
        return parse_genres(await self._get("genre/movie/list", ()))

    async def _count_genres(self) -> Sequence[Genre]:
        names = await self._genre_names.get()
        queries = [list_request(MovieQuery(genre=name), genre_id) for genre_id, name in names.items()]
        requests = [(path, _with_page(params, 1)) for path, params in queries]
        totals = [page.total for page in await self._list_pages(requests)]
        for path, params in requests:
            self._drop_cached(path, [params])
        counts = dict(zip(names.values(), totals, strict=True))
        return tuple(Genre(name, counts[name]) for name in sorted(counts) if counts[name])

    async def _list_pages(self, requests: Sequence[tuple[str, _Params]]) -> list["_ListPage"]:
        """Fetch pages, at most `MAX_CONCURRENT` at a time; returns them in the order of the requests.

        If some fail, the others are completed and cached for a retry.
        """
        semaphore = asyncio.Semaphore(MAX_CONCURRENT)

        async def fetch(path: str, params: _Params) -> "_ListPage":
            async with semaphore:
                return await self._list_page(path, params)

        results = await asyncio.gather(*(fetch(*request) for request in requests), return_exceptions=True)
        faults = [result for result in results if isinstance(result, BaseException)]
        if faults:  # a fault that no retry can resolve takes precedence
            raise min(faults, key=lambda fault: isinstance(fault, SourceFault) and fault.retryable)
        return [result for result in results if not isinstance(result, BaseException)]

    async def _list_page(self, path: str, params: _Params) -> "_ListPage":
        """Fetch one page; it is cached for a retry until `_drop_cached`, for at most `PAGE_TTL`."""
        now = self._clock()
        stored_at, page = self._pages.pop((path, params), (0.0, None))
        if page is None or now - stored_at > PAGE_TTL:
            stored_at, page = now, parse_list_page(await self._get(path, params), int(dict(params)["page"]))
        while len(self._pages) >= MAX_CACHED_PAGES:
            del self._pages[next(iter(self._pages))]
        self._pages[path, params] = stored_at, page
        return page

    def _drop_cached(self, path: str, params_of_pages: Iterable[_Params]) -> None:
        for params in params_of_pages:
            self._pages.pop((path, params), None)

    async def _get(self, path: str, params: _Params) -> Any:
        try:
            body = await self._http.get(path, params)
        except SourceFault as fault:
            if fault.status not in {401, 403}:
                raise
            self._token_rejection.failed(fault.status)
            raise SourceFault("status", "rejects the configured token", status=fault.status, retryable=False) from None
        self._token_rejection.recovered()
        return body


class _DailyValue(Generic[_T]):
    """A value that is fetched on first use and refreshed after a day.

    Concurrent callers share one fetch. A failed refresh leaves the old value in use; without one the fault is raised.
    """

    def __init__(self, fetch: Callable[[], Awaitable[_T]], clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: _T | None = None
        self._fresh_until = float("-inf")
        self._refreshes: SingleFlight[_T] = SingleFlight()

    async def get(self) -> _T:
        if self._value is not None and self._clock() < self._fresh_until:
            return self._value
        return await self._refreshes.join("value", self._refresh)

    async def _refresh(self) -> _T:
        try:
            self._value = await self._fetch()
        except SourceFault as fault:
            if self._value is None:
                raise
            _log.warning("refreshing the TMDB genres failed: %s", fault.detail)
            self._fresh_until = self._clock() + REFRESH_BACKOFF
        else:
            self._fresh_until = self._clock() + DAY
        return self._value


@dataclass(frozen=True, slots=True)
class _ListPage:
    """One page of a TMDB list."""

    total: int
    """Movies in the whole list, including those beyond the last page."""
    pages: int
    results: Sequence[Any]
    fetched_at: datetime = field(default_factory=utc_now)

    @property
    def reachable(self) -> int:
        return min(self.total, self.pages * PAGE_SIZE, REACHABLE)


def check_query(query: MovieQuery) -> None:
    """Raise `FilterUnsupported` for a query that TMDB cannot answer: the only filter of its text search is one year."""
    if not query.text:
        return
    if query.genre is not None:
        raise FilterUnsupported("the source tmdb does not support a text search within a genre", field="genre")
    if query.order is not Order.RELEVANCE:
        raise FilterUnsupported("the source tmdb supports only order=relevance for a text search", field="order")
    if query.years is not None and query.years.first != query.years.last:
        raise FilterUnsupported(
            "the source tmdb supports a text search within one year, not within a range", field="year"
        )


def find_genre(names: Mapping[int, str], name: str | None) -> int | None:
    """Return the id of a genre by its name, ignoring case; None if there is none."""
    wanted = (name or "").casefold()
    return next((genre_id for genre_id, genre in names.items() if genre.casefold() == wanted), None)


def list_request(query: MovieQuery, genre_id: int | None) -> tuple[str, _Params]:
    """Return path and parameters, without the page number, of the TMDB request for a checked query."""
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


def _with_page(params: _Params, page: int) -> _Params:
    return (*params, ("page", str(page)))


def page_of(
    query: MovieQuery, window: Window, first: int, pages: Sequence[_ListPage], names: Mapping[int, str]
) -> MoviePage:
    """Return the window of a list from its `pages`, the first of which has the number `first`.

    Raises `SourceFault` if a window within the total has no usable movie.
    """
    # TMDB caches pages independently, so totals may differ by a few; the greatest one contradicts no page.
    total = max(page.reachable for page in pages)
    rows = {
        (first + number - 1) * PAGE_SIZE + place: row
        for number, page in enumerate(pages)
        for place, row in enumerate(page.results)
    }
    items: dict[str, Movie] = {}
    skipped = []
    for place in range(window.offset, min(window.offset + window.limit, total)):
        movies = pick_movies([rows[place]] if place in rows else [], query, names)
        if movies and movies[0].id not in items:
            items[movies[0].id] = movies[0]
        else:
            skipped.append(place - window.offset)
    if window.offset < total and not items:
        raise _wrong_shape("sent a page without a usable movie")
    return MoviePage(
        total=total,
        items=tuple(items.values()),
        source=TmdbMovieSource.name,
        fetched_at=min(page.fetched_at for page in pages),
        skipped=tuple(skipped),
    )


def pick_movies(rows: Sequence[Any], query: MovieQuery, names: Mapping[int, str]) -> tuple[Movie, ...]:
    """Return the usable movies of these rows that match the query, without duplicates."""
    movies: dict[str, Movie] = {}
    for row in rows:
        movie = parse_movie(row, names)
        if movie is None or row.get("adult") is True:
            continue
        # TMDB filters by an index that may lag behind the data it returns.
        if query.years is not None and movie.year not in query.years:
            continue
        if query.genre is not None and query.genre.casefold() not in {genre.casefold() for genre in movie.genres}:
            continue
        movies[movie.id] = movie
    return tuple(movies.values())


def parse_list_page(body: Any, page: int) -> _ListPage:
    """Parse the list page of that number; raises `SourceFault` of kind `wrong_shape`."""
    fields = body if isinstance(body, dict) else {}
    total, pages, results = fields.get("total_results"), fields.get("total_pages"), fields.get("results")
    if not isinstance(results, list) or not _is_count(total) or not _is_count(pages):
        raise _wrong_shape("sent no list of movies with a total")
    if fields.get("page") != page:
        raise _wrong_shape("sent another page than the requested one")
    if (total == 0 and results) or (total > 0 and pages == 0):
        raise _wrong_shape("sent contradictory totals")
    return _ListPage(total, pages, results[:PAGE_SIZE])


def parse_genres(body: Any) -> Mapping[int, str]:
    """Parse the names of genres by id; raises `SourceFault` of kind `wrong_shape`."""
    rows = body.get("genres") if isinstance(body, dict) else None
    if rows == []:
        return {}
    names = {
        row["id"]: name
        for row in _dicts(rows)
        if _is_count(row.get("id")) and (name := _text(row.get("name"), MAX_NAME)) is not None
    }
    if not names:
        raise _wrong_shape("sent no genres")
    return names


def parse_movie(row: Any, names: Mapping[int, str]) -> Movie | None:
    """Parse a list row, or details with credits; None without a valid id and title. `names` are genres by id."""
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
        cast=_names(sorted(cast, key=_billing_order))[:MAX_CAST],
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


def _billing_order(person: dict[str, Any]) -> float:
    place = person.get("order")
    return float(place) if _is_measure(place) else math.inf


def _text(value: Any, max_length: int) -> str | None:
    return (clean_text(value)[:max_length].rstrip() or None) if isinstance(value, str) else None


def _year(date: Any) -> int | None:
    match = _DATE.fullmatch(date) if isinstance(date, str) else None
    return int(match[1]) if match and int(match[1]) >= FIRST_YEAR else None


def _matching(pattern: re.Pattern[str], value: Any, prefix: str = "") -> str | None:
    return prefix + value if isinstance(value, str) and pattern.fullmatch(value) else None


def _wrong_shape(detail: str) -> SourceFault:
    return SourceFault("wrong_shape", detail, status=200)
