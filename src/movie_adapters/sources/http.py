"""JSON over HTTP from one movie source: limited in time and size, without redirects; faults are classified by kind."""

import asyncio
import contextlib
import datetime
import email.utils
import re
import unicodedata
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec

from movie_core.errors import SourceUnavailable
from movie_core.paging import encode
from movie_core.search.retry_policy import StatusSet

MAX_BODY = 1 << 20
"""Maximum size of a response body in bytes, decompressed."""
MAX_CONNECTIONS = 256
MAX_IDLE = 64
"""Maximum number of idle connections."""
KEEP_ALIVE = 5.0
"""Seconds after which an idle connection is not reused."""
MAX_RETRY_AFTER = 86_400.0
"""Upper limit of `Retry-After` in seconds; longer ones are reduced to it."""

Kind = Literal[
    "status",
    "redirect",
    "timeout",
    "connect",
    "reset",
    "too_large",
    "encoding",
    "not_json",
    "wrong_shape",
    "circuit_open",
]

_BOM = b"\xef\xbb\xbf"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
# Bidirectional embeddings, overrides and isolates: no title needs them, and they reorder the text around a title on
# pages and in log lines.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class SourceFault(SourceUnavailable):
    """An attempt without a usable response. `retry_after` is the source's `Retry-After`, or one second."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        status: int | None = None,
        retryable: bool = True,
        requested_wait: float | None = None,
    ) -> None:
        super().__init__(f"the movie source {detail}", retry_after=1.0 if requested_wait is None else requested_wait)
        self.kind: Kind = kind
        """Usable as a metric label; `circuit_open`: the source was not called, as its circuit breaker is open."""
        self.status = status
        """The HTTP status; None without a response."""
        self.retryable = retryable
        """Whether a retry may succeed."""
        self.requested_wait = requested_wait
        """Seconds of the source's `Retry-After`; None without one."""


class SourceHttp:
    """An HTTP client for JSON below one base URL.

    It ignores redirects, cookies, and the proxies and netrc of the environment.

    `base_url` is http or https, may have a path, and may end in a slash; anything else raises `ValueError`. `timeout`
    is in seconds for a whole attempt, from the connect to the last byte of the body. `headers` and `parameters` are
    added to every request. Neither requests nor responses are logged. `transport` replaces the network in tests.
    """

    # Each transport has one connection. A connection pool of httpx compares each pair of its connections for each
    # request: at 50 connections that alone takes some 4 ms.

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        retry_status: StatusSet,
        headers: Mapping[str, str] | None = None,
        parameters: Sequence[tuple[str, str]] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        is_usable = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc
        if not is_usable or parts.query or parts.fragment:
            raise ValueError("the URL of a source must be http://… or https://…, without user, query or fragment")
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        self._retry_status = retry_status
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "movie-search",
            **(headers or {}),
        }
        self._parameters = tuple(parameters)
        self._transport = transport
        self._ssl = httpx.create_ssl_context(trust_env=False) if parts.scheme == "https" else None
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[httpx.AsyncBaseTransport] = []

    async def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Any:
        """One attempt; raises `SourceFault` only.

        `path` is relative to the base URL and percent-encoded; `params` are encoded here. Of a repeated JSON key the
        last value is used, and an unpaired surrogate becomes U+FFFD.
        """
        query = "&".join(f"{encode(name)}={encode(value)}" for name, value in (*params, *self._parameters))
        url = f"{self._base}/{path.lstrip('/')}" + (f"?{query}" if query else "")
        try:
            async with asyncio.timeout(self._timeout), self._connections:
                return await self._get(httpx.Request("GET", url, headers=self._headers))
        except (TimeoutError, httpx.TimeoutException):
            raise SourceFault("timeout", "did not answer in time") from None
        except httpx.ConnectError:
            raise SourceFault("connect", "refused the connection") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError):
            raise SourceFault("reset", "closed the connection early") from None

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
        while self._idle:
            await self._idle.pop().aclose()

    async def _get(self, request: httpx.Request) -> Any:
        transport = self._transport or (self._idle.pop() if self._idle else self._open_transport())
        is_clean = False
        try:
            response = await transport.handle_async_request(request)
            try:
                is_usable = response.status_code == 200
                body = await _read(response) if is_usable else b""
                is_read = is_usable or await _finish(response)
            finally:
                await response.aclose()
            is_clean = is_read  # only after `aclose`: if it is cancelled, the request still occupies the transport
        finally:
            await self._put_back(transport, is_clean)
        if not is_usable:
            raise self._fault_of(response)
        return decode_json(body)

    async def _put_back(self, transport: httpx.AsyncBaseTransport, is_clean: bool) -> None:
        if transport is self._transport:
            return
        if is_clean and len(self._idle) < MAX_IDLE:
            self._idle.append(transport)
        else:
            # After an aborted request, a transport may treat its only connection as occupied forever.
            await transport.aclose()

    def _open_transport(self) -> httpx.AsyncBaseTransport:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)
        return httpx.AsyncHTTPTransport(verify=self._ssl or False, trust_env=False, limits=limits)

    def _fault_of(self, response: httpx.Response) -> SourceFault:
        status = response.status_code
        # Another success status (204) has no usable body: retryable, like any unreadable response.
        return SourceFault(
            "redirect" if 300 <= status < 400 else "status",
            f"answered with status {status}",
            status=status,
            retryable=status < 300 or status in self._retry_status,
            requested_wait=parse_retry_after(response.headers.get("retry-after")),
        )


