"""`MemoryRatingStore` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core import memory
from movie_core.testing import UNLIMITED, RatingStoreContract, RatingStores, memory_account_stores


class TestMemoryRatingStore(RatingStoreContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[RatingStores]:
        deployment = memory.deployment(mail_rules=UNLIMITED)
        yield RatingStores(deployment.ratings, memory_account_stores(deployment))
