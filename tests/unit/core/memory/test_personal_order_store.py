"""`MemoryPersonalOrderStore` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from movie_core import memory
from movie_core.testing import NOW, UNLIMITED, OrderStores, PersonalOrderStoreContract, memory_account_stores


class TestMemoryPersonalOrderStore(PersonalOrderStoreContract):
    now = NOW

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OrderStores]:
        deployment = memory.deployment(clock=self.clock, mail_rules=UNLIMITED)
        yield OrderStores(deployment.orders, memory_account_stores(deployment))

    def clock(self) -> datetime:
        return self.now

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
