"""The user repository, the session store and the outbox in memory follow the contracts of their ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.account_stores import memory_account_stores

from movie_core import memory
from movie_core.accounts.outbox import MailRules
from movie_core.testing import AccountStores, OutboxContract, SessionStoreContract, UserRepoContract


class InMemory:
    @asynccontextmanager
    async def open(self, rules: MailRules) -> AsyncIterator[AccountStores]:
        yield memory_account_stores(memory.deployment(mail_rules=rules))


class TestMemoryUserRepo(InMemory, UserRepoContract):
    pass


class TestMemorySessionStore(InMemory, SessionStoreContract):
    pass


class TestMemoryOutbox(InMemory, OutboxContract):
    pass
