"""Deployments in memory: their ports share one clock."""

from datetime import datetime, timedelta

from movie_core import memory
from movie_core.quotas import Rate
from movie_core.search.caching import CacheEntry
from movie_core.testing import NOW


async def test_the_rate_limiter_and_the_cache_follow_the_clock_of_the_deployment() -> None:
    now = NOW

    def clock() -> datetime:
        return now

    world = memory.deployment(clock=clock)
    rate, at = Rate(1, 60), now.timestamp()
    assert [(await world.rate_limiter.hit("search", "ann", rate))[0] for _ in range(2)] == [True, False]
    await world.cache_store.write("key", CacheEntry(b"", at, at + 30, at + 60, fence=1))
    assert await world.cache_store.read("key") is not None
    now += timedelta(seconds=60)
    assert (await world.rate_limiter.hit("search", "ann", rate))[0]
    assert await world.cache_store.read("key") is None
