"""The fast lane: a search that was answered a moment ago is answered again before any framework sees it.

It knows three things: who calls, by a token that was found good before; what is asked, by the query string as it is
spelled; and the bytes that the handler gave. Whatever it doesn't know, and whatever is unusual about a request, goes on
to the handler: the lane never refuses anything, and renders nothing itself.
"""

import time

from litestar.types import HTTPScope

from movie_api.middleware.edge import Head
from movie_api.routes.movies import SEARCH_PATH, ResponseCache, SearchAccess, matches_etag
from movie_core.discovery.event_recorder import EventRecorder

_ROUTE = SEARCH_PATH.rstrip("/")
"""As the framework calls the handler's route."""
_PATHS = frozenset((SEARCH_PATH, _ROUTE))


class CachedSearchMiddleware:
    """Answers what it knows; nothing until `open` was called."""

    def __init__(self) -> None:
        self._access: SearchAccess | None = None
        self._ready: ResponseCache | None = None
        self._recorder: EventRecorder | None = None

    def open(self, access: SearchAccess, ready: ResponseCache, recorder: EventRecorder) -> None:
        self._access, self._ready, self._recorder = access, ready, recorder

    def __call__(self, scope: HTTPScope, head: Head) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
        """Status, headers and body, where all is known."""
        if scope["path"] not in _PATHS or not head.is_plain or scope["method"] not in {"GET", "HEAD"}:
            return None
        if self._ready is None or self._access is None or self._recorder is None:
            return None
        now = time.time()
        answer = self._ready.find(scope["query_string"], now)
        # Whether the caller may have it comes last, as that counts the search.
        if answer is None or not self._access.admit_at_once(scope, head.authorization):
            return None
        scope["path_template"] = _ROUTE
        caller, asked = scope["state"]["caller"], answer.asked
        user_id = None if caller is None else caller.user_id
        self._recorder.search(user_id, asked.query.text, answer.rendered.state, is_first=not asked.window.offset)
        if head.if_none_match is not None and matches_etag(head.if_none_match.decode("latin-1"), answer.rendered.etag):
            return 304, answer.headers(now, with_body=False), b""
        return 200, answer.headers(now), answer.rendered.body
