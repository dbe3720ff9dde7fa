"""The repositories of accounts and the outbox in memory follow the contracts of their ports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core import memory
from movie_core.accounts.outbox import MailRules
from movie_core.testing import (
    AccountDataRepoContract,
    AccountStores,
    OutboxContract,
    PasswordResetRepoContract,
    RegistrationRepoContract,
    SessionRepoContract,
    UserDirectoryContract,
    UserRepoContract,
    memory_account_stores,
)


class InMemory:
    @asynccontextmanager
    async def open(self, rules: MailRules) -> AsyncIterator[AccountStores]:
        yield memory_account_stores(memory.deployment(mail_rules=rules))


class TestMemoryUserRepo(InMemory, UserRepoContract):
    pass


class TestMemoryUserDirectory(InMemory, UserDirectoryContract):
    pass


class TestMemoryRegistrationRepo(InMemory, RegistrationRepoContract):
    pass


class TestMemoryPasswordResetRepo(InMemory, PasswordResetRepoContract):
    pass


class TestMemorySessionRepo(InMemory, SessionRepoContract):
    pass


class TestMemoryAccountDataRepo(InMemory, AccountDataRepoContract):
    pass


class TestMemoryOutbox(InMemory, OutboxContract):
    pass
