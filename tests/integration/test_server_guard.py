"""The server and the middleware, tested over real connections to running processes."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bench.http_server import Load, Stall, Target, send, stall, steady, stop_under_load
from redis import Redis
from tests.support.deployment import (
    PATIENCE,
    Program,
    Serve,
    Start,
    clean_environment,
    eventually,
    third_party,
    wait_until,
)
from tests.support.framing import ODD, SMUGGLED, answers_to_odd_requests
from tests.support.servers import free_port, postgres_server, processor_seconds, redis_server

ROOT = Path(__file__).parents[2]
MOVIES = "/api/v1/movies/"
LOGIN = "/api/v1/authentication/login/"

# The application with in-memory adapters and a source that fails as the query says, run like `movie-search serve`.
FAULTY_PROGRAM = """
import asyncio, functools, socket, sys
from litestar import get
from litestar.response import Stream
from tests.support.api import SECRET, InMemory
from movie_adapters.observability.logs import configure_logging
from movie_adapters.settings.settings import Settings
from movie_api.app import create_app
from movie_api.server import protocol
from movie_core.memory import MemoryMovieCatalogue
from movie_core.testing import SAMPLE

protocol.DRAIN_SECONDS, protocol.SHUTDOWN_TIMEOUT = 3.0, 2
RAISED = {"value": ValueError, "recursion": RecursionError, "memory": MemoryError, "cancelled": asyncio.CancelledError,
          "exit": SystemExit}

class Source(MemoryMovieCatalogue):
    async def search(self, query, window):
        if query.text == "endless":
            await asyncio.Event().wait()
        if query.text in RAISED:
            raise RAISED[query.text]("canary")
        return await super().search(query, window)

async def parts(amount):
    for _ in range(amount):
        yield b"part"
    raise ValueError("canary")

@get("/stream/{amount:int}")
async def stream(amount: int) -> Stream:
    return Stream(parts(amount))

def make(port):
    configure_logging("json")
    environ = {"MOVIE_SECRET_KEY": SECRET, "MOVIE_PUBLIC_SEARCH": "true"}
    app = create_app(Settings.load(environ, dotenv=None, port=port), InMemory(Source(SAMPLE)))
    app.litestar.register(stream)
    return app

sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
sock.setblocking(False)
sys.exit(protocol.serve_one(functools.partial(make, int(sys.argv[1])), sock, lambda: None))
"""


class FaultyServer:
    """A running server that fails on demand."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "faulty.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", FAULTY_PROGRAM, str(self.port)],
                cwd=folder,
                env=clean_environment(PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'src'}"),
                stdout=log,
                stderr=log,
            )

    def is_live(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError), self.client() as client:
            return client.get("/health/live").status_code == 200
        return False

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE, trust_env=False)


@pytest.fixture
def faulty_server(tmp_path: Path) -> Iterator[FaultyServer]:
    server = FaultyServer(tmp_path)
    try:
        wait_until(server.is_live)
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def test_an_unhandled_error_gets_a_response_and_keeps_the_connection(faulty_server: FaultyServer) -> None:
    kinds = ["value", "recursion", "memory", "cancelled", "exit"]
    with faulty_server.client() as client:
        for kind in kinds:
            response = client.get(MOVIES, params={"query": kind}, headers={"x-request-id": kind})
            assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json"), kind
            assert (response.json()["code"], response.json()["request_id"]) == ("internal_error", kind)
            assert "canary" not in response.text + str(response.headers)
            assert client.get("/health/live").status_code == 200
        before_body = client.get("/stream/0")
        assert (before_body.status_code, before_body.json()["code"]) == (500, "internal_error")
        with pytest.raises(httpx.RemoteProtocolError):  # the client must detect an incomplete response
            client.get("/stream/2")
        assert client.get("/health/live").status_code == 200
    records = [json.loads(line) for line in faulty_server.log.read_text().splitlines()]
    traced = [
        line["request_id"] if "request_id" in line else line["message"].split()[1]
        for line in records
        if "trace" in line
    ]
    assert traced[: len(kinds)] == kinds
    assert len(traced) == len(kinds) + 2


