"""The origin and freshness of a page of movies."""

from enum import StrEnum


class CacheStatus(StrEnum):
    """Where a result comes from."""

    LIVE = "live"
    """Fetched from the source for this request."""
    FRESH = "fresh"
    """A fresh cache entry."""
    STALE = "stale"
    """An expired cache entry, served while it is refreshed or while the source fails (stale-while-revalidate)."""
    FALLBACK = "fallback"
    """From the movies of earlier results, as the source is unavailable and the cache has no entry."""
