"""A server that runs the tests of one module, each time in a fork of a process that has imported their libraries.

Most of the time of a short pytest run is the import of pytest, hypothesis and the framework. The modules of this
repository are imported after the fork, so that each run tests the source files as they are then.

`python -m mutation.server SOCKET TESTS…` runs the tests, prints `ready` and listens on a Unix socket. A connection
starts a run; the response is one byte: the exit code of pytest, or `TIMEOUT`.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import _hypothesis_pytestplugin
import pytest
import pytest_asyncio.plugin

OWN_PACKAGES = ("movie_", "tests", "scripts", "mutation", "__main__")
TIMEOUT = 124
PLUGINS = (pytest_asyncio.plugin, _hypothesis_pytestplugin)
"""The others are not loaded (`PYTEST_DISABLE_PLUGIN_AUTOLOAD`)."""
MIN_SECONDS = 10
TIMEOUT_FACTOR = 5
"""A run that takes longer than this multiple of the first one, and than `MIN_SECONDS`, is a timeout."""
ADDOPTS = "--doctest-modules --import-mode=importlib"
"""Instead of those in `pyproject.toml`, which load plugins by name."""
OPTIONS = (
    "-o",
    f"addopts={ADDOPTS}",
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--no-header",
    "--tb",
    "short",
)


def run_tests(tests: list[str], seconds: int = 0, modules: Path | None = None) -> int:
    """Run pytest in a fork, which ends after `seconds`. Returns its exit code. Writes the names of the modules that the
    run has imported to the file `modules`; then the run may also write bytecode files."""
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(seconds)
            sys.dont_write_bytecode = modules is None  # mutants of one size and second would share a file
            code = int(pytest.main([*OPTIONS, *tests], plugins=PLUGINS))
            if modules is not None:
                modules.write_text(json.dumps(sorted(sys.modules)))
        except Exception:  # noqa: BLE001  (the fork must not return)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return TIMEOUT if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def import_libraries(names: list[str]) -> None:
    """Import the modules that are not of this repository."""
    for name in names:
        if not name.startswith(OWN_PACKAGES):
            try:
                importlib.import_module(name)
            except ImportError:  # a name under which a library stores a part of another one
                continue


def main(path: Path, tests: list[str]) -> None:
    """Serve until the process is killed; exit with pytest's output if the tests fail without a mutant."""
    ready, log, modules = os.dup(1), path.with_name("pytest.log"), path.with_name("modules.json")
    os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), 1)
    began = time.monotonic()
    if run_tests(tests, modules=modules):
        sys.exit(log.read_text())
    seconds = max(MIN_SECONDS, round(TIMEOUT_FACTOR * (time.monotonic() - began)))
    import_libraries(json.loads(modules.read_text()))
    gc.freeze()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.write(ready, b"ready\n")
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(bytes([run_tests(tests, seconds)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
