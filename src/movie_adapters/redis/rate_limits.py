"""Rate limits shared by all processes through Redis; each process counts for itself while Redis is unavailable."""

import contextlib
import hashlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sized
from typing import TYPE_CHECKING, Generic, TypeVar

from movie_core.errors import StoreUnavailable
from movie_core.operations.rate_limits import SLOTS, HitWindow, PermitWindow
from movie_core.ports import RateLimiter
from movie_core.quotas import Permits, Quota, Rate

if TYPE_CHECKING:  # a process without Redis need not import its client
    from movie_adapters.redis.client import RedisClient

MAX_KEYS = 100_000
"""Maximum number of keys in memory. The least recently used one is evicted, so a flood of keys can reset a limit, but
never fills the memory."""
MAX_COUNTS = 100_000
"""Maximum number of counts in memory, of hits and of leases each, over all keys, at up to 200 bytes each. A single key
may exceed it, up to its rate."""

# The hits of one key are a list of times in microseconds, oldest first. The script checks, counts and returns the quota
# atomically, with the server's clock: exact for any number of processes, even if their clocks differ.
_HIT = """
local amount, window = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and tonumber(oldest) <= now - window do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end
local count, allowed = redis.call('LLEN', KEYS[1]), 0
if count < amount then
  redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  count, allowed = count + 1, 1
end
return {allowed, amount - count, (tonumber(oldest) or now) + window - now}
"""

# The algorithm of `PermitWindow` in movie_core, with the server's clock, in microseconds. One Redis key stores a map:
# from the id of a lease whose permits may be returned, or from a slot, to the latest time of use and the number of
# permits.
_LEASE = """
local amount, window = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
local prefetch, validity, id = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local returned, unused, slots = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local counts, size = {}, 0
local function count(key, till, number)
  if number <= 0 or till <= now - window then return end
  key = key or 'slot' .. math.floor(till * slots / window)
  local present = counts[key]
  if present then
    counts[key] = {math.max(till, present[1]), number + present[2]}
  else
    counts[key] = {till, number}
  end
end
local stored = redis.call('GET', KEYS[1])
stored = stored and cmsgpack.unpack(stored) or {}
for _ in pairs(stored) do size = size + 1 end
for key, entry in pairs(stored) do
  local till, number = entry[1], entry[2]
  if key == returned then
    count(nil, math.min(till, now), number - unused)
  elseif string.sub(key, 1, 4) == 'slot' or (size > 2 * slots and till <= now) then
    count(nil, till, number)
  else
    count(key, till, number)
  end
end
local free = amount
for _, entry in pairs(counts) do free = free - entry[2] end
local allowed, taken = 0, 0
if free > 0 then
  allowed, taken = 1, math.min(prefetch, free - 1)
  count(nil, now, 1)
  count(id, now + validity, taken)
end
local oldest = nil
for _, entry in pairs(counts) do oldest = math.min(oldest or entry[1], entry[1]) end
redis.call('SET', KEYS[1], cmsgpack.pack(counts), 'PX', math.ceil((window + validity) / 1000))
return {allowed, free - allowed - taken, oldest + window - now, taken}
"""

W = TypeVar("W", bound=Sized)


