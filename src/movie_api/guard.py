"""What stands in front of every route: limits, hosts, request ids, who calls, HEAD, and one log line for each request.

Plain ASGI, so that it sees a request before any framework does and an answer after every framework has.
"""

import ipaddress
import logging
import math
import re
import time
import uuid
from collections.abc import Sequence
from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from movie_api.errors import problem
from movie_core.limits import Quota

MAX_TARGET = 8 * 1024
"""Bytes of path and query string."""
MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
"""Bytes of all header lines, with their separators."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
# Slashes repeat, because the router takes several for one.
_PERSONAL = re.compile(r"/+api/+v1/+(?:authentication|users)(?:/|$)")
"""Paths whose answers nobody may keep."""
_MAILED = re.compile(r"(.*?/(?:verify-email|password/+reset)/+[^/]+/+).+", re.DOTALL)
"""Paths that carry a token after a user's id."""

_access = logging.getLogger("movie_api.access")


class Guard:
    """Wraps the application's outermost ASGI handler."""

    def __init__(
        self, app: ASGIApp, *, public_url: str, allowed_hosts: Sequence[str], trusted_proxies: Sequence[str] = ()
    ) -> None:
        """`trusted_proxies` are networks (or addresses) whose `X-Forwarded-For` is believed."""
        self._app = app
        self._public_url = public_url
        self._allowed_hosts = frozenset(allowed_hosts)
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._guard(scope, receive, send)
        else:  # the process's start and end; websockets are not served
            await self._app(scope, receive, send)

    async def _guard(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope)
        scope.setdefault("state", {})
        scope["state"].update(request_id=request_id, public_url=self._public_url, client=self._client(scope))
        began, method, status = time.perf_counter(), scope["method"], 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [_with_head(*header) for header in message.get("headers", ())]
                headers += [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if _PERSONAL.match(scope["path"]):
                    headers.append((b"cache-control", b"no-store"))
                headers += _quota_headers(scope["state"].get("quota"))
                message["headers"] = headers
            elif method == "HEAD" and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await _answer(tell, *problem(self._public_url, request_id, *refusal))
            else:
                # Routes know GET only: the same answer, its body left out above. The server goes by its own scope.
                inner = {**scope, "method": "GET"} if method == "HEAD" else scope
                await self._app(cast("Scope", inner), receive, tell)
        finally:
            _access.info(
                "%s %s %d %.1f ms",
                method,
                _printable(scope),
                status,
                (time.perf_counter() - began) * 1e3,
                extra={"request_id": request_id},
            )

    def _client(self, scope: HTTPScope) -> str:
        """The address that calls: the peer, or whom the trusted proxies say that they speak for; empty if unknown."""
        client = (scope.get("client") or ("", 0))[0]
        named = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for hop in reversed(named.split(",")):
            address = _address(hop.strip())
            if address is None or not self._is_proxy(client):
                break
            client = str(address)
        return client

    def _is_proxy(self, client: str) -> bool:
        address = _address(client)
        return address is not None and any(address in network for network in self._proxies)

    def _refusal(self, scope: HTTPScope) -> tuple[str, str] | None:
        """Code and detail of the problem with this request; None when it may pass."""
        if len(_raw_path(scope)) + 1 + len(scope["query_string"]) > MAX_TARGET:
            return "uri_too_long", ""
        headers = list(scope["headers"])
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEADER_BYTES:
            return "headers_too_large", ""
        hosts = [value for name, value in headers if name == b"host"]
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or int(match[2] or 0) > 65_535:
            return "invalid_host", "the request needs exactly one well-formed Host header"
        # Probes of an orchestrator address a container by whatever it is called there.
        is_probe = scope["path"].startswith("/health/")
        if not is_probe and "*" not in self._allowed_hosts and match[1].decode().lower() not in self._allowed_hosts:
            return "invalid_host", "this host is not served here"
        return None


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


def _quota_headers(quota: Quota | None) -> list[tuple[bytes, bytes]]:
    """Where the caller stands with the limit of this route, as the IETF's draft has it."""
    if quota is None:
        return []
    state = f'"{quota.name}";r={quota.remaining};t={max(0, math.ceil(quota.reset))}'
    policy = f'"{quota.name}";q={quota.rate.amount};w={quota.rate.seconds}'
    return [(b"ratelimit", state.encode()), (b"ratelimit-policy", policy.encode())]


def _request_id(scope: HTTPScope) -> str:
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0].decode()
    return uuid.uuid4().hex


def _raw_path(scope: HTTPScope) -> bytes:
    return scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")


def _printable(scope: HTTPScope) -> str:
    """The path as one safe piece of a log line, without a token in it. The query string stays out: it says what
    somebody looks for."""
    # Decoded, as the router reads it: a token must not slip through because something before it is encoded.
    mailed = _MAILED.fullmatch(scope["path"])
    path = _raw_path(scope) if mailed is None else mailed[1].encode("utf-8", "surrogateescape")
    shown = path[:MAX_TARGET].decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")
    return shown if mailed is None else f"{shown}…"


async def _answer(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})
