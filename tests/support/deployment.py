"""Running processes of a deployment, started like by a user, and their faults."""

import asyncio
import contextlib
import email
import email.policy
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from tests.support.fork_server import ForkedProcess, ForkServer
from tests.support.servers import OwnServer, free_port

from movie_standin.server import StandInServer

PATIENCE = 180.0
"""Seconds after which a test stops waiting for a program, a response or a condition. It only ends tests that would
hang: unit tests with virtual time assert how long an operation takes, and `make bench` measures it."""


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
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_CONFIG") if name in os.environ
    }
    return inherited | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "120"} | environ


def _handle_interrupts() -> None:
    """Undoes that a shell lets the programs that it starts in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


MOVIE_SEARCH = Path(sys.executable).with_name("movie-search")

IS_FORKING = sys.platform == "linux"
"""Whether programs are forks of a process that has imported them. Tests of the start itself patch this."""
_fork_server = ForkServer(clean_environment())


class Program:
    """A running `movie-search`."""

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, environ: dict[str, str], descriptors: int | None = None
    ) -> None:
        """`descriptors` limits open files and connections; None inherits the limit."""
        self.log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        environ = clean_environment(**environ)
        self.process: ForkedProcess | subprocess.Popen[bytes]
        if IS_FORKING and descriptors is None:
            self.log.touch()
            self.process = _fork_server.fork([str(MOVIE_SEARCH), *arguments], folder, environ, self.log)
            return
        limited = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"']
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*limited, MOVIE_SEARCH, *arguments],
                cwd=folder,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_handle_interrupts,
            )

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Waits until the output matches a pattern. Returns the match."""
        deadline = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self.output())) is None:
            assert self.process.poll() is None, f"the program exited with {self.process.returncode}: {self.output()}"
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)
        return match

    def wait_for_library(self, name: str) -> None:
        """Waits until the process has loaded a compiled library, which shows what it is doing."""
        deadline = time.monotonic() + PATIENCE
        while name not in Path(f"/proc/{self.process.pid}/maps").read_text():
            assert self.process.poll() is None, f"the program exited with {self.process.returncode}: {self.output()}"
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.002)

    def subprocesses(self) -> list[str]:
        """Returns the command lines of the subprocesses."""
        ids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [Path(f"/proc/{child}/cmdline").read_text() for child in ids]

    def interrupt(self) -> int:
        """Sends SIGINT to the process and its subprocesses, like Ctrl-C. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()


def run_program(
    arguments: tuple[str, ...], folder: Path, environ: dict[str, str], timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Runs `movie-search` to completion."""
    environ = clean_environment(**environ)
    with tempfile.TemporaryDirectory() as outputs:
        stdout, stderr = Path(outputs, "stdout"), Path(outputs, "stderr")
        if IS_FORKING:
            process = _fork_server.fork([str(MOVIE_SEARCH), *arguments], folder, environ, stdout, stderr)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
        else:
            with stdout.open("wb") as out, stderr.open("wb") as err:
                command = [MOVIE_SEARCH, *arguments]
                code = subprocess.run(
                    command, cwd=folder, env=environ, stdout=out, stderr=err, timeout=timeout, check=False
                ).returncode
        return subprocess.CompletedProcess(arguments, code, stdout.read_text(), stderr.read_text())


Start = Callable[..., Program]

Serve = Callable[..., tuple[Program, httpx.Client]]

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


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits until a condition is true. Fails after `PATIENCE`."""
    deadline, interval = time.monotonic() + PATIENCE, 0.02
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(interval)
        interval = min(0.5, 1.5 * interval)  # rate limits apply to conditions that send requests


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until an asynchronous condition is true. Fails after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        interval = 0.02
        while not await condition():
            await asyncio.sleep(interval)
            interval = min(0.2, 1.5 * interval)


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access']}"}


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
        return run_program(arguments, self._folder, self.environ | environ)


class Scene:
    """A fleet and its source in a test's event loop."""

    def __init__(self, fleet: Fleet, upstream: StandInServer, token: str | None = None) -> None:
        self.fleet = fleet
        self.upstream = upstream
        self.token = token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.clients = [
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=PATIENCE, trust_env=False)
            for port in fleet.ports
        ]

    def cold(self) -> str:
        """Returns a new query that matches one movie."""
        return f"river {next(self.fleet.numbers):05}"  # no year

    async def search(
        self, query: str, at: int = 0, *, headers: dict[str, str] | None = None, **parameters: int
    ) -> httpx.Response:
        params: dict[str, str | int] = {"query": query, "limit": 10, **parameters}
        return await self.clients[at].get("/api/v1/movies/", params=params, headers=headers)

    async def complete(self) -> None:
        """Waits until every circuit breaker is closed, which takes five successful calls after an outage."""
        async with asyncio.timeout(PATIENCE):
            for at in range(len(self.clients)):
                good = 0
                while good < 6:
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


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def lines(done: "subprocess.CompletedProcess[str]") -> list[list[str]]:
    """Returns the cells of each printed line of a successful command."""
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines()]


def listed(done: "subprocess.CompletedProcess[str]") -> list[list[str]]:
    """Returns the cells of each line of a list, without the headings."""
    headings, *rows = lines(done)
    assert len(headings) > 1
    return rows


@contextlib.contextmanager
def running(arguments: list[str | Path], folder: Path, **environ: str) -> Iterator[None]:
    with (folder / f"{Path(arguments[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, env=clean_environment(**environ), stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def third_party(start: Start, *arguments: str) -> tuple[Program, str]:
    port = str(free_port())
    program = start("upstream", "--port", port, *arguments)
    program.wait_for("serves GET")
    return program, f"http://127.0.0.1:{port}"
