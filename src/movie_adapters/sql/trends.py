"""Trends in a SQL database: the strengths of movies, and counts by bucket of time."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Row,
    Table,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import micros_of, text_column, time_of, transaction, upsert
from movie_core.discovery.trending import (
    KEPT_MOVIES,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    TotalsBatch,
    Trend,
    TrendWindow,
    log2_add,
)
from movie_core.errors import StoreUnavailable

BATCH = 500
"""Deeds, and twice as many rows, that one transaction writes."""
PURGED = 2_000
"""Rows that one transaction removes of what isn't looked at any more."""

# The column `life` is the epoch: the microsecond in which it began.
trend_lives = Table(
    "trend_lives",
    metadata,
    text_column("source", primary_key=True),
    Column("life", BigInteger(), nullable=False),
    Column("is_claimed", Boolean(), nullable=False),
    Column("is_filled", Boolean(), nullable=False),
    Column("newest", BigInteger()),
)

trend_strengths = Table(
    "trend_strengths",
    metadata,
    text_column("source"),
    Column("life", BigInteger(), nullable=False),
    text_column("span"),
    text_column("movie_id"),
    Column("strength", Double(), nullable=False),
    PrimaryKeyConstraint("source", "life", "span", "movie_id"),
    Index("ix_trend_strengths_strength", "source", "life", "span", "strength"),
)

trend_counts = Table(
    "trend_counts",
    metadata,
    text_column("source"),
    Column("life", BigInteger(), nullable=False),
    text_column("span"),
    text_column("movie_id"),
    text_column("kind"),
    Column("bucket", Integer(), nullable=False),
    Column("count", Integer(), nullable=False),
    PrimaryKeyConstraint("source", "life", "span", "movie_id", "kind", "bucket"),
    Index("ix_trend_counts_bucket", "source", "life", "span", "bucket"),
    sqlite_with_rowid=False,
)

_NEW = {"is_claimed": False, "is_filled": False, "newest": None}