def test_shutdown_is_reported_and_unfinished_requests_get_a_response(faulty_server: FaultyServer) -> None:
    """Requests in progress have time to complete; idle keep-alive connections can still send requests."""
    target = Target("127.0.0.1", faulty_server.port)
    endless = f"GET {MOVIES}?query=endless HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode()

    async def ask() -> tuple[httpx.Response, list[int], bytes]:
        waiting = asyncio.create_task(send(target, endless, wait=PATIENCE))
        url = f"http://127.0.0.1:{faulty_server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
            assert (await client.get("/health/ready")).status_code == 200
            await asyncio.sleep(0.2)
            faulty_server.process.send_signal(signal.SIGTERM)
            while (ready := await client.get("/health/ready")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        result = await waiting
        return ready, result.statuses, result.answers[0].body

    ready, statuses, body = asyncio.run(ask())
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert (statuses, json.loads(body)["code"]) == ([503], "busy")
    assert faulty_server.process.wait(PATIENCE) == 0
    assert "Traceback" not in faulty_server.log.read_text()


async def test_stalled_clients_are_disconnected_and_others_are_served(serve: Serve) -> None:
    program, api = serve(MOVIE_LIMIT_LOGIN="off")
    target = Target.parse(str(api.base_url))
    kinds: list[Stall] = ["header", "header-drip", "body", "body-drip", "idle", "silent"]
    stalling = asyncio.gather(*(stall(target, kind, count=40, hold=16, probe=False) for kind in kinds))
    load = await steady(target, rate=20, seconds=8)
    assert (load.ok, load.failed, load.refused) == (160, 0, 0)
    for kind, result in zip(kinds, await stalling, strict=True):
        assert (result.opened, result.open_at_end) == (40, 0), (kind, str(result))
        assert set(result.statuses) <= ({408} if kind.startswith("body") else {200}), (kind, str(result))
    program.stop()
    assert "Traceback" not in program.output()
    records = re.findall(r" INFO    (POST \S+ \d+|malformed .*)", program.output())
    assert records == [f"POST {LOGIN} 408"] * 80


@pytest.mark.parametrize(
    "sent", [b"GET /health/live HTTP/1.1\r\n", b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_incomplete_requests_of_one_client_lock_no_others_out(folder: Path, sent: bytes) -> None:
    port = free_port()
    program = Program(("serve", "--port", str(port)), folder, {"MOVIE_PUBLIC_SEARCH": "true"}, descriptors=128)
    with contextlib.ExitStack() as stack:
        stack.callback(program.stop)
        program.wait_for("serving")
        for _ in range(400):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            with contextlib.suppress(OSError):  # it may be closed already
                connection.sendall(sent)
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False)
        )
        for query in ("matrix", "dune", "alien"):
            assert client.get("/health/ready").json()["status"] == "ready"
            assert client.get(MOVIES, params={"query": query}).status_code == 200
        assert len(os.listdir(f"/proc/{program.process.pid}/fd")) < 120
        program.wait_for(r"WARNING .*connection limit reached, \d+ connections closed")
    assert "Traceback" not in program.output()


def resident_megabytes(program: Program) -> int:
    (kilobytes,) = re.findall(
        r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{program.process.pid}/status").read_text(), re.MULTILINE
    )
    return int(kilobytes) // 1024


def test_slow_clients_of_a_large_file_share_one_copy(serve: Serve) -> None:
    program, api = serve()
    path = "/docs/assets/swagger-ui-bundle.js"
    size = len(api.get(path).content)
    before, readers = resident_megabytes(program), 100
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 4
    with contextlib.ExitStack() as stack:
        for _ in range(readers):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", api.base_url.port))
            connection.sendall(request)
        time.sleep(1)
        assert api.get("/health/live").status_code == 200
        assert resident_megabytes(program) - before < readers * size / 2**20 / 3
    assert api.get("/health/live").status_code == 200
    program.stop()
    assert "Traceback" not in program.output()


async def test_a_body_over_the_limit_is_rejected_while_it_arrives(serve: Serve) -> None:
    program, api = serve(MOVIE_LIMIT_LOGIN="off")
    target = Target.parse(str(api.base_url))
    head = f"POST {LOGIN} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
    half = b" " * 40_000
    chunk = b"%x\r\n%b\r\n" % (len(half), half)
    for chunks in (
        (f"{head}Content-Length: 80000\r\n\r\n".encode(), half, half),
        (f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, chunk, b"0\r\n\r\n"),
    ):
        result = await send(target, *chunks)
        assert (result.statuses, result.closed) == ([413], True)
        assert json.loads(result.answers[-1].body)["code"] == "content_too_large"
    assert "Traceback" not in program.output()


DEEP = b'{"email": ' + b"[" * 32 + b"]" * 32 + b"}"
OVER_THE_LIMITS: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "a body of 64 KiB + 1": ("POST", LOGIN, {"content": b" " * (64 * 1024 + 1)}, 413, "content_too_large"),
    "a URL of 8 KiB + 1": ("GET", f"{MOVIES}?x=".ljust(8 * 1024 + 1, "a"), {}, 414, "uri_too_long"),
    "headers of 16 KiB": ("GET", MOVIES, {"headers": {"x": "a" * 16 * 1024}}, 431, "headers_too_large"),
    "101 headers": ("GET", MOVIES, {"headers": {f"x-{at}": "1" for at in range(101)}}, 431, "headers_too_large"),
    "JSON 33 deep": ("POST", LOGIN, {"content": DEEP}, 400, "invalid_body"),
    "a query of 201 characters": ("GET", f"{MOVIES}?query={'a' * 201}", {}, 400, "invalid_query"),
    "a limit of 101": ("GET", f"{MOVIES}?limit=101", {}, 400, "invalid_offset_or_limit"),
    "an offset of 10,001": ("GET", f"{MOVIES}?offset=10001", {}, 400, "invalid_offset_or_limit"),
}
"""Requests just over each limit, with their expected status and error code."""


