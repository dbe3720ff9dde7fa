"""The `Host` header of requests."""

import re
from collections.abc import Awaitable, Sequence

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import RequestHead, context_of
from movie_api.middleware import HttpApp
from movie_api.problems import send_problem

MAX_CACHED_HOSTS = 64
"""Maximum number of accepted Host values that are cached."""

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class TrustedHosts:
    """Rejects a request whose Host header is malformed or not allowed; probes may name any host."""

    def __init__(self, app: HttpApp, *, allowed_hosts: Sequence[str]) -> None:
        """`*` allows every host."""
        self._app = app
        self._allowed_hosts = frozenset(allowed_hosts)
        self._accepted: set[bytes] = set()
        """Values of Host that were accepted before."""

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        context = context_of(scope)
        head = context.head
        if head.hosts != 1 or head.host not in self._accepted:
            detail = self._rejection(scope["path"], head)
            if detail is not None:
                return send_problem(send, context, "invalid_host", detail)
        return self._app(scope, receive, send)

    def _rejection(self, path: str, head: RequestHead) -> str | None:
        """Why the request is rejected; None if it is not."""
        match = _HOST.fullmatch(head.host) if head.hosts == 1 else None
        if match is None or int(match[2] or 0) > 65_535:
            return "exactly one well-formed Host header is required"
        if match[1].decode().lower() in self._allowed_hosts or "*" in self._allowed_hosts:
            if len(self._accepted) < MAX_CACHED_HOSTS:
                self._accepted.add(head.host)
            return None
        # Orchestrators and Prometheus send their probes to a container under any name or address.
        is_probe = path.startswith("/health/") or path == "/metrics"
        return None if is_probe else "this host is not allowed"
