"""Serves recent search responses from memory, before the framework handles the request.

A response is served if the access token was verified before, the raw query string is in the `ResponseCache`, and the
rate limit can be counted without I/O. All other requests are passed on to the handler: this layer rejects nothing and
renders nothing.
"""

import time
from collections.abc import Awaitable

from litestar.types import HTTPScope, Receive, Send

from movie_api.context import RequestContext, context_of
from movie_api.middleware import HttpApp, send_response
from movie_api.response_cache import CachedResponse, ResponseCache, matches_etag
from movie_api.routes.movies import SEARCH_PATH

_ROUTE = SEARCH_PATH.rstrip("/")
"""The path template of the handler, as the framework spells it."""
_PATHS = frozenset((SEARCH_PATH, _ROUTE))


class CachedSearch:
    """Sends the responses that the search handler has put into the cache."""

    def __init__(self, app: HttpApp, *, response_cache: ResponseCache) -> None:
        self._app = app
        self._response_cache = response_cache

    def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["path"] in _PATHS and scope["method"] == "GET":
            context, now = context_of(scope), time.time()
            response = self._response_cache.get(scope["query_string"], now) if context.head.is_simple else None
            # The access check is last, because it counts the search.
            if response is not None and response.access.try_admit(context):
                scope["path_template"] = _ROUTE
                return _send(send, context, response, now)
        return self._app(scope, receive, send)


def _send(send: Send, context: RequestContext, response: CachedResponse, now: float) -> Awaitable[None]:
    search, page, etags = response.request, response.page, context.head.if_none_match
    user_id = None if context.caller is None else context.caller.user_id
    response.recorder.record_search(user_id, search.query.text, page.state, is_first=not search.window.offset)
    status, body = 200, page.body
    if etags is not None and matches_etag(etags.decode("latin-1"), page.etag):
        status, body = 304, b""
    headers = response.headers(now, with_body=status == 200)
    return send_response(send, status, headers, body)
