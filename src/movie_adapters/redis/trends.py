"""Trends in Redis, shared by all processes of a deployment.

An epoch is a hash; each window has a sorted set of movies by descending strength, and a hash of counts per time bucket,
which expires in Redis.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from movie_adapters.redis.client import Argument, RedisClient
from movie_core.discovery.trending import (
    MAX_TREND_MOVIES,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    TotalsBatch,
    Trend,
    TrendWindow,
)

BATCH = 400
"""Maximum number of strengths, and of counts, that one call adds: some milliseconds in Redis."""

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KINDS = tuple(InteractionKind)

# If one key is lost, for example by eviction, the whole epoch is lost. The sets contain a marker, so that they exist
# without movies; it sorts first and is not valid UTF-8.
_EPOCH_FIELDS = """
local function epoch()
  if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) < 3 then return {false, false, false, false} end
  return redis.call('HMGET', KEYS[1], 'since', 'claimed', 'filled', 'newest')
end
"""
_READ_EPOCH = _EPOCH_FIELDS + "return epoch()"
_START = (
    _EPOCH_FIELDS
    + """
if (epoch()[1] or '') ~= ARGV[2] then return 0 end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'since', ARGV[1])
for n = 2, 3 do redis.call('ZADD', KEYS[n], '-inf', '\\255') end
return 1
"""
)
_CLAIM = (
    _EPOCH_FIELDS
    + """
local since, claimed = unpack(epoch())
if since ~= ARGV[1] or claimed then return 0 end
return redis.call('HSET', KEYS[1], 'claimed', '1')
"""
)
# Strengths are stored negated, as Redis breaks ties by ascending bytes where scores ascend. The format writes all
# digits: without it Lua would write 14.
_MERGE = (
    _EPOCH_FIELDS
    + """
local since, claimed, filled, newest = unpack(epoch())
if ARGV[1] == 'add' then
  if not since or tonumber(ARGV[2]) < tonumber(since) then return 0 end
  if tonumber(newest or since) <= tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'newest', ARGV[2]) end
elseif since ~= ARGV[2] or filled or not claimed then
  return 0
end
local max_movies, strengths = tonumber(ARGV[4]), tonumber(ARGV[5])
local at = 6
for n = 1, strengths do
  local key, movie, b = KEYS[tonumber(ARGV[at])], ARGV[at + 1], tonumber(ARGV[at + 2])
  local a = redis.call('ZSCORE', key, movie)
  if a then
    a = -tonumber(a)
    b = math.max(a, b) + math.log(1 + 2 ^ -math.abs(a - b)) / math.log(2)
  end
  redis.call('ZADD', key, string.format('%.17g', -b), movie)
  at = at + 3
end
for n = 2, 3 do
  if redis.call('ZCARD', KEYS[n]) > 2 * max_movies + 1 then
    redis.call('ZREMRANGEBYRANK', KEYS[n], max_movies + 1, -1)
  end
end
local expiries = #ARGV - #KEYS + 4
for n = at, expiries - 1, 3 do
  redis.call('HINCRBY', KEYS[tonumber(ARGV[n])], ARGV[n + 1], ARGV[n + 2])
end
for n = 4, #KEYS do redis.call('EXPIRE', KEYS[n], ARGV[expiries + n - 4]) end
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'filled', '1') end
return 1
"""
)
_TOP = (
    _EPOCH_FIELDS
    + """
