"""Limits with leased permits, with a real Redis."""

import asyncio
import multiprocessing
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.queues import Queue

import pytest
from redis.asyncio import Redis
from tests.support.deployment import PATIENCE

from movie_adapters.redis.client import RedisClient
from movie_adapters.redis.rate_limits import SharedRateLimiter
from movie_core.errors import RateLimited
from movie_core.operations.rate_limits import LEASE_DIVISOR, SLOTS, LeasedLimit, PermitWindow
from movie_core.quotas import Permits, Rate

LONG_TIMEOUT = 10.0
"""Timeout in seconds, so that a busy machine does not look like an outage of Redis."""
LIMIT = Rate(600, 60)


@asynccontextmanager
async def limiter_on(redis_url: str) -> AsyncIterator[SharedRateLimiter]:
    client = RedisClient(redis_url, timeout=LONG_TIMEOUT)
    try:
        yield SharedRateLimiter(client)
        assert not client.is_unavailable
    finally:
        await client.close()


async def passes(limit: LeasedLimit, key: str) -> bool:
    try:
        await limit.hit(key)
    except RateLimited:
        return False
    return True


async def hammer(redis_url: str, key: str, tries: int) -> int:
    async with limiter_on(redis_url) as limiter:
        limit = LeasedLimit(limiter, "search", LIMIT)
        passed = 0
        for _ in range(tries // 50):
            passed += sum(await asyncio.gather(*(passes(limit, key) for _ in range(50))))
        return passed


def hammering(redis_url: str, key: str, results: "Queue[int]") -> None:
    results.put(asyncio.run(hammer(redis_url, key, 1000)))


def test_processes_that_share_redis_allow_exactly_the_limit(redis_url: str) -> None:
    processes = multiprocessing.get_context("spawn")
    results: Queue[int] = processes.Queue()
    key = secrets.token_hex()
    running = [processes.Process(target=hammering, args=(redis_url, key, results)) for _ in range(2)]
    began = time.monotonic()
    for process in running:
        process.start()
    try:
        passed = sum(results.get(timeout=PATIENCE) for _ in running)
    finally:
        for process in running:
            process.join(10)
            process.kill()
    if time.monotonic() - began < LIMIT.seconds:
        assert passed <= LIMIT.amount
    assert passed >= 0.95 * LIMIT.amount


async def test_few_calls_are_made_and_a_key_stays_small(redis_url: str) -> None:
    async with limiter_on(redis_url) as limiter, Redis.from_url(redis_url) as redis:
        await redis.flushdb()
        limit = LeasedLimit(limiter, "search", LIMIT)
        before = await scripts_run(redis)
        assert [await passes(limit, "ada") for _ in range(2000)].count(True) == LIMIT.amount
        assert await scripts_run(redis) - before <= 3 * LEASE_DIVISOR
        (key,) = await redis.keys()
        assert b"ada" not in key
        assert 0 < await redis.ttl(key) <= LIMIT.seconds + LIMIT.seconds / LEASE_DIVISOR
        assert await redis.strlen(key) < 4000


async def scripts_run(redis: "Redis") -> int:
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


async def test_permits_that_are_not_returned_are_counted_together(redis_url: str) -> None:
    async with limiter_on(redis_url) as limiter, Redis.from_url(redis_url) as redis:
        await redis.flushdb()
        rate = Rate(100_000, 86_400)
        for n in range(1, 1001):
            _, quota, _ = await limiter.lease("search", "ada", rate, prefetch=9, seconds=0.000_001, returned=None)
            assert quota.remaining == 100_000 - 10 * n
        (key,) = await redis.keys()
        assert await redis.strlen(key) < 2 * SLOTS * 40


@pytest.mark.parametrize("seed", range(5))
async def test_the_script_counts_like_permit_window(redis_url: str, seed: int) -> None:
    chance = random.Random(seed)
    rate, key = Rate(chance.choice((1, 7, 300)), 86_400), secrets.token_hex()
    window, taken = PermitWindow(rate), list[tuple[Permits, Permits]]()
    async with limiter_on(redis_url) as limiter:
        for n in range(300):
            prefetch, seconds = chance.randrange(8), chance.choice((0.0, 1.0, 100.0))
            mine, theirs = taken.pop(chance.randrange(len(taken))) if taken and chance.random() < 0.7 else (None, None)
            unspent = chance.randint(0, mine.count) if mine else 0
            is_allowed, quota, permits = await limiter.lease(
                "search", key, rate, prefetch=prefetch, seconds=seconds, returned=theirs and Permits(theirs.id, unspent)
            )
            expected = window.take(
                time.time(), str(n), prefetch=prefetch, seconds=seconds, returned=mine and Permits(mine.id, unspent)
            )
            assert (is_allowed, quota.remaining, permits.count) == (expected[0], expected[1], expected[3].count)
            if permits.count:
                taken.append((expected[3], permits))
