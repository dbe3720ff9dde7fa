"""The audit log on SQLite and PostgreSQL keeps its contract; its table is as the migration makes it."""

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
    """The log and the accounts over a database, emptied."""
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


@pytest.mark.usefixtures("patient")
class TestAuditLogOnSqlite(OpenLog):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


@pytest.mark.usefixtures("patient")
class TestAuditLogOnPostgres(OpenLog):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


async def test_a_purge_of_many_goes_in_batches(url: str) -> None:
    async with stores_at(url) as stores:
        await stores.log.append([AuditEntry(NOW, COMMAND_LINE, Action.CACHE_FLUSHED) for _ in range(BATCH + 1)])
        assert await stores.log.purge(NOW) == 0
        assert await stores.log.purge(NOW.replace(year=2027)) == BATCH + 1
        assert await stores.log.list_page(Window()) == (0, [])


async def test_accounts_that_name_each_other_end_at_the_same_time(url: str) -> None:
    async with stores_at(url) as stores:
        accounts = [(await create_user(stores.accounts, f"u{n}@example.com", f"User {n}"))[0] for n in range(8)]
        pairs = [(one.id, other.id) for one in accounts for other in accounts]
        for _ in range(3):
            await stores.log.append([AuditEntry(NOW, one, Action.STAFF_GRANTED, other) for one, other in pairs])
        await asyncio.gather(
            *(stores.log.erase(one.id) for one in accounts[::2]),
            *(stores.accounts.users.erase(one.address.key, NOW) for one in accounts),
        )
        assert {(one.actor, one.account_id) for one in (await stores.log.list_page(Window(limit=100)))[1]} == {
            ("", None)
        }


async def test_a_database_that_is_away_is_said_to_be(tmp_path_factory: pytest.TempPathFactory) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('none')}/none.db")
    log = SqlAuditLog(engine)
    entry = AuditEntry(NOW, COMMAND_LINE, Action.CACHE_FLUSHED)
    for call in (log.append([entry]), log.list_page(Window()), log.purge(NOW), log.export("x"), log.erase("x")):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
