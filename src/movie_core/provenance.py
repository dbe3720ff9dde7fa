"""Where a page of movies comes from, and how fresh it is."""

from enum import StrEnum


class CacheStatus(StrEnum):
    """Where an answer comes from."""

    LIVE = "live"
    """Just fetched from the source."""
    FRESH = "fresh"
    """Remembered."""
    STALE = "stale"
    """Remembered, and past its time: it is being fetched anew, or the source is failing."""
    FALLBACK = "fallback"
    """From the movies that the source gave earlier, as it is away and nothing is remembered."""
