"""Liveness and readiness while each dependency is stopped or frozen."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.support.deployment import PATIENCE, Program, eventually
from tests.support.servers import OwnServer, free_port, own_postgres, own_redis

SEARCH = "/api/v1/movies/?query=casablanca"
PARTS = ("database", "redis", "cache", "source")


class Source:
    """The third-party stand-in as a process that can be stopped and frozen, like an `OwnServer`."""

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
    """All dependencies and two API processes, one with the third-party source, one with the embedded catalogue."""

    parts: dict[str, OwnServer | Source]
    searching: str
    embedded: str

    @contextlib.contextmanager
    def unavailable(self, kind: str, *parts: str) -> Iterator[None]:
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
            "MOVIE_SMTP_URL": f"smtp://127.0.0.1:{free_port()}",  # unavailable all the time, which must not matter
            "MOVIE_PUBLIC_SEARCH": "true",
        }
        films = folder / "films.csv"
        films.write_text("id,title,year\n1,Casablanca,1942\n")
        loading = Program(("catalogue", "import", str(films), "--replace"), folder, environ)
        loading.process.wait(PATIENCE)
        assert loading.stop() == 0, loading.output()
        programs = {}
        for name in ("third_party", "catalogue"):
            arguments = ("serve", "--port", str(free_port()))
            programs[name] = Program(arguments, folder, environ | {"MOVIE_SOURCE": name})
            stack.callback(programs[name].stop)
        urls = [program.wait_for(rf"serving {name} at (http://\S+),")[1] for name, program in programs.items()]
        yield Deployment({"database": database, "redis": redis, "cache": cache, "source": source}, *urls)


@dataclass
class HealthLog:
    """The health responses of a process."""

    client: httpx.AsyncClient
    ready: list[tuple[int, str]]
    """HTTP status and `status` of each readiness response."""
    live: list[int]
    """HTTP status of each liveness response."""

    async def check(self) -> set[str]:
        """Names of the unavailable dependencies."""
        response = await self.client.get("/health/ready")
        log = response.json()
        self.ready.append((response.status_code, log.pop("status")))
        return {name for name, part in log.items() if part["status"] == "down"}

    async def until(self, unavailable: set[str]) -> None:
        async def is_reported() -> bool:
            return await self.check() == unavailable

        await eventually(is_reported)

    async def assert_live(self) -> None:
        for _ in range(5):
            assert (await self.client.get("/health/live")).status_code == 200


@contextlib.asynccontextmanager
async def monitored(url: str) -> AsyncIterator[HealthLog]:
    """Sends liveness probes continuously."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        log = HealthLog(client, [], [])

        async def ask() -> None:
            while True:
                log.live.append((await client.get("/health/live")).status_code)
                await asyncio.sleep(0.05)

        asking = asyncio.create_task(ask())
        try:
            yield log
            assert not asking.done()
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
    assert set(log.live) == {200}


@pytest.mark.parametrize("kind", ["stopped", "frozen"])
@pytest.mark.parametrize("part", PARTS)
async def test_a_process_stays_ready_without_an_optional_dependency(
    deployment: Deployment, part: str, kind: str
) -> None:
    """Only the process with the embedded catalogue requires a dependency, the database."""
    async with monitored(deployment.searching) as searching, monitored(deployment.embedded) as embedded:
        await asyncio.gather(searching.until(set()), embedded.until(set()))
        for log in (searching, embedded):
            assert (await log.client.get(SEARCH)).json()["items"][0]["title"] == "Casablanca"
            log.ready.clear()
        dependencies = {part} - {"source"}
        is_required = part == "database"
        with deployment.unavailable(kind, part):
            await asyncio.gather(searching.until({part}), embedded.until(dependencies))
            await asyncio.gather(searching.assert_live(), embedded.assert_live())
            assert searching.ready[-1] == (200, "degraded")
            assert embedded.ready[-1] == (
                (503, "unavailable") if is_required else (200, "degraded" if dependencies else "ready")
            )
            assert (await searching.client.get(SEARCH)).status_code == 200
            assert (await embedded.client.get(SEARCH)).status_code == (503 if is_required else 200)
        await asyncio.gather(searching.until(set()), embedded.until(set()))
        assert searching.ready[-1] == embedded.ready[-1] == (200, "ready")
        assert {status for status, _ in searching.ready} == {200}
        assert {status for status, _ in embedded.ready} == ({200, 503} if is_required else {200})


@pytest.mark.parametrize("kind", ["stopped", "frozen"])
async def test_a_process_with_cached_responses_is_ready_without_dependencies(deployment: Deployment, kind: str) -> None:
    async with monitored(deployment.searching) as log:
        await log.until(set())
        assert (await log.client.get(SEARCH)).status_code == 200
        with deployment.unavailable(kind, *PARTS):
            await log.until(set(PARTS))
            await log.assert_live()
            assert log.ready[-1] == (200, "degraded")
            assert (await log.client.get(SEARCH)).status_code == 200
        await log.until(set())
        assert {status for status, _ in log.ready} == {200}
