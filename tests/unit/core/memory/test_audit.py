"""The audit log in memory keeps the contract that every other one keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core.accounts.keyring import Keyring
from movie_core.memory import MemoryAuditLog, MemoryDatabase, MemoryOutbox, MemorySessionStore, MemoryUserRepo
from movie_core.testing import UNLIMITED, AccountStores, AuditLogContract, AuditStores


class TestMemoryAuditLog(AuditLogContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[AuditStores]:
        keys = Keyring(["a secret of the tests, 32 bytes or more"])
        database = MemoryDatabase(UNLIMITED, keys)
        accounts = AccountStores(MemoryUserRepo(database), MemorySessionStore(database), MemoryOutbox(database), keys)
        yield AuditStores(MemoryAuditLog(database), accounts)
