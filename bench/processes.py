"""API processes: start-up time, memory, and requests lost in a rolling restart.

Memory is read from `/proc`, so these figures require Linux.
"""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
from tests.support.servers import free_port, postgres_database, postgres_server, redis_server

from bench.http_server import Load, Target, steady
from bench.rows import Row

PROGRAM = Path(sys.executable).with_name("movie-search")
MOVIES = "/api/v1/movies/"
AUTH = "/api/v1/authentication/"
ANN = {"email": "ann@example.com", "password": "copper lantern walks home"}
START_SECONDS = 60
"""Seconds after which a process that does not respond fails the measurement."""
RATE = 300
"""Requests per second while processes restart."""


class Served:
    """A running `movie-search serve`."""

    def __init__(self, folder: Path, environ: dict[str, str], *arguments: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.began = time.perf_counter()
        with (folder / "serve.log").open("ab") as log:
            command: list[str | Path] = [PROGRAM, "serve", "--port", str(self.port), *arguments]
            self.process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)

    def wait_until_ready(self) -> float:
        """Returns the seconds from the start of the process to its first response to a search."""
        end = self.began + START_SECONDS
        while True:
            try:
                if httpx.get(f"{self.url}{MOVIES}?query=casablanca", timeout=10, trust_env=False).status_code == 200:
                    return time.perf_counter() - self.began
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.perf_counter() > end:
                self.stop()
                raise RuntimeError("movie-search serve does not respond")
            time.sleep(0.01)

    def workers(self) -> list[int]:
        """Returns the ids of the worker processes of `--workers`."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def mebibytes(self) -> float:
        """Returns the resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(25)
        finally:
            self.process.kill()
            self.process.wait()


