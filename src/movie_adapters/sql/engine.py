"""The SQL database: engines for SQLite and PostgreSQL, and schema migrations."""

import asyncio
import logging
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from movie_adapters.private_files import make_private_file, make_private_folder, restrict_to_owner
from movie_core.errors import StoreUnavailable

CONNECT_SECONDS = 3.0
"""Default timeout of connecting to PostgreSQL."""
POOL_SECONDS = 1.0
"""Maximum time to wait for a connection of the pool while all of them are in use."""
BUSY_SECONDS = 5.0
"""SQLite busy timeout: how long a writer waits for another one."""
LOCK_SECONDS = 0.5
"""PostgreSQL lock timeout of a migration. Other transactions on the table queue behind it meanwhile."""
MIGRATE_SECONDS = 60.0
"""How long a migration is retried, with a pause of one second, while other transactions hold a lock for longer."""
CONNECT_ATTEMPTS = 3
"""Attempts to connect for a migration: the first may have woken a suspended database up."""


class HostNotFound(StoreUnavailable):
    """The host of a database URL cannot be resolved; unlike an outage, this is most probably a wrong setting."""


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
_MIGRATION_LOCK = 0x6D6F766965  # key of the advisory lock, an arbitrary number: "movie"
_LOCK_CONFLICTS = frozenset({"55P03", "40P01"})  # SQLSTATE lock_not_available, deadlock_detected
_TRANSACTION_POOLER = "transaction_pooler"
_log = logging.getLogger(__name__)


def create_engine(url: str, *, connect_timeout: float | None = None, transaction_pooler: bool = False) -> AsyncEngine:
    """Create an engine for `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`.

    `transaction_pooler` is for PostgreSQL behind a pooler that may run each transaction on another connection: no
    prepared statement outlives its transaction, no statement runs outside of one (`uses_transaction_pooler`), and the
    session has no settings.
    On SQLite each transaction starts with `BEGIN IMMEDIATE`, so that rows it has read do not change before it writes;
    with the execution option `read_only=True` it does not wait for writers. On PostgreSQL, connecting fails after
    `connect_timeout` seconds (`CONNECT_SECONDS` by default).
    """
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_on_sqlite)
        return engine
    timeout = CONNECT_SECONDS if connect_timeout is None else connect_timeout
    server_settings = {"application_name": "movie-search"}
    connect_args: dict[str, Any] = {"timeout": timeout, "server_settings": server_settings}
    if transaction_pooler:
        # An unnamed statement exists until the next one, so the server connections keep none.
        caches: dict[str, Any] = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        connect_args |= caches | {"prepared_statement_name_func": lambda: ""}
    else:
        server_settings["jit"] = "off"  # poolers reject parameters that they do not know
    engine = create_async_engine(
        url,
        pool_size=10,
        max_overflow=10,
        pool_timeout=min(timeout, POOL_SECONDS),
        pool_recycle=1800,
        pool_use_lifo=True,
        connect_args=connect_args,
        execution_options={_TRANSACTION_POOLER: transaction_pooler},
    )
    event.listen(engine.sync_engine, "checkout", _reject_closed_connection)
    return engine


def uses_transaction_pooler(engine: AsyncEngine) -> bool:
    """Whether each statement must run in a transaction, because a pooler may run the next one elsewhere."""
    return bool(engine.get_execution_options().get(_TRANSACTION_POOLER))


