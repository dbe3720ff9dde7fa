"""The same searches with the fast lane and without it, over a cached source, at times that stand still."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.unit.api.conftest import AUTHENTICATION, Api, OpenApi, bearer

from movie_adapters.sources.cached import CachedMovieSource
from movie_api.middleware import response_cache
from movie_api.middleware.edge import Guard
from movie_api.routes import movies
from movie_core import MemoryMovieCatalogue, MoviePage, MovieQuery, SourceUnavailable, Window
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.memory import MemoryCacheStore
from movie_core.search.caching import CachePolicy
from movie_core.testing import SAMPLE

MOVIES = "/api/v1/movies/"
PASSING = {"x-request-id", "date", "ratelimit"}


class Clock:
    """Seconds since the epoch, for everything that remembers answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000.25
        for module in (movies, response_cache):
            monkeypatch.setattr(module.time, "time", self)

    def __call__(self) -> float:
        return self.now


class Source(MemoryMovieCatalogue):
    def __init__(self) -> None:
        super().__init__(SAMPLE, source="third_party")
        self.is_away = False
        self.calls = 0

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        self.calls += 1
        if self.is_away:
            raise SourceUnavailable("away")
        return await super().search(query, window)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def inner() -> Source:
    return Source()


class Lanes:
    """Two equal deployments, one with its cached-search middleware open, and what the framework was asked of that one."""

    def __init__(self, fast: Api, slow: Api) -> None:
        self.fast, self.slow = fast, slow
        self.routed = 0
        guard = fast.app.asgi_handler
        assert isinstance(guard, Guard)
        lane, routes = guard._at_once, guard._app
        assert isinstance(lane, response_cache.CachedSearchMiddleware)
        self.lane = lane

        async def counted(*call: Any) -> None:
            self.routed += 1
            await routes(*call)

        guard._app = counted

    async def ask(self, path: str, headers: Any = (), method: str = "GET") -> tuple[httpx.Response, bool]:
        """The answer, which must be the same, and whether the fast lane gave it."""
        before = self.routed
        quick = await self.fast.request(method, path, headers=headers)
        was_fast = self.routed == before
        slow = await self.slow.request(method, path, headers=headers)
        assert quick.status_code == slow.status_code
        assert quick.content == slow.content or quick.status_code >= 400
        names = [sorted(name for name, _ in answer.headers.multi_items()) for answer in (quick, slow)]
        assert names[0] == names[1]
        for name in quick.headers.keys() - PASSING:
            assert quick.headers[name] == slow.headers[name] or quick.status_code >= 400, name
        return quick, was_fast


@pytest.fixture
def open_lanes(open_api: OpenApi, inner: Source, clock: Clock) -> Any:
    @asynccontextmanager
    async def opened(**environ: str) -> AsyncIterator[Lanes]:
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
            lanes, container = Lanes(*apis), apis[0].app.state.dishka_container
            access, ready = await container.get(movies.SearchAccess), await container.get(movies.ResponseCache)
            lanes.lane.open(access, ready, await container.get(EventRecorder))
            yield lanes

    return opened


@pytest.fixture
async def lanes(open_lanes: Any) -> AsyncIterator[Lanes]:
    async with open_lanes() as lanes:
        yield lanes


async def test_the_third_time_an_answer_comes_from_the_cached_search_middleware(lanes: Lanes) -> None:
    asked = [await lanes.ask(f"{MOVIES}?query=river&offset=10") for _ in range(4)]
    assert [was_fast for _, was_fast in asked] == [False, False, True, True]
    states = [answer.json()["meta"]["state"] for answer, _ in asked]
    assert states == ["live", "fresh", "fresh", "fresh"]
    assert asked[3][0].headers["cache-status"] == "movies; hit; ttl=60"


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
async def test_both_ways_answer_alike(lanes: Lanes, path: str, query: str) -> None:
    etags: list[str] = []
    for method, _ in itertools.product(("GET", "HEAD"), range(3)):
        answer, _ = await lanes.ask(path + query, method=method)
        etags.append(answer.headers.get("etag", '"none"'))
    for value in (etags[0], '"other"', f'"other", {etags[0]}', "*", ""):
        await lanes.ask(path + query, {"if-none-match": value})
        await lanes.ask(path + query, [("if-none-match", value), ("if-none-match", '"x"')])
    for header in ({"origin": "https://example.com"}, {"content-length": "0"}, {"accept": "text/html"}):
        await lanes.ask(path + query, header)


