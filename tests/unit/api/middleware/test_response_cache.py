"""The same searches with and without the layer `CachedSearch`, over a cached source, with a manual clock."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from tests.support.api import AUTHENTICATION, Api, OpenApi, bearer

from movie_adapters.sources.cached import CachedMovieSource
from movie_api.context import RequestContext, RequestHead
from movie_api.middleware import compose, response_cache
from movie_api.middleware.response_cache import CachedSearch
from movie_api.response_cache import RenderedPage, ResponseCache, SearchRequest
from movie_api.routes import movies
from movie_core import MemoryMovieCatalogue, MoviePage, MovieQuery, SourceUnavailable, Window
from movie_core.accounts.sessions import Caller
from movie_core.memory import MemoryCacheStore
from movie_core.provenance import CacheStatus
from movie_core.search.caching import CachePolicy
from movie_core.testing import NOW, SAMPLE

MOVIES = "/api/v1/movies/"
VARYING_HEADERS = {"x-request-id", "date", "ratelimit"}


class Clock:
    """Seconds since the Unix epoch, for all caches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000.25
        for module in (movies, response_cache):
            monkeypatch.setattr(module.time, "time", self)

    def __call__(self) -> float:
        return self.now


class Source(MemoryMovieCatalogue):
    def __init__(self) -> None:
        super().__init__(SAMPLE, source="third_party")
        self.is_unavailable = False
        self.calls = 0

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        self.calls += 1
        if self.is_unavailable:
            raise SourceUnavailable("unavailable")
        return await super().search(query, window)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def inner() -> Source:
    return Source()


class Deployments:
    """Two equal deployments, one without the layer `CachedSearch`; counts requests of the other that reach Litestar."""

    def __init__(self, cached: Api, uncached: Api) -> None:
        self.routed = 0

        async def count_and_route(*call: Any) -> None:
            self.routed += 1
            await cached.app(*call)

        layers = [layer for layer in uncached.application.layers if getattr(layer, "func", None) is not CachedSearch]
        assert len(layers) == len(uncached.application.layers) - 1
        self.cached = cached.through(compose(count_and_route, cached.application.layers))
        self.uncached = uncached.through(compose(uncached.app, layers))

    async def ask(self, path: str, headers: Any = (), method: str = "GET") -> tuple[httpx.Response, bool]:
        """The response, which both must send, and whether it came from the middleware."""
        before = self.routed
        first = await self.cached.request(method, path, headers=headers)
        is_cached = self.routed == before
        uncached = await self.uncached.request(method, path, headers=headers)
        assert first.status_code == uncached.status_code
        assert first.content == uncached.content or first.status_code >= 400
        names = [sorted(name for name, _ in response.headers.multi_items()) for response in (first, uncached)]
        assert names[0] == names[1]
        for name in first.headers.keys() - VARYING_HEADERS:
            assert first.headers[name] == uncached.headers[name] or first.status_code >= 400, name
        return first, is_cached


@pytest.fixture
def open_deployments(open_api: OpenApi, inner: Source, clock: Clock) -> Any:
    @asynccontextmanager
    async def opened(**environ: str) -> AsyncIterator[Deployments]:
        environ = {"MOVIE_LIMIT_SEARCH": "off"} | environ
        async with AsyncExitStack() as stack:
            apis = []
            for _ in range(2):
                source = CachedMovieSource(
                    inner,
                    memory=MemoryCacheStore(clock=clock),
                    policy=CachePolicy(fresh=60, stale=600),
                    clock=clock,
                    chance=lambda: 0.0,
                )
                apis.append(await stack.enter_async_context(open_api(source, **environ)))
            yield Deployments(*apis)

    return opened


@pytest.fixture
async def deployments(open_deployments: Any) -> AsyncIterator[Deployments]:
    async with open_deployments() as deployments:
        yield deployments


async def test_the_third_response_comes_from_the_cached_search_middleware(deployments: Deployments) -> None:
    results = [await deployments.ask(f"{MOVIES}?query=river&offset=10") for _ in range(4)]
    assert [is_cached for _, is_cached in results] == [False, False, True, True]
    states = [response.json()["meta"]["state"] for response, _ in results]
    assert states == ["live", "fresh", "fresh", "fresh"]
    assert results[3][0].headers["cache-status"] == "movies; hit; ttl=60"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?query=river",
        "?query=r%69ver&limit=3",
        "?query=+river++&unknown=1",
        "?offset=20&limit=100&query=",
        "?query=the%20gl",
        "?query=zzqxj",
        "?query=river&offset=999",
        "?query=river&limit=0",
        "?query=%ff",
        "?query=a&query=b",
        "?order=year&query=river",
        "?year=1990..2010",
    ],
)
@pytest.mark.parametrize("path", [MOVIES, MOVIES[:-1]])
async def test_middleware_and_handler_send_the_same_response(deployments: Deployments, path: str, query: str) -> None:
    etags: list[str] = []
    for method, _ in itertools.product(("GET", "HEAD"), range(3)):
        response, _ = await deployments.ask(path + query, method=method)
        etags.append(response.headers.get("etag", '"none"'))
    for value in (etags[0], '"other"', f'"other", {etags[0]}', "*", ""):
        await deployments.ask(path + query, {"if-none-match": value})
        await deployments.ask(path + query, [("if-none-match", value), ("if-none-match", '"x"')])
    for header in ({"origin": "https://example.com"}, {"content-length": "0"}, {"accept": "text/html"}):
        await deployments.ask(path + query, header)


