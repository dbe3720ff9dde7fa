"""`MemoryAuditLog` follows the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from movie_core import memory
from movie_core.testing import UNLIMITED, AuditLogContract, AuditStores, memory_account_stores


class TestMemoryAuditLog(AuditLogContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[AuditStores]:
        deployment = memory.deployment(mail_rules=UNLIMITED)
        yield AuditStores(deployment.audit_log, memory_account_stores(deployment))
