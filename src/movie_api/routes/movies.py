"""`/api/v1/movies/…` and `/api/v1/genres/`: parse, ask the service, render. Ratings of movies are in `ratings`.

`parse_search` and `render_page` are the whole way from a query string to the bytes of an answer; the fast lane sends
such bytes again.
"""

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from dishka import FromDishka
from litestar import Request, Response, get
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.types import Guard, HTTPScope, WebSocketScope

from movie_core.accounts.services import Accounts, Caller
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.discovery.services import Discovery
from movie_core.errors import (
    Denied,
    Invalid,
    InvalidOffsetOrLimit,
    InvalidParameter,
    InvalidQuery,
    MovieNotFound,
    RateLimited,
)
from movie_core.operations.rate_limits import LeasedLimit, RateLimits, UserLimit, network_of, networks_of
from movie_core.paging import PageLinks, Window
from movie_core.provenance import CacheStatus
from movie_core.search.movie_search import MovieSearch
from movie_core.search.movies import FoundMovie, Movie, MoviePage, MovieQuery, Order
from movie_core.text import normalise_query

Connection = ASGIConnection[Any, Any, Any, Any]

SEARCH_PATH = "/api/v1/movies/"
EXCLUDE_RATED = "rated"

MICRO_TTL = 0.5
"""Seconds for which an answer that isn't fresh from memory serves for the same question."""
ENTRY_OVERHEAD = 800
"""Bytes that an answer takes beyond its text."""
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_REFUSALS: Mapping[str, type[Invalid]] = {
    "offset": InvalidOffsetOrLimit,
    "limit": InvalidOffsetOrLimit,
    "query": InvalidQuery,
    "year": InvalidParameter,
    "genre": InvalidParameter,
    "order": InvalidParameter,
    "exclude": InvalidParameter,
}
_SHOWN = tuple(one.name for one in fields(Movie) if one.name != "alt_titles")


@dataclass(frozen=True, slots=True)
class Meta:
    """Where an answer comes from."""

    source: str
    state: str
    fetched_at: datetime


def parse_parameters(query_string: bytes, refusals: Mapping[str, type[Invalid]] = _REFUSALS) -> dict[str, str]:
    """The parameters that `refusals` names, each given at most once, decoded strictly; unknown ones are ignored."""
    known: dict[str, str] = {}
    for pair in query_string.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decoded(raw_name)
        refuse = refusals.get(name or "")
        if refuse is None:
            continue
        value = _decoded(raw_value)
        if value is None:
            raise refuse(f"{name} must be percent-encoded UTF-8", field=name)
        if name in known:
            raise refuse(f"{name} must be given once", field=name)
        known[str(name)] = value
    return known


def _decoded(raw: bytes) -> str | None:
    """None where the bytes are no percent-encoded UTF-8."""
    if _BROKEN_ESCAPE.search(raw):
        return None
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What a search asks for."""

    query: MovieQuery
    window: Window
    exclude_rated: bool = False
    """Without the movies that the caller has rated."""

    @property
    def is_personal(self) -> bool:
        """Whether the answer depends on who asks."""
        return self.exclude_rated or self.query.order is Order.PERSONAL

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """As `MovieQuery.parameters`, for links."""
        return self.query.parameters() + ((("exclude", EXCLUDE_RATED),) if self.exclude_rated else ())


def parse_search(query_string: bytes) -> SearchRequest:
    """Raises an error of the `Invalid` family."""
    given = parse_parameters(query_string)
    if given.get("exclude", EXCLUDE_RATED) != EXCLUDE_RATED:
        raise InvalidParameter(f"exclude must be {EXCLUDE_RATED}", field="exclude")
    window = Window.parse(given.get("offset"), given.get("limit"))
    query = MovieQuery.parse(
        given.get("query"), year=given.get("year"), genre=given.get("genre"), order=given.get("order")
    )
    return SearchRequest(query, window, "exclude" in given)


def movie_fields(movie: Movie) -> dict[str, Any]:
    """What is known of a movie; what isn't is left out."""
    return {name: value for name in _SHOWN if (value := getattr(movie, name)) is not None and value != ()}


