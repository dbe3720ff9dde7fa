"""Tables of users, registrations, sessions and emails; column types, locks, and transactions with a timeout."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    TypeDecorator,
    delete,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata, uses_transaction_pooler
from movie_core.errors import StoreUnavailable

READ_SECONDS = 1.0
"""Timeout of a read-only transaction, including the time to connect."""
WRITE_SECONDS = 3.0
"""Timeout of any other transaction."""
MICROSECOND = timedelta(microseconds=1)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)


def as_stored(text: str) -> str:
    """Return the text as `AnyText` stores it."""
    return _UNSTORABLE.sub("\x1a", text)


class AnyText(TypeDecorator[str]):
    """Text column that accepts any string.

    NUL and surrogates, which databases cannot store, become the control character SUB, which no key contains.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else as_stored(value)


class UtcTime(TypeDecorator[datetime]):
    """UTC timestamp. SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text_column(name: str, *rest: Any, nullable: bool = False, **options: Any) -> Column[Any]:
    """An `AnyText` column, `NOT NULL` by default."""
    return Column(name, AnyText(), *rest, nullable=nullable, **options)


def time_column(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    """A `UtcTime` column, `NOT NULL` by default."""
    return Column(name, UtcTime(), nullable=nullable, **options)


def upsert(connection: AsyncConnection, table: Table) -> Any:
    """An INSERT of the dialect that supports `ON CONFLICT`."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def micros_of(at: datetime) -> int:
    """Microseconds since the Unix epoch: an integer, so that SQL arithmetic works on both databases."""
    return (at - _EPOCH) // MICROSECOND


def time_of(micros: int) -> datetime:
    return _EPOCH + micros * MICROSECOND


users = Table(
    "users",
    metadata,
    text_column("id", primary_key=True),
    text_column("email"),
    text_column("email_key", unique=True),
    text_column("username"),
    text_column("username_key", unique=True),
    text_column("username_skeleton", nullable=True),
    text_column("password_hash"),
    Column("is_active", Boolean(), nullable=False),
    Column("is_staff", Boolean(), nullable=False),
    Column("record_events", Boolean(), nullable=False),
    time_column("created_at", index=True),
    time_column("last_login", nullable=True),
)

Index("uq_users_username_skeleton", users.c.username_skeleton, unique=True)

registrations = Table(
    "registrations",
    metadata,
    text_column("id", primary_key=True),
    text_column("email"),
    text_column("email_key", index=True),
    text_column("username"),
    text_column("username_key"),
    text_column("username_skeleton", nullable=True),
    text_column("password_hash"),
    time_column("created_at", index=True),
    Column("is_decoy", Boolean(), nullable=False),
    text_column("requested_from", nullable=True),
)

links = Table(
    "links",
    metadata,
    text_column("hashed", primary_key=True),
    text_column("uid", index=True),
    text_column("purpose"),
    text_column("address_key", index=True),
    text_column("mail_id", nullable=True, index=True),
    time_column("expires_at", index=True),
    time_column("used_at", nullable=True),
)

sessions = Table(
    "sessions",
    metadata,
    text_column("id", primary_key=True),
    text_column("user_id", ForeignKey("users.id", ondelete="CASCADE"), index=True),
    text_column("device"),
    time_column("created_at"),
    time_column("last_used_at"),
    time_column("expires_at", index=True),
)

login_networks = Table(
    "login_networks",
    metadata,
    text_column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    text_column("network", primary_key=True),
    time_column("last_used_at"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    text_column("hashed", primary_key=True),
    text_column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), index=True),
    time_column("expires_at", index=True),
    time_column("spent_at", nullable=True),
    text_column("successor", nullable=True),
)

ended_sessions = Table(
    "ended_sessions", metadata, text_column("id", primary_key=True), time_column("ended_at", index=True)
)

mails = Table(
    "mails",
    metadata,
    text_column("id", primary_key=True),
    text_column("kind"),
    text_column("address_key"),
    text_column("recipient"),
    text_column("state"),
    Column("attempts", Integer(), nullable=False),
    text_column("last_error"),
    time_column("created_at", index=True),
    time_column("made_at", nullable=True),
    time_column("due_at"),
    text_column("lease_owner", nullable=True),
    time_column("leased_until", nullable=True),
    time_column("sent_at", nullable=True, index=True),
    text_column("links"),
    text_column("served"),
    text_column("requested_from", nullable=True),
    Index("ix_mails_state_due_at", "state", "due_at"),
    Index("ix_mails_address_key_made_at", "address_key", "made_at"),
)
Index(
    "uq_mails_waiting_from",
    mails.c.address_key,
    mails.c.kind,
    mails.c.requested_from,
    unique=True,
    sqlite_where=mails.c.made_at.is_(None),
    postgresql_where=mails.c.made_at.is_(None),
)

