"""Robustness checks of a running HTTP server: broken framing, stalled clients, limits, pipelining.

    python bench/http_server.py http://127.0.0.1:8000
    python bench/http_server.py http://127.0.0.1:8000 --only framing,limits
    python bench/http_server.py http://127.0.0.1:8000 --only stop --stop PID

All requests are sent over raw sockets, so no client library corrects them. Only loopback addresses are accepted, and
counts and times are bounded. Tests import these names: `FRAMING`, `HOSTS`, `LIMITS` and `ODD` are lists of `Case`,
`run_case` evaluates one of them, `send` is one raw exchange, `stall` opens many incomplete connections, `pipeline`
checks the order of pipelined responses, and `steady` is a well-behaved client at a fixed rate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

GET_PATH: Final = "/health/live"
PAGE_PATH: Final = "/"
POST_PATH: Final = "/api/v1/authentication/login/"
MAX_STALLED: Final = 2000
MAX_RATE: Final = 1000
MAX_SECONDS: Final = 120.0

Status = frozenset[int]
Stall = Literal["header", "header-drip", "body", "body-drip", "idle", "silent", "reader"]

BAD_REQUEST: Final[Status] = frozenset({400})
NOT_IMPLEMENTED: Final[Status] = frozenset({501})
ANY_4XX: Final[Status] = frozenset(range(400, 500))


@dataclass(frozen=True)
class Target:
    """Address of the server, and a path for each kind of request."""

    host: str
    port: int
    get_path: str = GET_PATH
    post_path: str = POST_PATH
    page_path: str = PAGE_PATH
    """Where an unknown host is refused; probes are often answered whatever they call the server."""

    @property
    def authority(self) -> str:
        """The value of a valid Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(
        cls, url: str, *, get_path: str = GET_PATH, post_path: str = POST_PATH, page_path: str = PAGE_PATH
    ) -> Target:
        """Parses `http://host:port`; only loopback addresses are accepted."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"need http://host:port, got {url!r}")
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(f"only loopback addresses are tested, not {parts.hostname}")
        return cls(host, parts.port or 80, get_path, post_path, page_path)


@dataclass(frozen=True)
class Answer:
    """A raw response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class Exchange:
    """The responses received on one connection."""

    answers: list[Answer] = field(default_factory=list)
    closed: bool = False
    """The server ended the connection (FIN or reset) before we did."""
    reset: bool = False
    leftover: bytes = b""
    """Bytes that do not form a complete response."""
    seconds: float = 0.0

    @property
    def statuses(self) -> list[int]:
        """The final status codes, without interim responses."""
        return [answer.status for answer in self.answers if answer.status >= 200]

    def __str__(self) -> str:
        end = "reset" if self.reset else "closed" if self.closed else "open"
        shown = "+".join(map(str, self.statuses)) or "no answer"
        return f"{shown}, {end}" + (f", {len(self.leftover)} bytes over" if self.leftover else "")


def parse_answers(data: bytes, *, heads: int = 0, at_end: bool = False) -> tuple[list[Answer], bytes]:
    """Splits a byte stream into responses; returns them and the remaining bytes.

    The first `heads` responses belong to HEAD requests and have no body. With `at_end`, the connection has ended, so a
    response without a length is complete.
    """
    answers: list[Answer] = []
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        first = lines[0].split(b" ", 2)
        if not found or len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
            break
        status = int(first[1])
        pairs = (line.partition(b":") for line in lines[1:])
        headers = tuple((k.decode("latin-1").lower(), v.strip().decode("latin-1")) for k, _, v in pairs)
        fields = dict(headers)
        final = sum(answer.status >= 200 for answer in answers)
        if status < 200 or status in {204, 304} or final < heads:
            body = b""
        elif "chunked" in fields.get("transfer-encoding", "").lower():
            parts: list[bytes] = []
            whole = False
            while not whole:
                size, mark, tail = rest.partition(b"\r\n")
                try:
                    length = int(size.split(b";")[0], 16)
                except ValueError:
                    break
                if not mark or len(tail) < length + 2:
                    break
                parts.append(tail[:length])
                rest = tail[length + 2 :]
                whole = length == 0
            if not whole:
                break
            body = b"".join(parts)
        elif "content-length" in fields:
            length = int(fields["content-length"])
            if len(rest) < length:
                break
            body, rest = rest[:length], rest[length:]
        elif at_end:
            body, rest = rest, b""
        else:
            break
        answers.append(Answer(status, headers, body))
        data = rest
    return answers, data


