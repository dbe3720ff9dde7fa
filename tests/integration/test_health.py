"""What liveness and readiness say while each part that processes lean on is stopped or frozen, one after the other."""

import asyncio
import contextlib
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.integration.conftest import Program
from tests.support.servers import OwnServer, free_port, own_postgres, own_redis

TOLD = 5.0
"""Seconds until readiness tells what is away, or back."""
SLACK = 5.0
"""Seconds that a busy machine may add."""
LIVE = 0.5
"""Seconds for an answer about liveness, generously: it takes a thousandth of one."""
SEARCH = "/api/v1/movies/?query=casablanca"
PARTS = ("database", "redis", "cache", "source")


class Source:
    """The third party's stand-in as a process that can be treated badly, as an `OwnServer` can."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.start()

    def start(self) -> None:
        arguments = ("upstream", "--port", str(self.port), "--fail-rate", "0", "--latency-ms", "5")
        self._program = Program(arguments, self._folder, {})
        self._program.wait_for("serves GET")

    def stop(self) -> None:
        self._program.stop(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        self._program.process.send_signal(number)


@dataclass
class Deployment:
    """All parts, and two processes: one serves what the third party has, one what it has itself."""

    parts: dict[str, OwnServer | Source]
    searching: str
    embedded: str

    @contextlib.contextmanager
    def away(self, kind: str, *parts: str) -> Iterator[None]:
        for part in parts:
            if kind == "stopped":
                self.parts[part].stop()
            else:
                self.parts[part].signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for part in parts:
                if kind == "stopped":
                    self.parts[part].start()
                else:
                    self.parts[part].signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("health")
    with contextlib.ExitStack() as stack:
        database, redis, cache = (stack.enter_context(own()) for own in (own_postgres, own_redis, own_redis))
        source = Source(folder)
        stack.callback(source.stop)
        environ = {
            "MOVIE_DATABASE_URL": database.url,
            "MOVIE_REDIS_URL": redis.url,
            "MOVIE_CACHE_REDIS_URL": cache.url,
            "MOVIE_SOURCE_URL": f"http://127.0.0.1:{source.port}",
            "MOVIE_SMTP_URL": f"smtp://127.0.0.1:{free_port()}",  # away all the time, which is nobody's concern here
            "MOVIE_PUBLIC_SEARCH": "true",
        }
        films = folder / "films.csv"
        films.write_text("id,title,year\n1,Casablanca,1942\n")
        loading = Program(("catalogue", "import", str(films), "--replace"), folder, environ)
        loading.process.wait(60)
        assert loading.stop() == 0, loading.said()
        programs = {}
        for name in ("third_party", "catalogue"):
            arguments = ("serve", "--port", str(free_port()))
            programs[name] = Program(arguments, folder, environ | {"MOVIE_SOURCE": name})
            stack.callback(programs[name].stop)
        urls = [program.wait_for(rf"serving {name} at (http://\S+),")[1] for name, program in programs.items()]
        yield Deployment({"database": database, "redis": redis, "cache": cache, "source": source}, *urls)


@dataclass
class Told:
    """What a process has said of itself."""

    client: httpx.AsyncClient
    ready: list[tuple[int, str]]
    """Each answer's status, as HTTP has it and in words."""
    live: list[tuple[int, float]]
    """Each answer's status and how many seconds it took."""

    async def look(self) -> set[str]:
        """Which parts are away."""
        answer = await self.client.get("/health/ready")
        told = answer.json()
        self.ready.append((answer.status_code, told.pop("status")))
        return {name for name, part in told.items() if part["status"] == "down"}

    async def until(self, away: set[str]) -> None:
        began = time.monotonic()
        while (found := await self.look()) != away:
            assert time.monotonic() - began < TOLD + SLACK, (found, away)
            await asyncio.sleep(0.05)

    async def assert_live(self) -> None:
        """A busy machine delays single answers; a process that waits for an unavailable part delays most of them."""
        durations = []
        for _ in range(5):
            began = time.perf_counter()
            assert (await self.client.get("/health/live")).status_code == 200
            durations.append(time.perf_counter() - began)
        assert statistics.median(durations) < LIVE, durations


@contextlib.asynccontextmanager
async def watched(url: str) -> AsyncIterator[Told]:
    """Asks all the while whether the process lives."""
    async with httpx.AsyncClient(base_url=url, timeout=15, trust_env=False) as client:
        told = Told(client, [], [])

        async def ask() -> None:
            while True:
                began = time.perf_counter()
                answer = await client.get("/health/live")
                told.live.append((answer.status_code, time.perf_counter() - began))
                await asyncio.sleep(0.05)

        asking = asyncio.create_task(ask())
        try:
            yield told
            assert not asking.done()
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
    assert {status for status, _ in told.live} == {200}
    assert max(seconds for _, seconds in told.live) < LIVE + SLACK


@pytest.mark.parametrize("kind", ["stopped", "frozen"])
@pytest.mark.parametrize("part", PARTS)
async def test_a_part_that_is_away_takes_no_process_out_of_service_that_can_do_without(
    deployment: Deployment, part: str, kind: str
) -> None:
    """The database is all that a process of its own catalogue has; nothing else ever makes one unready."""
    async with watched(deployment.searching) as searching, watched(deployment.embedded) as embedded:
        await asyncio.gather(searching.until(set()), embedded.until(set()))
        for told in (searching, embedded):
            assert (await told.client.get(SEARCH)).json()["items"][0]["title"] == "Casablanca"
            told.ready.clear()
        leant_on = {part} - {"source"}
        is_required = part == "database"
        with deployment.away(kind, part):
            await asyncio.gather(searching.until({part}), embedded.until(leant_on))
            await asyncio.gather(searching.assert_live(), embedded.assert_live())
            assert searching.ready[-1] == (200, "degraded")
            assert embedded.ready[-1] == (
                (503, "unavailable") if is_required else (200, "degraded" if leant_on else "ready")
            )
            assert (await searching.client.get(SEARCH)).status_code == 200
            assert (await embedded.client.get(SEARCH)).status_code == (503 if is_required else 200)
        await asyncio.gather(searching.until(set()), embedded.until(set()))
        assert searching.ready[-1] == embedded.ready[-1] == (200, "ready")
        assert {status for status, _ in searching.ready} == {200}
        assert {status for status, _ in embedded.ready} == ({200, 503} if is_required else {200})


@pytest.mark.parametrize("kind", ["stopped", "frozen"])
async def test_a_process_that_still_has_answers_is_ready_without_any_part(deployment: Deployment, kind: str) -> None:
    async with watched(deployment.searching) as told:
        await told.until(set())
        assert (await told.client.get(SEARCH)).status_code == 200
        with deployment.away(kind, *PARTS):
            await told.until(set(PARTS))
            await told.assert_live()
            assert told.ready[-1] == (200, "degraded")
            assert (await told.client.get(SEARCH)).status_code == 200
        await told.until(set())
        assert {status for status, _ in told.ready} == {200}
