"""`MemoryRateLimiter` follows the contract of its port and deletes empty windows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import MemoryRateLimiter
from movie_core.quotas import Rate
from movie_core.testing import RateLimiterContract


class TestMemoryRateLimiter(RateLimiterContract):
    now = 1000.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryRateLimiter]:
        yield MemoryRateLimiter(lambda: self.now)

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds


async def test_keys_with_an_empty_window_are_deleted() -> None:
    now = [0.0]
    limiter = MemoryRateLimiter(lambda: now[0])
    for number in range(20_000):
        now[0] += 1.0
        await limiter.hit("login", str(number), Rate(1, 60))
    assert len(limiter._hits) < 2_000
