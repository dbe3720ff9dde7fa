"""Remembered answers: how long they are fresh and may be served, and the blocks in which a source is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window

BLOCK_SIZES = (50, 25, 20, 10, 5, 2, 1)
"""How many movies a source is asked for at once: the first, and a later one where it gives no more than that."""
NO_MATCH_SECONDS = 30.0
"""How long it is remembered that nothing matches."""
JITTER = 0.1
"""By how much of it freshness is shortened at most, so that what was fetched together doesn't expire together."""

RESPONSE_CACHE_FRACTION = 4
"""The part of the cache's memory that answers ready to be sent may take: one in so many bytes."""


class Freshness(Enum):
    """What an entry is good for."""

    FRESH = "fresh"
    STALE = "stale"
    """To be served while it is fetched anew, and while the source is away."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An answer as it is kept. Times are seconds since the epoch."""

    value: bytes
    fetched_at: float
    fresh_until: float
    stale_until: float
    fence: int
    """Of two entries of one key, the one with the greater fence is newer, whoever writes it and whenever."""

    def freshness(self, now: float) -> Freshness:
        if now < self.fresh_until:
            return Freshness.FRESH
        return Freshness.STALE if now < self.stale_until else Freshness.GONE


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fetch what belongs under a key, for a short time."""

    key: str
    fence: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long answers are kept, in seconds."""

    fresh: float = 600.0
    stale: float = 86_400.0
    """Beyond `fresh`."""

    def entry(self, value: bytes, *, fence: int, now: float, chance: float, is_match: bool = True) -> CacheEntry:
        """A new entry; `chance` is a random number from 0 to 1. What says that nothing matches is soon forgotten."""
        if not is_match:
            until = now + min(NO_MATCH_SECONDS, self.fresh)
            return CacheEntry(value, now, until, until, fence)
        fresh_until = now + self.fresh * (1 - JITTER * chance)
        return CacheEntry(value, now, fresh_until, fresh_until + self.stale, fence)


def blocks_of(window: Window, size: int) -> Sequence[Window]:
    """The aligned blocks of `size` movies that cover a window, in order; past `MAX_OFFSET` one block ends them all."""
    first = window.offset - window.offset % size
    starts = range(first, min(window.offset + window.limit, MAX_OFFSET), size)
    blocks = [Window(start, size) for start in starts if start + size <= MAX_OFFSET]
    if window.offset + window.limit > MAX_OFFSET - MAX_OFFSET % size:
        blocks.append(Window(MAX_OFFSET - MAX_OFFSET % size, MAX_LIMIT))
    return blocks


class CacheInvalidation:
    """Notifies holders of cached copies when the cache is flushed."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, on_flush: Callable[[], None]) -> None:
        self._subscribers.append(on_flush)

    def publish(self) -> None:
        for on_flush in self._subscribers:
            on_flush()
