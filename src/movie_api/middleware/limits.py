"""Size limits of the request head."""

from collections.abc import Awaitable

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import MAX_HEADERS, context_of
from movie_api.middleware import HttpApp
from movie_api.problems import send_problem

MAX_TARGET = 8 * 1024
"""Bytes of path and query string."""
MAX_HEADER_BYTES = 16 * 1024
"""Bytes of all header lines, with their separators."""


class SizeLimits:
    """Rejects a request with a long URL, or with many or long headers."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        context = context_of(scope)
        path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
        if len(path) + 1 + len(scope["query_string"]) > MAX_TARGET:
            return send_problem(send, context, "uri_too_long")
        if context.head.lines > MAX_HEADERS or context.head.size > MAX_HEADER_BYTES:
            return send_problem(send, context, "headers_too_large")
        return self._app(scope, receive, send)
