"""Trends in a SQL database: the strength of each movie, and interaction counts per time bucket."""

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
    MAX_TREND_MOVIES,
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
"""Interactions that one transaction adds; it writes up to twice as many rows."""
PURGE_BATCH = 2_000
"""Obsolete rows that one transaction deletes."""

# The column `life` contains the epoch: its start, in microseconds since the Unix epoch.
trend_epochs = Table(
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

_INITIAL_STATE = {"is_claimed": False, "is_filled": False, "newest": None}


class SqlTrendStore:
    """A `TrendStore` for the movies of one source, in tables created by `engine.migrate`.

    Strengths are updated by read-modify-write under a lock of the epoch's row, which serialises writers on both
    databases. Each row belongs to an epoch: a new epoch starts at once, and rows of earlier ones are deleted later.
    """

    def __init__(self, engine: AsyncEngine, source: str, max_movies: int = MAX_TREND_MOVIES) -> None:
        """`max_movies` are stored for each window. Each writing process may exceed it by a tenth between clean-ups."""
        self._engine = engine
        self._source = source
        self._max_movies = max_movies
        self._added_movies = 0
        """Movies added since the weakest were deleted."""
        self._purged_through: dict[TrendWindow, int] = {}
        """The last bucket whose counts were deleted."""

    async def epoch(self) -> Epoch | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = await self._epoch(connection)
        if row is None:
            return None
        newest = None if row.newest is None else time_of(row.newest)
        return Epoch(time_of(row.life), row.is_claimed, row.is_filled, newest)

    async def start_epoch(self, since: datetime, expected: datetime | None) -> bool:
        row = {"source": self._source, "life": micros_of(since), **_INITIAL_STATE}
        async with transaction(self._engine) as connection:
            if expected is None:
                started = await connection.execute(
                    upsert(connection, trend_epochs).values(row).on_conflict_do_nothing()
                )
            else:
                is_current = (trend_epochs.c.source == self._source) & (trend_epochs.c.life == micros_of(expected))
                started = await connection.execute(update(trend_epochs).where(is_current).values(row))
        if not started.rowcount:
            return False
        current = select(trend_epochs.c.life).where(trend_epochs.c.source == self._source).scalar_subquery()
        for table in (trend_strengths, trend_counts):
            while await self._delete_batch(table, (table.c.source == self._source) & (table.c.life != current)):
                pass
        return True

    async def claim_rebuild(self, since: datetime) -> bool:
        columns = trend_epochs.c
        is_free = (columns.source == self._source) & (columns.life == micros_of(since)) & ~columns.is_claimed
        async with transaction(self._engine) as connection:
            claimed = await connection.execute(update(trend_epochs).where(is_free).values(is_claimed=True))
        return bool(claimed.rowcount)

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        for batch in totals.batches(2 * BATCH, self._max_movies):
            async with transaction(self._engine) as connection:
                row = await self._epoch(connection, lock=True)
                if row is None or row.life != micros_of(since) or row.is_filled or not row.is_claimed:
                    return False
                await self._merge(connection, micros_of(since), batch)
                if batch.is_last:
                    await self._update_epoch(connection, is_filled=True)
        return True

    async def add(self, interactions: Sequence[Interaction]) -> None:
        for start in range(0, len(interactions), BATCH):
            batch = interactions[start : start + BATCH]
            async with transaction(self._engine) as connection:
                row = await self._epoch(connection, lock=True)
                current = [
                    interaction
                    for interaction in batch
                    if row is not None and micros_of(interaction.stored_at) >= row.life
                ]
                if row is None or not current:
                    continue
                totals = Totals(max(interaction.stored_at for interaction in current))
                totals.add(current)
                for totals_batch in totals.batches(2 * BATCH, 2 * BATCH):
                    await self._merge(connection, row.life, totals_batch)
                await self._update_epoch(connection, newest=max(micros_of(totals.now), row.newest or 0))
            await self._clean_up(row.life, totals.now)

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        async with transaction(self._engine, read_only=True) as connection:
            row = await self._epoch(connection)
            if row is None or not row.is_filled:
                return None
            table = trend_strengths
            strongest = select(table.c.movie_id, table.c.strength).where(self._within(table, row.life, window))
            order = table.c.strength.desc(), table.c.movie_id
            movies = (await connection.execute(strongest.order_by(*order).limit(limit))).all()
            counts = await self._counts(connection, row.life, window, [movie_id for movie_id, _ in movies], now)
        return [Trend(movie_id, window.score(strength, now), counts[movie_id]) for movie_id, strength in movies]

    async def _epoch(self, connection: AsyncConnection, *, lock: bool = False) -> Row[Any] | None:
        query = select(trend_epochs).where(trend_epochs.c.source == self._source)
        return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()

    async def _update_epoch(self, connection: AsyncConnection, **values: Any) -> None:
        await connection.execute(update(trend_epochs).where(trend_epochs.c.source == self._source).values(**values))

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

    async def _merge(self, connection: AsyncConnection, epoch: int, batch: TotalsBatch) -> None:
        stored = await self._strengths(connection, epoch, batch)
        strengths = [
            self._row(epoch, window, movie_id, strength=log2_add(stored.get((window, movie_id), -math.inf), strength))
            for window, movie_id, strength in batch.strengths
        ]
        counts = [
            self._row(epoch, window, movie_id, kind=kind.value, bucket=bucket, count=count)
            for window, bucket, movie_id, kind, count in batch.counts
        ]
        self._added_movies += len(strengths) - len(stored)
        await _upsert_rows(connection, trend_strengths, strengths, lambda _, new: new["strength"])
        await _upsert_rows(connection, trend_counts, counts, lambda old, new: old["count"] + new["count"])

    async def _strengths(
        self, connection: AsyncConnection, epoch: int, batch: TotalsBatch
    ) -> dict[tuple[TrendWindow, str], float]:
        """Return the stored strengths of the movies in a batch."""
        stored = {}
        for window in TrendWindow:
            movie_ids = [movie_id for of_window, movie_id, _ in batch.strengths if of_window is window]
            query = select(trend_strengths.c.movie_id, trend_strengths.c.strength).where(
                self._within(trend_strengths, epoch, window), trend_strengths.c.movie_id.in_(movie_ids)
            )
            for movie_id, strength in await connection.execute(query):
                stored[window, movie_id] = strength
        return stored

    async def _clean_up(self, epoch: int, now: datetime) -> None:
        """Delete weak movies and old counts when due, one batch at a time. After an error the next call retries."""
        with contextlib.suppress(StoreUnavailable):
            if self._added_movies > self._max_movies // 10:
                self._added_movies = 0
                for window in TrendWindow:
                    await self._delete_batch(
                        trend_strengths, self._within(trend_strengths, epoch, window), keep_strongest=self._max_movies
                    )
            for window in TrendWindow:
                last, columns = window.bucket(now) - window.buckets, trend_counts.c
                if self._purged_through.get(window) != last:
                    is_old = self._within(trend_counts, epoch, window) & (columns.bucket <= last)
                    if not await self._delete_batch(trend_counts, is_old):
                        self._purged_through[window] = last

    async def _delete_batch(
        self, table: Table, condition: ColumnElement[bool], *, keep_strongest: int | None = None
    ) -> bool:
        """Delete up to `PURGE_BATCH` rows, except the `keep_strongest` strongest. Returns whether more may be left."""
        key = list(table.primary_key.columns)
        batch = select(*key).where(condition).limit(PURGE_BATCH)
        if keep_strongest is not None:
            batch = batch.order_by(table.c.strength.desc(), table.c.movie_id).offset(keep_strongest)
        async with transaction(self._engine) as connection:
            await self._epoch(connection, lock=True)
            deleted = await connection.execute(delete(table).where(tuple_(*key).in_(batch)))
        return bool(deleted.rowcount == PURGE_BATCH)

    def _row(self, epoch: int, window: TrendWindow, movie_id: str, **columns: Any) -> dict[str, Any]:
        return {"source": self._source, "life": epoch, "span": window.value, "movie_id": movie_id, **columns}

    def _within(self, table: Table, epoch: int, window: TrendWindow) -> ColumnElement[bool]:
        return (table.c.source == self._source) & (table.c.life == epoch) & (table.c.span == window.value)


async def _upsert_rows(
    connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]], value: Callable[[Any, Any], Any]
) -> None:
    """Upsert rows: on conflict, the last column is set to `value(old row, new row)`."""
    if rows:
        insert = upsert(connection, table)
        change = {list(table.c)[-1].name: value(table.c, insert.excluded)}
        key = list(table.primary_key.columns)
        await connection.execute(insert.on_conflict_do_update(index_elements=key, set_=change), rows)
