"""Runs `movie-search` and creates accounts, for `fuzz`, `scan` and `clients`. Uses the standard library only."""

import email
import email.policy
import hashlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROGRAM = Path(sys.executable).with_name("movie-search")
LIMITS = ("SEARCH", "LOGIN", "REGISTER", "MAIL", "SUGGEST", "EVENTS")
WITHOUT_LIMITS = {f"MOVIE_LIMIT_{name}": "off" for name in LIMITS}
"""Settings that disable all rate limits."""
AUTHENTICATION = "/api/v1/authentication/"
PASSWORD = "copper lantern walks home"
START_SECONDS = 60
MAIL_SECONDS = 20


def environment() -> dict[str, str]:
    """Returns the environment without `MOVIE_*` variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}


@contextmanager
def running(folder: Path, environ: dict[str, str], port: int, command: str, *options: str) -> Iterator[Path]:
    """Runs `movie-search` until it responds at the port. Yields its log file."""
    log = folder / f"{command}.log"
    with log.open("wb") as output:
        arguments: list[str | Path] = [PROGRAM, command, "--port", str(port), *options]
        process = subprocess.Popen(arguments, cwd=folder, env=environ, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"movie-search {command} does not respond: {log.read_text()}")
            try:
                ask(f"http://127.0.0.1:{port}/health/live", seconds=5)
                break
            except OSError:
                time.sleep(0.05)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


def ask(
    url: str,
    method: str = "GET",
    content: Any = None,
    headers: dict[str, str] | None = None,
    *,
    seconds: float = 30,
) -> tuple[int, bytes]:
    """Sends a request, with `content` as JSON. Returns status and body; raises `OSError` if there is no response."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=seconds)
    try:
        sent_headers = dict(headers or {})
        body = None
        if content is not None:
            body, sent_headers["content-type"] = json.dumps(content).encode(), "application/json"
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, sent_headers)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url} sent no valid response: {error!r}") from error
    finally:
        connection.close()


def signed_up(url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Registers and activates an account at a server running in `folder`. Returns its address and pair of tokens."""
    name = f"user{secrets.token_hex(6)}"
    address = f"{name}@example.com"
    account = {"email": address, "username": name, "password": PASSWORD}
    status, body = ask(f"{url}{AUTHENTICATION}register/", "POST", account)
    if status >= 400:
        raise RuntimeError(f"registration failed: {body!r}")
    status, body = ask(activation_link(address, folder), "POST")
    if status >= 400:
        raise RuntimeError(f"activation failed: {body!r}")
    pair: dict[str, Any] = json.loads(body)
    return address, pair


def make_staff(address: str, folder: Path, environ: dict[str, str], program: Path = PROGRAM) -> None:
    """Grants staff rights with the command line and the settings of the server."""
    command = (program, "users", "staff", address)
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, timeout=180)


def activation_link(address: str, folder: Path) -> str:
    """Returns the link in the first email to an address."""
    address_hash = hashlib.sha256(address.encode()).hexdigest()[:16]
    end = time.monotonic() + MAIL_SECONDS
    while not (files := list((folder / "var" / "mail").glob(f"[!.]*-{address_hash}-*.eml"))):
        if time.monotonic() > end:
            raise TimeoutError(f"no email to {address}")
        time.sleep(0.02)
    message = email.message_from_bytes(files[0].read_bytes(), policy=email.policy.default)
    body = message.get_body(("plain",))
    assert body is not None
    link = re.search(r"http\S+/verify-email/\S+", body.get_content())
    assert link is not None
    return link[0]
