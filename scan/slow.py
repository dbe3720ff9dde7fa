"""Slow HTTP attacks with slowhttptest: requests of other clients must be answered during each attack."""

import http.client
import re
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from scan.findings import DIST, Finding, ScanError, report, tool
from scan.servers import serving

ASSET = "/docs/assets/swagger-ui-bundle.js"
"""The largest response available without authentication."""
LOGIN = "/api/v1/authentication/login/"
ATTACKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "slow headers": ("/", ("-H", "-i", "2")),
    "slow body": (LOGIN, ("-B", "-t", "POST", "-f", "application/json", "-s", "8192", "-i", "2")),
    "slow read": (ASSET, ("-X", "-k", "3", "-n", "2", "-w", "64", "-y", "512", "-z", "32")),
    "range": (ASSET, ("-R", "-t", "GET", "-a", "5", "-b", "2000")),
}
PROBE_PATH = "/health/live"
PROBE_ADDRESS = "127.0.0.2"
"""Source address of the probe; the attack comes from 127.0.0.1."""
MAX_ANSWER = 1.0
"""Maximum response time of the probe during an attack, in seconds."""
PROBE_INTERVAL = 0.2


@dataclass(slots=True)
class Probe:
    """A client that sends a request every `PROBE_INTERVAL` seconds, each on a new connection."""

    answers: list[float] = field(default_factory=list)
    """Response times in seconds."""
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def asking(self, url: str, source: str = PROBE_ADDRESS) -> Iterator[None]:
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(PROBE_INTERVAL):
                connection = http.client.HTTPConnection(
                    urlsplit(url).netloc, timeout=MAX_ANSWER, source_address=(source, 0)
                )
                began = time.monotonic()
                try:
                    connection.request("GET", PROBE_PATH)
                    status = connection.getresponse().status
                    self.answers.append(time.monotonic() - began)
                    if status != 200:
                        self.failures.append(f"status {status}")
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))
                finally:
                    connection.close()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def read_output(output: str) -> dict[str, int]:
    """Number of connections by final state, as reported by slowhttptest; empty if there was no attack."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output)
    states = ("initializing", "pending", "connected", "error", "closed")
    last = {one: re.findall(rf"^{one}: +(\d+)", plain, re.MULTILINE) for one in states}
    return {one: int(found[-1]) for one, found in last.items() if found}


def attack(program: Path, url: str, options: Sequence[str], connections: int, seconds: int) -> str:
    """Run slowhttptest and return its output."""
    count = str(connections)
    command: tuple[str | Path, ...] = (program, "-u", url, "-c", count, "-r", count, "-l", str(seconds), *options)
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 60, check=False
    )
    return ran.stdout


class _OneAtATime(BaseHTTPRequestHandler):
    """Handler of a single-threaded server, which one slow request blocks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Suppresses the request log."""


def check_probe(program: Path) -> None:
    """Self-check: raises `ScanError` if the probe does not detect an attack on a single-threaded server."""
    server = HTTPServer(("127.0.0.1", 0), _OneAtATime)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url, probe = f"http://127.0.0.1:{server.server_port}", Probe()
    with probe.asking(url):
        attack(program, url + "/", ("-H", "-i", "1"), 10, 5)
    server.shutdown()
    server.server_close()
    if not probe.failures:
        raise ScanError("the probe does not detect that slowhttptest blocks a single-threaded server")


def _other_requests(log: Path) -> list[str]:
    """Access log lines of requests other than the probe's. A slow request is logged only when it has ended."""
    return [line for line in log.read_text().splitlines() if " INFO " in line and PROBE_PATH not in line]


def scan(program: str, connections: int, seconds: int) -> bool:
    """Returns True if every probe was answered during all attacks."""
    found = tool("slowhttptest", program, "install it (Debian package slowhttptest), or set SLOWHTTPTEST=…")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    check_probe(found)
    DIST.mkdir(parents=True, exist_ok=True)
    wrong: list[Finding] = []
    with serving() as server:
        for name, (path, options) in ATTACKS.items():
            probe, before = Probe(), len(_other_requests(server.log))
            with probe.asking(server.url):
                output = attack(found, server.url + path, options, connections, seconds)
            (DIST / f"slow-{name.replace(' ', '-')}.log").write_text(output)
            states = read_output(output)
            slowest = max(probe.answers, default=0.0)
            print(
                f"slow: {name}: {states}; {len(probe.answers)} probes answered, slowest {slowest * 1000:.0f} ms, "
                f"{len(probe.failures)} failed",
                flush=True,
            )
            served = len(_other_requests(server.log)) - before
            if not served + sum(states.get(one, 0) for one in ("connected", "closed")):
                wrong.append(Finding("no-attack", name, f"no connection was made: {output[-500:]}"))
            if probe.failures or not probe.answers:
                wrong.append(Finding("unavailable", name, f"{len(probe.failures)} probes failed: {probe.failures[:3]}"))
    looked_at = f"{len(ATTACKS)} attacks with {connections} connections, {seconds} s each"
    return report("slow", looked_at, wrong, {})