local since, _, filled = unpack(epoch())
if not since or not filled then return false end
local members = redis.call('ZRANGE', KEYS[tonumber(ARGV[1])], 1, ARGV[2], 'WITHSCORES')
local fields, sums = {}, {}
for n = 1, #members, 2 do
  for kind = 3, #ARGV do
    fields[#fields + 1] = ARGV[kind] .. members[n]
    sums[#fields] = 0
  end
end
for bucket = 4, #KEYS do
  if redis.call('EXISTS', KEYS[bucket]) == 1 then
    for first = 1, #fields, 1000 do
      local last = math.min(first + 999, #fields)
      for n, count in ipairs(redis.call('HMGET', KEYS[bucket], unpack(fields, first, last))) do
        sums[first + n - 1] = sums[first + n - 1] + (tonumber(count or 0))
      end
    end
  end
end
return {members, sums}
"""
)


class RedisTrendStore:
    """A `TrendStore` in Redis, for the movies of one source. Large updates are split into calls of limited duration."""

    def __init__(self, client: RedisClient, source: str, max_movies: int = MAX_TREND_MOVIES) -> None:
        """Each window stores the `max_movies` strongest movies, and up to as many weaker ones until it is trimmed."""
        self._client = client
        self._prefix = f"{client.prefix}trends:{source}:"
        self._keys = [self._prefix + "life", *(self._prefix + window.value for window in TrendWindow)]
        self._max_movies = max_movies

    async def epoch(self) -> Epoch | None:
        since, claimed, filled, newest = await self._client.run(_READ_EPOCH, self._keys)
        if since is None:
            return None
        return Epoch(_time(since), claimed is not None, filled is not None, newest and _time(newest))

    async def start_epoch(self, since: datetime, expected: datetime | None) -> bool:
        present = "" if expected is None else _micros(expected)
        bucket_keys = [key for window in TrendWindow for key in self._bucket_keys(window, since)]
        return bool(await self._client.run(_START, [*self._keys, *bucket_keys], _micros(since), present))

    async def claim_rebuild(self, since: datetime) -> bool:
        return bool(await self._client.run(_CLAIM, self._keys, _micros(since)))

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        for batch in totals.batches(BATCH, self._max_movies):
            if not await self._merge(batch, totals.now, "fill", _micros(since), int(batch.is_last)):
                return False
        return True

    async def add(self, interactions: Sequence[Interaction]) -> None:
        for stored_at, group in groupby(sorted(interactions, key=_stored_at), _stored_at):
            totals = Totals(stored_at)
            totals.add(group)
            for batch in totals.batches(BATCH, len(interactions)):
                await self._merge(batch, stored_at, "add", _micros(stored_at), 0)

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        keys = [*self._keys, *self._bucket_keys(window, now)]
        set_index = 2 + list(TrendWindow).index(window)
        result = await self._client.run(_TOP, keys, set_index, limit, *(f"{kind.value}:" for kind in _KINDS))
        if result is None:
            return None
        (members, sums), kinds = result, len(_KINDS)
        return [
            Trend(
                movie_id.decode("utf-8", "surrogatepass"),
                window.score(-float(score), now),
                _counts(sums[kinds * n : kinds * (n + 1)]),
            )
            for n, (movie_id, score) in enumerate(zip(members[::2], members[1::2], strict=True))
        ]

    async def _merge(self, batch: TotalsBatch, now: datetime, *mode: Argument) -> bool:
        set_indexes = {window: 2 + n for n, window in enumerate(TrendWindow)}
        arguments: list[Argument] = [*mode, self._max_movies, len(batch.strengths)]
        for window, movie_id, strength in batch.strengths:
            arguments += set_indexes[window], _bytes(movie_id), repr(strength)
        buckets: dict[tuple[TrendWindow, int], int] = defaultdict(lambda: 4 + len(buckets))
        for window, bucket, movie_id, kind, count in batch.counts:
            arguments += buckets[window, bucket], f"{kind.value}:".encode() + _bytes(movie_id), count
        keys = [*self._keys, *(f"{self._prefix}{window.value}:{bucket}" for window, bucket in buckets)]
        arguments += (_seconds_left(window, bucket, now) for window, bucket in buckets)
        return bool(await self._client.run(_MERGE, keys, *arguments))

    def _bucket_keys(self, window: TrendWindow, now: datetime) -> list[str]:
        """The keys of the buckets that a window covers."""
        last = window.bucket(now)
        return [f"{self._prefix}{window.value}:{last - ago}" for ago in range(window.buckets)]


def _counts(sums: Sequence[int]) -> Mapping[InteractionKind, int]:
    return {kind: count for kind, count in zip(_KINDS, sums, strict=True) if count}


def _seconds_left(window: TrendWindow, bucket: int, now: datetime) -> int:
    """Seconds until a bucket is no longer covered, plus one bucket, as clocks differ."""
    return (bucket + window.buckets + 1) * window.bucket_seconds - int(now.timestamp())


def _stored_at(interaction: Interaction) -> datetime:
    return interaction.stored_at


def _bytes(movie_id: str) -> bytes:
    return movie_id.encode("utf-8", "surrogatepass")


def _time(micros: bytes) -> datetime:
    return _UNIX_EPOCH + int(micros) * _MICROSECOND


def _micros(at: datetime) -> int:
    return (at - _UNIX_EPOCH) // _MICROSECOND
