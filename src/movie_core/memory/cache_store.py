"""The `CacheStore` port in memory."""

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from movie_core.search.caching import CacheEntry, CacheStats, Lease

ENTRY_BYTES = 420
"""What `MemoryCacheStore` needs for an entry beside the characters of its key and the bytes of its value, rounded up from
what CPython 3.11 takes for 100,000 of them."""


class MemoryCacheStore:
    """An `CacheStore` for one process, in at most `max_bytes`; the entry used longest ago is forgotten first.

    Also the layer above a store that processes share; `peek`, `keep` and `forget` are for that, and never wait.
    """

    _SWEEP = 1000
    """Leases between looks for those that have ended."""

    def __init__(self, max_bytes: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, CacheEntry] = OrderedDict()
        self._bytes = 0
        self._leases: dict[str, tuple[int, float]] = {}
        self._sweep_at = self._SWEEP
        self._fence = 0
        self._generation: str | None = None

    def peek(self, key: str) -> CacheEntry | None:
        """The entry of the key, also when it is past its `stale_until`; counts as used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def keep(self, key: str, entry: CacheEntry) -> bool:
        """As `write`. False too where the entry needs more than a tenth of `max_bytes`; an older one is forgotten."""
        known = self._entries.get(key)
        if (known is not None and known.fence > entry.fence) or entry.stale_until <= self._clock():
            return False
        self._fence = max(self._fence, entry.fence)
        self._drop(key)
        size = _size(key, entry)
        if size > self._max_bytes / 10:
            return False
        self._entries[key] = entry
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def forget(self) -> int:
        """As `clear`."""
        count = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        self._generation = secrets.token_hex(8)
        return count

    async def read(self, key: str) -> CacheEntry | None:
        entry = self.peek(key)
        if entry is not None and entry.stale_until <= self._clock():
            self._drop(key)
            return None
        return entry

    async def lease(self, key: str, seconds: float) -> Lease | None:
        now = self._clock()
        if self._holder(key, now) is not None:
            return None
        if len(self._leases) >= self._sweep_at:
            self._leases = {kept: lease for kept, lease in self._leases.items() if lease[1] > now}
            self._sweep_at = max(self._SWEEP, 2 * len(self._leases))
        self._fence = max(self._fence + 1, int(now * 1e6))  # as other stores count, microseconds of their clock
        self._leases[key] = (self._fence, now + seconds)
        return Lease(key, self._fence)

    async def renew(self, lease: Lease, seconds: float) -> bool:
        now = self._clock()
        if self._holder(lease.key, now) != lease.fence:
            return False
        self._leases[lease.key] = (lease.fence, now + seconds)
        return True

    async def release(self, lease: Lease) -> None:
        if self._holder(lease.key, self._clock()) == lease.fence:
            del self._leases[lease.key]

    async def write(self, key: str, entry: CacheEntry) -> bool:
        return self.keep(key, entry)

    async def clear(self) -> int:
        return self.forget()

    async def generation(self) -> str | None:
        return self._generation

    async def stats(self) -> CacheStats:
        return CacheStats(len(self._entries), self._bytes - ENTRY_BYTES * len(self._entries))

    def _holder(self, key: str, now: float) -> int | None:
        """The fence of the lease that hasn't ended."""
        fence, until = self._leases.get(key, (0, 0.0))
        return fence if now < until else None

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry)


def _size(key: str, entry: CacheEntry) -> int:
    return len(key) + len(entry.value) + ENTRY_BYTES
