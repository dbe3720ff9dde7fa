"""Events and analytics in memory keep the contracts that every other adapter keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.accounts.keyring import Keyring
from movie_core.memory import MemoryDatabase, MemoryEventStore, MemoryOutbox, MemorySessionStore, MemoryUserRepo
from movie_core.testing import UNLIMITED, AccountStores, AnalyticsContract, EventStoreContract, EventStores

KEYS = Keyring(["a secret of the tests, 32 bytes or more"])


class OverMemory:
    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventStores]:
        database = MemoryDatabase(UNLIMITED, KEYS)
        events = MemoryEventStore(database)
        accounts = AccountStores(MemoryUserRepo(database), MemorySessionStore(database), MemoryOutbox(database), KEYS)
        yield EventStores(accounts, events, events)


class TestMemoryEvents(OverMemory, EventStoreContract):
    pass


class TestMemoryAnalytics(OverMemory, AnalyticsContract):
    pass
