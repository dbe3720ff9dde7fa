"""End-to-end test of the running stack of compose.yaml: the README's journey through the proxy; with `--kill`, each
container is also killed and must restart and become healthy.

    python deploy/compose/compose_journey.py [--kill]

Reads emails from the development mailbox (Mailpit). Imports only the standard library.
"""

import argparse
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT = 60.0
"""Seconds within which a killed container must be healthy again."""
API = "/api/v1/"
PASSWORD = "copper lantern walks home"

_open = build_opener(ProxyHandler({})).open


class Failed(Exception):
    """An unexpected response or a timeout; the message describes it."""


def call(url: str, body: object = None, *, token: str | None = None, method: str | None = None) -> tuple[int, Any]:
    """Status and decoded JSON body of a response; None for an empty body."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    request = Request(url, data, headers, method=method)
    try:
        with _open(request, timeout=30) as response:
            status, text = response.status, response.read()
    except HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text else None


def expect(status: int, response: tuple[int, Any], step: str) -> Any:
    """Return the body of a response. Raises `Failed` unless it has this status."""
    if response[0] != status:
        raise Failed(f"{step}: status {response[0]} instead of {status}: {response[1]}")
    return response[1]


def wait_for(poll: Callable[[], Any], step: str, seconds: float = TIMEOUT) -> Any:
    """Call `poll` until it returns a truthy value, and return that. Retries on `OSError`, `ValueError`, `Failed`."""
    deadline = time.monotonic() + seconds
    while True:
        last_error: object = None
        try:
            if value := poll():
                return value
        except (OSError, ValueError, Failed) as error:
            last_error = error
        if time.monotonic() > deadline:
            raise Failed(f"{step}: timed out after {seconds:g} s (last error: {last_error})")
        time.sleep(0.25)


def mailpit(url: str) -> Callable[[str], str | None]:
    """A function that returns the text of the newest email to an address in Mailpit, or None."""

    def text_to(address: str) -> str | None:
        for mail in call(f"{url}/api/v1/messages")[1]["messages"]:
            if any(address in to["Address"] for to in mail["To"]):
                return str(call(f"{url}/api/v1/message/{mail['ID']}")[1]["Text"])
        return None

    return text_to


def journey(url: str, text_to: Callable[[str], str | None], name: str) -> str:
    """Register, activate by email, log in, search, rate, get recommendations. Returns the access token."""
    address = f"{name}@example.com"
    registration = {"email": address, "username": name, "password": PASSWORD}
    expect(201, call(f"{url}{API}authentication/register/", registration), "register")
    link = re.search(r"https?://\S+/verify-email/\S+", wait_for(lambda: text_to(address), "activation email"))
    if link is None or not link[0].startswith(url):
        raise Failed(f"the email has no activation link that starts with {url}")
    expect(200, call(link[0], method="POST"), "activate")
    credentials = {"email": address, "password": PASSWORD}
    token = str(expect(200, call(f"{url}{API}authentication/login/", credentials), "log in")["access"])
    search(url, token)
    rated = call(f"{url}{API}movies/tt0034583/rating/", {"rating": 9.5}, token=token, method="PUT")
    expect(200, rated, "rate")
    expect(200, call(f"{url}{API}recommendations/", token=token), "recommendations")
    return token


def search(url: str, token: str, text: str = "casablanca") -> bool:
    """True, or raises `Failed`; for `wait_for`."""
    page = expect(200, call(f"{url}{API}movies/?query={text}", token=token), "search")
    if not any(item["title"] == "Casablanca" for item in page["items"]):
        raise Failed("search doesn't find Casablanca")
    return True


def _docker(*arguments: str) -> str:
    return subprocess.run(("docker", *arguments), check=True, capture_output=True, text=True).stdout


def _containers() -> dict[str, str]:
    """Ids of the project's running containers, by service name."""
    rows = _docker("ps", "--filter", "label=com.docker.compose.project=movie-search", "--format", "{{.ID}}").split()
    label = '{{index .Config.Labels "com.docker.compose.service"}}'
    return {_docker("inspect", "-f", label, row).strip(): row for row in rows}


def kill_and_wait(service: str, container: str) -> None:
    """Kill the container's main process, then wait until Docker has restarted it and reports it healthy."""
    before = _docker("inspect", "-f", "{{.State.StartedAt}}", container)
    pid = int(_docker("inspect", "-f", "{{.State.Pid}}", container))
    os.kill(pid, signal.SIGKILL)  # after `docker kill`, the restart policy would not apply
    wait_for(
        lambda: (
            _docker("inspect", "-f", "{{.State.StartedAt}}", container) != before
            and _docker("inspect", "-f", "{{.State.Health.Status}}", container).strip() == "healthy"
        ),
        f"{service} healthy again",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--mailbox", default="http://127.0.0.1:8025")
    parser.add_argument("--kill", action="store_true", help="also kill each container; requires root")
    arguments = parser.parse_args()
    text_to = mailpit(arguments.mailbox)
    try:
        token = journey(arguments.url, text_to, f"ann{secrets.token_hex(4)}")
        print("journey: passed")
        for service, container in _containers().items() if arguments.kill else ():
            started_at = time.monotonic()
            kill_and_wait(service, container)
            wait_for(lambda: search(arguments.url, token), f"search after {service} was killed")
            if service != "mailpit":  # its mailbox is in memory and is empty after a restart
                journey(arguments.url, text_to, f"ann{secrets.token_hex(4)}")
            print(f"{service}: killed, journey passed again after {time.monotonic() - started_at:.1f} s")
    except (Failed, subprocess.CalledProcessError) as error:
        print(f"{urlsplit(arguments.url).netloc}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
