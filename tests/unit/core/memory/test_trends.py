"""Trends and kept orders in memory keep the contracts that every other adapter keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.discovery.trending import KEPT_MOVIES
from movie_core.memory import (
    MemoryDatabase,
    MemoryOutbox,
    MemoryPersonalOrderStore,
    MemorySessionStore,
    MemoryTrendStore,
    MemoryUserRepo,
)
from movie_core.testing import NOW, AccountStores, OrderStores, PersonalOrderStoreContract, TrendStoreContract


class TestMemoryTrends(TrendStoreContract):
    @asynccontextmanager
    async def open(self, kept: int = KEPT_MOVIES) -> AsyncIterator[MemoryTrendStore]:
        yield MemoryTrendStore(kept)


class TestMemoryOrders(PersonalOrderStoreContract):
    now = NOW

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OrderStores]:
        keys = Keyring(["k" * 32])
        database = MemoryDatabase(MailRules(link_ttl=timedelta(hours=24), limit=None), keys)
        accounts = AccountStores(MemoryUserRepo(database), MemorySessionStore(database), MemoryOutbox(database), keys)
        yield OrderStores(MemoryPersonalOrderStore(lambda: self.now), accounts)

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
