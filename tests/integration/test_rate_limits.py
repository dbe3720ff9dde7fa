"""Rate limits with a real Redis, also a frozen one."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis.asyncio import Redis
from tests.support.deployment import PATIENCE, redis_fault
from tests.support.servers import OwnServer, own_redis

from movie_adapters.redis.client import RedisClient
from movie_adapters.redis.rate_limits import SharedRateLimiter
from movie_core.quotas import Rate
from movie_core.testing import RateLimiterContract

LONG_TIMEOUT = 10.0
"""Timeout in seconds, so that a busy machine does not look like an outage of Redis."""


@asynccontextmanager
async def limiter_on(redis_url: str, *, is_unavailable: bool = False) -> AsyncIterator[SharedRateLimiter]:
    """Checks at the end that `is_unavailable` is as given."""
    client = RedisClient(redis_url, timeout=LONG_TIMEOUT)
    try:
        yield SharedRateLimiter(client)
        assert client.is_unavailable == is_unavailable
    finally:
        await client.close()


class TestSharedRateLimiter(RateLimiterContract):
    @pytest.fixture(autouse=True)
    def _on(self, redis_url: str) -> None:
        self.redis_url = redis_url

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SharedRateLimiter]:
        async with Redis.from_url(self.redis_url) as redis:
            await redis.flushdb()
        async with limiter_on(self.redis_url) as limiter:
            yield limiter


async def test_several_limiters_on_one_redis_allow_exactly_the_limit(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        limiters = [await stack.enter_async_context(limiter_on(redis_url)) for _ in range(2)]
        for amount in (1, 5, 40):
            key, rate = secrets.token_hex(), Rate(amount, 60)
            tries = [limiter.hit("login", key, rate) for _ in range(30) for limiter in limiters]
            answers = await asyncio.gather(*tries)
            assert [is_allowed for is_allowed, _ in answers].count(True) == amount
            remaining = sorted(quota.remaining for is_allowed, quota in answers if is_allowed)
            assert remaining == list(range(amount))


async def test_windows_expire_in_redis(redis_url: str) -> None:
    async with limiter_on(redis_url) as limiter, Redis.from_url(redis_url) as redis:
        await redis.flushdb()
        await limiter.hit("login", "ada@example.com", Rate(5, 60))
        (key,) = await redis.keys()
        assert 0 < await redis.ttl(key) <= 60
        assert b"ada" not in key


async def test_a_cancelled_caller_leaves_no_response_for_another(redis_url: str) -> None:
    chance = random.Random(7)
    async with limiter_on(redis_url) as limiter:
        for amount in range(2, 60):
            leaving = [
                asyncio.create_task(limiter.hit("login", secrets.token_hex(), Rate(100_000 + n, 60))) for n in range(8)
            ]
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            answers = await asyncio.gather(
                *(limiter.hit("login", secrets.token_hex(), Rate(amount * 10 + n, 60)) for n in range(8))
            )
            assert [quota.remaining for _, quota in answers] == [amount * 10 + n - 1 for n in range(8)]
            await asyncio.gather(*leaving, return_exceptions=True)


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with own_redis() as server:
        yield server


async def test_limits_hold_while_redis_is_frozen_and_after_its_recovery(server: OwnServer) -> None:
    client = RedisClient(server.url, probe_interval=0.05)
    limiter, rate = SharedRateLimiter(client), Rate(3, 3600)
    try:
        assert [(await limiter.hit("login", "ada", rate))[0] for _ in range(2)] == [True, True]
        with redis_fault(server, "frozen"):
            answers = [await limiter.hit("login", "ada", rate) for _ in range(20)]
            assert [is_allowed for is_allowed, _ in answers].count(True) == 3
        async with asyncio.timeout(PATIENCE):
            while client.is_unavailable:  # noqa: ASYNC110  (there is no event to wait for)
                await asyncio.sleep(0.01)
        # A command to the frozen Redis may count later, but no other call gets its response.
        for amount in range(50, 60):
            _, quota = await limiter.hit("login", f"other {amount}", Rate(amount, 3600))
            assert quota.remaining == amount - 1
        assert not any([(await limiter.hit("login", "ada", rate))[0] for _ in range(3)][1:])
    finally:
        await client.close()


async def test_the_process_counts_a_burst_while_redis_is_frozen(server: OwnServer) -> None:
    client = RedisClient(server.url)
    try:
        limiter = SharedRateLimiter(client)
        with redis_fault(server, "frozen"):
            answers = await asyncio.gather(*(limiter.hit("login", "ada", Rate(5, 60)) for _ in range(200)))
        assert [is_allowed for is_allowed, _ in answers].count(True) == 5
    finally:
        await client.close()


async def test_without_a_writable_redis_the_process_counts(server: OwnServer) -> None:
    async with Redis.from_url(server.url) as redis:
        for name, value, usual in (("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")):
            await redis.config_set(name, value)
            async with limiter_on(server.url, is_unavailable=True) as limiter:
                answers = [(await limiter.hit("login", name, Rate(2, 60)))[0] for _ in range(4)]
                assert answers == [True, True, False, False]
            await redis.config_set(name, usual)


async def test_without_a_reachable_redis_the_process_counts() -> None:
    async with limiter_on("unix:///nowhere/socket", is_unavailable=True) as limiter:
        answers = [(await limiter.hit("login", "ada", Rate(2, 60)))[0] for _ in range(4)]
        assert answers == [True, True, False, False]
