"""Rate limits that hold over all processes by way of Redis, and for each process alone while Redis is away."""

import asyncio
import hashlib
import logging
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from movie_core.limits import Quota, Rate
from movie_core.ports import RateLimiter

PATIENCE = 0.1
"""Seconds that Redis gets to connect, and to answer."""
AWAY_SECONDS = 2.0
"""How long Redis is left alone after a failure."""
CONNECTIONS = 8
MAX_KEYS = 100_000
"""Kept in the process. With more, the one counted longest ago is forgotten, so a flood can free somebody who waits, but
never fills the memory."""

_log = logging.getLogger(__name__)

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

Answer = tuple[bool, int, float]
"""Whether it is allowed, how many remain, and the quota's `reset`."""


class SharedRateLimiter(RateLimiter):
    """A `RateLimiter` over Redis where a URL is given, and in the process else; keys are kept as hashes.

    While Redis is away, frozen, full or read-only, each process counts for itself, from nothing.
    """

    def __init__(
        self, redis_url: str | None, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`redis_url` begins with redis://, rediss:// or unix://."""
        self._own = _Windows(clock)
        self._clock = clock
        self._away_until: float | None = None
        # Bounded here and not by the pool, as those who wait for a place must notice that Redis has gone meanwhile.
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._redis: Redis | None = None
        if redis_url is not None:
            # A timeout of the client's own closes the connection, so no late answer is taken for another call's.
            # The older protocol and no driver info: a connection needs no round trip before its first command.
            self._redis = Redis.from_url(
                redis_url,
                socket_timeout=patience,
                socket_connect_timeout=patience,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                driver_info=None,
            )
            self._script = self._redis.register_script(_HIT)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        # The length says where the name ends.
        full_key = hashlib.sha256(f"{len(name)}:{name}{key}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
        answer = None
        if self._redis is not None and not self._is_away():
            async with self._places:
                if not self._is_away():
                    answer = await self._hit_redis(f"movie:limit:{full_key}:{rate.amount}/{rate.seconds}", rate)
        is_allowed, remaining, reset = answer or self._own.hit(full_key, rate)
        return is_allowed, Quota(name, rate, remaining, reset)

    def _is_away(self) -> bool:
        return self._away_until is not None and self._clock() < self._away_until

    async def _hit_redis(self, key: str, rate: Rate) -> Answer | None:
        was_away = self._away_until is not None
        if was_away:  # one call finds out whether Redis is back, the others don't wait for it
            self._away_until = self._clock() + AWAY_SECONDS
        try:
            is_allowed, remaining, reset = await self._script([key], [rate.amount, rate.seconds])
        except (RedisError, OSError) as error:
            if self._away_until is None:
                _log.warning("Redis doesn't answer, so each process limits for itself: %s", type(error).__name__)
            self._away_until = self._clock() + AWAY_SECONDS
            return None
        if was_away:
            self._away_until = None
            _log.info("Redis is back, so rate limits are shared again")
        # Clocks of servers may be set back.
        return bool(is_allowed), remaining, min(reset / 1e6, rate.seconds)


class _Windows:
    """Moving windows of this process, in bounded memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._hits: OrderedDict[tuple[str, Rate], list[float]] = OrderedDict()

    def hit(self, key: str, rate: Rate) -> Answer:
        now = self._clock()
        hits = self._hits.setdefault((key, rate), [])
        self._hits.move_to_end((key, rate))
        if len(self._hits) > MAX_KEYS:
            self._hits.popitem(last=False)
        del hits[: bisect_right(hits, now - rate.seconds)]
        is_allowed = len(hits) < rate.amount
        if is_allowed:
            hits.append(now)
        return is_allowed, rate.amount - len(hits), hits[0] + rate.seconds - now