async def test_a_matching_etag_gets_304(deployments: Deployments, inner: Source) -> None:
    for _ in range(3):
        response, _ = await deployments.ask(MOVIES)
    calls = inner.calls
    unchanged, is_cached = await deployments.ask(MOVIES, {"if-none-match": response.headers["etag"]})
    assert (unchanged.status_code, unchanged.content, is_cached) == (304, b"", True)
    assert inner.calls == calls


async def test_age_and_ttl_change_every_second(deployments: Deployments, clock: Clock) -> None:
    for _ in range(2):
        await deployments.ask(MOVIES)
    clock.now += 12
    response, is_cached = await deployments.ask(MOVIES)
    assert is_cached
    assert (response.headers["age"], response.headers["cache-status"]) == ("12", "movies; hit; ttl=48")


async def test_a_stale_response_is_cached_for_less_than_a_second(
    deployments: Deployments, clock: Clock, inner: Source
) -> None:
    for _ in range(2):
        await deployments.ask(MOVIES)
    inner.is_unavailable = True
    clock.now += 90
    results = [await deployments.ask(MOVIES) for _ in range(5)]
    assert [is_cached for _, is_cached in results] == [False, True, True, True, True]
    assert results[4][0].json()["meta"]["state"] == "stale"
    assert results[4][0].headers["cache-status"] == "movies; hit; ttl=-30"
    clock.now += 1.5
    assert not (await deployments.ask(MOVIES))[1]


async def test_only_a_valid_token_of_an_active_session_is_admitted(open_deployments: Any) -> None:
    async with open_deployments(MOVIE_PUBLIC_SEARCH="false") as deployments:
        sessions = [await deployments.cached.activated(), await deployments.uncached.activated()]

        async def ask(*change: str) -> tuple[list[int], bool]:
            before = deployments.routed
            statuses = []
            for api, header in zip((deployments.cached, deployments.uncached), sessions, strict=True):
                value = "".join((header["authorization"], *change))
                statuses.append((await api.get(MOVIES, headers={"authorization": value})).status_code)
            return statuses, deployments.routed == before

        results = [await ask() for _ in range(4)]
        assert results[-1] == ([200, 200], True)
        assert await ask("x") == ([401, 401], False)
        assert await ask(" ") == ([401, 401], False)
        for headers in ({}, {"authorization": ""}, {"authorization": "bearer x"}, {"authorization": "Basic eDp5"}):
            response, is_cached = await deployments.ask(MOVIES, headers)
            assert (response.status_code, is_cached) == (401, False)
        twice = [("authorization", sessions[0]["authorization"])] * 2
        before = deployments.routed
        assert (await deployments.cached.get(MOVIES, headers=twice)).status_code == 401
        assert deployments.routed == before + 1
        for api, header in zip((deployments.cached, deployments.uncached), sessions, strict=True):
            assert (await api.post(f"{AUTHENTICATION}logout/", headers=header)).status_code == 200
        assert await ask() == ([401, 401], False)


async def test_another_token_of_a_known_session_needs_no_routing(open_deployments: Any) -> None:
    async with open_deployments(MOVIE_PUBLIC_SEARCH="false") as deployments:
        response = await deployments.cached.post(await deployments.cached.registered())
        pair = response.json()
        for _ in range(3):
            await deployments.cached.get(MOVIES, headers=bearer(pair["access"]))
        refreshed = (
            await deployments.cached.post(f"{AUTHENTICATION}jwt/token/refresh/", json={"refresh": pair["refresh"]})
        ).json()
        before = deployments.routed
        assert (await deployments.cached.get(MOVIES, headers=bearer(refreshed["access"]))).status_code == 200
        assert deployments.routed == before


async def test_the_rate_limit_applies_to_middleware_and_handler(open_deployments: Any) -> None:
    async with open_deployments(MOVIE_LIMIT_SEARCH="40/hour") as deployments:
        results = [await deployments.ask(MOVIES) for _ in range(45)]
        assert [response.status_code for response, _ in results] == [200] * 40 + [429] * 5
        assert any(is_cached for _, is_cached in results)
        assert [response.headers["ratelimit"].split(";")[1] for response, _ in results[:40]] == [
            f"r={left}" for left in range(39, -1, -1)
        ]


# --- the layer alone


