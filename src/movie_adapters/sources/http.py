"""JSON from one HTTP source: bounded in time and size, never redirected, and every fault told by its kind."""

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
"""Bytes of one answer, decoded."""
MAX_CONNECTIONS = 256
MAX_IDLE = 64
"""Connections kept for later."""
KEEP_ALIVE = 5.0
"""Seconds after which an idle connection isn't used again."""
MAX_RETRY_AFTER = 86_400.0
"""Seconds: a longer Retry-After counts as this."""

Kind = Literal[
    "status", "redirect", "timeout", "connect", "reset", "too_large", "encoding", "not_json", "wrong_shape", "resting"
]

_BOM = b"\xef\xbb\xbf"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
# What reorders the text around it (bidirectional embeddings, overrides, isolates): a title needs none, and a page or
# a log line would show its neighbours wrongly.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class SourceFault(SourceUnavailable):
    """One try gave no usable answer. `retry_after` is what the source asked for, or a second."""

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
        """Fit for a metric's label; `resting`: the source was not asked, because it was failing just before."""
        self.status = status
        """The HTTP status, where one came."""
        self.retryable = retryable
        """Whether the same try may succeed a moment later."""
        self.requested_wait = requested_wait
        """Seconds that the source asked to be left alone (Retry-After); None when it didn't."""


class SourceHttp:
    """GETs JSON below one base URL, and from nowhere else: redirects, cookies, and proxies and netrc of the environment
    are left alone.

    `base_url` is http or https, may have a path, and may end in a slash; anything else raises `ValueError`. `timeout`
    is seconds for one whole try: connecting, waiting, and the last byte of the body. `headers` and `parameters` go with
    every request. Nothing of a request or an answer is logged. `transport` takes the place of the network in tests.
    """

    # Each transport holds one connection. A pool of httpx holds many, but looks at each pair of them for each request:
    # at 50 connections that alone takes some 4 ms.

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
            raise ValueError("the URL of a source is http://… or https://…, without user, query or fragment")
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
        self._given = transport
        self._ssl = httpx.create_ssl_context(trust_env=False) if parts.scheme == "https" else None
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[httpx.AsyncBaseTransport] = []

    async def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Any:
        """One try; raises `SourceFault` and nothing else.

        `path` is relative to the base URL and percent-encoded already; values of `params` reach the source as they
        are. Of a repeated JSON key the last counts, and half of a surrogate pair becomes U+FFFD.
        """
        query = "&".join(f"{encode(name)}={encode(value)}" for name, value in (*params, *self._parameters))
        url = f"{self._base}/{path.lstrip('/')}" + (f"?{query}" if query else "")
        try:
            async with asyncio.timeout(self._timeout), self._places:
                return await self._get(httpx.Request("GET", url, headers=self._headers))
        except (TimeoutError, httpx.TimeoutException):
            raise SourceFault("timeout", "did not answer in time") from None
        except httpx.ConnectError:
            raise SourceFault("connect", "refuses connections") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError):
            raise SourceFault("reset", "broke off its answer") from None

    async def close(self) -> None:
        if self._given is not None:
            await self._given.aclose()
        while self._idle:
            await self._idle.pop().aclose()

    async def _get(self, request: httpx.Request) -> Any:
        transport = self._given or (self._idle.pop() if self._idle else self._connection())
        is_clean = False
        try:
            response = await transport.handle_async_request(request)
            try:
                is_usable = response.status_code == 200
                body = await _read(response) if is_usable else b""
                is_read = is_usable or await _finish(response)
            finally:
                await response.aclose()
            is_clean = is_read  # not before: a request that is broken off in `aclose` keeps its place in the transport
        finally:
            await self._put_back(transport, is_clean)
        if not is_usable:
            raise self._fault_of(response)
        return decode_json(body)

    async def _put_back(self, transport: httpx.AsyncBaseTransport, is_clean: bool) -> None:
        if transport is self._given:
            return
        if is_clean and len(self._idle) < MAX_IDLE:
            self._idle.append(transport)
        else:
            # A transport whose request was broken off in the middle may take its one place for occupied ever after.
            await transport.aclose()

    def _connection(self) -> httpx.AsyncBaseTransport:
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)
        return httpx.AsyncHTTPTransport(verify=self._ssl or False, trust_env=False, limits=one)

    def _fault_of(self, response: httpx.Response) -> SourceFault:
        status = response.status_code
        # An odd success (204) has no body to read: worth another try like any unreadable one.
        return SourceFault(
            "redirect" if 300 <= status < 400 else "status",
            f"answered with status {status}",
            status=status,
            retryable=status < 300 or status in self._retry_status,
            requested_wait=parse_retry_after(response.headers.get("retry-after")),
        )


