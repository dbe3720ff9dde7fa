"""The cache store in Redis, shared by all processes of a deployment.

An entry is a hash of its fence, times and value; a lease is a string with its fence, which expires in Redis.
"""

import math
import secrets
import time
from collections.abc import AsyncIterator, Callable

import msgspec

from movie_adapters.redis.client import RedisClient
from movie_core.ports import CacheStore
from movie_core.search.caching import CacheEntry, CacheStats, Lease

FORMAT = 1
"""Version of the entry format; entries of another format are ignored."""
BATCH = 500
"""Keys per call where all keys are scanned."""

_times = msgspec.msgpack.Decoder(tuple[int, float, float, float])

# Invalid values count as 0. Numbers from 2^53 on are not exact in Lua.
_NUMBER = """
local function number(text)
  local value = type(text) == 'string' and string.match(text, '^%d+$') and tonumber(text) or 0
  return value < 9007199254740992 and value or 0
end
"""
_READ = """
local fields = redis.pcall('HMGET', KEYS[1], 'fence', 'times', 'value')
return not fields.err and fields
"""
# A fence is the server's time in microseconds, and greater than all earlier ones even if the clock is set back.
_LEASE = (
    _NUMBER
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = math.max(number(redis.pcall('HGET', KEYS[2], 'fence')), number(redis.pcall('GET', KEYS[3])))
local fence = string.format('%.0f', math.max(now, last + 1))
redis.call('SET', KEYS[3], fence)
redis.call('SET', KEYS[1], fence, 'PX', ARGV[1])
return fence
"""
)
_RENEW = "return redis.pcall('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2])"
_RELEASE = "return redis.pcall('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])"
_WRITE = (
    _NUMBER
    + """
if number(redis.pcall('HGET', KEYS[1], 'fence')) > tonumber(ARGV[1]) then return 0 end
if number(redis.pcall('GET', KEYS[2])) < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[1]) end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'times', ARGV[2], 'value', ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[4])
"""
)
_SIZES = """
local bytes = 0
for _, key in ipairs(KEYS) do
  local size = redis.pcall('HSTRLEN', key, 'value')
  bytes = bytes + #key + (type(size) == 'number' and size or 0)
end
return bytes
"""


class RedisCacheStore(CacheStore):
    """A `CacheStore` in Redis. `clear` and `stats` scan all keys of the database, in batches of limited duration."""

    def __init__(self, client: RedisClient, *, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        prefix = f"{client.prefix}cache:"
        self._entries, self._leases = prefix + "entry:", prefix + "lease:"
        self._last_fence, self._generation = prefix + "fence", prefix + "generation"

    async def read(self, key: str) -> CacheEntry | None:
        fields = await self._client.run(_READ, [self._entries + key])
        entry = None if fields is None else _entry(*fields)
        return None if entry is None or entry.stale_until <= self._clock() else entry

    async def lease(self, key: str, seconds: float) -> Lease | None:
        keys = [self._leases + key, self._entries + key, self._last_fence]
        fence = await self._client.run(_LEASE, keys, _milliseconds(seconds))
        return None if fence is None else Lease(key, int(fence))

    async def renew(self, lease: Lease, seconds: float) -> bool:
        return bool(await self._client.run(_RENEW, [self._leases + lease.key], lease.fence, _milliseconds(seconds)))

    async def release(self, lease: Lease) -> None:
        await self._client.run(_RELEASE, [self._leases + lease.key], lease.fence)

    async def write(self, key: str, entry: CacheEntry) -> bool:
        # Computed with this process's clock, because readers compare with their own; the server's clock may differ.
        seconds = entry.stale_until - self._clock()
        if seconds <= 0:
            return False
        times = msgspec.msgpack.encode((FORMAT, entry.fetched_at, entry.fresh_until, entry.stale_until))
        written = await self._client.run(
            _WRITE, [self._entries + key, self._last_fence], entry.fence, times, entry.value, _milliseconds(seconds)
        )
        return bool(written)

    async def clear(self) -> int:
        count = 0
        async for keys in self._batches():
            count += await self._client.call("UNLINK", *keys)
        # Set after the deletion, so that processes that have just read a deleted entry drop it too.
        await self._client.call("SET", self._generation, secrets.token_hex(8))
        return count

    async def generation(self) -> str | None:
        value = await self._client.call("GET", self._generation)
        return None if value is None else str(value, "ascii", "replace")

    async def stats(self) -> CacheStats:
        entries = size = 0
        async for keys in self._batches():
            entries += len(keys)
            size += await self._client.run(_SIZES, keys) - len(self._entries) * len(keys)
        return CacheStats(entries, size)

    async def _batches(self) -> AsyncIterator[list[bytes]]:
        cursor = 0
        while True:
            cursor, keys = await self._client.call("SCAN", cursor, "MATCH", self._entries + "*", "COUNT", BATCH)
            if keys:
                yield keys
            if not cursor:
                return


def _entry(fence: bytes | None, times: bytes | None, value: bytes | None) -> CacheEntry | None:
    if fence is None or times is None or value is None or not (fence.isdigit() and len(fence) < 20):
        return None
    try:
        version, fetched_at, fresh_until, stale_until = _times.decode(times)
    except msgspec.DecodeError:
        return None
    return CacheEntry(value, fetched_at, fresh_until, stale_until, int(fence)) if version == FORMAT else None


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
