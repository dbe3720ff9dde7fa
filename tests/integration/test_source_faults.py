"""The third-party source against a faulty server, over real sockets."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import PATIENCE, eventually

from movie_adapters.sources.http import SourceFault, SourceHttp
from movie_adapters.sources.resilient import ResilientMovieSource
from movie_adapters.sources.third_party import ThirdPartyMovieSource
from movie_core.errors import SourceUnavailable
from movie_core.paging import Window
from movie_core.search.movies import Movie, MoviePage, MovieQuery
from movie_core.search.retry_policy import BreakerState, RetryPolicy, StatusSet
from movie_core.testing import SAMPLE, MovieSourceContract
from movie_standin.faults import RESPONSE_KINDS, Behaviour
from movie_standin.server import StandInServer, running_standin, serve_standin

STATUSES = StatusSet.parse("400-409,425,429,5xx")
GOOD = Behaviour(fail_rate=0, latency_ms=0)
ANSWERED = {"ok", "200", "gzip", "bom", "many_items", "odd_items", "odd_titles"}
"""Kinds of usable responses."""
RETRIED = {"reset", "reset_body", "close", "html", "cut_json", "short_body", "cut_chunks", "400", "403", "404", "204"}


class Scene:
    """A stand-in of the third party, and the source that calls it."""

    def __init__(
        self,
        upstream: StandInServer,
        retry_policy: RetryPolicy | None = None,
        base_path: str = "",
        *,
        timeout: float = 0.7,
    ) -> None:
        self.upstream = upstream
        self.http = SourceHttp(upstream.url + base_path, timeout=timeout, retry_status=STATUSES)
        self.plain = ThirdPartyMovieSource(self.http)
        self.resilient = ResilientMovieSource(self.plain, retry_policy)

    async def search(self, text: str = "river", limit: int = 10) -> MoviePage:
        return await self.resilient.search(MovieQuery(text), Window(limit=limit))

    async def refused(self) -> SourceUnavailable:
        """The error of a search."""
        with pytest.raises(SourceUnavailable) as caught:
            await self.search()
        return caught.value

    async def close(self) -> None:
        await self.resilient.close()
        await self.http.close()


@asynccontextmanager
async def scene_of(
    *script: str, movies: Sequence[Movie] = SAMPLE, then: str | None = None, **behaviour: Any
) -> AsyncIterator[Scene]:
    """The script first, then `then` for all later calls, or successes."""
    rest = {"fail_rate": 1.0, "faults": (then,)} if then else {"fail_rate": 0.0}
    async with running_standin(movies, Behaviour(script=script, latency_ms=0, **rest, **behaviour)) as upstream:
        scene = Scene(upstream)
        yield scene
        await scene.close()


class TestThirdPartyContract(MovieSourceContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[ThirdPartyMovieSource]:
        async with scene_of(movies=movies) as scene:
            yield scene.plain


class TestResilientContract(MovieSourceContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[ResilientMovieSource]:
        behaviour = Behaviour(fail_rate=0.3, latency_ms=0, seed=11)
        async with running_standin(movies, behaviour) as upstream:
            scene = Scene(upstream)
            yield scene.resilient
            await scene.close()


async def test_five_times_500_and_a_success_are_exactly_six_calls() -> None:
    async with scene_of(*["500"] * 5) as scene:
        assert (await scene.search()).total == 23
        assert scene.upstream.total_calls == 6


@pytest.mark.parametrize("kind", sorted(RETRIED))
async def test_a_temporary_fault_is_retried(kind: str) -> None:
    async with scene_of(kind) as scene:
        assert len((await scene.search()).items) == 10
        assert scene.upstream.total_calls == 2


async def test_the_next_call_waits_for_retry_after() -> None:
    async with scene_of("429", retry_after="1") as scene:
        await scene.search()
        first, second = (call["at"] for call in scene.upstream.calls)
        assert second - first >= 1.0


async def test_a_retry_after_beyond_the_deadline_fails_immediately() -> None:
    async with scene_of(then="503", retry_after="20") as scene:
        error = await scene.refused()
        assert (error.retry_after, scene.upstream.total_calls) == (20.0, 1)


async def test_a_source_that_refuses_connections_opens_the_circuit_breaker() -> None:
    async with scene_of() as scene:
        await scene.upstream.refuse()
        assert (await scene.refused()).retry_after >= 1
        # Fourteen quick failures may take less than the second that opens the breaker; fifty in a row always open it.
        for _ in range(3):
            if scene.resilient.state().state is not BreakerState.OPEN:
                await scene.refused()
        assert scene.resilient.state().state is BreakerState.OPEN
        await scene.upstream.start()

        async def is_recovered() -> bool:
            with contextlib.suppress(SourceUnavailable):
                await scene.search()
                return True
            return False

        await eventually(is_recovered)


@pytest.mark.parametrize("kind", ["hang", "drip", "drip_head", "endless_head", "huge", "gzip_bomb"])
async def test_an_endless_response_ends_and_its_connection_is_closed(kind: str) -> None:
    async with scene_of(then=kind) as scene:
        await scene.refused()
        await scene.close()
        await until_disconnected(scene)


async def test_a_redirect_is_never_followed() -> None:
    async with running_standin(SAMPLE, GOOD) as elsewhere, scene_of(then="redirect", location=elsewhere.url) as scene:
        error = await scene.refused()
        assert isinstance(error, SourceFault)
        assert (error.kind, error.status) == ("redirect", 302)
        assert elsewhere.connections == 0
        assert scene.resilient.state().failures == 1, "it counts as a failure"


@pytest.mark.parametrize("kind", sorted(RESPONSE_KINDS.keys() - ANSWERED - {"hang", "drip", "drip_head"}))
async def test_a_broken_response_is_a_fault_without_its_content(kind: str) -> None:
    async with scene_of(then=kind) as scene:
        with pytest.raises(SourceFault) as caught:
            await scene.plain.search(MovieQuery("river"), Window())
        assert "127.0.0.1" not in str(caught.value)
        scene.upstream.behave(GOOD)
        assert (await scene.plain.search(MovieQuery("river"), Window())).total == 23


@pytest.mark.parametrize("kind", sorted(ANSWERED))
async def test_a_malformed_but_usable_response_is_cleaned(kind: str) -> None:
    async with scene_of(then=kind) as scene:
        page = await scene.search(limit=100)
        assert page.items
        check(page, Window(limit=100))


async def test_control_characters_are_removed_from_titles() -> None:
    async with scene_of("odd_titles") as scene:
        titles = [movie.title for movie in (await scene.search()).items]
        assert titles == [
            "<script>alert(1)</script>",
            "Two Lines: yes",
            "gnp.exe",
            "NUL and [31mred",
            "Half \ufffd a pair",
            "Para graph",
        ]
        assert json.loads(json.dumps(titles)) == titles


async def test_a_query_is_sent_unchanged_in_one_parameter() -> None:
    odd = ["a&limit=1#?/../", "' OR 1=1 --", "{{7*7}}", "%00 %0d%0a", "*)(uid=*", "é千💡", "+ +", "skip=5", "\\"]
    async with scene_of() as scene:
        for text in odd:
            await scene.search(text)
        assert [call["query"] for call in scene.upstream.calls] == [[text] for text in odd]
        assert {(*call["skip"], *call["limit"]) for call in scene.upstream.calls} == {("0", "10")}


@pytest.mark.parametrize("base_path", ["/", "/v1", "/v1/"])
async def test_the_base_url_may_have_a_path_and_a_slash(base_path: str) -> None:
    async with running_standin(SAMPLE, GOOD) as upstream:
        scene = Scene(upstream, base_path=base_path)
        await scene.search()
        await scene.close()
        assert upstream.calls[0]["target"].startswith(f"{base_path.rstrip('/')}/movies/?skip=0&limit=10&query=river")


async def test_proxy_environment_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_standin((), GOOD) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with scene_of() as scene:
            await scene.search()
        assert proxy.connections == 0


async def test_connections_are_reused_after_failures() -> None:
    async with scene_of(*["500", "ok", "404", "ok"] * 5) as scene:
        for _ in range(10):
            await scene.search()
        assert scene.upstream.connections == 1


@pytest.mark.parametrize("kind", ["hang", "drip", "huge", "500"])
async def test_a_cancelled_search_leaves_no_task_and_no_connection(kind: str) -> None:
    async with scene_of(then=kind) as scene:
        before = asyncio.all_tasks()
        searches = [asyncio.create_task(scene.search()) for _ in range(50)]
        await asyncio.sleep(0.12)  # any number of them have started
        for search in searches:
            search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
        await scene.http.close()
        await until_disconnected(scene)
        assert asyncio.all_tasks() == before
        scene.upstream.behave(GOOD)
        assert (await scene.plain.search(MovieQuery("river"), Window())).total == 23


async def test_aborted_requests_leave_usable_connections() -> None:
    rng = random.Random(4)
    faults = ("ok", "hang", "500", "reset_body", "drip", "short_body")
    async with running_standin(SAMPLE, Behaviour(fail_rate=1, faults=faults, latency_ms=3, seed=4)) as upstream:
        scene = Scene(upstream, timeout=30)  # the requests of `leave_early` end before; others may be slow

        async def leave_early() -> None:
            with contextlib.suppress(TimeoutError, SourceUnavailable):
                async with asyncio.timeout(rng.random() * 0.02):
                    await scene.plain.search(MovieQuery("river"), Window())

        for _ in range(40):
            await asyncio.gather(*(leave_early() for _ in range(10)))
        upstream.behave(GOOD)
        for _ in range(5):
            pages = await asyncio.gather(*(scene.plain.search(MovieQuery("river"), Window()) for _ in range(30)))
            assert {page.total for page in pages} == {23}
        await scene.close()


@pytest.mark.parametrize("kind", ["ok", "500", "gzip"])
async def test_a_request_cancelled_at_any_step_leaves_a_usable_connection(kind: str) -> None:
    async with scene_of(then=kind) as scene:
        for steps in range(120):
            search = asyncio.create_task(scene.plain.search(MovieQuery("river"), Window()))
            for _ in range(steps):
                await asyncio.sleep(0)
            search.cancel()
            await asyncio.gather(search, return_exceptions=True)
            with contextlib.suppress(SourceFault):
                await scene.plain.search(MovieQuery("river"), Window())


async def until_disconnected(scene: Scene) -> None:
    """Waits until the stand-in has no open connection."""

    async def is_disconnected() -> bool:
        return scene.upstream.open_connections == 0

    await eventually(is_disconnected)


def resident_kib() -> int:
    """Current memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["huge", "gzip_bomb", "endless_head"])
