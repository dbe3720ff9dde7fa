"""Personal orders of search results, kept in Redis for a while.

A user has a hash of orders, and a sorted set that tells when they were kept, in microseconds of the server's clock.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from movie_adapters.redis_link import RedisLink
from movie_core.movies import utc_now
from movie_core.taste import MAX_ORDERS, ORDER_SECONDS

_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local outdated = now - tonumber(ARGV[2])
"""
_FIND = (
    _NOW
    + """
local at = redis.call('ZSCORE', KEYS[2], ARGV[1])
return at and tonumber(at) > outdated and redis.call('HGET', KEYS[1], ARGV[1])
"""
)
_KEEP = (
    _NOW
    + """
local at = redis.call('ZSCORE', KEYS[2], ARGV[1])
local kept = at and tonumber(at) > outdated and redis.call('HGET', KEYS[1], ARGV[1])
if kept then return kept end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[1])
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', outdated))
if #gone == 0 then gone = redis.call('ZRANGE', KEYS[2], 0, -1 - tonumber(ARGV[4])) end
for _, order in ipairs(gone) do
  redis.call('HDEL', KEYS[1], order)
  redis.call('ZREM', KEYS[2], order)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil(ARGV[2] / 1000)) end
return ARGV[3]
"""
)


class RedisOrders:
    """`KeptOrders` of one movie source over a link. Whether a user has an account isn't looked at."""

    def __init__(self, link: RedisLink, source: str, seconds: float = ORDER_SECONDS) -> None:
        """Orders are kept for so many seconds."""
        self._link = link
        self._source = source
        self._micros = round(seconds * 1e6)

    async def find(self, user_id: str, key: str) -> Sequence[str] | None:
        body = await self._link.run(_FIND, _keys(user_id), self._hashed(key), self._micros)
        return None if body is None else _movie_ids(body)

    async def keep(self, user_id: str, key: str, movie_ids: Sequence[str]) -> Sequence[str]:
        order = {"source": self._source, "key": key, "movie_ids": list(movie_ids), "kept_at": utc_now().isoformat()}
        arguments = self._hashed(key), self._micros, json.dumps(order), MAX_ORDERS
        return _movie_ids(await self._link.run(_KEEP, _keys(user_id), *arguments))

    async def export(self, user_id: str) -> Mapping[str, Any]:
        bodies = await self._link.call("HVALS", _keys(user_id)[0])
        return {"orders": sorted(map(json.loads, bodies), key=lambda order: str(order["kept_at"]))}

    async def erase(self, user_id: str) -> None:
        await self._link.call("DEL", *_keys(user_id))

    def _hashed(self, key: str) -> bytes:
        """Keys may be any strings, of any length."""
        return hashlib.sha256(f"{self._source}:{key}".encode("utf-8", "surrogatepass")).digest()


def _keys(user_id: str) -> list[bytes]:
    user = user_id.encode("utf-8", "surrogatepass")
    return [b"movie:orders:" + user, b"movie:orders-kept:" + user]


def _movie_ids(body: bytes) -> list[str]:
    movie_ids: list[str] = json.loads(body)["movie_ids"]
    return movie_ids
