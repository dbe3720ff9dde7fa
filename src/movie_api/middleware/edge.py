"""The edge middleware, outermost around the application: size limits, allowed hosts, request ids, the client's address
behind proxies, cached responses, HEAD, security and rate-limit headers, a problem document for every unhandled error,
and one access log line per request.

Plain ASGI, so that it receives a request before the framework does and a response after it.
"""

import asyncio
import ipaddress
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from random import getrandbits
from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from movie_api.problems import problem
from movie_core.quotas import Quota

MAX_TARGET = 8 * 1024
"""Bytes of path and query string."""
MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
"""Bytes of all header lines, with their separators."""

MAX_CACHED_PATH = 100
"""Maximum bytes of a path whose escaped form for the log is cached."""
MAX_CACHED_HOSTS = 64
"""Maximum number of accepted Host values that are cached."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
# Slashes repeat, because the router treats several as one.
_NO_STORE_PATH = re.compile(r"/+api/+v1/+(?:authentication|users|admin)(?:/|$)")
"""Paths whose responses must not be stored by any cache."""
_LINK_PATH = re.compile(r"(.*?/(?:verify-email|password/+reset)/+[^/]+/+).+", re.DOTALL)
"""Paths of mailed links, which have a token after a user's id."""

_RELEVANT_HEADERS = frozenset(
    (
        b"host",
        b"authorization",
        b"if-none-match",
        b"x-request-id",
        b"x-forwarded-for",
        b"origin",
        b"content-length",
        b"transfer-encoding",
        b"expect",
    )
)
"""Headers that `RequestHead` reads. A request with one of the last four is not simple (see `RequestHead.is_simple`)."""
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_DEFAULT_POLICY = (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
"""The Content-Security-Policy of responses without one; the pages set their own."""

_access = logging.getLogger("movie_api.access")
_log = logging.getLogger(__name__)

FindCached = Callable[[HTTPScope, "RequestHead"], tuple[int, list[tuple[bytes, bytes]], bytes] | None]
"""Returns status, headers and body of a cached response; None if the application must handle the request."""

RequestLog = Callable[[str, str, str | None], None]
"""Takes the request id, the message, and the id of the user if known."""
RequestCount = Callable[[str | None, str, int, float], None]
"""Takes the template of the route (None if no route matched), method, status and duration in seconds."""


def transport_security(public_url: str) -> tuple[tuple[bytes, bytes], ...]:
    """`Strict-Transport-Security` for one year if the public URL is https, else no header."""
    header = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
    return (header,) if public_url.startswith("https://") else ()


class EdgeMiddleware:
    """Wraps the outermost ASGI handler of the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_url: str,
        allowed_hosts: Sequence[str],
        trusted_proxies: Sequence[str] = (),
        find_cached: FindCached = lambda _scope, _head: None,
        log: RequestLog | None = None,
        count: RequestCount = lambda _route, _method, _status, _seconds: None,
    ) -> None:
        """`trusted_proxies` are networks (or addresses) whose `X-Forwarded-For` is trusted. `find_cached` is called
        for each accepted request, and the application only if it returns None. `log` replaces the access logger;
        `count` receives the metrics of each request."""
        self._app = app
        self._find_cached = find_cached
        self._log = log or _log_request
        self._count = count
        self._public_url = public_url
        self._common_headers = (_NOSNIFF, *transport_security(public_url))
        self._allowed_hosts = frozenset(allowed_hosts)
        self._accepted_hosts: set[bytes] = set()
        """Values of Host that were accepted before."""
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies)

    def wrap_app(self, middleware: Callable[[ASGIApp], ASGIApp]) -> None:
        """Insert another middleware between this one and the application."""
        self._app = middleware(self._app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:  # lifespan events; websockets are not supported
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        head = RequestHead(list(scope["headers"]))
        state = scope.setdefault("state", {})
        state["request_id"], state["public_url"] = head.request_id, self._public_url
        state["client"] = self._client(scope, head.forwarded)
        response = _ResponseSender(send, scope, head.request_id, self._common_headers)
        inner: Scope = scope
        try:
            rejection = self._rejection(scope, head)
            cached = self._find_cached(scope, head) if rejection is None else None
            if cached is not None:
                await response.send_cached(*cached)
            elif rejection is not None:
                await self._send_problem(response, *rejection)
            else:
                # Routes handle GET only, so HEAD is GET with the body removed. The server uses the original scope.
                inner = cast("Scope", {**scope, "method": "GET"}) if response.is_head else scope
                await self._app(inner, receive, response)
                if not response.is_started:
                    await self._fail(response, RuntimeError("the application sent no response"))
        except GeneratorExit:  # the event loop is closed, nothing can be sent
            raise
        except BaseException as error:  # noqa: BLE001  (the client gets a response to every error)
            await self._fail(response, error)
        finally:
            path = _loggable_path(scope["path"], scope.get("raw_path"))
            status = state.get("rejected_status") or response.status
            duration = time.perf_counter() - started
            caller = state.get("caller")
            user_id = None if caller is None else caller.user_id
            self._log(head.request_id, f"{scope['method']} {path} {status} {duration * 1e3:.1f} ms", user_id)
            self._count(inner.get("path_template"), scope["method"], status, duration)

    async def _fail(self, response: "_ResponseSender", error: BaseException) -> None:
        """Respond to an unhandled error, unless a response has started; raises if the response is incomplete or the
        request was cancelled."""
        task = asyncio.current_task()
        # A task that awaits a cancelled one raises the same error, but is not itself cancelled.
        is_cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
        if is_cancelled:
            _log.warning("request %s cancelled by shutdown", response.request_id)
        else:
            _log.error("request %s failed", response.request_id, exc_info=error)
        if not response.is_started:
            await self._send_problem(response, "busy" if is_cancelled else "internal_error")
        # The server then aborts the connection, so that the client detects the incomplete response.
        if is_cancelled or not response.is_complete:
            raise error

    async def _send_problem(self, response: "_ResponseSender", code: str, detail: str = "") -> None:
        status, headers, body = problem(self._public_url, response.request_id, code, detail)
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        pairs.append((b"content-length", b"%d" % len(body)))
        await response({"type": "http.response.start", "status": status, "headers": pairs})
        await response({"type": "http.response.body", "body": body, "more_body": False})

    def _client(self, scope: HTTPScope, forwarded: bytes) -> str:
        """The client's address: the peer, or the one that the trusted proxies forward; empty if unknown."""
        client = (scope.get("client") or ("", 0))[0]
        if not forwarded or not self._proxies:
            return client
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            address = _address(hop.strip())
            if address is None or not self._is_proxy(client):
                break
            client = str(address)
        return client

    def _is_proxy(self, client: str) -> bool:
        address = _address(client)
        return address is not None and any(address in network for network in self._proxies)

    def _rejection(self, scope: HTTPScope, head: "RequestHead") -> tuple[str, str] | None:
        """Error code and detail if the request is rejected, else None."""
        if len(_raw_path(scope)) + 1 + len(scope["query_string"]) > MAX_TARGET:
            return "uri_too_long", ""
        if head.lines > MAX_HEADERS or head.size > MAX_HEADER_BYTES:
            return "headers_too_large", ""
        if head.hosts == 1 and head.host in self._accepted_hosts:
            return None
        match = _HOST.fullmatch(head.host) if head.hosts == 1 else None
        if match is None or int(match[2] or 0) > 65_535:
            return "invalid_host", "exactly one well-formed Host header is required"
        if match[1].decode().lower() in self._allowed_hosts or "*" in self._allowed_hosts:
            if len(self._accepted_hosts) < MAX_CACHED_HOSTS:
                self._accepted_hosts.add(head.host)
            return None
        # Orchestrators and Prometheus send their probes to a container under any name or address.
        is_probe = scope["path"].startswith("/health/") or scope["path"] == "/metrics"
        return None if is_probe else ("invalid_host", "this host is not allowed")


class RequestHead:
    """The headers that this middleware needs, read in one pass over the header lines."""

    __slots__ = (
        "authorization",
        "forwarded",
        "host",
        "hosts",
        "if_none_match",
        "is_simple",
        "lines",
        "request_id",
        "size",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.lines = len(headers)
        self.host = self.forwarded = sent_id = b""
        self.authorization: bytes | None = None
        self.if_none_match: bytes | None = None
        self.is_simple = True
        """False for a request with a body, an `Origin`, or a repeated `Authorization` or `If-None-Match`."""
        self.hosts = ids = size = 0
        for name, value in headers if self.lines <= MAX_HEADERS else headers[:MAX_HEADERS]:
            size += len(name) + len(value) + 4
            if name not in _RELEVANT_HEADERS:
                continue
            if name == b"host":
                self.hosts += 1
                self.host = value
            elif name == b"authorization":
                self.is_simple = self.is_simple and self.authorization is None
                self.authorization = value
            elif name == b"if-none-match":
                self.is_simple = self.is_simple and self.if_none_match is None
                self.if_none_match = value
            elif name == b"x-request-id":
                ids += 1
                sent_id = value
            elif name == b"x-forwarded-for":
                self.forwarded += b"," + value
            else:
                self.is_simple = False
        self.size = size
        is_valid = ids == 1 and _REQUEST_ID.fullmatch(sent_id)
        self.request_id = sent_id.decode() if is_valid else f"{getrandbits(128):032x}"


class _ResponseSender:
    """Sends the response to one request; it is the `send` callable of the application."""

    __slots__ = (
        "_common_headers",
        "_scope",
        "_send",
        "_start",
        "is_complete",
        "is_head",
        "is_started",
        "request_id",
        "status",
    )

    def __init__(
        self, send: Send, scope: HTTPScope, request_id: str, common_headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """`common_headers` are added to every response."""
        self._send = send
        self._common_headers = common_headers
        self._scope = scope
        self._start: HTTPResponseStartEvent | None = None
        self.request_id = request_id
        self.is_head = scope["method"] == "HEAD"
        self.status = 0
        self.is_started = False
        self.is_complete = False

    async def send_cached(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a complete response; only for paths whose responses may be stored."""
        self.status, self.is_started, self.is_complete = status, True, True
        headers = [*self._with_common_headers(headers), _DEFAULT_POLICY]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if self.is_head else body
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # Sent with the first part of the body, so that an error before that still gets a problem document.
            self._start, self.status = message, message["status"]
            return
        if self._start is not None and not self.is_started:
            self.is_started = True
            headers = self._with_common_headers(self._start["headers"])
            if self.status == 405 or self._scope["method"] == "OPTIONS":
                headers = [_with_head(*header) for header in headers]
            if _NO_STORE_PATH.match(self._scope["path"]):
                headers.append(_NO_STORE)
            names = {name.lower() for name, _ in headers}
            if _DEFAULT_POLICY[0] not in names:
                headers.append(_DEFAULT_POLICY)
            if _NO_REFERRER[0] not in names and _LINK_PATH.match(self._scope["path"]):
                headers.append(_NO_REFERRER)
            await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.is_head and message["type"] == "http.response.body":
            message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        await self._send(message)
        self.is_complete = not message.get("more_body", False)

    def _with_common_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """With the headers that every response has; a new list, because the given one may be cached."""
        extended = [*headers, (b"x-request-id", self.request_id.encode()), *self._common_headers]
        if (quota := self._scope["state"].get("quota")) is not None:
            extended += _quota_headers(quota)
        return extended


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Adds HEAD to an `Allow` header with GET: routes declare GET only, and this middleware handles HEAD."""
    methods = value.split(b", ")
    if name.lower() != b"allow" or b"GET" not in methods or b"HEAD" in methods:
        return name, value
    return name, b", ".join([*methods, b"HEAD"])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None if the text is not an IP address. IPv4-mapped IPv6 addresses become IPv4, so that both forms are equal."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _quota_headers(quota: Quota) -> list[tuple[bytes, bytes]]:
    """`RateLimit` and `RateLimit-Policy` as in the IETF draft."""
    rate = quota.rate
    state = f'"{quota.name}";r={quota.remaining};t={max(0, math.ceil(quota.reset))}'
    return [(b"ratelimit", state.encode()), _policy_header(quota.name, rate.amount, rate.seconds)]


@lru_cache(maxsize=16)
def _policy_header(name: str, amount: int, seconds: int) -> tuple[bytes, bytes]:
    return b"ratelimit-policy", f'"{name}";q={amount};w={seconds}'.encode()


def _log_request(request_id: str, message: str, user_id: str | None) -> None:
    _access.info("%s", message, extra={"request_id": request_id, "user_id": user_id})


def _raw_path(scope: HTTPScope) -> bytes:
    return scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")


def _loggable_path(decoded: str, raw: bytes | None) -> str:
    """The path, escaped for a log line and without the token of a mailed link. The query string is not logged, because
    it has the search text of a user."""
    # Matches the decoded path, as the router does: percent-encoding must not let a token into the log.
    link = _LINK_PATH.fullmatch(decoded) if "verify-email" in decoded or "password" in decoded else None
    if link is not None:
        return f"{_escaped(link[1].encode('utf-8', 'surrogateescape'))}…"
    path = raw or decoded.encode("utf-8", "surrogateescape")
    return _escaped_cached(path) if len(path) <= MAX_CACHED_PATH else _escaped(path[:MAX_TARGET])


def _escaped(path: bytes) -> str:
    return path.decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")


_escaped_cached = lru_cache(maxsize=256)(_escaped)