async def test_memory_does_not_grow_with_requests(kind: str) -> None:
    async with scene_of(then=kind) as scene:
        with pytest.raises(SourceFault):
            await scene.plain.search(MovieQuery("river"), Window())
        before, most = resident_kib(), 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, resident_kib())
                await asyncio.sleep(0.001)

        watching = asyncio.create_task(watch())
        for _ in range(20):
            with pytest.raises(SourceFault):
                await scene.plain.search(MovieQuery("river"), Window())
        watching.cancel()
        assert most - before <= 16 * 1024


def check(page: MoviePage, window: Window) -> None:
    """Check the invariants of every result page."""
    assert type(page.total) is int
    assert 0 <= page.total <= 10**9
    assert len(page.items) <= window.limit
    assert len({movie.id for movie in page.items}) == len(page.items)
    assert bool(page.items) == (page.total > window.offset)
    for movie in page.items:
        assert isinstance(movie.id, str)
        assert isinstance(movie.title, str)
        assert movie.id
        assert movie.title
        shown = movie.id + movie.title
        assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
        json.dumps([movie.id, movie.title, movie.year, movie.popularity], allow_nan=False).encode()


def mutated(rng: random.Random) -> bytes:
    """A valid response with a mutated value or byte."""
    odd: list[Any] = [None, True, -1, 0, 1.5, 10**30, "", "x", "a\nb", "\ud800", [], {}, [[]], "\u202e", float("nan")]
    answer: Any = {"items": [{"id": number, "title": f"Movie {number}"} for number in range(5)], "total": 5}
    for _ in range(rng.randint(0, 3)):
        match rng.randrange(6):
            case 0:
                answer[rng.choice(["items", "total", "error"])] = rng.choice(odd)
            case 1:
                answer.pop(rng.choice(["items", "total"]), None)
            case 2 if isinstance(answer.get("items"), list):
                answer["items"].append(rng.choice([*odd, {"id": rng.choice(odd), "title": rng.choice(odd)}]))
            case 3 if isinstance(answer.get("items"), list) and answer["items"]:
                answer["items"].append(rng.choice(answer["items"]))
            case 4 if isinstance(answer.get("items"), list) and answer["items"]:
                item = rng.choice(answer["items"])
                if isinstance(item, dict):
                    item[rng.choice(["id", "title", "year", "genres", "popularity"])] = rng.choice(odd)
            case _:
                pass
    body = bytearray(json.dumps(answer).encode())
    for _ in range(rng.choice([0, 0, 1, 3])):
        place = rng.randrange(len(body))
        match rng.randrange(3):
            case 0:
                body[place] = rng.randrange(256)
            case 1:
                del body[place : place + rng.randint(1, 20)]
            case _:
                body[place:place] = rng.randbytes(rng.randint(1, 4))
        body = body or bytearray(b" ")
    return bytes(body)


