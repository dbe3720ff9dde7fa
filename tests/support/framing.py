"""HTTP request smuggling: requests that two parsers may delimit differently, for the server and its proxy."""

import asyncio
import itertools
from collections import Counter

from bench.http_server import POST_PATH, Exchange, Target, send

SMUGGLED = "smuggled"
"""The id of the smuggled request, which must appear neither in a response nor in the application's log."""
ODD = "odd"
"""The id of the outer requests, which appears in the application's log if they reach it."""

# Beside a Content-Length that covers the rest: a parser that obeys the coding finds another request in the body.
_CODINGS = [
    b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked", b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: \x0cchunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: \x00chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunkedx",
    b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;a=b", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: CHUNKED\xa0",
    b"TRANSFER-ENCODING: cHuNkEd", b"Transfer_Encoding: chunked", b"Transfer-Encoding:\tchunked\t",
]  # fmt: skip
_CHUNKED = [b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"]
_HOPS = [b"", b"Connection: keep-alive, Transfer-Encoding\r\n"]

# Lengths that cover the rest: a parser that reads 0 or nothing finds another request in the body.
_LENGTHS = [
    b"Content-Length: 0\r\nContent-Length: %d", b"Content-Length: %d\r\nContent-Length: 0", b"Content-Length: 0, %d",
    b"Content-Length: %d, 0", b"Content-Length: +%d", b"Content-Length: 0x%x", b"Content-Length: %d 0",
    b"Content-Length: 0 %d", b"Content-Length: %d\x00", b"Content-Length: \x0b%d", b"Content-Length: %d\xa0",
    b"Content-Length : %d", b"Content-Length\t: %d", b" Content-Length: %d", b"X: y\r\n Content-Length: %d",
    b"X: y\rContent-Length: %d", b"X: y\nContent-Length: %d", b"Content-Length:\r\n %d", b"Content-Length: -%d",
    b'Content-Length: "%d"', b"Content-Length: %d;0", b"Content-Length: 0%d", b"Content-Length: %d.0",
    b"Content-Length: 0_%d", b"Content-Length: %de0",
]  # fmt: skip

# Sizes of a single chunk that contains the rest.
_SIZES = [
    b"%x", b"%X", b"000%x", b"0x%x", b"0X%x", b"+%x", b"-%x", b" %x", b"\t%x", b"%x ", b"%x\t", b"0 %x", b"0_%x",
    b'%x;a="0\r\n"', b"%x;a=0", b"%x;\n0", b"%x;\r0", b"%x\x00", b"%x\x0b", b"%x,0", b"%xg", b"%x\r", b"%x\n0",
    b"1%016x", b"1%08x",
]  # fmt: skip


def odd_requests(target: Target) -> list[bytes]:
    """Returns 250 requests. A strict parser rejects each, or parses it as a single request."""
    head = f"POST {POST_PATH} HTTP/1.1\r\nHost: {target.authority}\r\nX-Request-ID: {ODD}\r\n".encode()
    head += b"Content-Type: application/json\r\n"
    inside = f"GET / HTTP/1.1\r\nHost: {target.authority}\r\nX-Request-ID: {SMUGGLED}\r\n\r\n".encode()
    requests = []
    for coding, chunked, hop, is_first in itertools.product(_CODINGS, _CHUNKED, _HOPS, (True, False)):
        body = chunked + inside
        lines = [coding + b"\r\n", b"Content-Length: %d\r\n" % len(body)]
        requests.append(head + hop + b"".join(lines if is_first else reversed(lines)) + b"\r\n" + body)
    requests += [head + length % len(inside) + b"\r\n\r\n" + inside for length in _LENGTHS]
    chunk = b"\r\n" + inside  # the blank line ends the trailer for a parser that takes this chunk for the last one
    requests += [
        head + b"Transfer-Encoding: chunked\r\n\r\n" + size % len(chunk) + b"\r\n" + chunk + b"\r\n0\r\n\r\n"
        for size in _SIZES
    ]
    return requests


async def answers_to_odd_requests(target: Target) -> Counter[int]:
    """Returns the number of responses by status.

    Each request has its own connection, followed by a clean request there and by a clean request on another connection.
    Clean requests must get their usual response, if the connection is still open, and there must be no other responses.
    """
    concurrency = asyncio.Semaphore(25)

    def clean(request_id: str) -> bytes:
        return f"GET /health/live HTTP/1.1\r\nHost: {target.authority}\r\nX-Request-ID: {request_id}\r\n\r\n".encode()

    async def ask(number: int, data: bytes) -> tuple[Exchange, Exchange]:
        async with concurrency:
            own = await send(target, data, clean(f"second-{number}"), wait=0.7)
            return own, await send(target, clean(f"other-{number}"), wait=5, until=1)

    requests = odd_requests(target)
    statuses: Counter[int] = Counter()
    exchanges = await asyncio.gather(*(ask(number, data) for number, data in enumerate(requests)))
    for number, (data, (own, other)) in enumerate(zip(requests, exchanges, strict=True)):
        context = (data, str(own), [answer.header("x-request-id") for answer in own.answers])
        assert not own.leftover, context
        for answer in own.answers:
            assert SMUGGLED not in f"{answer.headers}{answer.body!r}", context
        for second in own.answers[1:]:
            assert (len(own.answers), second.status, second.header("x-request-id")) == (2, 200, f"second-{number}"), (
                context
            )
        assert [(answer.status, answer.header("x-request-id")) for answer in other.answers] == [
            (200, f"other-{number}")
        ], (context, str(other))
        statuses.update(own.statuses[:1])
    return statuses