def _meta(page: MoviePage | FoundMovie) -> Meta:
    return Meta(page.source, page.state.value, page.fetched_at.replace(microsecond=0))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page as it goes over the wire, now and for as long as the page is true."""

    body: bytes
    link: str
    etag: str
    state: CacheStatus
    fetched_at: float
    """Seconds since the epoch, as `fresh_until`."""
    fresh_until: float | None

    def headers(self, now: float) -> dict[str, str]:
        """`now` is in seconds since the epoch: age and remaining freshness are told in whole seconds (RFC 9211)."""
        headers = {"link": self.link, "etag": self.etag, "cache-control": "private"}
        if self.state in {CacheStatus.FRESH, CacheStatus.STALE} and self.fresh_until is not None:
            left = self.fresh_until - now
            # What was stale when it was answered first is stale whatever the clocks say.
            ttl = max(0, int(left)) if self.state is CacheStatus.FRESH else min(-1, math.floor(left))
            headers["cache-status"] = f"movies; hit; ttl={ttl}"
            headers["age"] = str(max(0, int(now - self.fetched_at)))
        elif self.state is CacheStatus.FALLBACK:
            headers["cache-status"] = "movies; fwd=miss; detail=fallback"
        else:
            headers["cache-status"] = "movies; fwd=miss"
        return headers


def render_page(page: MoviePage, asked: SearchRequest, public_url: str) -> Rendered:
    links = PageLinks.of(public_url + SEARCH_PATH, asked.window, page.total, asked.parameters())
    items = msgspec.json.encode([movie_fields(movie) for movie in page.items])
    info = msgspec.json.encode(links.info(asked.window, page.total))
    told = b'{"total":%d,"items":%b,"page_info":%b' % (page.total, items, info)
    body = b'%b,"meta":%b}' % (told, msgspec.json.encode(_meta(page)))
    # Of items, total and links alone: state and age of the same answer may differ.
    etag = f'W/"{hashlib.blake2b(told, digest_size=12).hexdigest()}"'
    fresh_until = None if page.fresh_until is None else page.fresh_until.timestamp()
    return Rendered(body, links.header(), etag, page.state, page.fetched_at.timestamp(), fresh_until)


def matches_etag(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    listed = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in listed or etag.removeprefix("W/") in listed


def _json(request: Request[Any, Any, Any], headers: dict[str, str], body: bytes) -> Response[bytes]:
    if "etag" in headers and matches_etag(request.headers.get("if-none-match"), headers["etag"]):
        return Response(b"", status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


class SearchAccess:
    """Who may search, and how often: whoever has a valid token, each user for itself; where search is public anybody,
    who shows no token each network for itself. The same for every lane that answers. Who calls is in the state of the
    request's scope afterwards, as `caller`: None is nobody that we know.
    """

    def __init__(self, accounts: Accounts, limits: RateLimits, *, is_public: bool) -> None:
        self._accounts = accounts
        self._limits = limits
        self._is_public = is_public

    def admit_at_once(self, scope: HTTPScope, authorization: bytes | None) -> bool:
        """Whether the caller is known to have access, and the search is counted; where False, nothing is counted, and
        `admit` has to find out.
        """
        caller = None
        if authorization is not None or not self._is_public:
            if authorization is None or not authorization.startswith(b"Bearer "):
                return False
            caller = self._accounts.recognise(authorization[7:].decode("latin-1"))
            if caller is None:
                return False
        scope["state"]["caller"] = caller
        if self._limits.search is None:
            return True
        try:
            quota = self._limits.search.spend(_counts_as(scope, caller))
        except RateLimited:
            return False
        if quota is not None:
            scope["state"]["quota"] = quota
        return quota is not None

    async def admit(
        self, connection: Connection, limit: LeasedLimit | UserLimit | None, *, needs_user: bool = False
    ) -> None:
        """Find out who calls, and count the request; raises errors of the `Denied` family, and `RateLimited`. Where
        search is public, a token that isn't good is as good as none, unless the route `needs_user`: a `UserLimit` is
        for these."""
        caller: Caller | None = None
        try:
            caller = await connection.state.dishka_container.get(Caller)
        except Denied:
            if needs_user or not self._is_public:
                raise
        state = connection.scope["state"]
        state["caller"] = caller
        if isinstance(limit, UserLimit) and caller is not None:
            state["quota"] = await limit.hit(caller.user_id, networks_of(state["client"]))
        elif isinstance(limit, LeasedLimit):
            state["quota"] = await limit.hit(_counts_as(connection.scope, caller))


def _counts_as(scope: HTTPScope | WebSocketScope, caller: Caller | None) -> str:
    return f"network:{network_of(scope['state']['client'])}" if caller is None else f"user:{caller.user_id}"


def _guard(limit: str, *, needs_user: bool = False) -> Guard:
    async def admit(connection: Connection, _: BaseRouteHandler) -> None:
        container = connection.state.dishka_container
        access, limits = await container.get(SearchAccess), await container.get(RateLimits)
        await access.admit(connection, getattr(limits, limit), needs_user=needs_user)

    return admit


require_search_access = _guard("search")
"""Guards routes that need a valid token, unless search is public. Counts."""
require_suggest_access = _guard("suggest")
"""The same for suggestions, which are counted apart: there is one for every key that is pressed."""
require_user = _guard("search", needs_user=True)
"""Guards routes that need a valid token in any case; counted as searches are."""
require_teller = _guard("events", needs_user=True)
"""The same for telling events, which are counted apart."""
require_writer = _guard("writes", needs_user=True)
"""The same for changes of what belongs to the caller."""
require_importer = _guard("imports", needs_user=True)
require_exporter = _guard("exports", needs_user=True)


class ReadyAnswer:
    """An answer that may be given again until `until`."""

    __slots__ = ("_headers", "_second", "asked", "rendered", "size", "until")

    def __init__(self, asked: SearchRequest, rendered: Rendered, until: float, query_string: bytes) -> None:
        self.asked = asked
        self.rendered = rendered
        self.until = until
        self.size = len(query_string) + len(rendered.body) + len(rendered.link) + ENTRY_OVERHEAD
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []

    def headers(self, now: float, *, with_body: bool = True) -> list[tuple[bytes, bytes]]:
        """As the server takes them; made once a second, as that is how fine they tell time."""
        if self._second != int(now):
            self._second = int(now)
            told = self.rendered.headers(now).items()
            length = b"%d" % len(self.rendered.body)
            of_body = ((b"content-type", b"application/json"), (b"content-length", length))
            self._headers = [*((name.encode(), value.encode()) for name, value in told), *of_body]
        return self._headers if with_body else self._headers[:-2]


class ResponseCache:
    """Answers given a moment ago, by the query string as it was spelled, in at most `max_bytes`; the one used longest
    ago is forgotten first.

    What is fresh serves until it is stale. Whatever else may change any moment serves for `MICRO_TTL`, but not what the
    cache has just fetched: the next answer calls it fresh.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[bytes, ReadyAnswer] = OrderedDict()

    def find(self, query_string: bytes, now: float) -> ReadyAnswer | None:
        answer = self._answers.get(query_string)
        if answer is None or now >= answer.until:
            return None
        self._answers.move_to_end(query_string)
        return answer

    def keep(self, query_string: bytes, asked: SearchRequest, rendered: Rendered, now: float) -> None:
        if rendered.state is CacheStatus.FRESH and rendered.fresh_until is not None:
            until = rendered.fresh_until
        elif rendered.state is CacheStatus.LIVE and rendered.fresh_until is not None:
            return
        else:
            until = now + MICRO_TTL
        self._forget(query_string)
        answer = self._answers[query_string] = ReadyAnswer(asked, rendered, until, query_string)
        self._bytes += answer.size
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._answers)))

    def clear(self) -> None:
        self._answers.clear()
        self._bytes = 0

    def _forget(self, query_string: bytes) -> None:
        answer = self._answers.pop(query_string, None)
        if answer is not None:
            self._bytes -= answer.size


