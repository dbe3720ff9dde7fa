"""The access log and the metrics of requests."""

import logging
import time
from collections.abc import Callable
from functools import lru_cache

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import context_of
from movie_api.middleware import HttpApp
from movie_api.middleware.limits import MAX_TARGET
from movie_api.middleware.response_headers import LINK_PATH

MAX_CACHED_PATH = 100
"""Maximum bytes of a path whose escaped form for the log is cached."""

_access = logging.getLogger("movie_api.access")

RequestLog = Callable[[str, str, str | None], None]
"""Takes the request id, the message, and the id of the user if known."""
RequestCount = Callable[[str | None, str, int, float], None]
"""Takes the template of the route (None if no route matched), method, status and duration in seconds."""


def log_request(request_id: str, message: str, user_id: str | None) -> None:
    """Write a line of the access log with the standard library's logger."""
    _access.info("%s", message, extra={"request_id": request_id, "user_id": user_id})


class AccessLog:
    """Logs and counts each request, also if it fails or is cancelled."""

    def __init__(self, app: HttpApp, *, log: RequestLog, count: RequestCount) -> None:
        self._app = app
        self._log = log
        self._count = count

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            await self._app(scope, receive, send)
        finally:
            context = context_of(scope)
            duration = time.perf_counter() - started
            method, status = scope["method"], context.rejected_status or context.status
            path = loggable_path(scope["path"], scope.get("raw_path"))
            user_id = None if context.caller is None else context.caller.user_id
            self._log(context.request_id, f"{method} {path} {status} {duration * 1e3:.1f} ms", user_id)
            self._count(scope.get("path_template"), method, status, duration)


def loggable_path(decoded: str, raw: bytes | None) -> str:
    """The path, escaped for a log line and without the token of a mailed link. The query string is not logged, because
    it has the search text of a user."""
    # Matches the decoded path, as the router does: percent-encoding must not let a token into the log.
    link = LINK_PATH.fullmatch(decoded) if "verify-email" in decoded or "password" in decoded else None
    if link is not None:
        return f"{_escaped(link[1].encode('utf-8', 'surrogateescape'))}…"
    path = raw or decoded.encode("utf-8", "surrogateescape")
    return _escaped_cached(path) if len(path) <= MAX_CACHED_PATH else _escaped(path[:MAX_TARGET])


def _escaped(path: bytes) -> str:
    return path.decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")


_escaped_cached = lru_cache(maxsize=256)(_escaped)