class Search:
    """Sends one request through the layer, over a cache with one response to `?query=river`."""

    def __init__(self, now: float, *, offset: int = 0, is_admitted: bool = True) -> None:
        self.page = RenderedPage(b'{"total":1}', "<x>", 'W/"1"', CacheStatus.FRESH, now - 5, now + 30)
        self.cache = ResponseCache(100_000)
        request = SearchRequest(MovieQuery("river"), Window(offset))
        self.cache.put(b"query=river", request, self.page, now, cast(Any, self), cast(Any, self))
        self.is_admitted = is_admitted
        self.admissions = 0
        self.is_passed_on = False
        self.sent: list[tuple[int, list[tuple[bytes, bytes]], bytes]] = []
        self.recorded: list[tuple[str | None, str, CacheStatus, bool]] = []

    def try_admit(self, _context: RequestContext) -> bool:
        self.admissions += 1
        return self.is_admitted

    def record_search(self, user_id: str | None, query: str, state: CacheStatus, *, is_first: bool) -> None:
        self.recorded.append((user_id, query, state, is_first))

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.sent.append((self.start["status"], [*self.start["headers"]], message["body"]))

    async def pass_on(self, *_call: Any) -> None:
        self.is_passed_on = True

    async def ask(
        self,
        path: str = MOVIES,
        *,
        method: str = "GET",
        query_string: bytes = b"query=river",
        headers: Sequence[tuple[bytes, bytes]] = (),
        user_id: str | None = None,
    ) -> dict[str, Any]:
        context = RequestContext(RequestHead(headers), "http://movies.test", "127.0.0.1")
        context.caller = None if user_id is None else Caller(user_id, "s", NOW)
        scope: dict[str, Any] = {"path": path, "method": method, "query_string": query_string}
        scope["state"] = {"context": context}
        layer = CachedSearch(self.pass_on, response_cache=self.cache)
        await layer(cast(Any, scope), cast(Any, None), self.send)
        assert self.is_passed_on == (not self.sent)
        return scope


@pytest.mark.parametrize("path", [MOVIES, MOVIES[:-1]])
async def test_the_layer_sends_the_stored_response_and_counts_it_for_its_route(clock: Clock, path: str) -> None:
    search = Search(clock.now)
    scope = await search.ask(path)
    [(status, headers, body)] = search.sent
    assert (status, body, search.admissions) == (200, b'{"total":1}', 1)
    assert dict(headers)[b"etag"] == b'W/"1"'
    assert dict(headers)[b"content-length"] == b"11"
    assert dict(headers)[b"age"] == b"5"
    assert scope["path_template"] == "/api/v1/movies"


@pytest.mark.parametrize(
    "request_",
    [
        {"path": f"{MOVIES}201/"},
        {"path": "/api/v1/genres/"},
        {"method": "HEAD"},
        {"method": "POST"},
        {"query_string": b"query=River"},
        {"headers": [(b"if-none-match", b"*"), (b"if-none-match", b"*")]},
    ],
)
async def test_the_layer_passes_on_every_other_request_without_counting_it(
    clock: Clock, request_: dict[str, Any]
) -> None:
    search = Search(clock.now)
    scope = await search.ask(**request_)
    assert (search.is_passed_on, search.admissions, search.recorded) == (True, 0, [])
    assert "path_template" not in scope


async def test_the_layer_passes_on_an_expired_response_and_a_request_without_access(clock: Clock) -> None:
    search = Search(clock.now, is_admitted=False)
    await search.ask()
    assert (search.is_passed_on, search.admissions, search.recorded) == (True, 1, [])
    search = Search(clock.now)
    clock.now += 30
    await search.ask()
    assert (search.is_passed_on, search.admissions) == (True, 0)


@pytest.mark.parametrize(("etags", "status"), [(b'"1"', 304), (b"*", 304), (b'"2"', 200), (b'"\xff"', 200)])
async def test_the_layer_answers_a_matching_etag_without_body_and_length(
    clock: Clock, etags: bytes, status: int
) -> None:
    search = Search(clock.now)
    await search.ask(headers=[(b"if-none-match", etags)])
    [(sent_status, headers, body)] = search.sent
    assert (sent_status, body) == (status, b'{"total":1}' if status == 200 else b"")
    assert (b"content-length" in dict(headers)) == (b"content-type" in dict(headers)) == (status == 200)
    assert dict(headers)[b"etag"] == b'W/"1"'


@pytest.mark.parametrize(("offset", "is_first"), [(0, True), (10, False)])
@pytest.mark.parametrize("user_id", [None, "anna"])
async def test_the_layer_records_the_search_of_its_user(
    clock: Clock, offset: int, is_first: bool, user_id: str | None
) -> None:
    search = Search(clock.now, offset=offset)
    await search.ask(user_id=user_id)
    assert search.recorded == [(user_id, "river", CacheStatus.FRESH, is_first)]
