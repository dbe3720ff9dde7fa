"""Personal orders of search results in a SQL database, stored for `ORDER_SECONDS`."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, PrimaryKeyConstraint, Table, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import text_column, time_column, transaction, users
from movie_core.clock import Clock, utc_now
from movie_core.discovery.personal_ranking import MAX_ORDERS, ORDER_SECONDS, ExportedOrder, OrderExport

PURGE_BATCH = 100
"""Expired orders that are deleted when a new one is saved."""

personal_orders = Table(
    "kept_orders",
    metadata,
    text_column("user_id", ForeignKey("users.id", ondelete="CASCADE")),
    text_column("source"),
    text_column("hashed"),
    text_column("body"),
    time_column("kept_at", index=True),
    PrimaryKeyConstraint("user_id", "source", "hashed"),
)

_KEY = list(personal_orders.primary_key.columns)


class SqlPersonalOrderStore:
    """A `PersonalOrderStore` of one movie source, in a table created by `engine.migrate`."""

    def __init__(self, engine: AsyncEngine, source: str, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._source = source
        self._clock = clock

    async def find(self, user_id: str, key: str) -> Sequence[str] | None:
        async with transaction(self._engine, read_only=True) as connection:
            return await self._find(connection, user_id, key)

    async def save(self, user_id: str, key: str, movie_ids: Sequence[str]) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            # Serialises writers of the same user; nothing is stored for a deleted user.
            user = select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
            if await connection.scalar(user) is None:
                return movie_ids
            if (stored := await self._find(connection, user_id, key)) is not None:
                return stored
            await self._purge(connection, user_id)
            row = {"user_id": user_id, "source": self._source, "hashed": _digest(key), "kept_at": self._clock()}
            body = json.dumps([key, list(movie_ids)])
            await connection.execute(insert(personal_orders).values(**row, body=body))
        return movie_ids

    async def export(self, user_id: str) -> OrderExport:
        query = select(personal_orders).where(personal_orders.c.user_id == user_id).order_by(personal_orders.c.kept_at)
        async with transaction(self._engine, read_only=True) as connection:
            rows = (await connection.execute(query)).all()
        orders = [(json.loads(row.body), row) for row in rows]
        return OrderExport([ExportedOrder(row.source, key, movie_ids, row.kept_at) for (key, movie_ids), row in orders])

    async def erase(self, user_id: str) -> None:
        async with transaction(self._engine) as connection:
            await connection.execute(delete(personal_orders).where(personal_orders.c.user_id == user_id))

    async def _find(self, connection: AsyncConnection, user_id: str, key: str) -> Sequence[str] | None:
        columns = personal_orders.c
        query = select(columns.body).where(
            columns.user_id == user_id,
            columns.source == self._source,
            columns.hashed == _digest(key),
            columns.kept_at > self._expiry_limit(),
        )
        body = await connection.scalar(query)
        if body is None:
            return None
        movie_ids: list[str] = json.loads(body)[1]
        return movie_ids

    async def _purge(self, connection: AsyncConnection, user_id: str) -> None:
        """Delete the user's orders beyond the limit, and some expired ones of any user, skipping locked rows."""
        columns = personal_orders.c
        own = columns.user_id == user_id
        newest = select(*_KEY).where(own, columns.kept_at > self._expiry_limit()).order_by(columns.kept_at.desc())
        is_retained = tuple_(*_KEY).in_(newest.limit(MAX_ORDERS - 1))
        await connection.execute(delete(personal_orders).where(own, ~is_retained))
        expired = select(*_KEY).where(columns.kept_at <= self._expiry_limit()).limit(PURGE_BATCH)
        keys = (await connection.execute(expired.with_for_update(skip_locked=True))).all()
        if keys:
            await connection.execute(delete(personal_orders).where(tuple_(*_KEY).in_([tuple(key) for key in keys])))

    def _expiry_limit(self) -> datetime:
        return self._clock() - timedelta(seconds=ORDER_SECONDS)


def _digest(key: str) -> str:
    """Return the digest of a key, as keys may be strings of any length."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
