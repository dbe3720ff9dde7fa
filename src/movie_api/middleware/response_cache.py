"""Serves recent search responses from memory, before the framework handles the request.

A response is served if the access token was verified before, the raw query string is in the `ResponseCache`, and the
rate limit can be counted without I/O. All other requests are passed on to the handler: this middleware rejects
nothing and renders nothing.
"""

import time

from litestar.types import HTTPScope

from movie_api.auth import AccessControl
from movie_api.middleware.edge import RequestHead
from movie_api.routes.movies import SEARCH_PATH, ResponseCache, matches_etag
from movie_core.discovery.event_recorder import EventRecorder

_ROUTE = SEARCH_PATH.rstrip("/")
"""The path template of the handler, as the framework spells it."""
_PATHS = frozenset((SEARCH_PATH, _ROUTE))


class CachedSearchMiddleware:
    """Finds cached responses for the edge middleware; finds none until `enable` is called."""

    def __init__(self) -> None:
        self._access: AccessControl | None = None
        self._response_cache: ResponseCache | None = None
        self._recorder: EventRecorder | None = None

    def enable(self, access: AccessControl, response_cache: ResponseCache, recorder: EventRecorder) -> None:
        self._access, self._response_cache, self._recorder = access, response_cache, recorder

    def __call__(self, scope: HTTPScope, head: RequestHead) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
        """Status, headers and body of a cached response, or None."""
        if scope["path"] not in _PATHS or not head.is_simple or scope["method"] not in {"GET", "HEAD"}:
            return None
        if self._response_cache is None or self._access is None or self._recorder is None:
            return None
        now = time.time()
        response = self._response_cache.get(scope["query_string"], now)
        # The access check is last, because it counts the search.
        if response is None or not self._access.try_admit(scope, head.authorization):
            return None
        scope["path_template"] = _ROUTE
        caller, search, page = scope["state"]["caller"], response.request, response.page
        user_id = None if caller is None else caller.user_id
        self._recorder.record_search(user_id, search.query.text, page.state, is_first=not search.window.offset)
        if head.if_none_match is not None and matches_etag(head.if_none_match.decode("latin-1"), page.etag):
            return 304, response.headers(now, with_body=False), b""
        return 200, response.headers(now), page.body
