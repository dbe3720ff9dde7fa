"""A stand-in for the original's third party: it searches a list of movies, and fails as it does, or worse.

`GET /movies/?skip=&limit=&query=` answers as the original's endpoint; `KINDS` names every way in which it can go wrong.
While it runs, `POST /_control` changes how it behaves (a JSON object with fields of `Behaviour`, and `refuse_seconds`),
`GET /_calls` tells what it was asked, and `DELETE /_calls` forgets that; these paths answer loopback addresses alone.
"""

import asyncio
import contextlib
import functools
import gzip
import ipaddress
import json
import random
import signal
import socket
import struct
import sys
import time
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from movie_core.search.movies import Movie

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "ok": "a good answer",
        "400": "that status, and so for every number from 200 to 599",
        "hang": "takes the request and never answers",
        "drip": "the body of a good answer, a byte a second",
        "drip_head": "the head of a good answer, a byte a second",
        "close": "closes the connection without an answer",
        "reset": "resets the connection without an answer",
        "reset_body": "resets the connection in the middle of the body",
        "redirect": "status 302 to `location`",
        "html": "status 200 with a page",
        "cut_json": "half of the JSON",
        "short_body": "less than Content-Length says, then closes",
        "long_body": "more than Content-Length says",
        "cut_chunks": "chunked, without the last chunk",
        "bad_chunks": "chunked, with a size that is no number",
        "huge": "200 MB",
        "gzip": "a good answer, compressed",
        "gzip_bomb": "1 MB that expand to 1 GB",
        "cut_gzip": "half of a compressed answer",
        "endless_head": "headers without end",
        "latin1": "titles in ISO 8859-1, said to be UTF-8",
        "utf16": "JSON in UTF-16",
        "bom": "a good answer behind a byte order mark",
        "deep": "100 brackets inside each other",
        "very_deep": "100,000 brackets inside each other",
        "nan": "a total that is NaN",
        "list": "the items alone",
        "null": "null",
        "no_total": "no total",
        "null_total": "a total that is null",
        "negative_total": "a total of -1",
        "string_total": "a total in quotes",
        "float_total": "a total with a decimal point",
        "bool_total": "a total that is true",
        "huge_total": "a total with 30 digits",
        "zero_total": "a total of 0 beside items",
        "no_items": "no items",
        "object_items": "items that are an object",
        "empty_items": "a total without items",
        "unusable_items": "a total beside items of which none has an id and a title",
        "error": "an error beside items",
        "odd_items": "items without id or title, of odd types, and repeated, before the good ones",
        "many_items": "more items than asked for",
        "odd_titles": "control characters, markup and half a surrogate pair in titles",
        "huge_number": "a popularity of 1e999",
    }
)
MAX_SCRIPT = 10_000
"""Entries of a script."""
REMEMBERED = 1_000
"""Calls that `/_calls` lists; counts go on."""

_BODY = "body:"
_HUGE_BODY = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the stand-in behaves; a value out of bounds raises `ValueError`."""

    fail_rate: float = 0.3
    """Share of calls that fail, 0 to 1."""
    faults: tuple[str, ...] = tuple(str(status) for status in range(400, 410))
    """How they fail, each as probable as the others: names of `KINDS`, or `body:` and the text of a body."""
    latency_ms: float = 50.0
    """Milliseconds before each answer."""
    script: tuple[str, ...] = ()
    """What the next calls get, one entry each, before the rate counts again."""
    retry_after: str | None = None
    """Header of each status 429 and 503."""
    location: str = "http://127.0.0.1:9/"
    """Where `redirect` points."""
    seed: int | None = None
    """Of the randomness; None: another each time."""

    def __post_init__(self) -> None:
        if not 0 <= self.fail_rate <= 1:
            raise ValueError("fail_rate must lie between 0 and 1")
        if not 0 <= self.latency_ms <= 60_000:
            raise ValueError("latency_ms must lie between 0 and 60000")
        if not self.faults or len(self.script) > MAX_SCRIPT:
            raise ValueError(f"there must be a fault, and at most {MAX_SCRIPT} entries in script")
        for kind in (*self.faults, *self.script):
            if not is_kind(kind):
                raise ValueError(f"{kind[:40]!r} is no kind of answer: {', '.join(KINDS)}, body:…")
        if "\n" in f"{self.location}{self.retry_after}":
            raise ValueError("headers have one line")

    def changed(self, changes: Mapping[str, Any]) -> "Behaviour":
        """With the fields that a JSON object names; raises `ValueError`."""
        known = {field.name for field in fields(self)}
        if not changes.keys() <= known:
            raise ValueError(f"fields are {', '.join(sorted(known))} and refuse_seconds")
        return msgspec.convert({**asdict(self), **changes}, Behaviour)


def is_kind(name: object) -> bool:
    """Whether an answer of that name can be given."""
    if not isinstance(name, str):
        return False
    is_status = len(name) == 3 and name.isascii() and name.isdigit() and 200 <= int(name) <= 599
    return name in KINDS or is_status or name.startswith(_BODY)


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
        """The values of a query parameter."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True).get(name, [])