async def test_an_answer_that_the_client_has_is_not_sent_again(lanes: Lanes, inner: Source) -> None:
    for _ in range(3):
        answer, _ = await lanes.ask(MOVIES)
    calls = inner.calls
    unchanged, was_fast = await lanes.ask(MOVIES, {"if-none-match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content, was_fast) == (304, b"", True)
    assert inner.calls == calls


async def test_age_and_remaining_freshness_are_told_by_the_second(lanes: Lanes, clock: Clock) -> None:
    for _ in range(2):
        await lanes.ask(MOVIES)
    clock.now += 12
    answer, was_fast = await lanes.ask(MOVIES)
    assert was_fast
    assert (answer.headers["age"], answer.headers["cache-status"]) == ("12", "movies; hit; ttl=48")


async def test_what_is_stale_is_asked_for_about_once_a_second(lanes: Lanes, clock: Clock, inner: Source) -> None:
    for _ in range(2):
        await lanes.ask(MOVIES)
    inner.is_away = True
    clock.now += 90
    asked = [await lanes.ask(MOVIES) for _ in range(5)]
    assert [was_fast for _, was_fast in asked] == [False, True, True, True, True]
    assert asked[4][0].json()["meta"]["state"] == "stale"
    assert asked[4][0].headers["cache-status"] == "movies; hit; ttl=-30"
    clock.now += 1.5
    assert not (await lanes.ask(MOVIES))[1]


async def test_only_a_token_that_is_good_and_alive_is_let_pass(open_lanes: Any) -> None:
    async with open_lanes(MOVIE_PUBLIC_SEARCH="false") as lanes:
        mine = [await lanes.fast.activated(), await lanes.slow.activated()]

        async def ask(*change: str) -> tuple[list[int], bool]:
            before = lanes.routed
            statuses = []
            for api, header in zip((lanes.fast, lanes.slow), mine, strict=True):
                value = "".join((header["authorization"], *change))
                statuses.append((await api.get(MOVIES, headers={"authorization": value})).status_code)
            return statuses, lanes.routed == before

        asked = [await ask() for _ in range(4)]
        assert asked[-1] == ([200, 200], True)
        assert await ask("x") == ([401, 401], False)
        assert await ask(" ") in (([401, 401], False), ([200, 200], True))
        for headers in ({}, {"authorization": ""}, {"authorization": "bearer x"}, {"authorization": "Basic eDp5"}):
            answer, was_fast = await lanes.ask(MOVIES, headers)
            assert (answer.status_code, was_fast) == (401, False)
        twice = [("authorization", mine[0]["authorization"])] * 2
        before = lanes.routed
        assert (await lanes.fast.get(MOVIES, headers=twice)).status_code == 401
        assert lanes.routed == before + 1
        for api, header in zip((lanes.fast, lanes.slow), mine, strict=True):
            assert (await api.post(f"{AUTHENTICATION}logout/", headers=header)).status_code == 200
        assert await ask() == ([401, 401], False)


async def test_another_token_of_a_known_session_needs_no_routing(open_lanes: Any) -> None:
    async with open_lanes(MOVIE_PUBLIC_SEARCH="false") as lanes:
        answer = await lanes.fast.post(await lanes.fast.registered())
        pair = answer.json()
        for _ in range(3):
            await lanes.fast.get(MOVIES, headers=bearer(pair["access"]))
        renewed = (
            await lanes.fast.post(f"{AUTHENTICATION}jwt/token/refresh/", json={"refresh": pair["refresh"]})
        ).json()
        before = lanes.routed
        assert (await lanes.fast.get(MOVIES, headers=bearer(renewed["access"]))).status_code == 200
        assert lanes.routed == before


async def test_what_the_limit_refuses_is_refused_on_both_ways(open_lanes: Any) -> None:
    async with open_lanes(MOVIE_LIMIT_SEARCH="40/hour") as lanes:
        asked = [await lanes.ask(MOVIES) for _ in range(45)]
        assert [answer.status_code for answer, _ in asked] == [200] * 40 + [429] * 5
        assert any(was_fast for _, was_fast in asked)
        assert [answer.headers["ratelimit"].split(";")[1] for answer, _ in asked[:40]] == [
            f"r={left}" for left in range(39, -1, -1)
        ]