async def send(
    target: Target,
    *chunks: bytes,
    wait: float = 2.0,
    pause: float = 0.05,
    half_close: bool = False,
    heads: int = 0,
    until: int | None = None,
) -> Exchange:
    """Sends bytes on a new connection and reads until the server closes it or sends nothing for `wait` seconds.

    `pause` is the delay between chunks, `half_close` closes the sending side after the last one, and `until` stops
    after so many final responses (the connection then counts as open).
    """
    exchange = Exchange()
    started = time.perf_counter()
    reader, writer = await asyncio.wait_for(asyncio.open_connection(target.host, target.port), 5)
    data = bytearray()

    async def write() -> None:
        for number, chunk in enumerate(chunks):
            if number:
                await asyncio.sleep(pause)
            writer.write(chunk)
            await writer.drain()
        if half_close:
            writer.write_eof()

    writing = asyncio.create_task(write())
    try:
        while True:
            got = await asyncio.wait_for(reader.read(65536), wait)
            if not got:
                exchange.closed = True
                break
            data += got
            if until is not None:
                seen, _ = parse_answers(bytes(data), heads=heads)
                if sum(answer.status >= 200 for answer in seen) >= until:
                    break
    except TimeoutError:
        pass
    except OSError:
        exchange.closed = exchange.reset = True
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await writing
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    exchange.seconds = time.perf_counter() - started
    exchange.answers, exchange.leftover = parse_answers(bytes(data), heads=heads, at_end=exchange.closed)
    return exchange


@dataclass(frozen=True)
class Case:
    """A raw request and its acceptable responses.

    `{host}`, `{get}`, `{post}` and `{page}` in `data` are filled in from the target.
    """

    group: str
    name: str
    data: bytes
    want: Status = BAD_REQUEST
    closes: bool = True
    """The connection must end after the answer."""
    silent_close: bool = True
    """Closing without a response is acceptable."""
    problem: bool = False
    """The answer must be application/problem+json."""
    then: bytes = b""
    """A second request sent immediately after; if it is answered too, client and server disagree on the framing."""
    heads: int = 0
    half_close: bool = False

    def filled(self, data: bytes, target: Target) -> bytes:
        """The raw bytes of the request."""
        paths = {"get": target.get_path, "post": target.post_path, "page": target.page_path, "host": target.authority}
        for mark, value in paths.items():
            data = data.replace(b"{%s}" % mark.encode(), value.encode())
        return data


@dataclass(frozen=True)
class Verdict:
    """The result of a case."""

    group: str
    name: str
    ok: bool
    got: str


SMUGGLED: Final = b"GET {get} HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: smuggled\r\n\r\n"
POST: Final = b"POST {post} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
GET: Final = b"GET {get} HTTP/1.1\r\nHost: {host}\r\n"


def _broken(name: str, data: bytes, then: bytes = SMUGGLED, want: Status = BAD_REQUEST) -> Case:
    return Case("framing", name, data, want=want, then=then)