async def test_no_mutated_response_is_returned_uncleaned() -> None:
    rng = random.Random(2026)
    bodies = [mutated(rng) for _ in range(800)]
    script = tuple("body:" + body.decode("utf-8", "surrogateescape") for body in bodies)
    shown = 0
    async with scene_of(*script) as scene:
        for body in bodies:
            try:
                page = await scene.plain.search(MovieQuery(), Window())
            except SourceFault:
                continue
            shown += 1
            try:
                check(page, Window())
            except Exception as error:
                raise AssertionError(f"{body!r} came through as {page}") from error
    assert 200 <= shown <= 600


async def test_searches_succeed_while_half_of_the_calls_fail() -> None:
    faults = ("400", "403", "408", "429", "500", "502", "503", "504", "reset", "html", "cut_json")
    behaviour = Behaviour(fail_rate=0.5, faults=faults, latency_ms=5, seed=5)
    async with running_standin(SAMPLE, behaviour) as upstream:
        scene, unanswered = Scene(upstream), []

        async def client(number: int) -> None:
            for turn in range(25):
                try:
                    await scene.search(f"{number} {turn}")
                except SourceUnavailable as error:
                    unanswered.append(error)

        await asyncio.gather(*(client(number) for number in range(8)))
        await scene.close()
        # All 14 attempts of a search fail once in 16,384 times: for one of 200 searches in every eightieth run.
        assert len(unanswered) <= 1
        assert upstream.total_calls <= 2.3 * 200


