"""`MemoryModelStore` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.memory import MemoryModelStore
from movie_core.testing import ModelStoreContract


class TestMemoryModelStore(ModelStoreContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryModelStore]:
        yield MemoryModelStore()
