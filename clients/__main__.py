"""Generates clients from the document of a running server, compiles them and runs their journeys: `make clients`.

The commands are those of docs/clients.md, so the page is tested. The server has the embedded adapters and the default
settings. The document is also checked with Spectral and Redocly.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scan.findings import ScanError
from tests.support.documents import example
from tests.support.programs import activation_link, ask, environment, running
from tests.support.servers import free_port

from clients.linters import ROOT, LintResult, lint_with_redocly, lint_with_spectral, summary

SOURCES = ROOT / "clients"
BUILD = ROOT / "dist" / "clients"
PROJECT = ROOT / ".npm-clients"
"""The npm project: @hey-api/openapi-ts reads the tsconfig.json beside the folder in which it is installed."""
PAGE = "docs/clients.md"
DOCUMENTED_URL = "http://127.0.0.1:8000"
PROMPT = "link in the email: "
"""A journey prints it and then reads the activation link."""
SECONDS = 300
"""Maximum duration of a command."""


class StepError(Exception):
    """A step failed. `name` is a command or a linter, `output` what it wrote."""

    def __init__(self, name: str, output: str) -> None:
        super().__init__(name)
        self.name = name
        self.output = output


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    folder: Path
    """Its working directory, with the emails that it wrote."""

    def commands(self, name: str) -> list[list[str]]:
        """The commands of an example in the documentation, with the URL of this server."""
        lines = example(PAGE, name).splitlines()
        return [shlex.split(line.replace(DOCUMENTED_URL, self.url)) for line in lines]


def start(command: list[str], cwd: Path) -> subprocess.Popen[str]:
    """Start a command with the installed generators and compilers on its path."""
    environ = environment()
    environ["PATH"] = os.pathsep.join([str(ROOT / ".venv-clients" / "bin"), environ.get("PATH", os.defpath)])
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], command: list[str], typed: str = "", output: str = "") -> None:
    """Wait for a command; raises `StepError` if it failed. `typed` is its input, `output` what was read already."""
    try:
        output += process.communicate(typed, timeout=SECONDS)[0]
    finally:
        process.kill()
    if process.returncode:
        raise StepError(shlex.join(command), output)


def run(command: list[str], cwd: Path) -> None:
    began = time.monotonic()
    finish(start(command, cwd), command)
    print(f"clients: {time.monotonic() - began:.1f} s: {shlex.join(command)}", flush=True)


def run_journey(command: list[str], cwd: Path, server: Server) -> None:
    """Run a journey, whose last argument is a username, and give it the link in the email."""
    began = time.monotonic()
    process = start(command, cwd)
    assert process.stdout is not None
    output, typed = "", ""
    while not output.endswith(PROMPT) and (character := process.stdout.read(1)):
        output += character
    if output.endswith(PROMPT):
        typed = activation_link(f"{command[-1]}@example.com", server.folder) + "\n"
    finish(process, command, typed, output)
    print(f"clients: {time.monotonic() - began:.1f} s: {shlex.join(command)}", flush=True)


def make_python_client(server: Server) -> None:
    folder = BUILD / "python"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("openapi-python-client.yaml", "python_journey.py"):
        shutil.copy(SOURCES / name, folder)
    (folder / "mypy.ini").write_text("[mypy]\n")  # otherwise mypy uses the configuration of this repository
    for command in server.commands("python client"):
        run(command, folder)
    for command in server.commands("python journey"):
        run_journey(command, folder, server)


def make_typescript_clients(server: Server) -> None:
    for generated in ("hey-api", "build"):
        shutil.rmtree(PROJECT / generated, ignore_errors=True)
    for source in (SOURCES / "tsconfig.json", *SOURCES.glob("*.ts")):
        shutil.copy(source, PROJECT)
    for command in server.commands("typescript clients"):
        run(command, PROJECT)
    for command in server.commands("typescript journeys"):
        run_journey(command, PROJECT, server)


def lint(server: Server) -> None:
    document = BUILD / "openapi.json"
    document.write_bytes(ask(f"{server.url}/openapi.json")[1])
    linters: dict[str, Callable[[Path], list[LintResult]]] = {
        "spectral": lint_with_spectral,
        "redocly": lint_with_redocly,
    }
    for name, linter in linters.items():
        results = linter(document)
        print(summary(name, results), flush=True)
        if results:
            raise StepError(f"{name}: {len(results)} errors and warnings in /openapi.json", "")


def main() -> int:
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = []
    with tempfile.TemporaryDirectory(prefix="clients-") as name, ThreadPoolExecutor() as pool:
        port = free_port()
        server = Server(f"http://127.0.0.1:{port}", Path(name))
        with running(server.folder, environment(), port, "serve"):
            for task in [pool.submit(step, server) for step in (make_typescript_clients, make_python_client, lint)]:
                try:
                    task.result()
                except StepError as error:
                    print(error.output, file=sys.stderr)
                    failed.append(error.name)
                except (ScanError, RuntimeError, subprocess.TimeoutExpired, TimeoutError) as error:
                    failed.append(str(error))
    for line in failed:
        print(f"clients: FAILED: {line}", file=sys.stderr)
    return 1 if failed else 0


sys.exit(main())
