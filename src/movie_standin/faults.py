"""The faults of the stand-in: `RESPONSE_KINDS` names every kind of response, `Behaviour` selects among them."""

import asyncio
import contextlib
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import msgspec

RESPONSE_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "ok": "a valid response",
        "400": "that status; likewise every number from 200 to 599",
        "hang": "accepts the request and never responds",
        "drip": "the body of a valid response, one byte per second",
        "drip_head": "the head of a valid response, one byte per second",
        "close": "closes the connection without a response",
        "reset": "resets the connection without a response",
        "reset_body": "resets the connection in the middle of the body",
        "redirect": "status 302 to `location`",
        "html": "status 200 with a page",
        "cut_json": "half of the JSON",
        "short_body": "a body shorter than Content-Length, then closes",
        "long_body": "a body longer than Content-Length",
        "cut_chunks": "chunked encoding without the last chunk",
        "bad_chunks": "chunked encoding with a size that is not a number",
        "huge": "200 MB",
        "gzip": "a valid response, compressed",
        "gzip_bomb": "1 MB that expands to 1 GB",
        "cut_gzip": "half of a compressed response",
        "endless_head": "endless headers",
        "latin1": "titles in ISO 8859-1, declared as UTF-8",
        "utf16": "JSON in UTF-16",
        "bom": "a valid response after a byte order mark",
        "deep": "100 nested brackets",
        "very_deep": "100,000 nested brackets",
        "nan": "a total that is NaN",
        "list": "only the list of items",
        "null": "null",
        "no_total": "no total",
        "null_total": "a total that is null",
        "negative_total": "a total of -1",
        "string_total": "a total that is a string",
        "float_total": "a total with a decimal point",
        "bool_total": "a total that is true",
        "huge_total": "a total with 30 digits",
        "zero_total": "a total of 0 with items",
        "no_items": "no items",
        "object_items": "items that are an object",
        "empty_items": "a positive total without items",
        "unusable_items": "a positive total with items, none of which has both id and title",
        "error": "an error in addition to items",
        "odd_items": "items without id or title, of wrong types and repeated, before the valid ones",
        "many_items": "more items than requested",
        "odd_titles": "control characters, markup and half a surrogate pair in titles",
        "huge_number": "a popularity of 1e999",
    }
)
MAX_SCRIPT = 10_000
"""Maximum number of entries of `Behaviour.script`."""

