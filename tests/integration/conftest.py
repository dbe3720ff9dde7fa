"""Real servers, one of each kind per test run, and programs started like by a user."""

import asyncio
import contextlib
import email
import email.policy
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from tests.support.servers import OwnServer, free_port, postgres_database, postgres_server, redis_server

from movie_adapters.catalogue import postgres as postgres_movies
from movie_adapters.sql import engine as sql_database
from movie_adapters.sql import ratings as sql_ratings
from movie_adapters.sql import tables as sql_tables
from movie_adapters.sql.engine import migrate
from movie_standin.server import StandInServer

START_SECONDS = 60


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def films(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a PostgreSQL database with the bundled films, to be copied."""
    with postgres_database(postgres) as url:
        program = Program(("migrate",), tmp_path_factory.mktemp("films"), {"MOVIE_DATABASE_URL": url})
        program.process.wait(120)
        assert program.stop() == 0, program.output()
        yield url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def database_url(postgres: str, films: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with the bundled films."""
    with postgres_database(postgres, films) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with postgres_database(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def postgres_url(postgres: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with all tables, which the tests of a module share."""
    with postgres_database(postgres) as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a SQLite database with all tables, which the tests of a module share."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('shared')}/movies.db"
    migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with all tables, on SQLite and on PostgreSQL."""
    database_url: str = request.getfixturevalue(f"{request.param}_url")
    return database_url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def long_database_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiplies database timeouts by ten, for tests of stored data on busy machines."""
    for module, name in (
        (sql_database, "CONNECT_SECONDS"),
        (sql_tables, "READ_SECONDS"),
        (sql_tables, "WRITE_SECONDS"),
        (sql_ratings, "WRITE_SECONDS"),
        (postgres_movies, "READ_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 10 * getattr(module, name))


@contextlib.contextmanager
def redis_fault(redis: OwnServer, kind: str) -> Iterator[None]:
    """Injects a fault into Redis. If frozen, it accepts connections but does not respond."""

    def execute(command: str) -> None:
        with Redis.from_url(redis.url) as client:
            client.execute_command(*command.split())

    begin, end = {
        "stopped": (redis.stop, redis.start),
        "frozen": (lambda: redis.signal(signal.SIGSTOP), lambda: redis.signal(signal.SIGCONT)),
        "read-only": (lambda: execute("REPLICAOF 127.0.0.1 1"), lambda: execute("REPLICAOF NO ONE")),
        "without replicas": (
            lambda: execute("CONFIG SET min-replicas-to-write 1"),
            lambda: execute("CONFIG SET min-replicas-to-write 0"),
        ),
        "full": (lambda: execute("CONFIG SET maxmemory 1"), lambda: execute("CONFIG SET maxmemory 0")),
    }[kind]
    begin()
    try:
        yield
    finally:
        end()


def clean_environment(**environ: str) -> dict[str, str]:
    """Returns the environment that a program needs, without the `MOVIE_*` settings of the caller."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START") if name in os.environ
    }
    return inherited | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "120"} | environ