def _reject_closed_connection(connection: Any, _record: object, _proxy: object) -> None:
    """Make the pool replace closed connections, for example after a restart of the server.

    Unlike `pool_pre_ping` this never waits for an unresponsive server.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transactions of its own
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_on_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def newest_revision() -> str:
    """Return the head revision. Revisions are the numbers at the start of the file names."""
    return max(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def migrate(url: str, *, connect_timeout: float | None = None, transaction_pooler: bool = False) -> None:
    """Migrate the database to the head revision; fast if it is up to date.

    Blocks, and must not be called in a thread that runs an event loop. A schema of a later version stays unchanged, as
    migrations are compatible with the previous version of the application. Processes that start at the same time
    migrate one after another. Raises `HostNotFound`, and `StoreUnavailable` for every other failure, after at most
    `CONNECT_ATTEMPTS` attempts to connect.
    """
    check_host(url, timeout=CONNECT_SECONDS if connect_timeout is None else connect_timeout)
    try:
        if make_url(url).get_backend_name() == "sqlite":
            _migrate_sqlite(url)
        else:
            engine = create_engine(url, connect_timeout=connect_timeout, transaction_pooler=transaction_pooler)
            asyncio.run(_migrate_postgres(engine))
    except (OSError, TimeoutError) as error:
        if make_url(url).get_backend_name() == "sqlite":
            raise StoreUnavailable(f"the database migration failed: {_error_type(error)}") from error
        reason = "refuses connections" if isinstance(error, ConnectionRefusedError) else "does not respond"
        raise StoreUnavailable(
            f"the database server at {_address(url)} {reason} ({type(error).__name__}); "
            "start it, or correct MOVIE_DATABASE_URL"
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreUnavailable(f"the database migration failed: {_error_type(error)}") from error


def check_host(url: str, *, timeout: float) -> None:
    """Raise `HostNotFound` if the host of the URL cannot be resolved within `timeout` seconds.

    The resolver of the operating system waits for unresponsive name servers for up to a minute, and cannot be
    interrupted. It runs in a daemon thread, because a thread of an event loop's executor would delay the exit of the
    process until it returns.
    """
    host = make_url(url).host
    if host is None or "," in host:
        return
    results: list[str] = []

    def resolve() -> None:
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            results.append(error.strerror or type(error).__name__)
        else:
            results.append("")

    thread = threading.Thread(target=resolve, name="resolve-database-host", daemon=True)
    thread.start()
    thread.join(timeout)
    reason = results[0] if results else "the name server does not respond"
    if reason:
        raise HostNotFound(f"the host {host} cannot be resolved: {reason[0].lower()}{reason[1:]}")


def _address(url: str) -> str:
    """Host and port of the URL, or the directory of its Unix socket."""
    parsed = make_url(url)
    socket_directory = parsed.query.get("host")
    if parsed.host is None and isinstance(socket_directory, str):
        return socket_directory
    return f"{parsed.host or 'localhost'}:{parsed.port or 5432}"


def _migrate_sqlite(url: str) -> None:
    path = Path(make_url(url).database or "")
    check_sqlite()
    make_private_folder(path.parent)
    make_private_file(path)
    for suffix in ("-wal", "-shm"):  # an earlier version did not restrict the main file, whose mode SQLite gives them
        restrict_to_owner(path.with_name(path.name + suffix))
    if path.stat().st_size:
        with sqlite3.connect(path, timeout=BUSY_SECONDS) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if tables else None
        connection.close()
        if row and row[0] >= newest_revision():
            return
    asyncio.run(_migrate(create_engine(url)))


async def _migrate_postgres(engine: AsyncEngine) -> None:
    attempts = CONNECT_ATTEMPTS
    deadline = time.monotonic() + MIGRATE_SECONDS
    while True:
        try:
            await _migrate(engine)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _LOCK_CONFLICTS or time.monotonic() > deadline:
                raise
            _log.info("tables are locked by other transactions, retrying the migration")
            await asyncio.sleep(1)
        except (OSError, TimeoutError) as error:
            attempts -= 1
            if not attempts:
                raise
            _log.warning("the database does not respond, retrying: %s", type(error).__name__)
            await asyncio.sleep(1)
        else:
            return


async def _migrate(engine: AsyncEngine) -> None:
    try:
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                exists = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
                revision = await connection.scalar(text("SELECT version_num FROM alembic_version")) if exists else None
                if revision and revision >= newest_revision():
                    return
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Imported here to speed up a start without pending migrations.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check_sqlite() -> None:
    """Raise `StoreUnavailable` if SQLite was built without FTS5, which the index of titles needs."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5 (terms, content='', detail=none)")
    except sqlite3.Error:
        raise StoreUnavailable(f"SQLite {sqlite3.sqlite_version} lacks FTS5, which the catalogue needs") from None
    finally:
        connection.close()


def _error_type(error: BaseException) -> str:
    """Return the name of the error's class; the message may contain a password or a path."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return type(original).__name__
