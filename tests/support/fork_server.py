"""Starts `movie-search` as a fork of a process that has already imported it, which saves a second of CPU time each.

The fork has its own session, environment, working directory, arguments and output, runs `main()` and ends like any
interpreter. Run as a program, this file is the server: it reads a JSON request per line from stdin and writes the
response to stdout.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PACKAGES = ("movie_adapters", "movie_api", "movie_cli", "movie_standin", "movie_worker")
LEFT_OUT = re.compile(r"\.(migrations|__main__|tracing|baselines|ease_model|evaluation)\b")
"""Modules that are not preloaded: scripts, and those with optional libraries or the libraries of trainings."""
LIBRARIES = (
    "aiosqlite",
    "asyncpg",
    "httptools",
    "litestar.plugins.pydantic",
    "pydantic.v1",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
)
"""Libraries that the programs load by name or at first use."""


class ForkServer:
    """A server process, started by the first request. It ends with this process."""

    def __init__(self, environ: dict[str, str]) -> None:
        """`environ` must have all variables that modules read when they are imported."""
        self._environ = environ
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None

    def fork(
        self, arguments: list[str], folder: Path, environ: dict[str, str], stdout: Path, stderr: Path | None = None
    ) -> "ForkedProcess":
        """Starts a program. Without `stderr`, its messages go to `stdout`."""
        request = {
            "arguments": arguments,
            "folder": str(folder),
            "environ": environ,
            "stdout": str(stdout),
            "stderr": stderr and str(stderr),
        }
        return ForkedProcess(self, self.ask(request))

    def ask(self, request: dict[str, Any]) -> Any:
        with self._lock:
            if self._server is None:
                command = [sys.executable, "-P", __file__]  # -P: names of files here are names of standard modules too
                pipe = subprocess.PIPE
                self._server = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, env=self._environ, start_new_session=True
                )
                atexit.register(self._server.communicate)
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
            return json.loads(self._server.stdout.readline())


class ForkedProcess:
    """A running program with the methods of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("movie-search", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _preload() -> None:
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not LEFT_OUT.search(module.name):
                importlib.import_module(module.name)
    for library in LIBRARIES:
        importlib.import_module(library)
    assert threading.active_count() == 1, "a fork has no other threads"
    assert "numpy" not in sys.modules, "tests wait until a training loads it"


def _serve() -> dict[str, Any] | None:
    """Answers requests until stdin ends. In a fork, returns the request to become that program."""
    for line in sys.stdin.buffer:
        request: dict[str, Any] = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            response = os.waitstatus_to_exitcode(status) if pid else None
        else:
            response = os.fork()
            if response == 0:
                return request
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()
    return None


def _become(request: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets programs in the background ignore it
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    _redirect(0, os.devnull, os.O_RDONLY)
    for number, path in ((1, request["stdout"]), (2, request["stderr"])):
        if path is None:
            os.dup2(1, number)
        else:
            _redirect(number, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    sys.argv = request["arguments"]
    sys.modules["__main__"].__file__ = sys.argv[0]  # what processes that the program spawns import


def _redirect(number: int, path: str, flags: int) -> None:
    opened = os.open(path, flags, 0o644)
    os.dup2(opened, number)
    os.close(opened)


if __name__ == "__main__":
    _preload()
    gc.collect()
    gc.freeze()  # so that collections in forks do not copy the memory that they share
    if (request := _serve()) is not None:
        _become(request)
        sys.modules["movie_cli"].main()