class Program:
    """A running `movie-search`."""

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, environ: dict[str, str], descriptors: int | None = None
    ) -> None:
        """`descriptors` limits open files and connections; None inherits the limit."""
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        self._output = self.log.open("wb")
        limited = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"']
        self.process = subprocess.Popen(
            [*limited, Path(sys.executable).with_name("movie-search"), *arguments],
            cwd=folder,
            env=clean_environment(**environ),
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the output matches a pattern. Returns the match."""
        deadline = time.monotonic() + START_SECONDS
        while (match := re.search(pattern, self.output())) is None:
            assert self.process.poll() is None, f"the program exited with {self.process.returncode}: {self.output()}"
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)
        return match

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(25)
        finally:
            self.process.kill()
            self._output.close()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the bundled films."""
    folder = tmp_path_factory.mktemp("prepared")
    program = Program(("migrate",), folder, {})
    program.process.wait(60)
    assert program.stop() == 0, program.output()
    return folder / "var"


@pytest.fixture
def folder(tmp_path: Path, prepared: Path) -> Path:
    """A working directory with the bundled films in `var`; delete `var` for a first start."""
    shutil.copytree(prepared, tmp_path / "var")
    return tmp_path


Start = Callable[..., Program]
Serve = Callable[..., tuple[Program, httpx.Client]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `movie-search` with arguments, and settings as keywords; stops it after the test."""
    with contextlib.ExitStack() as running:

        def started(*arguments: str, **environ: str) -> Program:
            program = Program(arguments, folder, environ)
            running.callback(program.stop)
            return program

        yield started


@pytest.fixture
def serve(start: Start) -> Iterator[Serve]:
    """Starts `movie-search serve` on a free port and returns a client; search is public by default."""
    with contextlib.ExitStack() as clients:

        def served(*arguments: str, **environ: str) -> tuple[Program, httpx.Client]:
            program = start(
                "serve", "--port", str(free_port()), *arguments, **{"MOVIE_PUBLIC_SEARCH": "true"} | environ
            )
            url = program.wait_for(r"serving \w+ at (http://\S+),")[1]
            return program, clients.enter_context(httpx.Client(base_url=url, timeout=10, trust_env=False))

        yield served


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `movie-search` to completion."""

    def done(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("movie-search"), *arguments],
            cwd=folder,
            env=clean_environment(**environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return done


# --- accounts

AUTH = "/api/v1/authentication/"
ME = "/api/v1/users/me/"
PASSWORD = "copper lantern walks home"
LIMITS_OFF = {
    "MOVIE_PUBLIC_SEARCH": "false",
    "MOVIE_LIMIT_SEARCH": "off",
    "MOVIE_LIMIT_LOGIN": "off",
    "MOVIE_LIMIT_REGISTER": "off",
    "MOVIE_LIMIT_MAIL": "off",
}
"""Default settings of accounts, without rate limits, which would reject the requests of tests."""


@dataclass
class Deployment:
    """Running processes and their emails. `others` are clients of further API processes."""

    client: httpx.Client
    folder: Path
    environ: dict[str, str]
    others: list[httpx.Client] = field(default_factory=list)

    def mails(self, to: str) -> list[tuple[str, str]]:
        """Returns subject and text of each email to an address, oldest first."""
        mails = []
        for path in sorted(self.folder.glob("var/mail/*.eml"), key=lambda path: path.stat().st_mtime_ns):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if str(message["To"]).lower() == to.lower():
                body = message.get_body(("plain",))
                assert body is not None
                mails.append((str(message["Subject"]), body.get_content()))
        return mails

    def links(self, to: str, count: int = 1) -> list[str]:
        """Waits for that many emails to an address. Returns their links."""
        wait_until(lambda: len(self.mails(to)) >= count)
        return [link for _, text in self.mails(to) for link in re.findall(r"http://\S+", text)]

    def register(self, address: str, username: str, password: str = PASSWORD) -> httpx.Response:
        return self.client.post(AUTH + "register/", json={"email": address, "username": username, "password": password})

    def log_in(self, address: str, password: str = PASSWORD, client: httpx.Client | None = None) -> httpx.Response:
        return (client or self.client).post(AUTH + "login/", json={"email": address, "password": password})

    def account(self, name: str) -> dict[str, str]:
        """Registers and activates an account. Returns its pair of tokens."""
        assert self.register(f"{name}@example.com", name).status_code == 201
        answer = self.client.post(self.links(f"{name}@example.com")[-1])
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.05)


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access']}"}


@pytest.fixture(params=["embedded", "servers"])
def deployment(request: pytest.FixtureRequest, serve: Serve, start: Start, folder: Path) -> Iterator[Deployment]:
    if request.param == "embedded":
        _, client = serve(**LIMITS_OFF)
        yield Deployment(client, folder, {})
        return
    redis_url = request.getfixturevalue("redis_url")
    with Redis.from_url(redis_url) as redis:
        redis.flushall()  # other tests used it with another database
    environ = {
        "MOVIE_DATABASE_URL": request.getfixturevalue("database_url"),
        "MOVIE_REDIS_URL": redis_url,
        "MOVIE_PUBLIC_URL": f"http://127.0.0.1:{free_port()}",
        **LIMITS_OFF,
    }
    ports = [environ["MOVIE_PUBLIC_URL"].rpartition(":")[2], str(free_port())]
    programs = [start("serve", "--port", port, **environ) for port in ports]
    for program in programs:
        program.wait_for("serving catalogue")
    start("worker", **environ).wait_for("worker started")
    clients = [httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) for port in ports]
    yield Deployment(clients[0], folder, environ, clients[1:])
    for client in clients:
        client.close()


# --- API processes with a source in the test process


@pytest.fixture(scope="module")
def source_port() -> Iterator[int]:
    """A reserved port on which a test's server can listen repeatedly."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


class Fleet:
    """API processes of one deployment, without rate limits. They share a public URL, so tokens are valid for all."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._folder = folder
        self._first_port = free_port()
        self.environ = {
            "MOVIE_PUBLIC_URL": f"http://127.0.0.1:{self._first_port}",
            "MOVIE_PUBLIC_SEARCH": "true",
            "MOVIE_SECRET_KEY": "of these tests and long enough for anybody",
            **{f"MOVIE_LIMIT_{name}": "off" for name in ("SEARCH", "SUGGEST", "LOGIN", "REGISTER", "MAIL")},
            **environ,
        }
        self.programs: list[Program] = []
        self.ports: list[int] = []
        self.numbers = itertools.count(1)
        """Numbers of movies that have not been searched for."""

    def begin(self, count: int = 1, **environ: str) -> None:
        """Starts so many processes concurrently and waits until they are ready."""
        for _ in range(count):
            port = free_port() if self.programs else self._first_port
            self.programs.append(Program(("serve", "--port", str(port)), self._folder, self.environ | environ))
            self.ports.append(port)
        for program in self.programs[-count:]:
            program.wait_for("serving third_party")

    def end(self, count: int | None = None) -> None:
        """Stops the newest processes, or all."""
        for _ in range(len(self.programs) if count is None else count):
            self.ports.pop()
            program = self.programs.pop()
            program.process.send_signal(signal.SIGCONT)
            program.stop(signal.SIGKILL)

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Runs `movie-search` to completion with the settings of these processes."""
        return subprocess.run(
            [Path(sys.executable).with_name("movie-search"), *arguments],
            cwd=self._folder,
            env=clean_environment(**self.environ | environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


class Scene:
    """A fleet and its source in a test's event loop."""

    def __init__(self, fleet: Fleet, upstream: StandInServer, token: str | None = None) -> None:
        self.fleet = fleet
        self.upstream = upstream
        self.token = token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.clients = [
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=15, trust_env=False)
            for port in fleet.ports
        ]

    def cold(self) -> str:
        """Returns a new query that matches one movie."""
        return f"river {next(self.fleet.numbers):04}"

    async def search(
        self, query: str, at: int = 0, *, headers: dict[str, str] | None = None, **parameters: int
    ) -> httpx.Response:
        params: dict[str, str | int] = {"query": query, "limit": 10, **parameters}
        return await self.clients[at].get("/api/v1/movies/", params=params, headers=headers)

    async def complete(self) -> None:
        """Waits until every circuit breaker is closed, which takes five successful calls after an outage."""
        deadline = time.monotonic() + 20
        for at in range(len(self.clients)):
            good = 0
            while good < 6:
                assert time.monotonic() < deadline, "the circuit breaker did not close"
                good = good + 1 if state(await self.search(self.cold(), at)) == "live" else 0
                if not good:
                    await asyncio.sleep(0.05)
        self.upstream.forget()

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()


def state(answer: httpx.Response) -> str | None:
    """Returns `meta.state` of a page; None for an error."""
    return str(answer.json()["meta"]["state"]) if answer.status_code == 200 else None
