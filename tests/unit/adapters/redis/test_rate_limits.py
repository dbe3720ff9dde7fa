"""The limiter without Redis, and with an unavailable one; tests/integration uses a real one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.redis.client import RedisClient
from movie_adapters.redis.rate_limits import SharedRateLimiter
from movie_core.errors import StoreUnavailable
from movie_core.memory import MemoryRateLimiter
from movie_core.quotas import Rate
from movie_core.testing import RateLimiterContract


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestWithoutRedis(RateLimiterContract):
    clock = Clock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SharedRateLimiter]:
        yield SharedRateLimiter(None, clock=self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds


class TestWithUnavailableRedis(RateLimiterContract):
    clock = Clock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SharedRateLimiter]:
        yield SharedRateLimiter(FakeClient(StoreUnavailable("unavailable")), clock=self.clock)

    async def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds


class FakeClient(RedisClient):
    """Replaces Redis and its scripts."""

    def __init__(self, failure: Exception | None = None, answer: tuple[int, ...] = (1, 7, 3_500_000)) -> None:
        super().__init__("redis://nowhere.invalid")
        self.failure = failure
        self.answer = answer
        self.calls = 0

    async def run(self, script: str, keys: Any, *arguments: Any) -> list[int]:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return list(self.answer)


async def test_the_result_of_redis_is_returned() -> None:
    is_allowed, quota = await SharedRateLimiter(FakeClient()).hit("login", "ada", Rate(10, 60))
    assert is_allowed
    assert (quota.name, quota.rate, quota.remaining, quota.reset) == ("login", Rate(10, 60), 7, 3.5)


async def test_the_process_counts_during_an_outage_and_redis_afterwards() -> None:
    client, rate = FakeClient(StoreUnavailable("unavailable")), Rate(3, 60)
    limiter = SharedRateLimiter(client, clock=Clock())
    assert [(await limiter.hit("login", "ada", rate))[0] for _ in range(5)] == [True, True, True, False, False]
    client.failure = None
    assert [(await limiter.hit("login", "ada", rate))[1].remaining for _ in range(3)] == [7, 7, 7]
    assert client.calls == 8


async def test_a_bug_is_not_treated_as_an_outage() -> None:
    with pytest.raises(ZeroDivisionError):
        await SharedRateLimiter(FakeClient(ZeroDivisionError())).hit("login", "ada", Rate(3, 60))


async def test_a_flood_of_keys_evicts_the_least_recently_used_ones() -> None:
    limiter = SharedRateLimiter(None, clock=Clock(), max_keys=100)
    for n in range(1000):
        await limiter.hit("login", str(n), Rate(1, 86400))
        await limiter.hit("login", "ada", Rate(1, 86400))
    assert len(limiter._local._hits) == 100
    assert not (await limiter.hit("login", "ada", Rate(1, 86400)))[0], "a key in use was evicted"


async def test_the_counts_of_all_keys_together_are_bounded() -> None:
    limiter, rate = SharedRateLimiter(None, clock=Clock(), max_counts=1000), Rate(600, 60)
    for n in range(300):
        for _ in range(10):
            await limiter.hit("login", str(n), rate)
            await limiter.lease("search", str(n), rate, prefetch=9, seconds=3, returned=None)
    assert sum(map(len, limiter._local._hits._windows.values())) == limiter._local._hits._counts <= 1000
    assert sum(map(len, limiter._local._leases._windows.values())) == limiter._local._leases._counts <= 1000
    _, quota, _ = await limiter.lease("search", "299", rate, prefetch=0, seconds=3, returned=None)
    assert quota.remaining == 600 - 10 * 10 - 1, "the latest key was evicted"


async def test_permits_leased_from_redis_can_be_returned_during_an_outage() -> None:
    client, rate = FakeClient(answer=(1, 300, 60_000_000, 9)), Rate(600, 60)
    limiter = SharedRateLimiter(client, clock=Clock())
    is_allowed, quota, permits = await limiter.lease("search", "ada", rate, prefetch=9, seconds=3, returned=None)
    assert (is_allowed, quota.remaining, quota.reset, permits.count) == (True, 300, 60, 9)
    client.failure = StoreUnavailable("unavailable")
    is_allowed, quota, later = await limiter.lease("search", "ada", rate, prefetch=4, seconds=3, returned=permits)
    assert (is_allowed, quota.remaining, later.count) == (True, 595, 4)


@given(
    st.builds(Rate, st.integers(1, 5), st.sampled_from((1, 60, 3600))),
    st.lists(st.integers(0, 100_000), min_size=1, max_size=40),
)
async def test_in_no_window_more_pass_than_the_rate_and_a_reset_is_exact(rate: Rate, gaps: list[int]) -> None:
    clock = Clock()
    limiter = SharedRateLimiter(None, clock=clock)
    passed: list[float] = []
    for gap in gaps:
        clock.now += gap / 1000 * rate.seconds / 10
        is_allowed, quota = await limiter.hit("login", "ada", rate)
        counting = [at for at in passed if at > clock.now - rate.seconds]
        assert is_allowed == (len(counting) < rate.amount)
        if is_allowed:
            passed.append(clock.now)
            counting.append(clock.now)
        assert quota.remaining == rate.amount - len(counting)
        assert quota.reset == pytest.approx(counting[0] + rate.seconds - clock.now)


@pytest.mark.parametrize("make", [lambda clock: SharedRateLimiter(None, clock=clock), MemoryRateLimiter])
@given(now=st.floats(0, 1e9))
async def test_the_reset_of_a_first_hit_is_exactly_the_window(make: Any, now: float) -> None:
    """At any time of the clock: a rounding error would report a window one second longer."""
    _, quota = await make(lambda: now).hit("login", "anybody", Rate(10, 60))
    assert quota.reset == 60
