"""Requests of web pages from other origins (CORS)."""

import re
from collections.abc import Awaitable, Sequence

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import context_of
from movie_api.middleware import HttpApp, send_response
from movie_api.problems import send_problem

Header = tuple[bytes, bytes]

EXPOSED_HEADERS = (
    "Link",
    "ETag",
    "Age",
    "Cache-Status",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
    "Location",
)
"""The response headers that scripts of other origins may read, besides those that every script may read."""
PREFLIGHT_MAX_AGE = 600
"""Seconds for which a browser may reuse the response to a preflight request."""

_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_-]+(?:[ \t]*,[ \t]*[A-Za-z0-9_-]+)*")
_DEFAULT_HEADER_NAMES = b"authorization, content-type"


class CorsPolicy:
    """The origins whose pages may read responses (`MOVIE_CORS_ORIGINS`)."""

    def __init__(self, origins: Sequence[str] = ()) -> None:
        """`*` allows every origin, without credentials."""
        self._allows_all = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._exposed: Header = (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())
        varies = bool(origins) and not self._allows_all
        self.common_headers: tuple[Header, ...] = ((b"vary", b"Origin"),) if varies else ()
        """The headers of every response, so that a cache does not send it to a page of another origin."""

    def allows(self, origin: bytes) -> bool:
        return self._allows_all or origin in self._origins

    def headers(self, origin: bytes) -> tuple[Header, ...]:
        """The headers of a response to a request from `origin`; none if it is not allowed."""
        if self._allows_all:
            return (b"access-control-allow-origin", b"*"), self._exposed
        if origin in self._origins:
            credentials = (b"access-control-allow-credentials", b"true")
            return (b"access-control-allow-origin", origin), credentials, self._exposed
        return ()


class Preflights:
    """Responds to preflight requests, with which browsers ask for permission. `ResponseHeaders` adds the origin."""

    def __init__(self, app: HttpApp, *, policy: CorsPolicy) -> None:
        self._app = app
        self._policy = policy

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        context = context_of(scope)
        origin = context.head.origin
        if origin is None or scope["method"] != "OPTIONS":
            return self._app(scope, receive, send)
        requested = dict(scope["headers"])
        if b"access-control-request-method" not in requested:
            return self._app(scope, receive, send)
        if not self._policy.allows(origin):
            detail = "the origin of this page is not one of MOVIE_CORS_ORIGINS, so its scripts cannot use the API"
            return send_problem(send, context, "origin_not_allowed", detail)
        names = requested.get(b"access-control-request-headers", b"").strip()
        headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            (b"access-control-allow-headers", names if _HEADER_NAMES.fullmatch(names) else _DEFAULT_HEADER_NAMES),
            (b"access-control-max-age", b"%d" % PREFLIGHT_MAX_AGE),
        ]
        return send_response(send, 204, headers, b"")