@get(SEARCH_PATH, guards=[require_search_access])
async def search_movies(
    request: Request[Any, Any, Any],
    discovery: FromDishka[Discovery],
    recorder: FromDishka[EventRecorder],
    ready: FromDishka[ResponseCache],
) -> Response[bytes]:
    asked = parse_search(request.scope["query_string"])
    query, window = asked.query, asked.window
    caller = request.scope["state"]["caller"]
    if caller is None and asked.is_personal:
        caller = await request.state.dishka_container.get(Caller)  # says what is wrong with the token
    user_id = None if caller is None else caller.user_id
    try:
        page = await discovery.search(query, window, user_id, exclude_rated=asked.exclude_rated)
    except MovieNotFound as none:
        recorder.search(user_id, query.text, none.state or CacheStatus.LIVE, is_first=not window.offset, found=False)
        raise
    recorder.search(user_id, query.text, page.state, is_first=not window.offset)
    rendered = render_page(page, asked, request.scope["state"]["public_url"])
    now = time.time()
    if not asked.is_personal:
        ready.keep(request.scope["query_string"], asked, rendered, now)
    return _json(request, rendered.headers(now), rendered.body)


@get("/api/v1/movies/suggest/", guards=[require_suggest_access])
async def suggest_movies(request: Request[Any, Any, Any], movie_search: FromDishka[MovieSearch]) -> Response[bytes]:
    given = parse_parameters(request.scope["query_string"])
    movies = await movie_search.suggest(normalise_query(given.get("query", "")))
    items = [
        {"id": movie.id, "title": movie.title} | ({} if movie.year is None else {"year": movie.year})
        for movie in movies
    ]
    return _json(request, {"cache-control": "private"}, msgspec.json.encode({"items": items}))


@get("/api/v1/movies/{movie_id:str}/", guards=[require_search_access])
async def movie_details(
    request: Request[Any, Any, Any], movie_id: FromPath[str], movie_search: FromDishka[MovieSearch]
) -> Response[bytes]:
    found = await movie_search.get(movie_id)
    body = msgspec.json.encode(movie_fields(found.movie) | {"meta": _meta(found)})
    return _json(request, {"cache-control": "private"}, body)


@get("/api/v1/genres/", guards=[require_search_access])
async def list_genres(request: Request[Any, Any, Any], movie_search: FromDishka[MovieSearch]) -> Response[bytes]:
    genres = await movie_search.genres()
    return _json(request, {"cache-control": "private"}, msgspec.json.encode({"items": genres}))


MOVIE_ROUTES = (search_movies, suggest_movies, movie_details, list_genres)