def processes(*, is_full: bool) -> Iterator[Row]:
    """Measures the embedded deployment, then one with PostgreSQL, Redis and a third party."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}
    embedded = environ | {"MOVIE_PUBLIC_SEARCH": "true", "MOVIE_LOG_FORMAT": "json"}
    embedded |= {f"MOVIE_LIMIT_{name}": "off" for name in ("SEARCH", "LOGIN", "REGISTER", "MAIL", "SUGGEST")}
    with tempfile.TemporaryDirectory() as empty:
        yield from _measure_process("embedded", Path(empty), embedded, 10 if is_full else 5)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database_url = stack.enter_context(postgres_database(stack.enter_context(postgres_server())))
        redis_url = stack.enter_context(redis_server())
        port = free_port()
        command: list[str | Path] = [
            PROGRAM,
            "upstream",
            "--port",
            str(port),
            "--fail-rate",
            "0.1",
            "--latency-ms",
            "5",
        ]
        upstream = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        stack.callback(upstream.wait)
        stack.callback(upstream.terminate)
        full = embedded | {
            "MOVIE_DATABASE_URL": database_url,
            "MOVIE_REDIS_URL": redis_url,
            "MOVIE_SOURCE_URL": f"http://127.0.0.1:{port}",
        }
        yield from _measure_process("PostgreSQL, Redis, third party", folder, full, 3)
        seconds = 20.0 if is_full else 10.0
        yield _restart("two processes on two ports", folder, full, _restart_two, seconds)
        yield _restart("--workers 2", folder, full, _restart_workers, seconds)


def _measure_process(what: str, folder: Path, environ: dict[str, str], starts: int) -> Iterator[Row]:
    """Measures start-up time and memory of one process."""
    slowest = 0.0
    for number in range(starts + 1):  # the first one creates the schema and loads the films
        api = Served(folder, environ)
        try:
            seconds = api.wait_until_ready()
        finally:
            api.stop()
        slowest = max(slowest, seconds) if number else 0.0
    yield Row(f"start, {what}: slowest of {starts}", f"{slowest:.2f} s", "≤ 2 s", slowest <= 2)
    api = Served(folder, environ)
    try:
        api.wait_until_ready()
        before = api.mebibytes()
        asyncio.run(_use(api, folder, environ))
        after = api.mebibytes()
    finally:
        api.stop()
    figure = f"{before:.0f} → {after:.0f} MiB"
    yield Row(f"memory, {what}: after 1,000 requests", figure, "≤ 160 MiB", after <= 160)


async def _use(api: Served, folder: Path, environ: dict[str, str]) -> None:
    """Sends 1,000 requests of many kinds, eight concurrently, including a hundred logins."""
    words = ("river", "night", "love", "gold", "city", "house", "king", "girl", "west", "star", "zzq", "teh matirx")
    paths = [
        f"{MOVIES}?query={word} {letter}&limit={limit}&offset={offset}"
        for (word, letter, limit, offset) in itertools.product(words, "aeiou", (10, 50), (0, 10, 20))
    ]
    paths += [f"{MOVIES}suggest/?query={word[:length]}" for word in words for length in (2, 3, 4)]
    paths += [f"{MOVIES}{number}/" for number in range(100)]
    paths += ["/", "/docs", "/openapi.json", "/health/ready", "/metrics", "/api/v1/genres/", f"{MOVIES}?limit=0"] * 20
    async with httpx.AsyncClient(base_url=api.url, timeout=30, trust_env=False) as client:
        await client.post(f"{AUTH}register/", json=ANN | {"username": "ann"})
        activation = await asyncio.create_subprocess_exec(
            PROGRAM, "users", "activate", ANN["email"], cwd=folder, env=environ, stdout=subprocess.DEVNULL
        )
        assert await activation.wait() == 0
        tokens = (await client.post(f"{AUTH}login/", json=ANN)).raise_for_status().json()
        headers = {"Authorization": f"Bearer {tokens['access']}"}
        remaining = itertools.islice(itertools.cycle(paths), 900)

        async def send_requests() -> None:
            for number, path in enumerate(remaining):
                await client.get(path, headers=headers if number % 2 else None)

        async def log_in(times: int) -> None:
            for _ in range(times):
                await client.post(f"{AUTH}login/", json=ANN)

        await asyncio.gather(*(send_requests() for _ in range(8)), *(log_in(25) for _ in range(4)))


def _restart(
    what: str,
    folder: Path,
    environ: dict[str, str],
    measure: Callable[[Path, dict[str, str], float], Load],
    seconds: float,
) -> Row:
    load = measure(folder, environ, seconds)
    figure = f"{load.failed + load.refused} of {load.ok + load.failed + load.refused}"
    return Row(f"rolling restart at {RATE}/s, {what}: failed", figure, "0", not load.failed and not load.refused)


def _restart_two(folder: Path, environ: dict[str, str], seconds: float) -> Load:
    """Restarts each process in turn, behind a load balancer."""
    running = [Served(folder, environ) for _ in range(2)]
    try:
        for api in running:
            api.wait_until_ready()

        async def restart() -> None:
            for index, api in enumerate(running):
                await asyncio.sleep(seconds / 8)
                await asyncio.to_thread(api.stop)
                running[index] = Served(folder, environ, port=api.port)
                await asyncio.to_thread(running[index].wait_until_ready)

        async def measure_restart() -> Load:
            async with balanced((running[0].port, running[1].port)) as port:
                load, _ = await asyncio.gather(_steady_load(port, seconds), restart())
                return load

        return asyncio.run(measure_restart())
    finally:
        for api in running:
            api.stop()


@asynccontextmanager
async def balanced(ports: tuple[int, int]) -> AsyncIterator[int]:
    """Runs a round-robin TCP load balancer; it uses the other port if a connection is refused. Yields its port."""
    turns = itertools.cycle((ports, ports[::-1]))
    forwarding: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
            writer.write_eof()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in next(turns):
            with suppress(ConnectionRefusedError):
                upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
                # The end of one side closes both: an idle client must notice that its connection is closed.
                upward = asyncio.create_task(copy(reader, upstream_writer))
                await copy(upstream_reader, writer)
                upward.cancel()
                upstream_writer.close()
                break
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarding.add(asyncio.create_task(forward(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in forwarding:
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)


def _restart_workers(folder: Path, environ: dict[str, str], seconds: float) -> Load:
    """Stops both processes behind one port in turn; the other one continues, and a new one replaces it."""
    api = Served(folder, environ, "--workers", "2")
    try:
        api.wait_until_ready()

        async def stop_each() -> None:
            for worker in api.workers():
                await asyncio.sleep(seconds / 4)
                os.kill(worker, signal.SIGTERM)

        async def measure_restart() -> Load:
            load, _ = await asyncio.gather(_steady_load(api.port, seconds), stop_each())
            return load

        return asyncio.run(measure_restart())
    finally:
        api.stop()


async def _steady_load(port: int, seconds: float) -> Load:
    """Uses six clients, so that every process has some of the connections."""
    target = Target("127.0.0.1", port)
    path = f"{MOVIES}?query=casablanca"
    loads = await asyncio.gather(*(steady(target, rate=RATE // 6, seconds=seconds, path=path) for _ in range(6)))
    return sum(loads, Load())
