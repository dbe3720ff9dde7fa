"""The tables of accounts, sessions and mails, and the transactions that their stores work in."""

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

from movie_adapters.sql.engine import metadata
from movie_core.errors import StoreUnavailable

READ_SECONDS = 1.0
"""How long a transaction that only reads may take, connecting included."""
WRITE_SECONDS = 3.0
"""How long any other may take."""
MICROSECOND = timedelta(microseconds=1)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)


def as_stored(text: str) -> str:
    """The text as `AnyText` keeps it."""
    return _UNSTORABLE.sub("\x1a", text)


class AnyText(TypeDecorator[str]):
    """Text that takes any string. What no database stores becomes the control character SUB, which no key has."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else as_stored(value)


class UtcTime(TypeDecorator[datetime]):
    """Times in UTC; SQLite keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text_column(name: str, *rest: Any, nullable: bool = False, **options: Any) -> Column[Any]:
    """A column of `AnyText`; nothing is nullable unless it says so."""
    return Column(name, AnyText(), *rest, nullable=nullable, **options)


def time_column(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    """A column of `UtcTime`; nothing is nullable unless it says so."""
    return Column(name, UtcTime(), nullable=nullable, **options)


def upsert(connection: AsyncConnection, table: Table) -> Any:
    """An insert that may say what becomes of a conflict."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def micros_of(at: datetime) -> int:
    """Microseconds since 1970: times with which both databases can reckon."""
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

_turns: WeakKeyDictionary[AsyncEngine, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, *, read_only: bool = False, seconds: float | None = None
) -> AsyncIterator[AsyncConnection]:
    """A transaction that is over, for better or worse, within `READ_SECONDS` or `WRITE_SECONDS`, or the seconds given;
    committed unless the block raises. Each statement of a reading one may see a newer state on PostgreSQL.

    Raises `StoreUnavailable` for whatever the database, its pool or the clock put in the way.
    """
    if seconds is None:
        seconds = READ_SECONDS if read_only else WRITE_SECONDS
    try:
        async with asyncio.timeout(seconds):
            if engine.dialect.name == "postgresql":
                async with _on_postgres(engine, seconds, read_only) as connection:
                    yield connection
            else:
                async with _on_sqlite(engine, read_only) as connection:
                    yield connection
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        _log.warning("the database doesn't answer: %s", type(error).__name__, exc_info=_log.isEnabledFor(logging.DEBUG))
        raise StoreUnavailable("the database doesn't answer") from error


@asynccontextmanager
async def _on_sqlite(engine: AsyncEngine, read_only: bool) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() if read_only else _turn(engine) as connection:
        await connection.execution_options(read_only=read_only)
        async with connection.begin():
            yield connection


@asynccontextmanager
async def _turn(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    # Writers of one process queue here: SQLite itself makes them sleep and try again, in no order.
    async with _turns.setdefault(engine, asyncio.Lock()), engine.connect() as connection:
        yield connection


@asynccontextmanager
async def _on_postgres(engine: AsyncEngine, seconds: float, read_only: bool) -> AsyncIterator[AsyncConnection]:
    from asyncpg import InternalClientError  # here, as SQLite does without it

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with engine.connect() as connection:
        driver_connection = (await connection.get_raw_connection()).driver_connection
        assert driver_connection is not None  # noqa: S101
        # Just before time is up the connection is cut, and what waits for it fails. Cancelled instead, SQLAlchemy would
        # ask a server that may hang to close it, and wait.
        cut = loop.call_at(began + seconds - 0.05, driver_connection.terminate)
        try:
            if read_only:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            async with connection.begin():
                yield connection
        except InternalClientError as error:  # the server has announced the end of the connection
            driver_connection.terminate()
            raise ConnectionError("the connection is about to end") from error
        finally:
            cut.cancel()


async def lock_address(connection: AsyncConnection, address_key: str) -> None:
    """Let transactions about one address follow each other. On SQLite those that write do anyway."""
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(literal(address_key, AnyText()), 0)
        await connection.execute(select(func.pg_advisory_xact_lock(key)))


async def lock_user(connection: AsyncConnection, user_id: str) -> str | None:
    """Lock the address of an account, before any of its rows; the address' key, None where there is no account."""
    found: str | None = await connection.scalar(select(users.c.email_key).where(users.c.id == user_id))
    if found is not None:
        await lock_address(connection, found)
    return found


async def end_sessions(connection: AsyncConnection, which: ColumnElement[bool], now: datetime) -> list[str]:
    """Remove sessions and leave a mark of each; their ids. Locks them in one order, so that nobody gets stuck."""
    found = await connection.scalars(select(sessions.c.id).where(which).order_by(sessions.c.id).with_for_update())
    ids = list(found.all())
    if ids:
        await connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
        await connection.execute(insert(ended_sessions), [{"id": one, "ended_at": now} for one in ids])
    return ids
