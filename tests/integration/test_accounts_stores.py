"""Contract tests of the repositories of accounts and the outbox on SQLite and PostgreSQL, and of transactions."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.account_stores import sql_account_stores
from tests.support.schema import migrated_and_declared

from movie_adapters.sql import audit as sql_audit
from movie_adapters.sql import registrations as sql_registrations
from movie_adapters.sql import tables as sql_tables
from movie_adapters.sql.engine import create_engine, metadata, migrate
from movie_adapters.sql.outbox import SqlOutbox
from movie_adapters.sql.sessions import SqlSessionRepo
from movie_adapters.sql.tables import transaction, users
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.errors import MovieNotFound, StoreUnavailable
from movie_core.testing import (
    NOW,
    AccountDataRepoContract,
    AccountStores,
    OutboxContract,
    PasswordResetRepoContract,
    RegistrationRepoContract,
    SessionRepoContract,
    UserDirectoryContract,
    UserRepoContract,
    make_registration,
)
from movie_core.testing.account_fixtures import UNLIMITED, due_links

TABLES = (
    "users",
    "registrations",
    "links",
    "sessions",
    "refresh_tokens",
    "ended_sessions",
    "mails",
    sql_audit.audit.name,
)


class OpenStores:
    """Opens the stores over the database of the module, after deleting all rows."""

    url: str

    @asynccontextmanager
    async def open(self, rules: MailRules) -> AsyncIterator[AccountStores]:
        engine, keys = create_engine(self.url), Keyring(["k" * 32])
        try:
            async with engine.begin() as connection:
                for table in reversed(metadata.sorted_tables):
                    if table.name in TABLES:
                        await connection.execute(table.delete())
            yield sql_account_stores(engine, rules, keys)
        finally:
            await engine.dispose()


class OnSqlite(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


class OnPostgres(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


@pytest.mark.usefixtures("long_database_timeouts")
class TestUserRepoOnSqlite(OnSqlite, UserRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestUserDirectoryOnSqlite(OnSqlite, UserDirectoryContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestRegistrationRepoOnSqlite(OnSqlite, RegistrationRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestPasswordResetRepoOnSqlite(OnSqlite, PasswordResetRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestSessionRepoOnSqlite(OnSqlite, SessionRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestAccountDataRepoOnSqlite(OnSqlite, AccountDataRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestOutboxOnSqlite(OnSqlite, OutboxContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestUserRepoOnPostgres(OnPostgres, UserRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestUserDirectoryOnPostgres(OnPostgres, UserDirectoryContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestRegistrationRepoOnPostgres(OnPostgres, RegistrationRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestPasswordResetRepoOnPostgres(OnPostgres, PasswordResetRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestSessionRepoOnPostgres(OnPostgres, SessionRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestAccountDataRepoOnPostgres(OnPostgres, AccountDataRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestOutboxOnPostgres(OnPostgres, OutboxContract):
    pass


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    yield engine
    await engine.dispose()


def _shape(connection: Connection) -> dict[str, Any]:
    """Schema of the tables in the database: columns, types, keys and indexes."""
    inspector = inspect(connection)
    return {
        name: {
            "columns": {column["name"]: column["nullable"] for column in inspector.get_columns(name)},
            "primary": inspector.get_pk_constraint(name)["constrained_columns"],
            "foreign": sorted(
                (key["constrained_columns"], key["referred_table"], key["options"].get("ondelete"))
                for key in inspector.get_foreign_keys(name)
            ),
            "unique": sorted(constraint["column_names"] for constraint in inspector.get_unique_constraints(name)),
            "indexes": sorted(
                (index["name"], index["column_names"], bool(index["unique"])) for index in inspector.get_indexes(name)
            ),
            "types": {column["name"]: column["type"].__class__.__name__ for column in inspector.get_columns(name)},
        }
        for name in TABLES
    }


async def test_the_migration_creates_the_declared_tables(url: str, tmp_path: Path) -> None:
    migrated, declared = await migrated_and_declared(url, tmp_path, _shape)
    assert migrated == declared


async def test_the_migration_can_be_downgraded(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    url = f"sqlite+aiosqlite:///{tmp_path}/movies.db"
    await asyncio.to_thread(migrate, url)
    engine = create_engine(url)

    def downgrade(connection: Connection) -> list[str]:
        config = Config()
        config.set_main_option("script_location", str(Path(sql_tables.__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        return inspect(connection).get_table_names()

    async with engine.begin() as connection:
        left = await connection.run_sync(downgrade)
    await engine.dispose()
    assert "movies" in left
    assert not set(TABLES) & set(left)


async def test_a_transaction_is_rolled_back_if_its_block_raises(engine: AsyncEngine) -> None:
    sessions = SqlSessionRepo(engine)

    async def fail() -> None:
        async with transaction(engine) as connection:
            await connection.execute(sql_tables.ended_sessions.insert().values(id="undone", ended_at=NOW))
            raise MovieNotFound("raised in the block")

    with pytest.raises(MovieNotFound):
        await fail()
    assert "undone" not in await sessions.ended_since(NOW)


async def test_a_transaction_has_a_timeout(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_tables, "WRITE_SECONDS", 0.3)

    async def run_slowly() -> None:
        async with transaction(engine) as connection:
            await connection.execute(select(users).with_for_update())
            if engine.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_sleep(20)"))
            await asyncio.sleep(20)

    with pytest.raises(StoreUnavailable) as caught:
        await run_slowly()
    assert caught.value.retry_after == 1
    async with transaction(engine) as connection:  # the next transaction gets a working connection
        assert await connection.scalar(select(1)) == 1


async def test_a_cancelled_transaction_is_rolled_back(engine: AsyncEngine) -> None:
    async def work() -> None:
        async with transaction(engine) as connection:
            await connection.execute(sql_tables.ended_sessions.insert().values(id="cancelled", ended_at=NOW))
            if engine.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_sleep(20)"))
            await asyncio.sleep(20)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sessions = SqlSessionRepo(engine)
    assert "cancelled" not in await sessions.ended_since(NOW)
    await sessions.end("nobody", NOW)


async def test_reading_does_not_wait_for_a_writer(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    other = sqlite3.connect(sqlite_url.partition("///")[2], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outbox = SqlOutbox(engine, MailRules(NOW - NOW, None), Keyring(["k" * 32]))
    assert not await outbox.claim("post", NOW.replace(year=2000), 10, NOW - NOW)
    other.execute("ROLLBACK")
    other.close()
    await engine.dispose()


async def test_connections_closed_by_the_server_are_replaced(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    sessions = SqlSessionRepo(engine)
    assert not await sessions.find("x")
    other = create_engine(postgres_url)
    async with other.connect() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await other.dispose()
    await asyncio.sleep(0.1)
    assert not await sessions.find("x")
    await engine.dispose()


async def test_a_database_without_tables_is_reported_as_unavailable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/none.db")
    keys, rules = Keyring(["k" * 32]), MailRules(NOW - NOW, None)
    for call in (
        sql_account_stores(engine, rules, keys).registrations.register(make_registration(), NOW),
        SqlSessionRepo(engine).find("x"),
        SqlOutbox(engine, rules, keys).claim("post", NOW, 1, NOW - NOW),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()


@pytest.mark.usefixtures("long_database_timeouts")
@pytest.mark.parametrize("stores", [OnSqlite, OnPostgres], ids=["sqlite", "postgres"])
async def test_an_activation_link_that_is_used_while_it_is_read_stays_usable(
    stores: type[OpenStores], sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL each statement of a transaction sees what others have committed before it."""
    opened = stores()
    opened.url = sqlite_url if stores is OnSqlite else postgres_url
    async with opened.open(UNLIMITED) as accounts:
        registration = make_registration()
        await accounts.registrations.register(registration, NOW)
        link = (await due_links(accounts, NOW))[registration.id]
        read = sql_registrations._activation_link

        async def read_and_activate(*arguments: Any) -> Any:
            row = await read(*arguments)
            monkeypatch.setattr(sql_registrations, "_activation_link", read)
            assert (await accounts.registrations.activate(link.uid, link.token_hash, NOW)).is_new
            return row

        monkeypatch.setattr(sql_registrations, "_activation_link", read_and_activate)
        found = await accounts.registrations.find_activation_link(link.uid, link.token_hash, NOW)
        assert (found.registration is None) is (stores is OnPostgres)
        assert not (await accounts.registrations.activate(link.uid, link.token_hash, NOW)).is_new