def test_requests_just_over_a_limit_are_rejected_at_once(serve: Serve) -> None:
    """Within 20 ms of CPU time. The median counts, because the process does other work too."""
    program, api = serve(MOVIE_LIMIT_LOGIN="off")
    for name, (method, path, sent, status, code) in OVER_THE_LIMITS.items():
        costs = []
        for _ in range(10):
            before = processor_seconds([program.process.pid])
            headers = {"content-type": "application/json"} | sent.get("headers", {})
            response = api.request(method, path, **sent | {"headers": headers})
            assert (response.status_code, response.json()["code"]) == (status, code), name
            costs.append(processor_seconds([program.process.pid]) - before)
        assert statistics.median(costs) <= 0.02, name


async def test_request_smuggling_is_rejected(serve: Serve) -> None:
    program, api = serve(MOVIE_LIMIT_LOGIN="off", MOVIE_LOG_FORMAT="json")
    statuses = await answers_to_odd_requests(Target.parse(str(api.base_url)))
    assert set(statuses) == {400, 501}, statuses  # 501: a coding after `chunked`, before a length that was not read
    assert statuses.total() >= 249  # one chunk declares more bytes than are sent
    output = program.output()
    assert "Traceback" not in output
    assert f'"{ODD}"' in output
    assert SMUGGLED not in output


CODINGS = {
    "gzip": 501,
    "identity": 501,
    "xchunked": 501,
    "chunked, chunked": 501,
    "gzip, chunked": 501,
    "chunked;a=b": 501,
    '"chunked"': 501,
    "chunked\r\nTransfer-Encoding: chunked": 501,
    "chunked\r\nTransfer-Encoding: identity": 501,
    "gzip\r\nTransfer-Encoding: chunked": 501,
    "chunked\r\nContent-Length: 5": 400,
    "gzip\r\nContent-Length: 5": 400,
    "\x0bchunked": 400,  # not a valid header line
}
"""Values of `Transfer-Encoding`, some with another header line, and the status of the response."""