_write_locks: WeakKeyDictionary[AsyncEngine, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, *, read_only: bool = False, seconds: float | None = None
) -> AsyncIterator[AsyncConnection]:
    """Run the block in a transaction, which is rolled back if the block raises.

    The timeout is `READ_SECONDS`, `WRITE_SECONDS` or the given `seconds`. A read-only transaction on PostgreSQL has no
    snapshot: each statement may see newer data. Raises `StoreUnavailable` for a database error, an exhausted pool or a
    timeout. Connecting has a timeout of its own.
    """
    if seconds is None:
        seconds = READ_SECONDS if read_only else WRITE_SECONDS
    try:
        if engine.dialect.name == "postgresql":
            async with _postgres_transaction(engine, seconds, read_only) as connection:
                yield connection
        else:
            async with asyncio.timeout(seconds):
                async with _sqlite_transaction(engine, read_only) as connection:
                    yield connection
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        _log.warning("the database is unavailable: %s", type(error).__name__, exc_info=_log.isEnabledFor(logging.DEBUG))
        raise StoreUnavailable("the database is unavailable") from error


@asynccontextmanager
async def _sqlite_transaction(engine: AsyncEngine, read_only: bool) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() if read_only else _exclusive_writer(engine) as connection:
        await connection.execution_options(read_only=read_only)
        async with connection.begin():
            yield connection


@asynccontextmanager
async def _exclusive_writer(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    # Writers of one process queue here in FIFO order. SQLite's own busy handler sleeps and retries in random order.
    async with _write_locks.setdefault(engine, asyncio.Lock()), engine.connect() as connection:
        yield connection


@asynccontextmanager
async def _postgres_transaction(engine: AsyncEngine, seconds: float, read_only: bool) -> AsyncIterator[AsyncConnection]:
    from asyncpg import InternalClientError  # imported here, as SQLite does not need asyncpg

    # Connecting has a timeout of its own, because a suspended database takes longer to start than a statement may.
    async with engine.connect() as connection, asyncio.timeout(seconds):
        driver_connection = (await connection.get_raw_connection()).driver_connection
        assert driver_connection is not None  # noqa: S101
        # Shortly before the timeout the connection is terminated, so that pending statements fail. On cancellation
        # SQLAlchemy would instead close it gracefully, and wait for a server that may be unresponsive.
        watchdog = asyncio.get_running_loop().call_later(seconds - 0.05, driver_connection.terminate)
        try:
            if read_only and not uses_transaction_pooler(engine):
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            async with connection.begin():
                yield connection
        except InternalClientError as error:  # the server has announced that it closes the connection
            driver_connection.terminate()
            raise ConnectionError("the server closes the connection") from error
        finally:
            watchdog.cancel()


async def acquire_address_lock(connection: AsyncConnection, address_key: str) -> None:
    """Serialise transactions on one address by an advisory lock. On SQLite writers are serialised anyway."""
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(literal(address_key, AnyText()), 0)
        await connection.execute(select(func.pg_advisory_xact_lock(key)))


async def acquire_user_lock(connection: AsyncConnection, user_id: str) -> str | None:
    """Lock the address of a user and return its key, or None for an unknown user. Call it before locking any rows."""
    address_key: str | None = await connection.scalar(select(users.c.email_key).where(users.c.id == user_id))
    if address_key is not None:
        await acquire_address_lock(connection, address_key)
    return address_key


async def end_sessions(connection: AsyncConnection, condition: ColumnElement[bool], now: datetime) -> list[str]:
    """Delete sessions, record each in `ended_sessions`, and return their ids. Locks by id order to avoid deadlocks."""
    locked = select(sessions.c.id).where(condition).order_by(sessions.c.id).with_for_update()
    ids = list((await connection.scalars(locked)).all())
    if ids:
        await connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
        await connection.execute(insert(ended_sessions), [{"id": session_id, "ended_at": now} for session_id in ids])
    return ids