class SqlTrendStore:
    """A `TrendStore` for the movies of one source, in tables that `engine.migrate` has made.

    Strengths are read, added to and written back under the lock of the row that tells the life, so that writers follow
    each other on either database. Rows belong to a life: a new one begins at once, and old rows are removed later.
    """

    def __init__(self, engine: AsyncEngine, source: str, kept: int = KEPT_MOVIES) -> None:
        """Up to a tenth more than `kept` movies are kept for each window and each process that adds."""
        self._engine = engine
        self._source = source
        self._kept = kept
        self._new = 0
        """Movies that have come since the weakest were removed."""
        self._purged: dict[TrendWindow, int] = {}
        """Up to which bucket counts are removed."""

    async def epoch(self) -> Epoch | None:
        async with transaction(self._engine, read_only=True) as connection:
            found = await self._epoch(connection)
        if found is None:
            return None
        newest = None if found.newest is None else time_of(found.newest)
        return Epoch(time_of(found.life), found.is_claimed, found.is_filled, newest)

    async def start_epoch(self, since: datetime, instead_of: datetime | None) -> bool:
        row = {"source": self._source, "life": micros_of(since), **_NEW}
        async with transaction(self._engine) as connection:
            if instead_of is None:
                begun = await connection.execute(upsert(connection, trend_lives).values(row).on_conflict_do_nothing())
            else:
                is_present = (trend_lives.c.source == self._source) & (trend_lives.c.life == micros_of(instead_of))
                begun = await connection.execute(update(trend_lives).where(is_present).values(row))
        if not begun.rowcount:
            return False
        present = select(trend_lives.c.life).where(trend_lives.c.source == self._source).scalar_subquery()
        for table in (trend_strengths, trend_counts):
            while await self._remove(table, (table.c.source == self._source) & (table.c.life != present)):
                pass
        return True

    async def claim_rebuild(self, since: datetime) -> bool:
        columns = trend_lives.c
        is_free = (columns.source == self._source) & (columns.life == micros_of(since)) & ~columns.is_claimed
        async with transaction(self._engine) as connection:
            claimed = await connection.execute(update(trend_lives).where(is_free).values(is_claimed=True))
        return bool(claimed.rowcount)

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        for part in totals.parts(2 * BATCH, self._kept):
            async with transaction(self._engine) as connection:
                found = await self._epoch(connection, lock=True)
                if found is None or found.life != micros_of(since) or found.is_filled or not found.is_claimed:
                    return False
                await self._merge(connection, micros_of(since), part)
                if part.is_last:
                    await self._change(connection, is_filled=True)
        return True

    async def add(self, interactions: Sequence[Interaction]) -> None:
        for start in range(0, len(interactions), BATCH):
            batch = interactions[start : start + BATCH]
            async with transaction(self._engine) as connection:
                found = await self._epoch(connection, lock=True)
                kept = [
                    interaction
                    for interaction in batch
                    if found is not None and micros_of(interaction.kept_at) >= found.life
                ]
                if found is None or not kept:
                    continue
                totals = Totals(max(interaction.kept_at for interaction in kept))
                totals.add(kept)
                for part in totals.parts(2 * BATCH, 2 * BATCH):
                    await self._merge(connection, found.life, part)
                await self._change(connection, newest=max(micros_of(totals.now), found.newest or 0))
            await self._tidy(found.life, totals.now)

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        async with transaction(self._engine, read_only=True) as connection:
            told = await self._epoch(connection)
            if told is None or not told.is_filled:
                return None
            table = trend_strengths
            strongest = select(table.c.movie_id, table.c.strength).where(self._within(table, told.life, window))
            order = table.c.strength.desc(), table.c.movie_id
            found = (await connection.execute(strongest.order_by(*order).limit(limit))).all()
            counts = await self._counts(connection, told.life, window, [movie_id for movie_id, _ in found], now)
        return [Trend(movie_id, window.score(strength, now), counts[movie_id]) for movie_id, strength in found]

    async def _epoch(self, connection: AsyncConnection, *, lock: bool = False) -> Row[Any] | None:
        query = select(trend_lives).where(trend_lives.c.source == self._source)
        return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()

    async def _change(self, connection: AsyncConnection, **values: Any) -> None:
        await connection.execute(update(trend_lives).where(trend_lives.c.source == self._source).values(**values))

    async def _counts(
        self, connection: AsyncConnection, epoch: int, window: TrendWindow, movie_ids: Sequence[str], now: datetime
    ) -> Mapping[str, Mapping[InteractionKind, int]]:
        last, columns = window.bucket(now), trend_counts.c
        query = (
            select(columns.movie_id, columns.kind, func.sum(columns["count"]))
            .where(self._within(trend_counts, epoch, window), columns.movie_id.in_(movie_ids))
            .where(columns.bucket.between(last - window.buckets + 1, last))
            .group_by(columns.movie_id, columns.kind)
        )
        counts: dict[str, dict[InteractionKind, int]] = defaultdict(dict)
        for movie_id, kind, count in await connection.execute(query):
            counts[movie_id][InteractionKind(kind)] = int(count)
        return counts

    async def _merge(self, connection: AsyncConnection, epoch: int, part: TotalsBatch) -> None:
        known = await self._known(connection, epoch, part)
        strengths = [
            self._row(epoch, window, movie_id, strength=log2_add(known.get((window, movie_id), -math.inf), strength))
            for window, movie_id, strength in part.strengths
        ]
        counts = [
            self._row(epoch, window, movie_id, kind=kind.value, bucket=bucket, count=count)
            for window, bucket, movie_id, kind, count in part.counts
        ]
        self._new += len(strengths) - len(known)
        await _put(connection, trend_strengths, strengths, lambda _, new: new["strength"])
        await _put(connection, trend_counts, counts, lambda old, new: old["count"] + new["count"])

    async def _known(
        self, connection: AsyncConnection, epoch: int, part: TotalsBatch
    ) -> dict[tuple[TrendWindow, str], float]:
        known = {}
        for window in TrendWindow:
            movie_ids = [movie_id for its_window, movie_id, _ in part.strengths if its_window is window]
            query = select(trend_strengths.c.movie_id, trend_strengths.c.strength).where(
                self._within(trend_strengths, epoch, window), trend_strengths.c.movie_id.in_(movie_ids)
            )
            for movie_id, strength in await connection.execute(query):
                known[window, movie_id] = strength
        return known

    async def _tidy(self, epoch: int, now: datetime) -> None:
        """Now and then, and a little at a time. What fails is done another time."""
        with contextlib.suppress(StoreUnavailable):
            if self._new > self._kept // 10:
                self._new = 0
                for window in TrendWindow:
                    await self._remove(
                        trend_strengths, self._within(trend_strengths, epoch, window), keep_strongest=self._kept
                    )
            for window in TrendWindow:
                last, columns = window.bucket(now) - window.buckets, trend_counts.c
                if self._purged.get(window) != last:
                    is_old = self._within(trend_counts, epoch, window) & (columns.bucket <= last)
                    if not await self._remove(trend_counts, is_old):
                        self._purged[window] = last

    async def _remove(self, table: Table, which: ColumnElement[bool], *, keep_strongest: int | None = None) -> bool:
        """Whether there may be more. `keep_strongest` so many of the strongest, where given."""
        key = list(table.primary_key.columns)
        chosen = select(*key).where(which).limit(PURGED)
        if keep_strongest is not None:
            chosen = chosen.order_by(table.c.strength.desc(), table.c.movie_id).offset(keep_strongest)
        async with transaction(self._engine) as connection:
            await self._epoch(connection, lock=True)
            removed = await connection.execute(delete(table).where(tuple_(*key).in_(chosen)))
        return bool(removed.rowcount == PURGED)

    def _row(self, epoch: int, window: TrendWindow, movie_id: str, **rest: Any) -> dict[str, Any]:
        return {"source": self._source, "life": epoch, "span": window.value, "movie_id": movie_id, **rest}

    def _within(self, table: Table, epoch: int, window: TrendWindow) -> ColumnElement[bool]:
        return (table.c.source == self._source) & (table.c.life == epoch) & (table.c.span == window.value)


async def _put(
    connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]], value: Callable[[Any, Any], Any]
) -> None:
    """Insert rows; `value` of the old and the new row replaces the last column of one with the same key."""
    if rows:
        insert = upsert(connection, table)
        change = {list(table.c)[-1].name: value(table.c, insert.excluded)}
        key = list(table.primary_key.columns)
        await connection.execute(insert.on_conflict_do_update(index_elements=key, set_=change), rows)