async def _finish(response: httpx.Response) -> bool:
    """Read the rest of an answer that is of no use, where it is short and quick; whether that is done."""
    left = 16_384
    with contextlib.suppress(httpx.HTTPError, httpx.StreamError, OSError):  # a timeout is an OSError too
        async with asyncio.timeout(0.05):
            async for chunk in _raw(response):
                left -= len(chunk)
                if left < 0:
                    return False
            return True
    return False


def _raw(response: httpx.Response) -> httpx.AsyncByteStream:
    # Not `aiter_raw`, which refuses the ready-made responses of httpx's own stand-in for a network.
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("a transport for asyncio answers with a stream for asyncio")
    return response.stream


async def _read(response: httpx.Response) -> bytes:
    """The body, decoded, while it is at most `MAX_BODY` bytes."""
    body = bytearray()
    async for piece in _decoded(response):
        body += piece
        if len(body) > MAX_BODY:
            raise SourceFault("too_large", "sent too much", status=response.status_code)
    return bytes(body)


async def _decoded(response: httpx.Response) -> AsyncIterator[bytes]:
    # httpx would inflate each chunk as a whole: 64 KiB of a gzip bomb become 64 MiB before anyone can count them.
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in {"", "identity"}:
        async for chunk in _raw(response):
            yield chunk
        return
    if coding not in {"gzip", "x-gzip"}:
        raise SourceFault("encoding", "used an encoding that it was not asked for", status=response.status_code)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for chunk in _raw(response):
            yield inflate.decompress(chunk, MAX_BODY + 1)
            if inflate.unconsumed_tail:
                raise SourceFault("too_large", "sent too much", status=response.status_code)
    except zlib.error:
        raise SourceFault("encoding", "sent a broken gzip stream", status=response.status_code) from None
    if not inflate.eof:
        raise SourceFault("encoding", "sent a cut gzip stream", status=response.status_code)


def decode_json(body: bytes) -> Any:
    """What the bytes say in JSON; `SourceFault` of kind `not_json` for anything else, NaN and deep nesting too."""
    body = body.removeprefix(_BOM)
    try:
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            mended = _ESCAPE.sub(_mend_escape, body)
            if mended == body:
                raise
            return msgspec.json.decode(mended)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors, and so is broken UTF-8
        raise SourceFault("not_json", "sent something that is not JSON", status=200) from None


def _mend_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def parse_retry_after(value: str | None, *, now: datetime.datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, given as such or as a date: 0 to `MAX_RETRY_AFTER`; None when unreadable."""
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
    """A source's text fit for one line: blanks and line breaks become single spaces, control characters, broken
    Unicode and what reorders text around it go.
    """
    if text.isprintable():  # true for nearly every text, and quick; of all blanks only the plain space passes
        return " ".join(text.split()) if text[:1] == " " or text[-1:] == " " or "  " in text else text
    kept = (
        character
        for character in text
        if character.isspace() or not (character in _REORDERING or unicodedata.category(character) in {"Cc", "Cs"})
    )
    return " ".join("".join(kept).split())
