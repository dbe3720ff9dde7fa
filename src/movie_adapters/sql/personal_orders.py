"""Personal orders of search results, kept in a SQL database for a while."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey, PrimaryKeyConstraint, Table, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import text_column, time_column, transaction, users
from movie_core.clock import iso_time, utc_now
from movie_core.discovery.personal_ranking import MAX_ORDERS, ORDER_SECONDS

PURGED = 100
"""Outdated orders that keeping a new one removes."""

kept_orders = Table(
    "kept_orders",
    metadata,
    text_column("user_id", ForeignKey("users.id", ondelete="CASCADE")),
    text_column("source"),
    text_column("hashed"),
    text_column("body"),
    time_column("kept_at", index=True),
    PrimaryKeyConstraint("user_id", "source", "hashed"),
)

_KEY = list(kept_orders.primary_key.columns)


class SqlPersonalOrderStore:
    """`PersonalOrderStore` of one movie source, in a table that `engine.migrate` has made."""

    def __init__(self, engine: AsyncEngine, source: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._source = source
        self._clock = clock

    async def find(self, user_id: str, key: str) -> Sequence[str] | None:
        async with transaction(self._engine, read_only=True) as connection:
            return await self._find(connection, user_id, key)

    async def save(self, user_id: str, key: str, movie_ids: Sequence[str]) -> Sequence[str]:
        async with transaction(self._engine) as connection:
            # Whoever keeps an order of the same user waits here, and of a user who is gone nothing is kept.
            user = select(users.c.id).where(users.c.id == user_id).with_for_update(key_share=True)
            if await connection.scalar(user) is None:
                return movie_ids
            if (kept := await self._find(connection, user_id, key)) is not None:
                return kept
            await self._purge(connection, user_id)
            row = {"user_id": user_id, "source": self._source, "hashed": _hashed(key), "kept_at": self._clock()}
            body = json.dumps([key, list(movie_ids)])
            await connection.execute(insert(kept_orders).values(**row, body=body))
        return movie_ids

    async def export(self, user_id: str) -> Mapping[str, Any]:
        query = select(kept_orders).where(kept_orders.c.user_id == user_id).order_by(kept_orders.c.kept_at)
        async with transaction(self._engine, read_only=True) as connection:
            rows = (await connection.execute(query)).all()
        orders = [(json.loads(row.body), row) for row in rows]
        return {
            "orders": [
                {"source": row.source, "key": key, "movie_ids": movie_ids, "kept_at": iso_time(row.kept_at)}
                for (key, movie_ids), row in orders
            ]
        }

    async def erase(self, user_id: str) -> None:
        async with transaction(self._engine) as connection:
            await connection.execute(delete(kept_orders).where(kept_orders.c.user_id == user_id))

    async def _find(self, connection: AsyncConnection, user_id: str, key: str) -> Sequence[str] | None:
        columns = kept_orders.c
        query = select(columns.body).where(
            columns.user_id == user_id,
            columns.source == self._source,
            columns.hashed == _hashed(key),
            columns.kept_at > self._outdated(),
        )
        body = await connection.scalar(query)
        if body is None:
            return None
        movie_ids: list[str] = json.loads(body)[1]
        return movie_ids

    async def _purge(self, connection: AsyncConnection, user_id: str) -> None:
        """Make room for one more of the user's, and remove what is outdated of anybody, which nobody else may wait
        for."""
        columns = kept_orders.c
        ours = columns.user_id == user_id
        newest = select(*_KEY).where(ours, columns.kept_at > self._outdated()).order_by(columns.kept_at.desc())
        is_left = tuple_(*_KEY).in_(newest.limit(MAX_ORDERS - 1))
        await connection.execute(delete(kept_orders).where(ours, ~is_left))
        outdated = select(*_KEY).where(columns.kept_at <= self._outdated()).limit(PURGED)
        found = (await connection.execute(outdated.with_for_update(skip_locked=True))).all()
        if found:
            await connection.execute(delete(kept_orders).where(tuple_(*_KEY).in_([tuple(one) for one in found])))

    def _outdated(self) -> datetime:
        return self._clock() - timedelta(seconds=ORDER_SECONDS)


def _hashed(key: str) -> str:
    """Keys may be any strings, of any length."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
