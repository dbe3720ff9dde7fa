"""SQL injection tests of every parameter of every operation with sqlmap, on SQLite and PostgreSQL."""

import json
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import ask, environment

from scan.findings import DIST, ROOT, Finding, ScanError, report, tool
from scan.injectable import injectable_server
from scan.requests import MARK, Request, requests_of
from scan.servers import Server, serving

DATABASES = ("SQLite", "PostgreSQL")
RISK = 3
"""sqlmap's highest risk: it may change data, but the server is discarded afterwards."""
REQUEST_SECONDS = 30
RUN_SECONDS = 1800
IGNORED = "400,401,403,404,405,409,415,429,500"
"""Status codes at which sqlmap must not stop."""

ACCEPTED: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a sqlmap run."""

    tested: tuple[str, ...]
    """Tested parameters, by sqlmap's names."""
    injectable: tuple[str, ...]
    """Parameters still reported as injectable after sqlmap's own check for false positives."""
    suspected: tuple[str, ...]
    """Hints from sqlmap's heuristic test, of any kind of injection."""
    is_complete: bool


def read_output(output: str) -> Outcome:
    tested = re.findall(r"testing for SQL injection on (.+ parameter '.*')$", output, re.MULTILINE)
    injectable = re.findall(r"^Parameter: (.+)$", output, re.MULTILINE)
    injectable += re.findall(r"\[INFO\] (.+ parameter '.*') is vulnerable", output)
    suspected = re.findall(
        r"heuristic \(\S+\) test shows that (.+ might be (?:injectable|vulnerable).*)$", output, re.M
    )
    ended = "all tested parameters do not appear to be injectable" in output
    return Outcome(
        tuple(dict.fromkeys(tested)),
        tuple(dict.fromkeys(injectable)),
        tuple(dict.fromkeys(suspected)),
        ended or bool(injectable),
    )


def sqlmap(url: str, database: str, level: int, *options: str) -> str:
    """Run sqlmap and return its output."""
    program = tool("sqlmap", ROOT / ".venv-scan" / "bin" / "sqlmap", "make .venv-scan/.synced")
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        command: tuple[str | Path, ...] = (
            *(program, "-u", url, "--batch", "--disable-coloring", "--flush-session", "--output-dir", folder),
            *("--dbms", database, "--level", str(level), "--risk", str(RISK), "--technique", "BEUST"),
            *("--time-sec", "2", "--timeout", str(REQUEST_SECONDS), "--ignore-code", IGNORED),
            *("--skip", "user-agent,referer,host,cookie", *options),
        )
        try:
            ran = subprocess.run(
                command,
                cwd=folder,
                env=environment() | {"HOME": folder},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ScanError(f"sqlmap did not finish within {RUN_SECONDS} s at {url}") from error
    return ran.stdout


def check_sqlmap(level: int) -> None:
    """Self-check: raises `ScanError` if sqlmap misses the planted injection in a query string or in JSON."""
    in_json = ("--data", '{"title": "Up"}', "-H", "Content-Type: application/json")
    with injectable_server() as url:
        for address, options in ((f"{url}/?title=Up", ()), (url, in_json)):
            output = sqlmap(address, "SQLite", level, *options)
            if not read_output(output).injectable:
                raise ScanError(f"sqlmap does not find the planted injection:\n{output[-2000:]}")


def test(server: Server, database: str, level: int, request: Request) -> tuple[int, list[Finding], str]:
    """Returns the number of tested parameters, the findings, and the output."""
    token = server.staff_token if request.is_staff else server.user_token
    headers = {"Authorization": f"Bearer {token}"} | dict(request.headers)
    options = ["--method", request.method]
    for name, value in headers.items():
        options += ["-H", f"{name}: {value.replace('{token}', token)}"]
    if request.body is not None:
        options += ["--data", request.body]
    if not any(MARK in text for text in (request.path, request.body or "", *request.headers.values())):
        options += ["-p", ",".join(request.parameters)]  # without `-p`, sqlmap skips a field named `token`
    output = sqlmap(server.url + request.path, database, level, *options)
    outcome = read_output(output)
    place = f"{database} {request.operation}"
    found = [Finding("injectable", place, text) for text in outcome.injectable]
    found += [Finding("suspected", place, text) for text in outcome.suspected]
    if not outcome.is_complete or len(outcome.tested) < len(request.parameters):
        wanted, was = ", ".join(request.parameters), ", ".join(outcome.tested)
        found.append(Finding("not-tested", place, f"expected {wanted}; tested {was or 'nothing'}"))
    return len(outcome.tested), found, output


def scan(level: int, databases: tuple[str, ...] = DATABASES, only: str = "") -> bool:
    """Returns True if there are no findings."""
    check_sqlmap(level)
    DIST.mkdir(parents=True, exist_ok=True)
    found: list[Finding] = []
    summary = []
    for database in databases:
        began, parameters, operations = time.monotonic(), 0, set()
        with serving(database) as server, (DIST / f"sqlmap-{database}.log").open("w") as log:
            document = json.loads(ask(f"{server.url}/openapi.json")[1])
            for request in requests_of(document):
                if only and request.operation != only:
                    continue
                operations.add(request.operation)
                count, wrong, output = test(server, database, level, request)
                print(f"sqlmap: {database} {request.operation} {', '.join(request.parameters)}", flush=True)
                log.write(output)
                parameters += count
                found += wrong
            said = server.log.read_text()
        answers = re.findall(r"^\S+ INFO +[A-Z]+ \S+ (\d{3}) ", said, re.MULTILINE)
        found += [
            Finding("server-error", database, line)
            for line in re.findall(r"^.*(?:Traceback|ERROR).*$", said, re.MULTILINE)
        ]
        found += [Finding("server-error", database, f"status {one}") for one in answers if one[0] == "5"]
        seconds = time.monotonic() - began
        summary.append(
            f"{database}: {parameters} parameters of {len(operations)} operations, {len(answers):,} requests in "
            f"{seconds:.0f} s"
        )
    return report("sqlmap", "; ".join(summary), found, ACCEPTED)
