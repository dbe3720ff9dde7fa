"""The limiter without Redis, and with one that can't be reached; tests/integration has a real one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import OutOfMemoryError, ReadOnlyError, TimeoutError

from movie_adapters import rate_limits
from movie_adapters.rate_limits import AWAY_SECONDS, SharedRateLimiter
from movie_core.limits import Rate
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
        limiter = SharedRateLimiter(None, clock=self.clock)
        yield limiter
        await limiter.close()

    async def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds


class TestWithRedisAway(RateLimiterContract):
    clock = Clock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SharedRateLimiter]:
        limiter, _ = limiter_and_server(self.clock, TimeoutError())
        yield limiter

    async def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds


class Server:
    """Stands in for the script that Redis runs."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure
        self.asked = 0

    async def __call__(self, keys: list[str], arguments: list[Any]) -> list[int]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return [1, 7, 3_500_000]


def limiter_and_server(clock: Clock, failure: Exception | None) -> tuple[SharedRateLimiter, Server]:
    limiter = SharedRateLimiter("redis://nowhere.invalid", clock=clock)
    server = Server(failure)
    limiter._script = server  # type: ignore[assignment]
    return limiter, server


async def test_what_redis_says_counts() -> None:
    limiter, _ = limiter_and_server(Clock(), None)
    is_allowed, quota = await limiter.hit("login", "ada", Rate(10, 60))
    assert is_allowed
    assert (quota.name, quota.rate, quota.remaining, quota.reset) == ("login", Rate(10, 60), 7, 3.5)


@pytest.mark.parametrize("failure", [TimeoutError(), ReadOnlyError(), OutOfMemoryError(), ConnectionRefusedError()])
async def test_after_a_failure_redis_is_left_alone_for_a_while(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock, rate = Clock(), Rate(3, 60)
    limiter, server = limiter_and_server(clock, failure)
    answers = [(await limiter.hit("login", "ada", rate))[0] for _ in range(5)]
    assert answers == [True, True, True, False, False]
    assert server.asked == 1
    clock.now += AWAY_SECONDS - 0.01
    await limiter.hit("login", "ada", rate)
    assert server.asked == 1
    clock.now += 0.02
    await asyncio.gather(*(limiter.hit("login", "ada", rate) for _ in range(20)))
    assert server.asked == 2, "one call finds out, the others don't wait"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_redis_is_used_again_once_it_is_back() -> None:
    clock = Clock()
    limiter, server = limiter_and_server(clock, TimeoutError())
    await limiter.hit("login", "ada", Rate(3, 60))
    server.failure = None
    clock.now += AWAY_SECONDS
    for _ in range(3):
        assert (await limiter.hit("login", "ada", Rate(3, 60)))[1].remaining == 7
    assert server.asked == 4


async def test_who_waits_for_a_connection_does_not_ask_a_redis_that_has_gone_meanwhile() -> None:
    limiter, server = limiter_and_server(Clock(), TimeoutError())
    answers = await asyncio.gather(*(limiter.hit("login", "ada", Rate(5, 60)) for _ in range(100)))
    assert server.asked == rate_limits.CONNECTIONS
    assert [is_allowed for is_allowed, _ in answers].count(True) == 5


async def test_a_flood_of_keys_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_KEYS", 100)
    limiter = SharedRateLimiter(None, clock=Clock())
    for n in range(1000):
        await limiter.hit("login", str(n), Rate(1, 86400))
        await limiter.hit("login", "ada", Rate(1, 86400))
    assert len(limiter._own._hits) == 100
    assert not (await limiter.hit("login", "ada", Rate(1, 86400)))[0], "who goes on trying isn't forgotten"


@given(
    st.builds(Rate, st.integers(1, 5), st.sampled_from((1, 60, 3600))),
    st.lists(st.integers(0, 100_000), min_size=1, max_size=40),
)
def test_in_no_window_more_pass_than_the_rate_and_a_reset_is_exact(rate: Rate, gaps: list[int]) -> None:
    clock = Clock()
    limiter = SharedRateLimiter(None, clock=clock)
    passed: list[float] = []

    async def hits() -> None:
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

    asyncio.run(hits())
