"""`MemoryTrendStore` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.discovery.trending import MAX_TREND_MOVIES
from movie_core.memory import MemoryTrendStore
from movie_core.testing import TrendStoreContract


class TestMemoryTrendStore(TrendStoreContract):
    @asynccontextmanager
    async def open(self, max_movies: int = MAX_TREND_MOVIES) -> AsyncIterator[MemoryTrendStore]:
        yield MemoryTrendStore(max_movies)