async def call(upstream: StandInServer, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    answer = json.loads(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), answer


async def test_the_stand_in_is_operated_over_http() -> None:
    async with scene_of() as scene:
        status, answer = await call(scene.upstream, "POST", "/_control", b'{"script": ["500", "404"], "fail_rate": 0}')
        assert (status, answer["script"]) == (200, ["500", "404"])
        await scene.search()
        status, report = await call(scene.upstream, "GET", "/_calls")
        assert (status, report["total"], report["counts"]) == (200, 3, {"500": 1, "404": 1, "ok": 1})
        assert report["calls"][-1]["query"] == ["river"]
        assert (await call(scene.upstream, "DELETE", "/_calls"))[1]["total"] == 0
        assert (await call(scene.upstream, "POST", "/_control", b'{"fail_rate": 7}'))[0] == 400
        assert (await call(scene.upstream, "PUT", "/_control"))[0] == 405
        assert (await call(scene.upstream, "GET", "/else"))[0] == 404
        assert (await call(scene.upstream, "GET", "/movies/?skip=x"))[0] == 422


async def test_the_stand_in_refuses_connections_for_a_while() -> None:
    async with scene_of() as scene:
        await call(scene.upstream, "POST", "/_control", b'{"refuse_seconds": 2}')

        async def is_refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", scene.upstream.port)
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        async def is_accepted() -> bool:
            return not await is_refused()

        await eventually(is_refused)
        await eventually(is_accepted)
        assert (await scene.search()).total == 23


async def test_the_stand_in_survives_malformed_requests_and_disconnects() -> None:
    async with scene_of() as scene:
        negative = b"GET /movies/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n"
        for rudeness in (b"", b"\r\n\r\n", b"nonsense\r\n\r\n", b"x" * 100_000, negative):
            _, writer = await asyncio.open_connection("127.0.0.1", scene.upstream.port)
            writer.write(rudeness)
            writer.close()
        assert (await scene.search()).total == 23


def test_the_stand_in_ends_with_0_on_sigterm() -> None:
    program = "import asyncio; from movie_standin.server import serve_standin; asyncio.run(serve_standin((), port=0))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == ""


async def test_an_address_in_use_raises_os_error() -> None:
    async with running_standin((), GOOD) as upstream:
        with pytest.raises(OSError, match="address"):
            await serve_standin((), port=upstream.port)
