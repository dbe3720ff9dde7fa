"""The SQL database: engines for SQLite and PostgreSQL, and the history of its tables."""

import asyncio
import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from movie_adapters.private_files import make_private_file, make_private_folder, restrict_to_owner
from movie_core.errors import StoreUnavailable

CONNECT_SECONDS = 1.0
"""How long to wait for a connection, new or pooled."""
BUSY_SECONDS = 5.0
"""How long a writer waits for another one on SQLite."""
LOCK_SECONDS = 0.5
"""How long a migration waits for a table on PostgreSQL; everybody else waits behind it meanwhile."""
MIGRATE_SECONDS = 60.0
"""How long it tries again, with a pause of a second, while others keep a table for longer."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6D6F766965  # any number that is ours: "movie"
_IN_USE = frozenset({"55P03", "40P01"})  # lock_not_available, deadlock_detected
_log = logging.getLogger(__name__)


def create_engine(url: str) -> AsyncEngine:
    """An engine for `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`.

    On SQLite each transaction begins as `BEGIN IMMEDIATE`, so that what it reads still holds when it writes; with the
    execution option `read_only=True` it waits for no writer. On PostgreSQL a connection is there within
    `CONNECT_SECONDS`, or there is an error.
    """
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_on_sqlite)
        return engine
    engine = create_async_engine(
        url,
        pool_size=10,
        max_overflow=10,
        pool_timeout=CONNECT_SECONDS,
        pool_recycle=1800,
        pool_use_lifo=True,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "server_settings": {"application_name": "movie-search", "jit": "off"},
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Let the pool replace connections that have ended, by a restart of the server say; unlike a ping this never waits
    for a server that hangs."""
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_on_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def newest_revision() -> str:
    """The revision that `migrate` leads to; revisions are numbered in the names of their files."""
    return max(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def migrate(url: str) -> None:
    """Bring the tables up to date; quick when they are. Blocks; not for a thread that runs an event loop.

    Tables of a later version stay as they are: what it changed, the version before can still use. Processes that start
    together migrate one after another. Raises `StoreUnavailable`.
    """
    try:
        if make_url(url).get_backend_name() == "sqlite":
            _migrate_sqlite(url)
        else:
            asyncio.run(_migrate_postgres(url))
    except (SQLAlchemyError, sqlite3.Error, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"the database can't be brought up to date: {_cause(error)}") from error


def _migrate_sqlite(url: str) -> None:
    path = Path(make_url(url).database or "")
    check_sqlite()
    make_private_folder(path.parent)
    make_private_file(path)
    for beside in ("-wal", "-shm"):  # made as the file itself is; here in case an earlier version has made them
        restrict_to_owner(path.with_name(path.name + beside))
    if path.stat().st_size:
        with sqlite3.connect(path, timeout=BUSY_SECONDS) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if tables else None
        connection.close()
        if found and found[0] >= newest_revision():
            return
    asyncio.run(_migrate(create_engine(url)))


async def _migrate_postgres(url: str) -> None:
    engine = create_engine(url)
    end = time.monotonic() + MIGRATE_SECONDS
    while True:
        try:
            await _migrate(engine)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _IN_USE or time.monotonic() > end:
                raise
            _log.info("the tables are in use; trying again to bring them up to date")
            await asyncio.sleep(1)
        else:
            return


async def _migrate(engine: AsyncEngine) -> None:
    try:
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                there = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
                found = await connection.scalar(text("SELECT version_num FROM alembic_version")) if there else None
                if found and found >= newest_revision():
                    return
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Imported here, as a start with everything up to date doesn't need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check_sqlite() -> None:
    """Raise `StoreUnavailable` where the SQLite at hand can't hold the index of titles."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5 (terms, content='', detail=none)")
    except sqlite3.Error:
        raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} lacks FTS5, which the catalogue needs") from None
    finally:
        connection.close()


def _cause(error: BaseException) -> str:
    """The kind of an error, without what may hold a password or a path."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return type(original).__name__