BODY_PREFIX = "body:"
_HUGE_BODY = 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Configuration of the stand-in. Raises `ValueError` for a value out of range."""

    fail_rate: float = 0.3
    """Fraction of calls that fail, 0 to 1."""
    faults: tuple[str, ...] = tuple(str(status) for status in range(400, 410))
    """Faults, equally likely: names of `RESPONSE_KINDS`, or `body:` followed by the text of a body."""
    latency_ms: float = 50.0
    """Delay before each response, in milliseconds."""
    script: tuple[str, ...] = ()
    """Kinds of the next responses, one per call; `fail_rate` applies after the last one."""
    retry_after: str | None = None
    """Value of the `Retry-After` header of each status 429 and 503."""
    location: str = "http://127.0.0.1:9/"
    """Target of `redirect`."""
    seed: int | None = None
    """Seed of the random number generator; None selects a random one."""

    def __post_init__(self) -> None:
        if not 0 <= self.fail_rate <= 1:
            raise ValueError("fail_rate must be between 0 and 1")
        if not 0 <= self.latency_ms <= 60_000:
            raise ValueError("latency_ms must be between 0 and 60000")
        if not self.faults or len(self.script) > MAX_SCRIPT:
            raise ValueError(f"faults must not be empty, and script has at most {MAX_SCRIPT} entries")
        for kind in (*self.faults, *self.script):
            if not is_kind(kind):
                raise ValueError(f"{kind[:40]!r} is not a kind of response: {', '.join(RESPONSE_KINDS)}, body:…")
        if "\n" in f"{self.location}{self.retry_after}":
            raise ValueError("location and retry_after must not contain a line break")

    def changed(self, changes: Mapping[str, Any]) -> "Behaviour":
        """Returns a copy with the fields of a decoded JSON object; raises `ValueError`."""
        known = {field.name for field in fields(self)}
        if not changes.keys() <= known:
            raise ValueError(f"the fields are {', '.join(sorted(known))} and refuse_seconds")
        return msgspec.convert({**asdict(self), **changes}, Behaviour)


def is_kind(name: object) -> bool:
    """Whether `name` is a kind of response: in `RESPONSE_KINDS`, a status from 200 to 599, or `body:` with a text."""
    if not isinstance(name, str):
        return False
    is_status = len(name) == 3 and name.isascii() and name.isdigit() and 200 <= int(name) <= 599
    return name in RESPONSE_KINDS or is_status or name.startswith(BODY_PREFIX)


def http_response(status: int, body: bytes, *, extra: str = "", type_: str = "application/json") -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    length = "" if status in {204, 304} else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {type_}\r\n{length}{extra}\r\n".encode("latin-1") + body


async def send_response(
    kind: str,
    page: dict[str, Any],
    behaviour: Behaviour,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Sends a response of that kind. Returns whether the connection remains usable."""
    valid = http_response(200, json.dumps(page).encode())
    match kind:
        case "ok" | "200":
            writer.write(valid)
        case "hang":
            await reader.read(1)  # returns when the client disconnects
            return False
        case "drip" | "drip_head":
            start = 0 if kind == "drip_head" else valid.index(b"\r\n\r\n") + 4
            writer.write(valid[:start])
            for position in range(start, len(valid)):
                writer.write(valid[position : position + 1])
                await writer.drain()
                if await _has_disconnected(reader, seconds=1):
                    return False
        case "close":
            return False
        case "reset" | "reset_body":
            if kind == "reset_body":
                writer.write(valid[: valid.index(b"\r\n\r\n") + 10])
                await writer.drain()
                await asyncio.sleep(0.01)  # a reset discards data in the client's receive buffer
            _reset(writer)
            return False
        case "redirect":
            writer.write(http_response(302, b"", extra=f"Location: {behaviour.location}\r\n"))
        case "html":
            writer.write(http_response(200, b"<!doctype html><title>Sign in</title>", type_="text/html"))
        case "huge":
            writer.write(_head(f"Content-Length: {_HUGE_BODY}"))
            chunk = b'{"items": [' + b" " * 65_525
            for _ in range(_HUGE_BODY // len(chunk)):
                writer.write(chunk)
                await writer.drain()
            return False
        case "gzip_bomb":
            writer.write(_head("Content-Encoding: gzip", "Connection: close"))
            for chunk in _gzip_bomb():
                writer.write(chunk)
                await writer.drain()
            return False
        case "endless_head":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(10_000_000):
                writer.write(f"X-Header-{number}: {'x' * 1000}\r\n".encode())
                await writer.drain()
            return False
        case _:
            is_usable, message = _faulty_response(kind, page)
            writer.write(message)
            await writer.drain()
            return is_usable
    await writer.drain()
    return True


def _faulty_response(kind: str, page: dict[str, Any]) -> tuple[bool, bytes]:
    """Returns whether the connection remains usable, and a faulty response that is sent as a whole."""
    body = json.dumps(page).encode()
    first_half = body[: len(body) // 2]
    match kind:
        case "cut_json":
            return True, http_response(200, first_half)
        case "short_body":
            return False, _head(f"Content-Length: {len(body)}") + first_half
        case "long_body":
            return False, _head(f"Content-Length: {len(first_half)}") + body
        case "cut_chunks":
            return False, _head("Transfer-Encoding: chunked") + f"{len(body):x}\r\n".encode() + body + b"\r\n"
        case "bad_chunks":
            return False, _head("Transfer-Encoding: chunked") + b"many\r\n" + body + b"\r\n0\r\n\r\n"
        case "gzip":
            return True, http_response(200, gzip.compress(body), extra="Content-Encoding: gzip\r\n")
        case "cut_gzip":
            packed = gzip.compress(body)
            return True, http_response(200, packed[: len(packed) // 2], extra="Content-Encoding: gzip\r\n")
        case "latin1":
            page = {**page, "items": [{"id": 1, "title": "Amélie"}], "total": 1}
            body = json.dumps(page, ensure_ascii=False).encode("latin-1")
            return True, http_response(200, body, type_="application/json; charset=utf-8")
        case "utf16":
            return True, http_response(200, body.decode().encode("utf-16"), type_="application/json; charset=utf-16")
        case "bom":
            return True, http_response(200, b"\xef\xbb\xbf" + body)
        case "deep" | "very_deep":
            depth = 100 if kind == "deep" else 100_000
            return True, http_response(200, b'{"total": 1, "items": ' + b"[" * depth + b"]" * depth + b"}")
        case "huge_number":
            body = b'{"total": 1, "items": [{"id": 1, "title": "Much", "popularity": 1e999}]}'
            return True, http_response(200, body)
        case _ if kind.startswith(BODY_PREFIX):
            # Surrogate escapes allow a test to send arbitrary bytes.
            return True, http_response(200, kind.removeprefix(BODY_PREFIX).encode("utf-8", "surrogateescape"))
        case _:
            return True, http_response(200, json.dumps(_faulty_json(kind, page)).encode())


def _faulty_json(kind: str, page: dict[str, Any]) -> Any:
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
        "odd_items": {**page, "items": [*ODD_ITEMS, *items, *items]},
        "many_items": {**page, "items": items * 500},
        "odd_titles": {"items": _ODD_TITLES, "total": len(_ODD_TITLES)},
    }
    return {"items": items, "total": totals[kind]} if kind in totals else shapes[kind]


ODD_ITEMS: list[Any] = [
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


def _gzip_bomb() -> Iterable[bytes]:
    """Yields 1 GB of zeros in 1 MB of gzip: one repeated block, and a wrong checksum that no client should reach."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
    for _ in range(64):
        yield block * 16
    yield packer.flush() + bytes(8)


async def _has_disconnected(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether the client sends data or disconnects within `seconds`. If it does neither, waits for the whole time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await reader.read(1)
            return True
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    # SO_LINGER of 0 seconds makes the close a reset.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
