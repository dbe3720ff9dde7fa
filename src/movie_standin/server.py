"""An HTTP server that stands in for the third party: it searches a list of movies and injects faults.

`GET /movies/?skip=&limit=&query=` responds like the original's endpoint; `faults.RESPONSE_KINDS` lists the faults.
At run time, `POST /_control` changes the behaviour (a JSON object with fields of `Behaviour`, and `refuse_seconds`),
`GET /_calls` returns the recorded calls and `DELETE /_calls` clears them. These paths serve loopback addresses only.
"""

import asyncio
import contextlib
import functools
import ipaddress
import json
import random
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from movie_core.search.movies import Movie
from movie_standin.faults import BODY_PREFIX, Behaviour, http_response, send_response

DEFAULTS = {"skip": 0, "limit": 10}
MAX_RECORDED_CALLS = 1_000
"""Calls listed by `/_calls`; the counts have no limit."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def values(self, name: str) -> list[str]:
        """Returns all values of a query parameter."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True).get(name, [])


class StandInServer:
    """The HTTP server. Use `start` and `stop`, or `running_standin`; `behave` replaces the behaviour at any time."""

    def __init__(self, movies: Iterable[Movie], behaviour: Behaviour | None = None) -> None:
        self._movies = [(movie.title.casefold(), _item(movie)) for movie in movies]
        self._matches = functools.lru_cache(maxsize=256)(self._find)
        self.behave(behaviour or Behaviour())
        self.calls: deque[dict[str, Any]] = deque(maxlen=MAX_RECORDED_CALLS)
        """The latest searches: `at` (monotonic seconds), `kind`, `target`, `skip`, `limit`, `query`."""
        self.counts: Counter[str] = Counter()
        """Number of searches by kind of response."""
        self.connections = 0
        """Connections accepted since the server was created."""
        self.port = 0
        self._host = "127.0.0.1"
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()
        self._restart: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    @property
    def total_calls(self) -> int:
        """Searches since the server was created, or since `forget`."""
        return self.counts.total()

    def behave(self, behaviour: Behaviour) -> None:
        """Applies a behaviour from the next call on."""
        self.behaviour = behaviour
        self._random = random.Random(behaviour.seed)
        self._script = deque(behaviour.script)

    def forget(self) -> None:
        """Clears the recorded calls and the counts."""
        self.calls.clear()
        self.counts.clear()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Starts listening; port 0 selects a free one, which later starts reuse.

        Raises `OSError` if the address is in use.
        """
        self._server = await asyncio.start_server(self._serve, host, port or self.port, limit=1 << 16, backlog=1024)
        self._host, self.port = self._server.sockets[0].getsockname()[:2]

    async def refuse(self) -> None:
        """Stops listening and aborts open connections: connections are refused until `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        connections = self._connections - {asyncio.current_task()}
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def stop(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
        await self.refuse()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (asyncio runs this in a task)
        self._connections.add(task)
        self.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                is_search = request.method == "GET" and request.path.rstrip("/").endswith("/movies")
                is_usable = await (self._search if is_search else self._control)(request, reader, writer)
                if not is_usable:
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass  # the client disconnected or does not speak HTTP, or the server stops
        finally:
            self._connections.discard(task)
            writer.close()

    async def _control(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        peer = ipaddress.ip_address(writer.get_extra_info("peername")[0].partition("%")[0])
        match request.method, request.path:
            case _ if not (peer.is_loopback and request.path in {"/_control", "/_calls"}):
                status, response = 404, {"detail": "Not Found"}
            case "POST", "/_control":
                status, response = self._change_behaviour(request.body)
            case "GET", "/_control":
                status, response = 200, asdict(self.behaviour)
            case "GET", "/_calls":
                status, response = 200, self._report()
            case "DELETE", "/_calls":
                self.forget()
                status, response = 200, self._report()
            case _:
                status, response = 405, {"detail": "Method Not Allowed"}
        writer.write(http_response(status, json.dumps(response).encode()))
        await writer.drain()
        return self._server is not None

    def _change_behaviour(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            changes = msgspec.json.decode(body, type=dict[str, Any])
            seconds = msgspec.convert(changes.pop("refuse_seconds", 0), float)
            self.behave(self.behaviour.changed(changes))
        except (ValueError, RecursionError) as error:
            return 400, {"detail": str(error)}
        if 0 < seconds <= 3600:
            self._restart = asyncio.get_running_loop().create_task(self._refuse_for(seconds))
        return 200, asdict(self.behaviour)

    async def _refuse_for(self, seconds: float) -> None:
        await asyncio.sleep(0.05)  # allows the response to this request to be sent
        await self.refuse()
        await asyncio.sleep(seconds)
        await self.start(self._host, self.port)

    def _report(self) -> dict[str, Any]:
        return {
            "total": self.total_calls,
            "counts": dict(self.counts),
            "connections": self.connections,
            "open_connections": self.open_connections,
            "calls": list(self.calls),
        }

    async def _search(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Responds to one search. Returns whether the connection remains usable."""
        kind = self._next_kind()
        values = {name: request.values(name) for name in ("skip", "limit", "query")}
        self.counts["body" if kind.startswith(BODY_PREFIX) else kind] += 1
        self.calls.append({"at": time.monotonic(), "kind": kind[:40], "target": request.target, **values})
        if self.behaviour.latency_ms:
            await asyncio.sleep(self.behaviour.latency_ms / 1000)
        if kind.isdigit() and kind != "200":
            wait = self.behaviour.retry_after if kind in {"429", "503"} else None
            extra = "" if wait is None else f"Retry-After: {wait}\r\n"
            body = b"" if kind in {"204", "304"} else b'{"detail": "made to fail"}'
            writer.write(http_response(int(kind), body, extra=extra))
            await writer.drain()
            return True
        try:
            page = self._page(values)
        except ValueError:
            writer.write(http_response(422, b'{"detail": "skip and limit must be integers"}'))
            await writer.drain()
            return True
        return await send_response(kind, page, self.behaviour, reader, writer)

    def _next_kind(self) -> str:
        if self._script:
            return self._script.popleft()
        fails = self._random.random() < self.behaviour.fail_rate
        return self._random.choice(self.behaviour.faults) if fails else "ok"

    def _page(self, values: Mapping[str, list[str]]) -> dict[str, Any]:
        skip, limit = (int(values[name][0]) if values[name] else default for name, default in DEFAULTS.items())
        matches = self._matches("".join(values["query"][:1]).casefold())
        return {"items": matches[max(0, skip) :][: max(0, limit)], "total": len(matches)}

    def _find(self, query: str) -> list[dict[str, Any]]:
        return [item for title, item in self._movies if query in title]


def _item(movie: Movie) -> dict[str, Any]:
    is_number = movie.id.isascii() and movie.id.isdigit() and movie.id == str(int(movie.id))
    return {"id": int(movie.id) if is_number else movie.id, "title": movie.title}


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """Returns the next request of a connection; None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= 1 << 20:
        raise ValueError("a request body is limited to 1 MiB")
    return Request(method, target, headers, await reader.readexactly(length))


@contextlib.asynccontextmanager
async def running_standin(
    movies: Iterable[Movie] = (), behaviour: Behaviour | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[StandInServer]:
    """Runs a `StandInServer` in this event loop and stops it at the end."""
    server = StandInServer(movies, behaviour)
    await server.start(host, port)
    try:
        yield server
    finally:
        await server.stop()


async def serve_standin(
    movies: Iterable[Movie],
    behaviour: Behaviour | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 9000,
    announce: Callable[[str], object] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT. `announce` receives one line with the address.

    Raises `OSError` if the address is in use.
    """
    announce = announce or (lambda line: print(line, file=sys.stdout, flush=True))  # noqa: T201
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running_standin(movies, behaviour, host=host, port=port) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        current = server.behaviour
        announce(
            f"{server.url}/ serves GET /movies/ with a fail rate of {current.fail_rate:.0%} "
            f"and a latency of {current.latency_ms:g} ms"
        )
        try:
            await stop.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