async def test_only_chunked_is_a_supported_transfer_coding(serve: Serve) -> None:
    program, api = serve(MOVIE_LIMIT_LOGIN="off", MOVIE_LOG_FORMAT="json")
    target = Target.parse(str(api.base_url))
    head = f"POST {LOGIN} HTTP/1.1\r\nHost: {target.authority}\r\nContent-Type: application/json\r\n"
    next_request = f"GET /health/live HTTP/1.1\r\nHost: {target.authority}\r\n\r\n"
    for coding, status in CODINGS.items():
        data = f"{head}Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n{next_request}".encode()
        result = await send(target, data)
        assert (result.statuses, result.closed) == ([status], True), coding
        code = json.loads(result.answers[0].body)["code"]
        assert code == ("unsupported_transfer_encoding" if status == 501 else "bad_request"), coding
    for coding in ("chunked", "CHUNKED"):
        result = await send(target, f"{head}Transfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
        assert json.loads(result.answers[0].body)["code"] == "invalid_body", coding
    assert "Traceback" not in program.output()


def workers_of(program: Program) -> list[int]:
    """The process ids of the workers."""
    children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_restarting_two_workers_under_load_loses_no_request(serve: Serve, redis_url: str) -> None:
    program, api = serve("--workers", "2", MOVIE_REDIS_URL=redis_url, MOVIE_LIMIT_SEARCH="off")
    target = Target.parse(str(api.base_url))

    async def restart_workers() -> None:
        async with httpx.AsyncClient(base_url=api.base_url, timeout=PATIENCE, trust_env=False) as client:
            for worker in workers_of(program):
                os.kill(worker, signal.SIGTERM)

                async def is_replaced(worker: int = worker) -> bool:
                    metrics = (await client.get("/metrics")).text
                    return (
                        len(serving := set(re.findall(r'process="(\d+)"', metrics))) == 2 and str(worker) not in serving
                    )

                await eventually(is_replaced)

    path = f"{MOVIES}?query=casablanca"
    restarting, loads = asyncio.create_task(restart_workers()), list[Load]()
    while not restarting.done():
        loads += await asyncio.gather(*(steady(target, rate=20, seconds=1, path=path) for _ in range(3)))
    await restarting
    assert {(load.ok, load.failed, load.refused) for load in loads} == {(20, 0, 0)}
    assert program.stop() == 0
    assert len(re.findall(rf"^\S+ INFO    GET {MOVIES} 200 \S+ ms$", program.output(), re.MULTILINE)) == 20 * len(loads)


async def test_shutdown_under_load_loses_no_request(serve: Serve) -> None:
    """Later connections are refused, so that clients go to another process."""
    program, api = serve(MOVIE_LIMIT_SEARCH="off")
    load = await stop_under_load(Target.parse(str(api.base_url)), program.process.pid, rate=100, seconds=3)
    assert load.failed == 0, str(load)
    assert load.refused > 0
    assert program.stop() == 0


def pause_redis(url: str) -> None:
    with Redis.from_url(url) as client:
        client.execute_command("CLIENT", "PAUSE", "30000", "ALL")


@pytest.mark.parametrize("part", ["redis", "frozen redis", "database"])
def test_search_continues_while_a_dependency_is_unavailable(
    start: Start, serve: Serve, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEST_DATABASE_URL", "TEST_REDIS_URL"):  # other tests may use these servers
        monkeypatch.delenv(name, raising=False)
    _, source_url = third_party(start, "--fail-rate", "0", "--latency-ms", "5")
    with contextlib.ExitStack() as servers:
        if part == "database":
            url = servers.enter_context(postgres_server())
            _, api = serve(MOVIE_DATABASE_URL=url, MOVIE_SOURCE_URL=source_url)
        else:
            url = servers.enter_context(redis_server())
            _, api = serve(MOVIE_REDIS_URL=url, MOVIE_SOURCE_URL=source_url)
        assert api.get("/health/ready").json()["status"] == "ready"
        if part == "frozen redis":
            pause_redis(url)
        else:
            servers.close()
        wait_until(lambda: api.get("/health/ready").json()["status"] != "ready")
        ready = api.get("/health/ready")
        name = part.rpartition(" ")[2]
        assert (ready.status_code, ready.json()["status"], ready.json()[name]["status"]) == (200, "degraded", "down")
        assert api.get("/health/live").status_code == 200
        assert api.get(MOVIES, params={"query": "casablanca"}).status_code == 200
