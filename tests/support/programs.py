"""A running `movie-search` and accounts on it, for the fuzzer and the scanners. Needs the standard library alone."""

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
"""Settings of a server that is asked as fast as it answers."""
AUTHENTICATION = "/api/v1/authentication/"
PASSWORD = "copper lantern walks home"
START_SECONDS = 60
MAIL_SECONDS = 20


def environment() -> dict[str, str]:
    """Ours, without the settings of who runs this."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MOVIE_")}


@contextmanager
def running(folder: Path, environ: dict[str, str], port: int, command: str, *options: str) -> Iterator[Path]:
    """The log of a `movie-search` that answers at the port."""
    log = folder / f"{command}.log"
    with log.open("wb") as output:
        arguments: list[str | Path] = [PROGRAM, command, "--port", str(port), *options]
        process = subprocess.Popen(arguments, cwd=folder, env=environ, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"movie-search {command} does not answer: {log.read_text()}")
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
    """Status and body of the answer; `content` is sent as JSON. Raises `OSError` where there is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=seconds)
    try:
        told = dict(headers or {})
        body = None
        if content is not None:
            body, told["content-type"] = json.dumps(content).encode(), "application/json"
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, told)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url} gives no answer: {error!r}") from error
    finally:
        connection.close()


def signed_up(url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The address of a new and activated account, and its pair of tokens; the server runs in `folder`."""
    name = f"user{secrets.token_hex(6)}"
    address = f"{name}@example.com"
    account = {"email": address, "username": name, "password": PASSWORD}
    status, said = ask(f"{url}{AUTHENTICATION}register/", "POST", account)
    if status >= 400:
        raise RuntimeError(f"no account is made: {said!r}")
    status, said = ask(_link_to(address, folder), "POST")
    if status >= 400:
        raise RuntimeError(f"no account is activated: {said!r}")
    pair: dict[str, Any] = json.loads(said)
    return address, pair


def make_staff(address: str, folder: Path, environ: dict[str, str], program: Path = PROGRAM) -> None:
    """By the command line, with the settings of the server."""
    command = (program, "users", "staff", address)
    subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, timeout=60)


def _link_to(address: str, folder: Path) -> str:
    """The link of the first mail to it."""
    mark = hashlib.sha256(address.encode()).hexdigest()[:16]
    end = time.monotonic() + MAIL_SECONDS
    while not (found := list((folder / "var" / "mail").glob(f"[!.]*-{mark}-*.eml"))):
        if time.monotonic() > end:
            raise TimeoutError(f"no mail to {address}")
        time.sleep(0.02)
    message = email.message_from_bytes(found[0].read_bytes(), policy=email.policy.default)
    body = message.get_body(("plain",))
    assert body is not None
    link = re.search(r"http\S+/verify-email/\S+", body.get_content())
    assert link is not None
    return link[0]