async def _finish(response: httpx.Response) -> bool:
    """Read the body of an unused response if it is short and arrives quickly; returns whether all of it was read."""
    remaining = 16_384
    with contextlib.suppress(httpx.HTTPError, httpx.StreamError, OSError):  # a timeout is an OSError too
        async with asyncio.timeout(0.05):
            async for chunk in _raw(response):
                remaining -= len(chunk)
                if remaining < 0:
                    return False
            return True
    return False


def _raw(response: httpx.Response) -> httpx.AsyncByteStream:
    # Not `aiter_raw`: it rejects the prepared responses of httpx's MockTransport.
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport must return an asynchronous stream")
    return response.stream


async def _read(response: httpx.Response) -> bytes:
    """Read and decompress the body, at most `MAX_BODY` bytes."""
    body = bytearray()
    async for piece in _decoded(response):
        body += piece
        if len(body) > MAX_BODY:
            raise SourceFault("too_large", "sent too large a response", status=response.status_code)
    return bytes(body)


async def _decoded(response: httpx.Response) -> AsyncIterator[bytes]:
    # httpx decompresses each chunk as a whole: 64 KiB of a gzip bomb become 64 MiB before they can be counted.
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in {"", "identity"}:
        async for chunk in _raw(response):
            yield chunk
        return
    if coding not in {"gzip", "x-gzip"}:
        raise SourceFault("encoding", "used an unsupported content encoding", status=response.status_code)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for chunk in _raw(response):
            yield inflate.decompress(chunk, MAX_BODY + 1)
            if inflate.unconsumed_tail:
                raise SourceFault("too_large", "sent too large a response", status=response.status_code)
    except zlib.error:
        raise SourceFault("encoding", "sent an invalid gzip stream", status=response.status_code) from None
    if not inflate.eof:
        raise SourceFault("encoding", "sent a truncated gzip stream", status=response.status_code)


def decode_json(body: bytes) -> Any:
    """Decode JSON; raises `SourceFault` of kind `not_json`, also for NaN and deep nesting."""
    body = body.removeprefix(_BOM)
    try:
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            repaired = _ESCAPE.sub(_repair_escape, body)
            if repaired == body:
                raise
            return msgspec.json.decode(repaired)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors, and so is invalid UTF-8
        raise SourceFault("not_json", "sent invalid JSON", status=200) from None


def _repair_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def parse_retry_after(value: str | None, *, now: datetime.datetime | None = None) -> float | None:
    """Parse a `Retry-After` header of seconds or a date; returns 0 to `MAX_RETRY_AFTER` seconds, or None if invalid."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    seconds = (when - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def clean_text(text: str) -> str:
    """Make a source's text fit for one line: whitespace and line breaks become single spaces; control characters,
    unpaired surrogates and bidirectional controls are removed.
    """
    if text.isprintable():  # fast, and true for nearly every text; the only printable whitespace is the space
        return " ".join(text.split()) if text[:1] == " " or text[-1:] == " " or "  " in text else text
    characters = (
        character
        for character in text
        if character.isspace() or not (character in _BIDI_CONTROLS or unicodedata.category(character) in {"Cc", "Cs"})
    )
    return " ".join("".join(characters).split())
