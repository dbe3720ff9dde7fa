"""Rate limits that hold over all processes by way of Redis, and for each process alone while Redis is away."""

import contextlib
import hashlib
import math
import secrets
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sized
from typing import TYPE_CHECKING, Generic, TypeVar

from movie_core.errors import StoreUnavailable
from movie_core.operations.rate_limits import SLOTS, PermitWindow
from movie_core.ports import RateLimiter
from movie_core.quotas import Permits, Quota, Rate

if TYPE_CHECKING:  # a process without Redis need not import its client
    from movie_adapters.redis.client import RedisClient

MAX_KEYS = 100_000
"""Kept in the process. With more, the one counted longest ago is forgotten, so a flood can free somebody who waits, but
never fills the memory."""
MAX_COUNTS = 100_000
"""Of hits, and of leases, kept of all keys together, at up to 200 bytes each; a single key may go beyond as far as its
rate does."""

# One window is a list of times in microseconds, the oldest first. One script decides, counts and tells, by the server's
# clock: that makes it exact for any number of processes, whatever their clocks say.
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

# As `PermitWindow` in movie_core does it, by the server's clock and in microseconds. One key holds all that counts: by
# the id of permits that may come back, or by the slot that they fell into, until when they may have been used, and how
# many.
_LEASE = """
local amount, window = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
local ahead, lasting, id = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local back, unspent, slots = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local counts, size = {}, 0
local function count(key, till, number)
  if number <= 0 or till <= now - window then return end
  key = key or 'slot' .. math.floor(till * slots / window)
  local same = counts[key]
  if same then
    counts[key] = {math.max(till, same[1]), number + same[2]}
  else
    counts[key] = {till, number}
  end
end
local kept = redis.call('GET', KEYS[1])
kept = kept and cmsgpack.unpack(kept) or {}
for _ in pairs(kept) do size = size + 1 end
for key, one in pairs(kept) do
  local till, number = one[1], one[2]
  if key == back then
    count(nil, math.min(till, now), number - unspent)
  elseif string.sub(key, 1, 4) == 'slot' or (size > 2 * slots and till <= now) then
    count(nil, till, number)
  else
    count(key, till, number)
  end
end
local free = amount
for _, one in pairs(counts) do free = free - one[2] end
local allowed, taken = 0, 0
if free > 0 then
  allowed, taken = 1, math.min(ahead, free - 1)
  count(nil, now, 1)
  count(id, now + lasting, taken)
end
local oldest = nil
for _, one in pairs(counts) do oldest = math.min(oldest or one[1], one[1]) end
redis.call('SET', KEYS[1], cmsgpack.pack(counts), 'PX', math.ceil((window + lasting) / 1000))
return {allowed, free - allowed - taken, oldest + window - now, taken}
"""

W = TypeVar("W", bound=Sized)
Answer = tuple[bool, int, float]
"""Whether it is allowed, how many remain, and the quota's `reset`."""


class SharedRateLimiter(RateLimiter):
    """A `RateLimiter` over Redis where a link is given, and in the process else; keys are kept as hashes.

    While Redis is away, frozen, full or read-only, each process counts for itself, from nothing.
    """

    def __init__(self, link: "RedisClient | None", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._own = _Windows(clock)

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        full_key = _full_key(name, key)
        if self._link is not None:
            with contextlib.suppress(StoreUnavailable):
                is_allowed, remaining, reset = await self._link.run(
                    _HIT, [self._hit_key(full_key, rate)], rate.amount, rate.seconds
                )
                return bool(is_allowed), _quota(name, rate, remaining, reset)
        is_allowed, remaining, reset = self._own.hit(full_key, rate)
        return is_allowed, Quota(name, rate, remaining, reset)

    async def refund(self, name: str, key: str, rate: Rate) -> None:
        full_key = _full_key(name, key)
        if self._link is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._link.call("RPOP", self._hit_key(full_key, rate))
                return
        self._own.refund(full_key, rate)

    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        full_key, permits_id = _full_key(name, key), secrets.token_hex(6)
        if self._link is not None:
            given = ("", 0) if returned is None else (returned.id, returned.count)
            asked = (rate.amount, rate.seconds, prefetch, math.ceil(seconds * 1e6), permits_id, *given, SLOTS)
            with contextlib.suppress(StoreUnavailable):
                is_allowed, remaining, reset, taken = await self._link.run(
                    _LEASE, [f"{self._link.prefix}lease:{full_key}:{rate.amount}/{rate.seconds}"], *asked
                )
                return bool(is_allowed), _quota(name, rate, remaining, reset), Permits(permits_id, taken)
        is_allowed, remaining, reset, permits = self._own.lease(
            full_key, rate, permits_id, prefetch=prefetch, seconds=seconds, returned=returned
        )
        return is_allowed, Quota(name, rate, remaining, reset), permits

    def _hit_key(self, full_key: str, rate: Rate) -> str:
        prefix = "" if self._link is None else self._link.prefix
        return f"{prefix}limit:{full_key}:{rate.amount}/{rate.seconds}"


def _quota(name: str, rate: Rate, remaining: int, reset: int) -> Quota:
    """As a script tells it, in microseconds; clocks of servers may be set back."""
    return Quota(name, rate, remaining, min(reset / 1e6, rate.seconds))


def _full_key(name: str, key: str) -> str:
    # The length says where the name ends.
    return hashlib.sha256(f"{len(name)}:{name}{key}".encode("utf-8", "surrogatepass")).hexdigest()[:40]


class _Windows:
    """Moving windows of this process, in bounded memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._hits: _Recent[list[float]] = _Recent()
        self._leases: _Recent[PermitWindow] = _Recent()

    def hit(self, key: str, rate: Rate) -> Answer:
        now = self._clock()
        with self._hits.one((key, rate), []) as hits:
            del hits[: bisect_right(hits, now - rate.seconds)]
            is_allowed = len(hits) < rate.amount
            if is_allowed:
                hits.append(now)
            # In this order a hit of this very moment leaves just the whole window: rounding could make it more.
            return is_allowed, rate.amount - len(hits), rate.seconds - (now - hits[0])

    def refund(self, key: str, rate: Rate) -> None:
        with self._hits.one((key, rate), []) as hits:
            if hits:
                hits.pop()

    def lease(
        self, key: str, rate: Rate, permits_id: str, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, int, float, Permits]:
        with self._leases.one((key, rate), PermitWindow(rate)) as window:
            return window.take(self._clock(), permits_id, prefetch=prefetch, seconds=seconds, returned=returned)


class _Recent(Generic[W]):
    """Windows by their keys, those used longest ago forgotten when there are too many or they hold too much."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, Rate], W] = OrderedDict()
        self._counts = 0

    def __len__(self) -> int:
        return len(self._windows)

    @contextlib.contextmanager
    def one(self, key: tuple[str, Rate], new: W) -> Iterator[W]:
        window = self._windows.setdefault(key, new)
        self._windows.move_to_end(key)
        before = len(window)
        yield window
        self._counts += len(window) - before
        while len(self._windows) > MAX_KEYS or (self._counts > MAX_COUNTS and len(self._windows) > 1):
            self._counts -= len(self._windows.popitem(last=False)[1])
