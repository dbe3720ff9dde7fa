"""`MemoryEventStore` follows the contracts of both of its ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core import memory
from movie_core.testing import UNLIMITED, AnalyticsContract, EventStoreContract, EventStores, memory_account_stores


class InMemory:
    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventStores]:
        deployment = memory.deployment(mail_rules=UNLIMITED)
        yield EventStores(memory_account_stores(deployment), deployment.events, deployment.analytics)


class TestMemoryEventStore(InMemory, EventStoreContract):
    pass


class TestMemoryAnalytics(InMemory, AnalyticsContract):
    pass
