"""Responses of searches that are sent again: their bytes and headers, and the cache that stores them.

The handler in `routes/movies.py` puts responses into the cache; `CachedSearch` sends them.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from movie_api.auth import AccessControl
from movie_core.discovery.event_recorder import EventRecorder
from movie_core.paging import Window
from movie_core.provenance import CacheStatus
from movie_core.search.movies import MovieQuery, Order

EXCLUDE_RATED = "rated"
MICRO_TTL = 0.5
"""Seconds for which a response that is not fresh from the cache is reused for the same query string."""
ENTRY_OVERHEAD = 800
"""Bytes of memory that an entry of the response cache uses in addition to its content."""


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The parameters of a search."""

    query: MovieQuery
    window: Window
    exclude_rated: bool = False
    """Omit the movies that the user has rated."""

    @property
    def is_personal(self) -> bool:
        """Whether the response depends on the user."""
        return self.exclude_rated or self.query.order is Order.PERSONAL

    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The query parameters for pagination links, like `MovieQuery.parameters`."""
        return self.query.parameters() + ((("exclude", EXCLUDE_RATED),) if self.exclude_rated else ())


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The body of a search response and the values of its headers."""

    body: bytes
    link: str
    etag: str
    state: CacheStatus
    fetched_at: float
    """Seconds since the Unix epoch, like `fresh_until`."""
    fresh_until: float | None

    def headers(self, now: float) -> dict[str, str]:
        """The headers at `now`, in seconds since the Unix epoch; `Age` and `ttl` are whole seconds (RFC 9211)."""
        headers = {"link": self.link, "etag": self.etag, "cache-control": "private"}
        if self.state in {CacheStatus.FRESH, CacheStatus.STALE} and self.fresh_until is not None:
            remaining = self.fresh_until - now
            # A stale response must not appear fresh because clocks differ.
            ttl = max(0, int(remaining)) if self.state is CacheStatus.FRESH else min(-1, math.floor(remaining))
            headers["cache-status"] = f"movies; hit; ttl={ttl}"
            headers["age"] = str(max(0, int(now - self.fetched_at)))
        elif self.state is CacheStatus.FALLBACK:
            headers["cache-status"] = "movies; fwd=miss; detail=fallback"
        else:
            headers["cache-status"] = "movies; fwd=miss"
        return headers


def matches_etag(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    etags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in etags or etag.removeprefix("W/") in etags


class CachedResponse:
    """A response that may be sent again until `expires_at` (seconds since the Unix epoch), with the services that a
    search needs besides it: the layer that sends it runs before dependency injection."""

    __slots__ = ("_headers", "_second", "access", "expires_at", "page", "recorder", "request", "size")

    def __init__(
        self,
        request: SearchRequest,
        page: RenderedPage,
        expires_at: float,
        query_string: bytes,
        access: AccessControl,
        recorder: EventRecorder,
    ) -> None:
        self.request = request
        self.page = page
        self.expires_at = expires_at
        self.access = access
        self.recorder = recorder
        self.size = len(query_string) + len(page.body) + len(page.link) + ENTRY_OVERHEAD
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []

    def headers(self, now: float, *, with_body: bool = True) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI takes them; built once per second, which is the resolution of their values."""
        if self._second != int(now):
            self._second = int(now)
            headers = ((name.encode(), value.encode()) for name, value in self.page.headers(now).items())
            length = b"%d" % len(self.page.body)
            self._headers = [*headers, (b"content-type", b"application/json"), (b"content-length", length)]
        return self._headers if with_body else self._headers[:-2]


class ResponseCache:
    """An LRU cache of recent search responses by raw query string, of at most `max_bytes`.

    A fresh response is cached until it becomes stale. A stale response, a fallback, and a response of a source without
    a cache are cached for `MICRO_TTL`. A live response of a source with a cache is not stored, because the next
    response has another state, `fresh`.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._responses: OrderedDict[bytes, CachedResponse] = OrderedDict()

    def get(self, query_string: bytes, now: float) -> CachedResponse | None:
        response = self._responses.get(query_string)
        if response is None or now >= response.expires_at:
            return None
        self._responses.move_to_end(query_string)
        return response

    def put(
        self,
        query_string: bytes,
        request: SearchRequest,
        page: RenderedPage,
        now: float,
        access: AccessControl,
        recorder: EventRecorder,
    ) -> None:
        if page.state is CacheStatus.FRESH and page.fresh_until is not None:
            expires_at = page.fresh_until
        elif page.state is CacheStatus.LIVE and page.fresh_until is not None:
            return
        else:
            expires_at = now + MICRO_TTL
        self._remove(query_string)
        response = CachedResponse(request, page, expires_at, query_string, access, recorder)
        self._responses[query_string] = response
        self._bytes += response.size
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._responses)))

    def clear(self) -> None:
        self._responses.clear()
        self._bytes = 0

    def _remove(self, query_string: bytes) -> None:
        response = self._responses.pop(query_string, None)
        if response is not None:
            self._bytes -= response.size