class SharedRateLimiter(RateLimiter):
    """A `RateLimiter` in Redis or, without a client, in this process. Only hashes of the keys are stored.

    While Redis is unavailable, frozen, full or read-only, each process counts for itself, from zero.
    """

    def __init__(
        self,
        client: "RedisClient | None",
        *,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = MAX_KEYS,
        max_counts: int = MAX_COUNTS,
    ) -> None:
        """`max_keys` and `max_counts` limit the memory of this process, of hits and of leases each."""
        self._client = client
        self._local = _LocalWindows(clock, max_keys, max_counts)

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        full_key = _full_key(name, key)
        if self._client is not None:
            with contextlib.suppress(StoreUnavailable):
                is_allowed, remaining, reset = await self._client.run(
                    _HIT, [self._hit_key(full_key, rate)], rate.amount, rate.seconds
                )
                return bool(is_allowed), _quota(name, rate, remaining, reset)
        is_allowed, remaining, reset = self._local.hit(full_key, rate)
        return is_allowed, Quota(name, rate, remaining, reset)

    async def refund(self, name: str, key: str, rate: Rate) -> None:
        full_key = _full_key(name, key)
        if self._client is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._client.call("RPOP", self._hit_key(full_key, rate))
                return
        self._local.refund(full_key, rate)

    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        full_key, permits_id = _full_key(name, key), secrets.token_hex(6)
        if self._client is not None:
            returned_arguments = ("", 0) if returned is None else (returned.id, returned.count)
            validity = math.ceil(seconds * 1e6)
            with contextlib.suppress(StoreUnavailable):
                is_allowed, remaining, reset, taken = await self._client.run(
                    _LEASE,
                    [f"{self._client.prefix}lease:{full_key}:{rate.amount}/{rate.seconds}"],
                    rate.amount,
                    rate.seconds,
                    prefetch,
                    validity,
                    permits_id,
                    *returned_arguments,
                    SLOTS,
                )
                return bool(is_allowed), _quota(name, rate, remaining, reset), Permits(permits_id, taken)
        is_allowed, remaining, reset, permits = self._local.lease(
            full_key, rate, permits_id, prefetch=prefetch, seconds=seconds, returned=returned
        )
        return is_allowed, Quota(name, rate, remaining, reset), permits

    def _hit_key(self, full_key: str, rate: Rate) -> str:
        prefix = "" if self._client is None else self._client.prefix
        return f"{prefix}limit:{full_key}:{rate.amount}/{rate.seconds}"


def _quota(name: str, rate: Rate, remaining: int, reset: int) -> Quota:
    """`reset` is in microseconds; it is limited, as the server's clock may be set back."""
    return Quota(name, rate, remaining, min(reset / 1e6, rate.seconds))


def _full_key(name: str, key: str) -> str:
    # The length marks the end of the name.
    return hashlib.sha256(f"{len(name)}:{name}{key}".encode("utf-8", "surrogatepass")).hexdigest()[:40]


class _LocalWindows:
    """Sliding windows of this process, in bounded memory."""

    def __init__(self, clock: Callable[[], float], max_keys: int, max_counts: int) -> None:
        self._clock = clock
        self._hits: _LeastRecentlyUsed[HitWindow] = _LeastRecentlyUsed(max_keys, max_counts)
        self._leases: _LeastRecentlyUsed[PermitWindow] = _LeastRecentlyUsed(max_keys, max_counts)

    def hit(self, key: str, rate: Rate) -> tuple[bool, int, float]:
        with self._hits.window((key, rate), HitWindow(rate)) as window:
            return window.hit(self._clock())

    def refund(self, key: str, rate: Rate) -> None:
        with self._hits.window((key, rate), HitWindow(rate)) as window:
            window.refund()

    def lease(
        self, key: str, rate: Rate, permits_id: str, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, int, float, Permits]:
        with self._leases.window((key, rate), PermitWindow(rate)) as window:
            return window.take(self._clock(), permits_id, prefetch=prefetch, seconds=seconds, returned=returned)


class _LeastRecentlyUsed(Generic[W]):
    """Windows by key; the least recently used ones are evicted beyond `max_keys` or `max_counts`."""

    def __init__(self, max_keys: int, max_counts: int) -> None:
        self._max_keys = max_keys
        self._max_counts = max_counts
        self._windows: OrderedDict[tuple[str, Rate], W] = OrderedDict()
        self._counts = 0

    def __len__(self) -> int:
        return len(self._windows)

    @contextlib.contextmanager
    def window(self, key: tuple[str, Rate], new: W) -> Iterator[W]:
        """The window of the key, or `new`; its size is counted on exit."""
        window = self._windows.setdefault(key, new)
        self._windows.move_to_end(key)
        before = len(window)
        yield window
        self._counts += len(window) - before
        while len(self._windows) > self._max_keys or (self._counts > self._max_counts and len(self._windows) > 1):
            self._counts -= len(self._windows.popitem(last=False)[1])
