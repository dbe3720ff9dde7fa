"""Caching rules: how long responses are fresh and stale, and the aligned blocks in which a source is queried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window
from movie_core.provenance import CacheStatus

BLOCK_SIZES = (50, 25, 20, 10, 5, 2, 1)
"""Movies per call to a source: the first size or, if the source returns fewer movies per call, the largest size that
it fills."""
NO_MATCH_SECONDS = 30.0
"""How long an empty result is cached."""
JITTER = 0.1
"""Maximum fraction by which freshness is shortened, so that entries fetched together do not expire together."""

RESPONSE_CACHE_FRACTION = 4
"""The response cache may use a quarter of the memory of the cache."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A cached response. Times are seconds since the Unix epoch."""

    value: bytes
    fetched_at: float
    fresh_until: float
    stale_until: float
    fence: int
    """Fencing token: of two entries of one key, the one with the greater fence is newer, whenever it was written."""

    def status(self, now: float) -> CacheStatus | None:
        """`FRESH` or `STALE`; None where the entry has expired."""
        if now < self.fresh_until:
            return CacheStatus.FRESH
        return CacheStatus.STALE if now < self.stale_until else None


@dataclass(frozen=True, slots=True)
class Lease:
    """The exclusive right to fetch the entry of a key, for a short time."""

    key: str
    fence: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Size of a cache."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long responses are cached, in seconds."""

    fresh: float = 600.0
    stale: float = 86_400.0
    """In addition to `fresh`: the time during which a stale response may be served."""

    def entry(self, value: bytes, *, fence: int, now: float, chance: float, is_match: bool = True) -> CacheEntry:
        """Make an entry. `chance` is a random number from 0 to 1; an entry without a match expires early."""
        if not is_match:
            until = now + min(NO_MATCH_SECONDS, self.fresh)
            return CacheEntry(value, now, until, until, fence)
        fresh_until = now + self.fresh * (1 - JITTER * chance)
        return CacheEntry(value, now, fresh_until, fresh_until + self.stale, fence)


def blocks_of(window: Window, size: int) -> Sequence[Window]:
    """Return the aligned blocks of `size` movies that cover a window, in order. Where no whole block fits below
    `MAX_OFFSET`, the last block has `MAX_LIMIT` movies instead.
    """
    first = window.offset - window.offset % size
    starts = range(first, min(window.offset + window.limit, MAX_OFFSET), size)
    blocks = [Window(start, size) for start in starts if start + size <= MAX_OFFSET]
    if window.offset + window.limit > MAX_OFFSET - MAX_OFFSET % size:
        blocks.append(Window(MAX_OFFSET - MAX_OFFSET % size, MAX_LIMIT))
    return blocks


class CacheInvalidation:
    """Notifies holders of cached copies when the cache is flushed."""

    def __init__(self, *subscribers: Callable[[], None]) -> None:
        self._subscribers = subscribers

    def publish(self) -> None:
        for on_flush in self._subscribers:
            on_flush()
