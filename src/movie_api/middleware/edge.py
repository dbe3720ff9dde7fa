"""What stands in front of every route: limits, hosts, request ids, who calls, answers that are known at once, HEAD, a
last answer to whatever escapes the application, and one log line for each request.

Plain ASGI, so that it sees a request before any framework does and an answer after every framework has.
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

MAX_OFTEN = 100
"""Bytes of a path that may be asked for often enough to remember how it is shown."""
MAX_HOSTS = 64
"""Spellings of Host that are remembered."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
# Slashes repeat, because the router takes several for one.
_PERSONAL = re.compile(r"/+api/+v1/+(?:authentication|users|admin)(?:/|$)")
"""Paths whose answers nobody may keep."""
_MAILED = re.compile(r"(.*?/(?:verify-email|password/+reset)/+[^/]+/+).+", re.DOTALL)
"""Paths that carry a token after a user's id."""

_TELLING = frozenset(
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
"""Headers that `Head` looks at; those from `origin` on make a request one that isn't plain."""
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NOTHING_MORE = (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
"""The Content-Security-Policy of responses that set none; our pages set their own."""

_access = logging.getLogger("movie_api.access")
_log = logging.getLogger(__name__)

AtOnce = Callable[[HTTPScope, "Head"], tuple[int, list[tuple[bytes, bytes]], bytes] | None]
"""Status, headers and body, where they are known without asking the application."""

RequestLog = Callable[[str, str, str | None], None]
"""Takes id and message of a request, and the id of the user who asks, where one is known."""
RequestCount = Callable[[str | None, str, int, float], None]
"""Takes the template of a request's route (None: none matched), its method, status and seconds."""


def transport_security(public_url: str) -> tuple[tuple[bytes, bytes], ...]:
    """`Strict-Transport-Security` for one year if the public URL is https, else no header."""
    header = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
    return (header,) if public_url.startswith("https://") else ()


class Guard:
    """Wraps the application's outermost ASGI handler."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        public_url: str,
        allowed_hosts: Sequence[str],
        trusted_proxies: Sequence[str] = (),
        at_once: AtOnce = lambda _scope, _head: None,
        log: RequestLog | None = None,
        count: RequestCount = lambda _route, _method, _status, _seconds: None,
    ) -> None:
        """`trusted_proxies` are networks (or addresses) whose `X-Forwarded-For` is believed. `at_once` may know the
        answer to a request that has passed; then the application isn't asked. `log` tells of each request, in place
        of the logger for them, and `count` counts it."""
        self._app = app
        self._at_once = at_once
        self._log = log or _log_request
        self._count = count
        self._public_url = public_url
        self._everywhere = (_NOSNIFF, *transport_security(public_url))
        self._allowed_hosts = frozenset(allowed_hosts)
        self._good_hosts: set[bytes] = set()
        """Values of Host that were found good."""
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies)

    def put_between(self, layer: Callable[[ASGIApp], ASGIApp]) -> None:
        """Have another layer between this one and the application."""
        self._app = layer(self._app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:  # the process's start and end; websockets are not served
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        head = Head(list(scope["headers"]))
        state = scope.setdefault("state", {})
        state["request_id"], state["public_url"] = head.request_id, self._public_url
        state["client"] = self._client(scope, head.forwarded)
        answer = _Answer(send, scope, head.request_id, self._everywhere)
        inner: Scope = scope
        try:
            refusal = self._refusal(scope, head)
            found = self._at_once(scope, head) if refusal is None else None
            if found is not None:
                await answer.whole(*found)
            elif refusal is not None:
                await self._tell(answer, *refusal)
            else:
                # Routes know GET only: the same answer, its body left out on its way. The server goes by its own scope.
                inner = cast("Scope", {**scope, "method": "GET"}) if answer.is_head else scope
                await self._app(inner, receive, answer)
                if not answer.has_begun:
                    await self._end(answer, RuntimeError("the application gave no answer"))
        except GeneratorExit:  # the loop is gone, nothing can be sent
            raise
        except BaseException as error:  # noqa: BLE001  (whatever escapes, the client gets an answer)
            await self._end(answer, error)
        finally:
            path, status = _printable(scope["path"], scope.get("raw_path")), state.get("refused") or answer.status
            took = time.perf_counter() - began
            caller = state.get("caller")
            user_id = None if caller is None else caller.user_id
            self._log(head.request_id, f"{scope['method']} {path} {status} {took * 1e3:.1f} ms", user_id)
            self._count(inner.get("path_template"), scope["method"], status, took)

    async def _end(self, answer: "_Answer", error: BaseException) -> None:
        """What escaped the application gets a proper answer, unless one has begun; raises where it was broken off."""
        task = asyncio.current_task()
        # A task that waits for one that was cancelled fails in the same way, and is no request that has to end.
        is_cut_off = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
        if is_cut_off:
            _log.warning("request %s had to end with the process", answer.request_id)
        else:
            _log.error("request %s failed", answer.request_id, exc_info=error)
        if not answer.has_begun:
            await self._tell(answer, "busy" if is_cut_off else "internal_error")
        if is_cut_off or not answer.is_whole:  # the server then ends the connection: a part must not pass for the whole
            raise error

    async def _tell(self, answer: "_Answer", code: str, detail: str = "") -> None:
        status, headers, body = problem(self._public_url, answer.request_id, code, detail)
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        pairs.append((b"content-length", b"%d" % len(body)))
        await answer({"type": "http.response.start", "status": status, "headers": pairs})
        await answer({"type": "http.response.body", "body": body, "more_body": False})

    def _client(self, scope: HTTPScope, forwarded: bytes) -> str:
        """The address that calls: the peer, or whom the trusted proxies say that they speak for; empty if unknown."""
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

    def _refusal(self, scope: HTTPScope, head: "Head") -> tuple[str, str] | None:
        """Code and detail of the problem with this request; None when it may pass."""
        if len(_raw_path(scope)) + 1 + len(scope["query_string"]) > MAX_TARGET:
            return "uri_too_long", ""
        if head.lines > MAX_HEADERS or head.size > MAX_HEADER_BYTES:
            return "headers_too_large", ""
        if head.hosts == 1 and head.host in self._good_hosts:
            return None
        match = _HOST.fullmatch(head.host) if head.hosts == 1 else None
        if match is None or int(match[2] or 0) > 65_535:
            return "invalid_host", "the request needs exactly one well-formed Host header"
        if match[1].decode().lower() in self._allowed_hosts or "*" in self._allowed_hosts:
            if len(self._good_hosts) < MAX_HOSTS:
                self._good_hosts.add(head.host)
            return None
        # Probes of an orchestrator, and Prometheus, address a container by whatever it is called there.
        is_probe = scope["path"].startswith("/health/") or scope["path"] == "/metrics"
        return None if is_probe else ("invalid_host", "this host is not served here")


class Head:
    """What matters of a request's header lines before any framework sees them, read in one pass."""

    __slots__ = (
        "authorization",
        "forwarded",
        "host",
        "hosts",
        "if_none_match",
        "is_plain",
        "lines",
        "request_id",
        "size",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.lines = len(headers)
        self.host = self.forwarded = given = b""
        self.authorization: bytes | None = None
        self.if_none_match: bytes | None = None
        self.is_plain = True
        """Neither a body, nor another site's page behind it, nor one of the two above more than once."""
        self.hosts = ids = size = 0
        for name, value in headers if self.lines <= MAX_HEADERS else headers[:MAX_HEADERS]:
            size += len(name) + len(value) + 4
            if name not in _TELLING:
                continue
            if name == b"host":
                self.hosts += 1
                self.host = value
            elif name == b"authorization":
                self.is_plain = self.is_plain and self.authorization is None
                self.authorization = value
            elif name == b"if-none-match":
                self.is_plain = self.is_plain and self.if_none_match is None
                self.if_none_match = value
            elif name == b"x-request-id":
                ids += 1
                given = value
            elif name == b"x-forwarded-for":
                self.forwarded += b"," + value
            else:
                self.is_plain = False
        self.size = size
        is_usable = ids == 1 and _REQUEST_ID.fullmatch(given)
        self.request_id = given.decode() if is_usable else f"{getrandbits(128):032x}"


class _Answer:
    """The answer to one request, on its way out."""

    __slots__ = ("_everywhere", "_scope", "_send", "_start", "has_begun", "is_head", "is_whole", "request_id", "status")

    def __init__(
        self, send: Send, scope: HTTPScope, request_id: str, everywhere: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """`everywhere` are headers that every answer has."""
        self._send = send
        self._everywhere = everywhere
        self._scope = scope
        self._start: HTTPResponseStartEvent | None = None
        self.request_id = request_id
        self.is_head = scope["method"] == "HEAD"
        self.status = 0
        self.has_begun = False
        self.is_whole = False

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """All of it at once, where no path is personal."""
        self.status, self.has_begun, self.is_whole = status, True, True
        headers = [*self._dressed(headers), _NOTHING_MORE]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if self.is_head else body
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # Held until the body begins: what fails before that can still be answered properly.
            self._start, self.status = message, message["status"]
            return
        if self._start is not None and not self.has_begun:
            self.has_begun = True
            headers = self._dressed(self._start["headers"])
            if self.status == 405 or self._scope["method"] == "OPTIONS":
                headers = [_with_head(*header) for header in headers]
            if _PERSONAL.match(self._scope["path"]):
                headers.append(_NO_STORE)
            known = {name.lower() for name, _ in headers}
            if _NOTHING_MORE[0] not in known:
                headers.append(_NOTHING_MORE)
            if _NO_REFERRER[0] not in known and _MAILED.match(self._scope["path"]):
                headers.append(_NO_REFERRER)
            await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.is_head and message["type"] == "http.response.body":
            message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        await self._send(message)
        self.is_whole = not message.get("more_body", False)

    def _dressed(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """With the headers that every answer has; a new list, for the given one may serve again."""
        headers = [*given, (b"x-request-id", self.request_id.encode()), *self._everywhere]
        if (quota := self._scope["state"].get("quota")) is not None:
            headers += _quota_headers(quota)
        return headers


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Routes know GET only, but whatever answers GET answers HEAD."""
    listed = value.split(b", ")
    if name.lower() != b"allow" or b"GET" not in listed or b"HEAD" in listed:
        return name, value
    return name, b", ".join([*listed, b"HEAD"])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None where it is no address; one server may call an IPv4 address what another maps into IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _quota_headers(quota: Quota) -> list[tuple[bytes, bytes]]:
    """Where the caller stands with the limit of this route, as the IETF's draft has it."""
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


def _printable(named: str, raw: bytes | None) -> str:
    """The path as one safe piece of a log line, without a token in it. The query string stays out: it says what
    somebody looks for."""
    # Decoded, as the router reads it: a token must not slip through because something before it is encoded.
    mailed = _MAILED.fullmatch(named) if "verify-email" in named or "password" in named else None
    if mailed is not None:
        return f"{_shown(mailed[1].encode('utf-8', 'surrogateescape'))}…"
    path = raw or named.encode("utf-8", "surrogateescape")
    return _shown_often(path) if len(path) <= MAX_OFTEN else _shown(path[:MAX_TARGET])


def _shown(path: bytes) -> str:
    return path.decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")


_shown_often = lru_cache(maxsize=256)(_shown)