FRAMING: Final[list[Case]] = [
    _broken("content-length and chunked", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    _broken("chunked and content-length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    _broken(
        "chunked twice, two lines",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        want=NOT_IMPLEMENTED,
    ),
    _broken(
        "chunked twice, one line", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", want=NOT_IMPLEMENTED
    ),
    _broken(
        "chunked, then identity",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        want=NOT_IMPLEMENTED,
    ),
    _broken("transfer coding xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", want=NOT_IMPLEMENTED),
    _broken("transfer coding gzip alone", POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", want=NOT_IMPLEMENTED),
    _broken("chunked with vertical tab", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    _broken("two lengths that differ", POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    _broken("two lengths in one line", POST + b"Content-Length: 2, 3\r\n\r\n{}"),
    _broken("length +2", POST + b"Content-Length: +2\r\n\r\n{}"),
    _broken("length -1", POST + b"Content-Length: -1\r\n\r\n{}"),
    _broken("length 0x2", POST + b"Content-Length: 0x2\r\n\r\n{}"),
    _broken("length 2 a", POST + b"Content-Length: 2 a\r\n\r\n{}"),
    _broken("length of 30 digits", POST + b"Content-Length: 999999999999999999999999999999\r\n\r\n{}"),
    _broken("empty length", POST + b"Content-Length: \r\n\r\n{}"),
    _broken("folded header line", GET + b"X-A: one\r\n two\r\n\r\n"),
    _broken("folded transfer-encoding", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    _broken("blank before the colon", POST + b"Content-Length : 2\r\n\r\n{}"),
    _broken("blank before the first header", b"GET {get} HTTP/1.1\r\n Host: {host}\r\n\r\n"),
    _broken("header without a colon", GET + b"nonsense\r\n\r\n"),
    _broken("empty header name", GET + b": x\r\n\r\n"),
    _broken("NUL in a header", GET + b"X-A: a\x00b\r\n\r\n"),
    _broken("bare CR in a header", GET + b"X-A: a\rb\r\n\r\n"),
    _broken("bare LF ends a header line", POST + b"X-A: a\nContent-Length: 2\r\n\r\n{}"),
    _broken("bare LF everywhere", b"GET {get} HTTP/1.1\nHost: {host}\n\n"),
    _broken("chunk size overflows", POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n"),
    _broken(
        "chunk size of 40 digits",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 39 + b"2f" + b"f" * 20 + b"\r\n{}",
    ),
    _broken("chunk size 0x2", POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"),
    _broken("chunk size -2", POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
    _broken("chunk size +2", POST + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n"),
    _broken("chunk without its CRLF", POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n"),
    _broken("chunk longer than its size", POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx\r\n0\r\n\r\n"),
    _broken("bare LF after the chunk size", POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n"),
    _broken("bare LF in a chunk extension", POST + b"Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n"),
    _broken(
        "chunked in HTTP/1.0", b"POST {post} HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
]
"""Broken framing: one 4xx or 501 at most, the connection ends, and what follows is never answered."""


def _host(name: str, lines: bytes, want: Status = BAD_REQUEST) -> Case:
    return Case("hosts", name, b"GET {page} HTTP/1.1\r\n" + lines + b"\r\n", want=want, closes=False)


HOSTS: Final[list[Case]] = [
    _host("no Host", b""),
    _host("two Hosts", b"Host: {host}\r\nHost: {host}\r\n"),
    _host("two different Hosts", b"Host: {host}\r\nHost: evil.test\r\n"),
    _host("empty Host", b"Host: \r\n"),
    _host("Host with a path", b"Host: {host}/x\r\n"),
    _host("Host with user info", b"Host: user@{host}\r\n"),
    _host("Host with port 99999", b"Host: 127.0.0.1:99999\r\n"),
    _host("Host with a blank", b"Host: 127.0.0.1 evil.test\r\n"),
    _host("Host with a comma", b"Host: {host},evil.test\r\n"),
    _host("Host evil.test", b"Host: evil.test\r\n", frozenset({400, 421})),
]
"""Host headers that an application must not trust."""


def _limit(name: str, data: bytes, want: Status) -> Case:
    return Case("limits", name, data, want=want, closes=False, silent_close=False, problem=max(want) >= 400)


def _fields(count: int) -> bytes:
    return b"".join(b"X-%d: x\r\n" % number for number in range(count))


OK: Final[Status] = frozenset({200})
TOO_MANY: Final[Status] = frozenset({431})
TOO_LONG: Final[Status] = frozenset({414})


def _url(length: int) -> bytes:
    return b"GET {get}?" + b"a" * length + b" HTTP/1.1\r\nHost: {host}\r\n\r\n"


LIMITS: Final[list[Case]] = [
    _limit("one header of 15 KiB", GET + b"X-A: " + b"a" * (15 << 10) + b"\r\n\r\n", OK),
    _limit("one header of 16 KiB + 1", GET + b"X-A: " + b"a" * ((16 << 10) + 1) + b"\r\n\r\n", TOO_MANY),
    _limit("headers of 20 KiB", GET + b"X-A: " + b"a" * (20 << 10) + b"\r\n\r\n", TOO_MANY),
    _limit("headers of 64 KiB", GET + b"X-A: " + b"a" * (64 << 10) + b"\r\n\r\n", TOO_MANY),
    _limit("headers of 1 MiB", GET + b"X-A: " + b"a" * (1 << 20) + b"\r\n\r\n", TOO_MANY),
    _limit("100 headers", GET + _fields(99) + b"\r\n", OK),
    _limit("101 headers", GET + _fields(100) + b"\r\n", TOO_MANY),
    _limit("150 headers", GET + _fields(149) + b"\r\n", TOO_MANY),
    _limit("1000 headers", GET + _fields(999) + b"\r\n", TOO_MANY),
    _limit("URL of 8,000 bytes", _url(8000 - 64), OK),
    _limit("URL of 8 KiB + 1", _url((8 << 10) + 1), TOO_LONG),
    _limit("URL of 20 KiB", _url(20 << 10), TOO_LONG),
    _limit("URL of 66 KiB", _url(66 << 10), TOO_LONG),
]
"""Each limit, just inside and beyond; beyond it the answer has to be a problem document."""


def _odd(name: str, data: bytes, want: Status, *, heads: int = 0, half_close: bool = False) -> Case:
    return Case("odd", name, data, want=want, closes=False, heads=heads, half_close=half_close)


ODD: Final[list[Case]] = [
    _odd("half-close after the request", GET + b"\r\n", OK, half_close=True),
    _odd("HEAD has no body", b"HEAD {get} HTTP/1.1\r\nHost: {host}\r\n\r\n" + GET + b"\r\n", OK, heads=1),
    _odd("HTTP/1.0", b"GET {get} HTTP/1.0\r\nHost: {host}\r\n\r\n", OK),
    _odd("HTTP/1.2", b"GET {get} HTTP/1.2\r\nHost: {host}\r\n\r\n", OK | ANY_4XX | {505}),
    _odd("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ANY_4XX | {505}),
    _odd("HTTP/0.9", b"GET {get}\r\n\r\n", ANY_4XX),
    _odd("absolute-form target", b"GET http://{host}{get} HTTP/1.1\r\nHost: {host}\r\n\r\n", OK | BAD_REQUEST),
    _odd(
        "absolute-form, other host",
        b"GET http://evil.test{page} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        frozenset({400, 421}),
    ),
    _odd("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n", OK | ANY_4XX | {204}),
    _odd("TRACE", b"TRACE {get} HTTP/1.1\r\nHost: {host}\r\n\r\n", ANY_4XX | {501}),
    _odd("CONNECT", b"CONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test:80\r\n\r\n", ANY_4XX | {501}),
    _odd("unknown method", b"BREW {get} HTTP/1.1\r\nHost: {host}\r\n\r\n", ANY_4XX | {501}),
    _odd("lower-case method", b"get {get} HTTP/1.1\r\nHost: {host}\r\n\r\n", ANY_4XX | {501}),
    _odd(
        "bytes beyond ASCII in the target", b"GET {get}?q=\xe9\xff HTTP/1.1\r\nHost: {host}\r\n\r\n", OK | BAD_REQUEST
    ),
    _odd("broken percent-encoding", b"GET {get}%zz HTTP/1.1\r\nHost: {host}\r\n\r\n", ANY_4XX),
    _odd("path of bytes that are not UTF-8", b"GET /%ff%fe HTTP/1.1\r\nHost: {host}\r\n\r\n", ANY_4XX),
    _odd("NUL in the path", b"GET /%00 HTTP/1.1\r\nHost: {host}\r\n\r\n", ANY_4XX),
    _odd("fragment in the target", b"GET {get}#x HTTP/1.1\r\nHost: {host}\r\n\r\n", OK | BAD_REQUEST),
    _odd("Expect: 100-continue", POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}", ANY_4XX | OK),
    _odd("Expect: something else", POST + b"Content-Length: 2\r\nExpect: tea\r\n\r\n{}", ANY_4XX | OK),
    _odd(
        "Upgrade: h2c",
        GET + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        OK | ANY_4XX,
    ),
    _odd(
        "Upgrade: websocket",
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        OK | ANY_4XX,
    ),
]
"""Legal but odd, or wrong in a harmless way: an orderly answer, never a 5xx but 501 and 505."""


async def run_case(target: Target, case: Case, *, wait: float = 1.5) -> Verdict:
    """Sends one case and evaluates the response."""
    data = case.filled(case.data + case.then, target)
    got = await send(target, data, wait=wait, heads=case.heads, half_close=case.half_close)
    statuses = got.statuses
    expected = 1 + case.heads
    ok = len(statuses) <= expected and not got.leftover and all(status in case.want for status in statuses)
    if not statuses:
        ok = case.silent_close and got.closed
    if case.closes:
        ok = ok and got.closed
    note = ""
    if case.problem and statuses and got.answers[-1].status >= 400:
        kind = got.answers[-1].header("content-type") or "no content type"
        note = f" ({kind}, {len(got.answers[-1].body)} bytes)"
        ok = ok and kind.startswith("application/problem+json")
    return Verdict(case.group, case.name, ok, str(got) + note)


async def run_cases(target: Target, cases: Sequence[Case], *, at_once: int = 16) -> list[Verdict]:
    """Runs many cases, some concurrently. Returns the verdicts in the order of the cases."""
    gate = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Verdict:
        async with gate:
            return await run_case(target, case)

    return await asyncio.gather(*map(one, cases))


async def pipeline(target: Target, count: int = 100) -> Verdict:
    """Sends many pipelined GETs. All responses must arrive in order (by request id), or the connection ends cleanly."""
    requests = b"".join(
        f"GET {target.get_path} HTTP/1.1\r\nHost: {target.authority}\r\nX-Request-ID: p{number}\r\n\r\n".encode()
        for number in range(count)
    )
    got = await send(target, requests, wait=3, until=count)
    ids = [answer.header("x-request-id") for answer in got.answers]
    named = [f"p{number}" for number in range(len(ids))]
    in_order = ids == named or not any(ids)
    ok = set(got.statuses) <= {200} and in_order and not got.leftover and (len(ids) == count or got.closed)
    return Verdict(
        "pipeline", f"{count} GETs at once", ok, f"{len(ids)} answers, {'in order' if in_order else 'MIXED UP'}"
    )


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


@dataclass
class Stalled:
    """The outcome of many stalled connections, and of a concurrent client."""

    kind: Stall
    opened: int = 0
    refused: int = 0
    open_at_end: int = 0
    closed_after: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    p50_before: float = 0.0
    p99_before: float = 0.0
    p50_during: float = 0.0
    p99_during: float = 0.0
    probe_failures: int = 0

    def __str__(self) -> str:
        last = f"{max(self.closed_after):.1f} s" if self.closed_after else "never"
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items())) or "no answer"
        return (
            f"{len(self.closed_after)}/{self.opened} closed, last after {last}, {self.open_at_end} left open, "
            f"{answers}; "
            f"others p50 {self.p50_before * 1e3:.1f} -> {self.p50_during * 1e3:.1f} ms, "
            f"p99 {self.p99_before * 1e3:.1f} -> {self.p99_during * 1e3:.1f} ms, {self.probe_failures} failed"
        )


async def _probe(target: Target, seconds: float, every: float = 0.02) -> tuple[list[float], int]:
    """Returns latencies of single GETs on new connections, and the number of failures."""
    request = f"GET {target.get_path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode()
    latencies: list[float] = []
    failures = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            got = await send(target, request, wait=5)
        except (OSError, TimeoutError):
            failures += 1
        else:
            latencies.append(got.seconds)
            failures += got.statuses != [200]
        await asyncio.sleep(every)
    return latencies, failures


_STALLED_REQUEST: Final[dict[Stall, bytes]] = {
    "header": b"GET {get} HTTP/1.1\r\nHost: {host}\r\nX-A: a",
    "header-drip": b"GET {get} HTTP/1.1\r\nHost: {host}\r\nX-A: ",
    "body": POST + b"Content-Length: 1000\r\n\r\n{",
    "body-drip": POST + b"Content-Length: 1000\r\n\r\n{",
    "idle": GET + b"\r\n",
    "silent": b"",
    "reader": b"",
}


class _StalledClient(asyncio.Protocol):
    """Sends an incomplete request, and records when the server closes the connection."""

    def __init__(self, first: bytes, *, reads: bool) -> None:
        self.first = first
        self.reads = reads
        self.since = time.perf_counter()
        self.closed_after: float | None = None
        self.received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self.reads:
            transport.pause_reading()
        if self.first:
            transport.write(self.first)

    def data_received(self, data: bytes) -> None:
        if len(self.received) < 16:
            self.received += data[:16]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed_after is None:
            self.closed_after = time.perf_counter() - self.since

    def drip(self) -> None:
        """Sends one more byte if the connection is still open."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"a")


async def stall(
    target: Target, kind: Stall, *, count: int = 500, hold: float = 20.0, probe: bool = True, first: bytes | None = None
) -> Stalled:
    """Opens `count` connections that stall in the given way, and measures another client meanwhile.

    `reader` sends `first` (a request with a large response) and does not read for `hold` seconds; the end of such a
    connection is detected only after that, so its time is unknown.
    """
    if not 1 <= count <= MAX_STALLED or not 0 < hold <= MAX_SECONDS:
        raise ValueError(f"count up to {MAX_STALLED}, hold up to {MAX_SECONDS:.0f} s")
    result = Stalled(kind)
    if probe:
        before, failed = await _probe(target, 3)
        result.p50_before, result.p99_before = _quantile(before, 0.5), _quantile(before, 0.99)
        result.probe_failures += failed
    request = _STALLED_REQUEST[kind] if first is None else first
    request = Case("", "", b"").filled(request, target)
    loop = asyncio.get_running_loop()
    clients: list[_StalledClient] = []
    for _ in range(count):
        client = _StalledClient(request, reads=kind != "reader")
        try:
            if kind == "reader":
                sock = socket.socket(socket.AF_INET6 if ":" in target.host else socket.AF_INET)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await loop.sock_connect(sock, (target.host, target.port))
                await loop.create_connection(lambda made=client: made, sock=sock)  # type: ignore[misc]
            else:
                await loop.create_connection(lambda made=client: made, target.host, target.port)  # type: ignore[misc]
        except OSError:
            result.refused += 1
        else:
            clients.append(client)
    result.opened = len(clients)

    async def drip() -> None:
        while True:
            await asyncio.sleep(1)
            for client in clients:
                client.drip()

    dripping = asyncio.create_task(drip()) if kind.endswith("drip") else None
    if probe:
        during, failed = await _probe(target, hold)
        result.p50_during, result.p99_during = _quantile(during, 0.5), _quantile(during, 0.99)
        result.probe_failures += failed
    else:
        await asyncio.sleep(hold)
    if dripping is not None:
        dripping.cancel()
    if kind == "reader":
        for client in clients:
            if client.transport is not None and not client.transport.is_closing():
                client.transport.resume_reading()
        await asyncio.sleep(1)
    for client in clients:
        if client.closed_after is None:
            result.open_at_end += 1
            if client.transport is not None:
                client.transport.abort()
        else:
            result.closed_after.append(client.closed_after)
        if client.received.startswith(b"HTTP/1.") and client.received[9:12].isdigit():
            result.statuses[int(client.received[9:12])] += 1
    return result


@dataclass
class Load:
    """The results of a well-behaved client at a fixed rate."""

    ok: int = 0
    failed: int = 0
    """Wrong status, cut answer, or a new connection that was taken and then dropped."""
    raced: int = 0
    """A used connection ended before any byte of the answer; the request was sent again on a new one."""
    refused: int = 0
    """The connection was refused: no process listens."""
    close_requested: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def __add__(self, other: Load) -> Load:
        """Combines the results of two clients."""
        return Load(
            ok=self.ok + other.ok,
            failed=self.failed + other.failed,
            raced=self.raced + other.raced,
            refused=self.refused + other.refused,
            close_requested=self.close_requested + other.close_requested,
            errors=self.errors + other.errors,
            latencies=self.latencies + other.latencies,
        )

    def __str__(self) -> str:
        errors = f" {dict(self.errors)}" if self.errors else ""
        return (
            f"{self.ok} ok, {self.failed} failed, {self.raced} sent again, {self.refused} refused, "
            f"{self.close_requested} requested to close; p50 {_quantile(self.latencies, 0.5) * 1e3:.1f} ms, "
            f"p99 {_quantile(self.latencies, 0.99) * 1e3:.1f} ms{errors}"
        )


async def steady(
    target: Target, *, rate: int = 300, seconds: float = 10.0, path: str | None = None, keep_alive: bool = True
) -> Load:
    """Sends GETs at a fixed rate over keep-alive connections, and honours `Connection: close`.

    Like every HTTP client, it repeats a GET on a new connection if a reused one ends without a byte of a response.
    """
    if not 1 <= rate <= MAX_RATE or not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"rate up to {MAX_RATE}, seconds up to {MAX_SECONDS:.0f}")
    load = Load()
    wanted = path or target.get_path
    ending = "" if keep_alive else "Connection: close\r\n"
    request = f"GET {wanted} HTTP/1.1\r\nHost: {target.authority}\r\n{ending}\r\n".encode()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def attempt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, used: bool) -> bool:
        """Sends a request on this connection. Returns False without a response: a new connection is needed."""
        data = b""
        try:
            writer.write(request)
            await writer.drain()
            while True:
                got = await asyncio.wait_for(reader.read(65536), 25)
                data += got
                answers, _ = parse_answers(data, at_end=not got)
                if answers:
                    break
                if not got:
                    raise ConnectionResetError("ended early")
        except (OSError, TimeoutError) as problem:
            writer.close()
            if used and not data:
                return False
            load.failed += 1
            load.errors[f"{type(problem).__name__} on a {'used' if used else 'new'} connection"] += 1
            return True
        answer = answers[0]
        if answer.status == 200:
            load.ok += 1
        else:
            load.failed += 1
            load.errors[str(answer.status)] += 1
        if (answer.header("connection") or "").lower() == "close":
            load.close_requested += 1
            writer.close()
        elif keep_alive:
            idle.append((reader, writer))
        else:
            writer.close()
        return True

    async def one() -> None:
        started = time.perf_counter()
        while idle:
            reader, writer = idle.pop()
            if reader.at_eof() or writer.is_closing():
                writer.close()
                continue
            if await attempt(reader, writer, used=True):
                load.latencies.append(time.perf_counter() - started)
                return
            load.raced += 1
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(target.host, target.port), 5)
        except ConnectionRefusedError:
            load.refused += 1
            return
        except (OSError, TimeoutError) as problem:
            load.failed += 1
            load.errors[f"connect: {type(problem).__name__}"] += 1
            return
        await attempt(reader, writer, used=False)
        load.latencies.append(time.perf_counter() - started)

    tasks: set[asyncio.Task[None]] = set()
    begin = time.perf_counter()
    for number in range(int(rate * seconds)):
        delay = begin + number / rate - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    return load


async def stop_under_load(target: Target, pid: int, *, rate: int = 300, seconds: float = 6.0) -> Load:
    """Sends SIGTERM to `pid` after a third of the time; after that, only refused connections are allowed."""
    loop = asyncio.get_running_loop()
    loop.call_later(seconds / 3, os.kill, pid, signal.SIGTERM)
    return await steady(target, rate=rate, seconds=seconds)


GROUPS: Final = ("framing", "hosts", "limits", "odd", "pipeline", "stall", "stop")
STALLS: Final[tuple[Stall, ...]] = ("header", "header-drip", "body", "body-drip", "idle", "silent")


async def run(target: Target, groups: Sequence[str], *, count: int, hold: float, pid: int | None) -> list[Verdict]:
    """Runs the named groups. Returns all verdicts."""
    verdicts: list[Verdict] = []
    for group, cases in (("framing", FRAMING), ("hosts", HOSTS), ("limits", LIMITS), ("odd", ODD)):
        if group in groups:
            verdicts += await run_cases(target, cases)
    if "pipeline" in groups:
        verdicts.append(await pipeline(target))
    if "stall" in groups:
        for kind in STALLS:
            result = await stall(target, kind, count=count, hold=hold)
            ok = not result.open_at_end and not result.refused and max(result.closed_after, default=0) <= 15
            verdicts.append(Verdict("stall", f"{count} x {kind}", ok and not result.probe_failures, str(result)))
    if "stop" in groups and pid is not None:
        load = await stop_under_load(target, pid)
        verdicts.append(Verdict("stop", "SIGTERM at 300 requests/s", not load.failed and bool(load.refused), str(load)))
    return verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line per case. The exit code is 1 if a case failed, 2 for invalid arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("url", help="http://127.0.0.1:8000")
    parser.add_argument("--only", default=",".join(GROUPS[:-1]), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--get", default=GET_PATH, help="a path that answers 200 to a GET")
    parser.add_argument("--post", default=POST_PATH, help="a path that reads the body of a POST")
    parser.add_argument("--page", default=PAGE_PATH, help="a path where an unknown Host is refused")
    parser.add_argument("--count", type=int, default=500, help="stalled connections")
    parser.add_argument("--hold", type=float, default=20.0, help="seconds to hold them")
    parser.add_argument("--stop", type=int, metavar="PID", help="the process that gets SIGTERM in the group stop")
    options = parser.parse_args(arguments)
    groups = options.only.split(",")
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}")
    if "stop" in groups and options.stop is None:
        parser.error("--only stop needs --stop PID")
    if not 1 <= options.count <= MAX_STALLED or not 0 < options.hold <= MAX_SECONDS:
        parser.error(f"--count up to {MAX_STALLED}, --hold up to {MAX_SECONDS:.0f}")
    try:
        target = Target.parse(options.url, get_path=options.get, post_path=options.post, page_path=options.page)
    except ValueError as problem:
        parser.error(str(problem))
    try:
        verdicts = asyncio.run(run(target, groups, count=options.count, hold=options.hold, pid=options.stop))
    except OSError as problem:
        print(f"{options.url}: {problem}", file=sys.stderr)
        return 1
    for verdict in verdicts:
        print(f"{'ok  ' if verdict.ok else 'FAIL'}  {verdict.group:9} {verdict.name:34} {verdict.got}")
    wrong = sum(not verdict.ok for verdict in verdicts)
    print(f"{len(verdicts)} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
