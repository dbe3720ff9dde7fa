"""Migrations, also while other transactions use the tables, and on the schema of a later version."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.deployment import eventually
from tests.support.servers import postgres_database, upgrade_to

from movie_adapters.sql import engine as sql_engine
from movie_adapters.sql import migrations
from movie_adapters.sql.engine import HostNotFound, check_host, create_engine, migrate, newest_revision
from movie_core.errors import StoreUnavailable


async def _execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def _revision(url: str) -> str:
    engine = create_engine(url)
    async with engine.connect() as connection:
        revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    await engine.dispose()
    return str(revision)


def test_the_newest_revision_is_the_head() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads() == [newest_revision()]


def test_an_up_to_date_database_is_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "movies.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    before = path.read_bytes()
    migrate(f"sqlite+aiosqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_schema_of_a_later_version_is_accepted(kind: str, postgres: str, tmp_path: Path) -> None:
    with postgres_database(postgres) as postgres_url:
        url = postgres_url if kind == "postgres" else f"sqlite+aiosqlite:///{tmp_path}/movies.db"
        migrate(url)
        asyncio.run(_execute(url, "UPDATE alembic_version SET version_num = '9999'"))
        migrate(url)
        assert asyncio.run(_revision(url)) == "9999"


BEFORE = "0005"
"""The next revision creates a table with a foreign key to `users`, so it has to lock that table."""


def test_a_migration_that_waits_for_a_table_does_not_block_other_transactions(empty_database_url: str) -> None:
    upgrade_to(empty_database_url, BEFORE)

    async def run() -> None:
        engine = create_engine(empty_database_url)
        async with engine.begin() as long_transaction:  # for example an import
            await long_transaction.execute(text("LOCK TABLE users IN ROW EXCLUSIVE MODE"))
            migrating = asyncio.create_task(asyncio.to_thread(migrate, empty_database_url))
            for _ in range(3):  # the migration waits for the table, gives up, and tries again

                async def is_waiting() -> bool:
                    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"
                    async with engine.connect() as connection:
                        return bool((await connection.execute(text(waiting))).scalar())

                await eventually(is_waiting)
                async with engine.begin() as connection:
                    await connection.execute(text("UPDATE users SET is_active = true WHERE id = 'nobody'"))
            assert not migrating.done()
        await migrating
        await engine.dispose()

    asyncio.run(run())
    assert asyncio.run(_revision(empty_database_url)) == newest_revision()


def test_a_migration_fails_if_a_table_stays_locked(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade_to(empty_database_url, BEFORE)
    monkeypatch.setattr(sql_engine, "MIGRATE_SECONDS", 0.0)

    async def run() -> None:
        engine = create_engine(empty_database_url)
        async with engine.begin() as long_transaction:
            await long_transaction.execute(text("LOCK TABLE users IN ROW EXCLUSIVE MODE"))
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(migrate, empty_database_url)
        await engine.dispose()

    asyncio.run(run())
    assert asyncio.run(_revision(empty_database_url)) == BEFORE


def test_a_host_that_cannot_be_resolved_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(HostNotFound, match=r"the host db\.invalid cannot be resolved: name or service not known"):
        migrate("postgresql+asyncpg://u:canary@db.invalid/movies")


def test_an_unresponsive_name_server_does_not_delay_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: is_over.wait(60))
    try:
        with pytest.raises(HostNotFound, match="the name server does not respond"):
            check_host("postgresql+asyncpg://u:canary@db.invalid/movies", timeout=0.01)
    finally:
        is_over.set()


def test_a_server_that_refuses_connections_is_named_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(StoreUnavailable) as caught:
        migrate(f"postgresql+asyncpg://u:canary@127.0.0.1:{port}/movies")
    assert f"the database server at 127.0.0.1:{port} refuses connections" in caught.value.detail
    assert "correct MOVIE_DATABASE_URL" in caught.value.detail
    assert "canary" not in caught.value.detail


def test_a_missing_unix_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=f"the database server at {tmp_path} does not respond"):
        migrate(f"postgresql+asyncpg://postgres@/movies?host={tmp_path}")