class Upstream:
    """The server. `start` and `stop` it, or use `running_upstream`; `behaviour` may be replaced at any time."""

    def __init__(self, movies: Iterable[Movie], behaviour: Behaviour | None = None) -> None:
        self._movies = [(movie.title.casefold(), _item(movie)) for movie in movies]
        self._matches = functools.lru_cache(maxsize=256)(self._find)
        self.behave(behaviour or Behaviour())
        self.calls: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        """The last searches: `at` (seconds, monotonic), `kind`, `target`, `skip`, `limit`, `query`."""
        self.counts: Counter[str] = Counter()
        """Searches by kind of answer."""
        self.connections = 0
        """Connections since it lives."""
        self.port = 0
        self._host = "127.0.0.1"
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any]] = set()
        self._returning: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._serving)

    @property
    def total_calls(self) -> int:
        """Searches since it lives, or since `forget`."""
        return self.counts.total()

    def behave(self, behaviour: Behaviour) -> None:
        """From the next call on."""
        self.behaviour = behaviour
        self._random = random.Random(behaviour.seed)
        self._script = deque(behaviour.script)

    def forget(self) -> None:
        self.calls.clear()
        self.counts.clear()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, and later starts keep it. Raises `OSError` when the address is taken."""
        self._server = await asyncio.start_server(self._serve, host, port or self.port, limit=1 << 16, backlog=1024)
        self._host, self.port = self._server.sockets[0].getsockname()[:2]

    async def refuse(self) -> None:
        """Stop listening and break what is open: connections are refused until `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        serving = self._serving - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def stop(self) -> None:
        if self._returning is not None:
            self._returning.cancel()
        await self.refuse()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (asyncio runs this in a task)
        self._serving.add(task)
        self.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                is_search = request.method == "GET" and request.path.rstrip("/").endswith("/movies")
                stays = await (self._search if is_search else self._operate)(request, reader, writer)
                if not stays:
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass  # the client left, talks something else than HTTP, or the server ends
        finally:
            self._serving.discard(task)
            writer.close()

    async def _operate(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        peer = ipaddress.ip_address(writer.get_extra_info("peername")[0].partition("%")[0])
        match request.method, request.path:
            case _ if not (peer.is_loopback and request.path in {"/_control", "/_calls"}):
                status, answer = 404, {"detail": "Not Found"}
            case "POST", "/_control":
                status, answer = self._control(request.body)
            case "GET", "/_control":
                status, answer = 200, asdict(self.behaviour)
            case "GET", "/_calls":
                status, answer = 200, self._report()
            case "DELETE", "/_calls":
                self.forget()
                status, answer = 200, self._report()
            case _:
                status, answer = 405, {"detail": "Method Not Allowed"}
        writer.write(_message(status, json.dumps(answer).encode()))
        await writer.drain()
        return self._server is not None

    def _control(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            changes = msgspec.json.decode(body, type=dict[str, Any])
            seconds = msgspec.convert(changes.pop("refuse_seconds", 0), float)
            self.behave(self.behaviour.changed(changes))
        except (ValueError, RecursionError) as error:
            return 400, {"detail": str(error)}
        if 0 < seconds <= 3600:
            self._returning = asyncio.get_running_loop().create_task(self._refuse_for(seconds))
        return 200, asdict(self.behaviour)

    async def _refuse_for(self, seconds: float) -> None:
        await asyncio.sleep(0.05)  # lets the answer to who asked for it leave
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
        """Answer one search; whether the connection stays usable."""
        kind = self._next_kind()
        values = {name: request.values(name) for name in ("skip", "limit", "query")}
        self.counts["body" if kind.startswith(_BODY) else kind] += 1
        self.calls.append({"at": time.monotonic(), "kind": kind[:40], "target": request.target, **values})
        if self.behaviour.latency_ms:
            await asyncio.sleep(self.behaviour.latency_ms / 1000)
        if kind.isdigit() and kind != "200":
            wait = self.behaviour.retry_after if kind in {"429", "503"} else None
            extra = "" if wait is None else f"Retry-After: {wait}\r\n"
            body = b"" if kind in {"204", "304"} else b'{"detail": "made to fail"}'
            writer.write(_message(int(kind), body, extra=extra))
            await writer.drain()
            return True
        try:
            page = self._page(values)
        except ValueError:
            writer.write(_message(422, b'{"detail": "skip and limit are whole numbers"}'))
            await writer.drain()
            return True
        return await _give(kind, page, self.behaviour, reader, writer)

    def _next_kind(self) -> str:
        if self._script:
            return self._script.popleft()
        fails = self._random.random() < self.behaviour.fail_rate
        return self._random.choice(self.behaviour.faults) if fails else "ok"

    def _page(self, values: Mapping[str, list[str]]) -> dict[str, Any]:
        skip, limit = (int(values[name][0]) if values[name] else other for name, other in (("skip", 0), ("limit", 10)))
        found = self._matches("".join(values["query"][:1]).casefold())
        return {"items": found[max(0, skip) :][: max(0, limit)], "total": len(found)}

    def _find(self, text: str) -> list[dict[str, Any]]:
        return [item for title, item in self._movies if text in title]


def _item(movie: Movie) -> dict[str, Any]:
    is_number = movie.id.isascii() and movie.id.isdigit() and movie.id == str(int(movie.id))
    return {"id": int(movie.id) if is_number else movie.id, "title": movie.title}


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= 1 << 20:
        raise ValueError("a request body has at most 1 MiB")
    return Request(method, target, headers, await reader.readexactly(length))


def _message(status: int, body: bytes, *, extra: str = "", type_: str = "application/json") -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    length = "" if status in {204, 304} else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {type_}\r\n{length}{extra}\r\n".encode("latin-1") + body


async def _give(
    kind: str,
    page: dict[str, Any],
    behaviour: Behaviour,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Send an answer of that kind; whether the connection stays usable."""
    good = _message(200, json.dumps(page).encode())
    match kind:
        case "ok" | "200":
            writer.write(good)
        case "hang":
            await reader.read(1)  # ends when the client leaves
            return False
        case "drip" | "drip_head":
            quick = 0 if kind == "drip_head" else good.index(b"\r\n\r\n") + 4
            writer.write(good[:quick])
            for place in range(quick, len(good)):
                writer.write(good[place : place + 1])
                await writer.drain()
                if await _has_left(reader, within=1):
                    return False
        case "close":
            return False
        case "reset" | "reset_body":
            if kind == "reset_body":
                writer.write(good[: good.index(b"\r\n\r\n") + 10])
                await writer.drain()
                await asyncio.sleep(0.01)  # a reset overtakes what lies in the client's buffer
            _reset(writer)
            return False
        case "redirect":
            writer.write(_message(302, b"", extra=f"Location: {behaviour.location}\r\n"))
        case "html":
            writer.write(_message(200, b"<!doctype html><title>Sign in</title>", type_="text/html"))
        case "huge":
            writer.write(_head(f"Content-Length: {_HUGE_BODY}"))
            piece = b'{"items": [' + b" " * 65_525
            for _ in range(_HUGE_BODY // len(piece)):
                writer.write(piece)
                await writer.drain()
            return False
        case "gzip_bomb":
            writer.write(_head("Content-Encoding: gzip", "Connection: close"))
            for piece in _bomb():
                writer.write(piece)
                await writer.drain()
            return False
        case "endless_head":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(10_000_000):
                writer.write(f"X-Header-{number}: {'x' * 1000}\r\n".encode())
                await writer.drain()
            return False
        case _:
            stays, message = _odd(kind, page)
            writer.write(message)
            await writer.drain()
            return stays
    await writer.drain()
    return True


def _odd(kind: str, page: dict[str, Any]) -> tuple[bool, bytes]:
    """An odd answer that is sent as a whole, and whether the connection stays usable after it."""
    body = json.dumps(page).encode()
    half = body[: len(body) // 2]
    match kind:
        case "cut_json":
            return True, _message(200, half)
        case "short_body":
            return False, _head(f"Content-Length: {len(body)}") + half
        case "long_body":
            return False, _head(f"Content-Length: {len(half)}") + body
        case "cut_chunks":
            return False, _head("Transfer-Encoding: chunked") + f"{len(body):x}\r\n".encode() + body + b"\r\n"
        case "bad_chunks":
            return False, _head("Transfer-Encoding: chunked") + b"many\r\n" + body + b"\r\n0\r\n\r\n"
        case "gzip":
            return True, _message(200, gzip.compress(body), extra="Content-Encoding: gzip\r\n")
        case "cut_gzip":
            packed = gzip.compress(body)
            return True, _message(200, packed[: len(packed) // 2], extra="Content-Encoding: gzip\r\n")
        case "latin1":
            page = {**page, "items": [{"id": 1, "title": "Amélie"}], "total": 1}
            body = json.dumps(page, ensure_ascii=False).encode("latin-1")
            return True, _message(200, body, type_="application/json; charset=utf-8")
        case "utf16":
            return True, _message(200, body.decode().encode("utf-16"), type_="application/json; charset=utf-16")
        case "bom":
            return True, _message(200, b"\xef\xbb\xbf" + body)
        case "deep" | "very_deep":
            depth = 100 if kind == "deep" else 100_000
            return True, _message(200, b'{"total": 1, "items": ' + b"[" * depth + b"]" * depth + b"}")
        case "huge_number":
            body = b'{"total": 1, "items": [{"id": 1, "title": "Much", "popularity": 1e999}]}'
            return True, _message(200, body)
        case _ if kind.startswith(_BODY):
            # Surrogate escapes let a test send any bytes.
            return True, _message(200, kind.removeprefix(_BODY).encode("utf-8", "surrogateescape"))
        case _:
            return True, _message(200, json.dumps(_odd_shape(kind, page)).encode())


def _odd_shape(kind: str, page: dict[str, Any]) -> Any:
    items = page["items"] or [{"id": 1, "title": "Alone"}]
    totals = {
        "nan": float("nan"),
        "null_total": None,
        "negative_total": -1,
        "string_total": str(page["total"]),
        "float_total": page["total"] + 0.5,
        "bool_total": True,
        "huge_total": 10**30,
        "zero_total": 0,
    }
    shapes: dict[str, Any] = {
        "list": items,
        "null": None,
        "no_total": {"items": items},
        "no_items": {"total": 10},
        "object_items": {"items": {"0": items[0]}, "total": 10},
        "empty_items": {"items": [], "total": 100_000},
        "unusable_items": {"items": [{}, {"id": 1}, {"title": "No id"}, {"id": None, "title": None}], "total": 100_000},
        "error": {"items": items, "total": len(items), "error": "the index is being built"},
        "odd_items": {**page, "items": [*_ODD_ITEMS, *items, *items]},
        "many_items": {**page, "items": items * 500},
        "odd_titles": {"items": _ODD_TITLES, "total": len(_ODD_TITLES)},
    }
    return {"items": items, "total": totals[kind]} if kind in totals else shapes[kind]


_ODD_ITEMS: list[Any] = [
    *(None, 7, "title", [], {}, {"id": 1}, {"title": "No id"}, {"id": None, "title": "Null id"}),
    *({"id": True, "title": "A bool"}, {"id": 1.5, "title": "A float"}, {"id": "", "title": "An empty id"}),
    *({"id": "x" * 5000, "title": "A long id"}, {"id": "a\nb", "title": "An id of two lines"}),
    *({"id": 1, "title": None}, {"id": 2, "title": 5}, {"id": 3, "title": ""}, {"id": 4, "title": " \t\r\n\0 "}),
]
_ODD_TITLES = [
    {"id": 1, "title": "<script>alert(1)</script>"},
    {"id": 2, "title": "Two\r\nLines: yes"},
    {"id": 3, "title": "gnp.\u202eexe"},
    {"id": 4, "title": "N\0UL and \x1b[31mred"},
    {"id": 5, "title": "Half \ud83c a pair"},
    {"id": 6, "title": "Para\u2028graph"},
]


def _head(*headers: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", "Content-Type: application/json", *headers, "\r\n")).encode("latin-1")


def _bomb() -> Iterable[bytes]:
    """1 GB of zeros in 1 MB of gzip, made of one block that repeats; its checksum is wrong, but who would get there?"""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    for _ in range(64):
        yield block * 16
    yield packer.flush() + bytes(8)


async def _has_left(reader: asyncio.StreamReader, within: float) -> bool:
    """Whether the client says or closes something within so many seconds; waits for them otherwise."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await reader.read(1)
            return True
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    # Lingering for 0 seconds makes the close a reset.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def running_upstream(
    movies: Iterable[Movie] = (), behaviour: Behaviour | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Upstream]:
    """A started `Upstream`, in this event loop, stopped at the end."""
    upstream = Upstream(movies, behaviour)
    await upstream.start(host, port)
    try:
        yield upstream
    finally:
        await upstream.stop()


async def serve_upstream(
    movies: Iterable[Movie],
    behaviour: Behaviour | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 9000,
    announce: Callable[[str], object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets one line with the address. `OSError`: the address is taken."""
    announce = announce or (lambda line: print(line, file=sys.stdout, flush=True))  # noqa: T201
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running_upstream(movies, behaviour, host=host, port=port) as upstream:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        now = upstream.behaviour
        announce(f"{upstream.url}/ answers GET /movies/, fails {now.fail_rate:.0%}, waits {now.latency_ms:g} ms")
        try:
            await ending.wait()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
