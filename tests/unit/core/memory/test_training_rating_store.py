"""`MemoryTrainingRatingStore` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import MemoryTrainingRatingStore
from movie_core.testing import TrainingRatingStoreContract


class TestMemoryTrainingRatingStore(TrainingRatingStoreContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryTrainingRatingStore]:
        yield MemoryTrainingRatingStore()
