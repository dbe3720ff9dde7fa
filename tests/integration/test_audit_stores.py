"""Contract tests of the audit log on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.account_stores import sql_account_stores

from movie_adapters.sql.audit import BATCH, SqlAuditLog
from movie_adapters.sql.engine import create_engine, metadata
from movie_core.accounts.keyring import Keyring
from movie_core.errors import StoreUnavailable
from movie_core.operations.audit import COMMAND_LINE, Action, AuditEntry
from movie_core.paging import Window
from movie_core.testing import NOW, UNLIMITED, AuditLogContract, AuditStores, create_user

TABLES = ("audit", "users", "registrations", "links", "mails")


@asynccontextmanager
async def stores_at(url: str) -> AsyncIterator[AuditStores]:
    """The audit log and the account stores over a database, after deleting all rows."""
    engine, keys = create_engine(url), Keyring(["k" * 32])
    try:
        async with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name in TABLES:
                    await connection.execute(table.delete())
        accounts = sql_account_stores(engine, UNLIMITED, keys)
        yield AuditStores(SqlAuditLog(engine), accounts)
    finally:
        await engine.dispose()


class OpenLog(AuditLogContract):
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AuditStores]:
        async with stores_at(self.url) as stores:
            yield stores


@pytest.mark.usefixtures("long_database_timeouts")
class TestAuditLogOnSqlite(OpenLog):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


@pytest.mark.usefixtures("long_database_timeouts")
class TestAuditLogOnPostgres(OpenLog):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


async def test_a_purge_deletes_in_batches(url: str) -> None:
    async with stores_at(url) as stores:
        await stores.log.append([AuditEntry(NOW, COMMAND_LINE, Action.CACHE_FLUSHED) for _ in range(BATCH + 1)])
        assert await stores.log.purge(NOW) == 0
        assert await stores.log.purge(NOW.replace(year=2027)) == BATCH + 1
        assert await stores.log.list_page(Window()) == (0, [])


async def test_users_that_refer_to_each_other_can_be_erased_concurrently(url: str) -> None:
    async with stores_at(url) as stores:
        users = [(await create_user(stores.accounts, f"u{n}@example.com", f"User {n}"))[0] for n in range(8)]
        pairs = [(one.id, other.id) for one in users for other in users]
        for _ in range(3):
            await stores.log.append([AuditEntry(NOW, one, Action.STAFF_GRANTED, other) for one, other in pairs])
        await asyncio.gather(
            *(stores.log.erase(user.id) for user in users[::2]),
            *(stores.accounts.data.erase(user.address.key, NOW) for user in users),
        )
        _, entries = await stores.log.list_page(Window(limit=100))
        assert {(entry.actor, entry.account_id) for entry in entries} == {("", None)}


async def test_a_database_without_tables_is_reported_as_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('none')}/none.db")
    log = SqlAuditLog(engine)
    entry = AuditEntry(NOW, COMMAND_LINE, Action.CACHE_FLUSHED)
    for call in (log.append([entry]), log.list_page(Window()), log.purge(NOW), log.export("x"), log.erase("x")):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
