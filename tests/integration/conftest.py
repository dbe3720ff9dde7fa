"""Real servers, one of each kind per test run, and programs started like by a user."""

import contextlib
import fcntl
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import tests.support.deployment
from redis import Redis
from tests.support.deployment import (
    LIMITS_OFF,
    PATIENCE,
    Deployment,
    Program,
    Serve,
    Start,
    run_program,
)
from tests.support.servers import free_port, own_postgres, postgres_database, postgres_server, redis_server

from movie_adapters.catalogue import postgres as postgres_movies
from movie_adapters.sql import engine as sql_database
from movie_adapters.sql import ratings as sql_ratings
from movie_adapters.sql import tables as sql_tables
from movie_adapters.sql.engine import migrate


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with postgres_server() as url:
        yield url


PREPARATION_TIMEOUT = 10 * PATIENCE
"""Seconds for loading 40,000 films, which takes long on a busy machine. It only ends tests that would hang."""


@contextlib.contextmanager
def prepared_once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """Yields a folder that all workers of a test run share, and whether the caller must fill it while others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, not (folder / "is_complete").exists()
        (folder / "is_complete").touch()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of a PostgreSQL server and the name of its database with the bundled films, to be copied."""

    def load(url: str) -> None:
        environ = {"MOVIE_DATABASE_URL": url}
        done = run_program(("migrate",), tmp_path_factory.mktemp("films"), environ, PREPARATION_TIMEOUT)
        assert done.returncode == 0, done.stderr

    if "TEST_DATABASE_URL" in os.environ:
        with postgres_server() as server, postgres_database(server) as url:
            load(url)
            yield server, url.partition("?")[0].rpartition("/")[2]
        return
    with prepared_once(tmp_path_factory, "postgres") as (folder, is_first):
        if is_first:
            with own_postgres() as filled:
                load(filled.url)
                filled.stop()
                shutil.copytree(Path(filled.url.partition("?host=")[2]) / "data", folder / "data")
    with own_postgres(copied=folder / "data") as copy:
        yield copy.url, "postgres"


@pytest.fixture
def database_url(films: tuple[str, str]) -> Iterator[str]:
    """The URL of a PostgreSQL database with the bundled films."""
    with postgres_database(*films) as url:
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
    """Makes database timeouts far longer, for tests of stored data on busy machines."""
    for module, name in (
        (sql_database, "CONNECT_SECONDS"),
        (sql_database, "POOL_SECONDS"),
        (sql_tables, "READ_SECONDS"),
        (sql_tables, "WRITE_SECONDS"),
        (sql_ratings, "WRITE_SECONDS"),
        (postgres_movies, "READ_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 60 * getattr(module, name))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the bundled films and a model, so that servers do not begin with a training."""
    with prepared_once(tmp_path_factory, "prepared") as (folder, is_first):
        for command in (("migrate",), ("recommend", "train")) if is_first else ():
            done = run_program(command, folder, {}, PREPARATION_TIMEOUT)
            assert done.returncode == 0, done.stderr
    return folder / "var"


@pytest.fixture
def folder(tmp_path: Path, prepared: Path) -> Path:
    """A working directory with the bundled films in `var`; delete `var` for a first start."""
    shutil.copytree(prepared, tmp_path / "var")
    return tmp_path


@pytest.fixture
def untrained(folder: Path) -> None:
    """Deletes the model, so that a server begins with a training."""
    with contextlib.closing(sqlite3.connect(folder / "var" / "movies.db")) as database, database:
        database.execute("DELETE FROM models")
        database.execute("DELETE FROM model_parts")


@pytest.fixture
def console_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the test are started by the installed script, as a user starts them."""
    monkeypatch.setattr(tests.support.deployment, "IS_FORKING", False)


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
            return program, clients.enter_context(httpx.Client(base_url=url, timeout=180, trust_env=False))

        yield served


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `movie-search` to completion."""

    def done(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return run_program(arguments, folder, environ)

    return done


# --- accounts


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
    clients = [httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=180, trust_env=False) for port in ports]
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
