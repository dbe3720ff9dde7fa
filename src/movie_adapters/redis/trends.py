"""Trends in Redis, for all processes of a deployment.

A life is a hash; each window has a sorted set of movies by falling strength, and a hash of counts for each bucket of
time, which Redis lets expire.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from movie_adapters.redis.client import Argument, RedisClient
from movie_core.discovery.trending import (
    KEPT_MOVIES,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    TotalsBatch,
    Trend,
    TrendWindow,
)

BATCH = 400
"""Strengths, and counts, that one call adds: some milliseconds of Redis."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KINDS = tuple(InteractionKind)

# Where something is lost, by eviction say, everything is. The sets have a mark, so that they are there without movies;
# it is first of all, and no UTF-8.
_LIFE = """
local function life()
  if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) < 3 then return {false, false, false, false} end
  return redis.call('HMGET', KEYS[1], 'since', 'claimed', 'filled', 'newest')
end
"""
_READ_LIFE = _LIFE + "return life()"
_BEGIN = (
    _LIFE
    + """
if (life()[1] or '') ~= ARGV[2] then return 0 end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'since', ARGV[1])
for n = 2, 3 do redis.call('ZADD', KEYS[n], '-inf', '\\255') end
return 1
"""
)
_CLAIM = (
    _LIFE
    + """
local since, claimed = unpack(life())
if since ~= ARGV[1] or claimed then return 0 end
return redis.call('HSET', KEYS[1], 'claimed', '1')
"""
)
# Strengths are kept with their sign changed, as Redis breaks ties by rising bytes where scores rise. All digits of them
# are written: without a format Lua would give 14.
_MERGE = (
    _LIFE
    + """
local since, claimed, filled, newest = unpack(life())
if ARGV[1] == 'add' then
  if not since or tonumber(ARGV[2]) < tonumber(since) then return 0 end
  if tonumber(newest or since) <= tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'newest', ARGV[2]) end
elseif since ~= ARGV[2] or filled or not claimed then
  return 0
end
local kept, strengths = tonumber(ARGV[4]), tonumber(ARGV[5])
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
  if redis.call('ZCARD', KEYS[n]) > 2 * kept + 1 then redis.call('ZREMRANGEBYRANK', KEYS[n], kept + 1, -1) end
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
    _LIFE
    + """
local since, _, filled = unpack(life())
if not since or not filled then return false end
local found = redis.call('ZRANGE', KEYS[tonumber(ARGV[1])], 1, ARGV[2], 'WITHSCORES')
local fields, sums = {}, {}
for n = 1, #found, 2 do
  for kind = 3, #ARGV do
    fields[#fields + 1] = ARGV[kind] .. found[n]
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
return {found, sums}
"""
)


class RedisTrendStore:
    """A `TrendStore` over a link, for the movies of one source. What is added or filled in at once is split into calls
    of bounded time."""

    def __init__(self, link: RedisClient, source: str, kept: int = KEPT_MOVIES) -> None:
        """Between `kept` and twice as many movies are kept for each window."""
        self._link = link
        self._prefix = f"{link.prefix}trends:{source}:"
        self._keys = [self._prefix + "life", *(self._prefix + window.value for window in TrendWindow)]
        self._kept = kept

    async def epoch(self) -> Epoch | None:
        since, claimed, filled, newest = await self._link.run(_READ_LIFE, self._keys)
        if since is None:
            return None
        return Epoch(_time(since), claimed is not None, filled is not None, newest and _time(newest))

    async def start_epoch(self, since: datetime, instead_of: datetime | None) -> bool:
        present = "" if instead_of is None else _micros(instead_of)
        counted = [key for window in TrendWindow for key in self._counted(window, since)]
        return bool(await self._link.run(_BEGIN, [*self._keys, *counted], _micros(since), present))

    async def claim_rebuild(self, since: datetime) -> bool:
        return bool(await self._link.run(_CLAIM, self._keys, _micros(since)))

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        for part in totals.parts(BATCH, self._kept):
            if not await self._merge(part, totals.now, "fill", _micros(since), int(part.is_last)):
                return False
        return True

    async def add(self, interactions: Sequence[Interaction]) -> None:
        for kept_at, batch in groupby(sorted(interactions, key=_kept_at), _kept_at):
            totals = Totals(kept_at)
            totals.add(batch)
            for part in totals.parts(BATCH, len(interactions)):
                await self._merge(part, kept_at, "add", _micros(kept_at), 0)

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        keys = [*self._keys, *self._counted(window, now)]
        place = 2 + list(TrendWindow).index(window)
        answer = await self._link.run(_TOP, keys, place, limit, *(f"{kind.value}:" for kind in _KINDS))
        if answer is None:
            return None
        (found, sums), kinds = answer, len(_KINDS)
        return [
            Trend(
                movie_id.decode("utf-8", "surrogatepass"),
                window.score(-float(score), now),
                _counts(sums[kinds * n : kinds * (n + 1)]),
            )
            for n, (movie_id, score) in enumerate(zip(found[::2], found[1::2], strict=True))
        ]

    async def _merge(self, part: TotalsBatch, now: datetime, *how: Argument) -> bool:
        places = {window: 2 + n for n, window in enumerate(TrendWindow)}
        arguments: list[Argument] = [*how, self._kept, len(part.strengths)]
        for window, movie_id, strength in part.strengths:
            arguments += places[window], _bytes(movie_id), repr(strength)
        buckets: dict[tuple[TrendWindow, int], int] = defaultdict(lambda: 4 + len(buckets))
        for window, bucket, movie_id, kind, count in part.counts:
            arguments += buckets[window, bucket], f"{kind.value}:".encode() + _bytes(movie_id), count
        keys = [*self._keys, *(f"{self._prefix}{window.value}:{bucket}" for window, bucket in buckets)]
        arguments += (_seconds_left(window, bucket, now) for window, bucket in buckets)
        return bool(await self._link.run(_MERGE, keys, *arguments))

    def _counted(self, window: TrendWindow, now: datetime) -> list[str]:
        """The keys of the buckets that a window looks at."""
        last = window.bucket(now)
        return [f"{self._prefix}{window.value}:{last - ago}" for ago in range(window.buckets)]


def _counts(sums: Sequence[int]) -> Mapping[InteractionKind, int]:
    return {kind: count for kind, count in zip(_KINDS, sums, strict=True) if count}


def _seconds_left(window: TrendWindow, bucket: int, now: datetime) -> int:
    """How long a bucket may be looked at, and a bucket more, as clocks differ."""
    return (bucket + window.buckets + 1) * window.bucket_seconds - int(now.timestamp())


def _kept_at(interaction: Interaction) -> datetime:
    return interaction.kept_at


def _bytes(movie_id: str) -> bytes:
    return movie_id.encode("utf-8", "surrogatepass")


def _time(micros: bytes) -> datetime:
    return _EPOCH + int(micros) * _MICROSECOND


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
