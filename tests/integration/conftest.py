"""Real servers, one of each kind for the whole run, and programs started as a user starts them."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.servers import postgres_database, postgres_server, redis_server

START_SECONDS = 30


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with postgres_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def clean_environment(**environ: str) -> dict[str, str]:
    """What a program needs of ours, and no setting of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "120"} | environ


class Program:
    """A running `movie-search`."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environ: dict[str, str]) -> None:
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        self._output = self.log.open("wb")
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("movie-search"), *arguments],
            cwd=folder,
            env=clean_environment(**environ),
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """What the program says, once it does."""
        deadline = time.monotonic() + START_SECONDS
        while (match := re.search(pattern, self.said())) is None:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < deadline, self.said()
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
    """A data dir with the bundled films in it."""
    folder = tmp_path_factory.mktemp("prepared")
    program = Program(("migrate",), folder, {})
    program.process.wait(60)
    assert program.stop() == 0, program.said()
    return folder / "var"


@pytest.fixture
def folder(tmp_path: Path, prepared: Path) -> Path:
    """A working directory in which the films are searchable already; remove `var` for a first start."""
    shutil.copytree(prepared, tmp_path / "var")
    return tmp_path


Start = Callable[..., Program]
Serve = Callable[..., tuple[Program, httpx.Client]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `movie-search` with the given arguments, and settings by keyword; ends it after the test."""
    with contextlib.ExitStack() as running:

        def started(*arguments: str, **environ: str) -> Program:
            program = Program(arguments, folder, environ)
            running.callback(program.stop)
            return program

        yield started


@pytest.fixture
def serve(start: Start) -> Iterator[Serve]:
    """Starts `movie-search serve` on a free port and gives a client for it; search is public unless said otherwise."""
    with contextlib.ExitStack() as clients:

        def served(*arguments: str, **environ: str) -> tuple[Program, httpx.Client]:
            program = start(
                "serve", "--port", str(free_port()), *arguments, **{"MOVIE_PUBLIC_SEARCH": "true"} | environ
            )
            url = program.wait_for(r"serving \w+ at (http://\S+),")[1]
            return program, clients.enter_context(httpx.Client(base_url=url, timeout=10, trust_env=False))

        yield served


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `movie-search` to its end."""

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
