"""Events in a SQL database, with the interactions that count for trends and the daily figures of reports.

Events are deleted after the retention period. `SqlAnalytics` computes reports from the figures of each user and day
that `daily_figures` selects. A purge stores these figures, by the same expressions, so that reports do not change.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    Select,
    Table,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from movie_adapters.sql.engine import metadata
from movie_adapters.sql.tables import (
    MICROSECOND,
    as_stored,
    micros_of,
    text_column,
    time_of,
    transaction,
    upsert,
    users,
)
from movie_core.discovery.analytics import CLICK_WINDOW, FIGURES_RETENTION
from movie_core.discovery.event_recorder import BATCH
from movie_core.discovery.events import Event, EventExport, EventKind, ExportedEvent, ExportedEventDay
from movie_core.discovery.trending import Interaction, InteractionKind, utc_day, weight_of

LONG_SECONDS = 15.0
"""Timeout of reading all events of a user, or of many days."""
PAGE = 5_000
"""Interactions in one batch, and rows deleted in one transaction."""
ROWS_PER_STATEMENT = 250

Row = TypeVar("Row")


def _micros(name: str, *, nullable: bool = False) -> Column[Any]:
    """A time in microseconds, see `micros_of`."""
    return Column(name, BigInteger(), nullable=nullable)


def _day() -> Column[Any]:
    """A UTC day as `date.toordinal`: day 1 is a Monday."""
    return Column("day", Integer(), nullable=False)


def _number(name: str) -> Column[Any]:
    return Column(name, BigInteger(), nullable=False)


def _id() -> Column[Any]:
    return Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)


def _user(*, nullable: bool = False) -> Column[Any]:
    return text_column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=nullable, index=True)


events = Table(
    "events",
    metadata,
    _id(),
    text_column("source"),
    _day(),
    _micros("at"),
    text_column("kind"),
    _user(nullable=True),
    text_column("movie_id", nullable=True),
    text_column("query", nullable=True),
    Column("position", Integer()),
    Column("rating", Float()),
    Column("found", Boolean()),
    Column("times", Integer(), nullable=False),
    Index("ix_events_source_day_user_id", "source", "day", "user_id"),
)

interactions = Table(
    "deeds",
    metadata,
    text_column("source", primary_key=True),
    Column("day", Integer(), primary_key=True),
    text_column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    text_column("movie_id", primary_key=True),
    text_column("kind", primary_key=True),
    Column("weight", Float(), nullable=False),
    _micros("at"),
    _micros("kept_at"),
)

user_days = Table(
    "user_days",
    metadata,
    _id(),
    text_column("source"),
    _day(),
    _user(nullable=True),
    _number("searches"),
    _number("zero_results"),
    _number("clicked_searches"),
    _number("clicks"),
    _number("placed_clicks"),
    _number("positions"),
    _number("ratings"),
    _micros("first_search", nullable=True),
    _micros("first_click", nullable=True),
    _micros("click_after_search", nullable=True),
    _micros("last_rating", nullable=True),
    Index("ix_user_days_source_day", "source", "day"),
)

query_days = Table(
    "query_days",
    metadata,
    text_column("source", primary_key=True),
    Column("day", Integer(), primary_key=True),
    text_column("query", primary_key=True),
    _number("searches"),
    _number("users"),
    _number("zero_results"),
    _number("zero_users"),
)

source_days = Table(
    "source_days",
    metadata,
    text_column("source", primary_key=True),
    Column("day", Integer(), primary_key=True),
    *(_number(name) for name in ("attempts", "failures", "live", "fresh", "stale", "fallback")),
)

purges = Table("purges", metadata, text_column("source", primary_key=True), Column("before", Integer(), nullable=False))

# Literals, not bound parameters: a partial index is used only for a query with a constant condition.
is_search = events.c.kind == literal_column("'search'")
_is_click = events.c.kind == literal_column("'click'")
_is_rating = events.c.kind == literal_column("'rating'")
is_zero_search = is_search & events.c.found.is_(False)
is_active = events.c.kind.in_([literal_column("'search'"), literal_column("'click'"), literal_column("'rating'")])

Index("ix_events_clicks", events.c.user_id, events.c.at, sqlite_where=_is_click, postgresql_where=_is_click)

_clicks = events.alias("clicks")
_is_own_click = (
    (_clicks.c.kind == literal_column("'click'"))
    & (_clicks.c.source == events.c.source)
    & (_clicks.c.user_id == events.c.user_id)
)
_is_followed = exists().where(
    _is_own_click,
    _clicks.c.query == events.c.query,
    _clicks.c.at.between(events.c.at, events.c.at + CLICK_WINDOW // MICROSECOND),
)


def event_count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    """Sum of `times` over the events that meet the condition."""
    return func.sum(case((condition, events.c.times), else_=0))


_FIGURES: Mapping[str, ColumnElement[Any]] = {
    "searches": event_count(is_search),
    "zero_results": event_count(is_zero_search),
    "clicked_searches": event_count(is_search & _is_followed),
    "clicks": event_count(_is_click),
    "placed_clicks": event_count(_is_click & events.c.position.is_not(None)),
    "positions": func.sum(case((_is_click, events.c.times * func.coalesce(events.c.position, 0)), else_=0)),
    "ratings": event_count(_is_rating),
    "first_search": func.min(case((is_search, events.c.at))),
    "first_click": func.min(case((_is_click, events.c.at))),
    "last_rating": func.max(case((_is_rating, events.c.at))),
}


def daily_figures(condition: ColumnElement[bool], names: Sequence[str]) -> Select[Any]:
    """Select source, user, day and the named columns of `user_days`, computed from events.

    The condition must include either all events of a user and day, or none.
    """
    key = (events.c.source, events.c.user_id, events.c.day)
    if "click_after_search" not in names:
        return select(*key, *(_FIGURES[name].label(name) for name in names)).where(condition, is_active).group_by(*key)
    needed = dict.fromkeys(("first_search", *(name for name in names if name != "click_after_search")))
    days = daily_figures(condition, list(needed)).subquery()
    clicks = events.alias("later_clicks")
    first = (
        select(func.min(clicks.c.at))
        .where(
            clicks.c.kind == literal_column("'click'"),
            clicks.c.source == days.c.source,
            clicks.c.user_id == days.c.user_id,
            clicks.c.day == days.c.day,
            clicks.c.at >= days.c.first_search,
        )
        .scalar_subquery()
    )
    computed = {"click_after_search": first.label("click_after_search")}
    return select(days.c.source, days.c.user_id, days.c.day, *(computed.get(name, days.c.get(name)) for name in names))


_FIGURE_NAMES = tuple(column.name for column in user_days.c if column.name not in {"id", "source", "user_id", "day"})


class SqlEventStore:
    """An `EventStore` for the movies of one source, in tables created by `engine.migrate`.

    The caller disposes of the engine.
    """

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        if not events:
            return []
        async with transaction(self._engine) as connection:
            first_open_day = await self._first_open_day(connection)
            recorded = await _lock_user_rows(
                connection, {event.user_id for event in events if event.user_id is not None}
            )
            accepted = [
                (event, day)
                for event in events
                if (day := utc_day(event.at).toordinal()) >= first_open_day
                and (event.user_id is None or event.user_id in recorded)
            ]
            for chunk in _chunks(accepted):
                await connection.execute(insert(_events), [self._row(event, day) for event, day in chunk])
            return await self._record_interactions(connection, accepted, now)

    def _row(self, event: Event, day: int) -> dict[str, Any]:
        return {
            "source": self._source,
            "day": day,
            "at": micros_of(event.at),
            "kind": event.kind.value,
            "user_id": event.user_id,
            "movie_id": event.movie_id,
            "query": event.query,
            "position": event.position,
            "rating": event.rating,
            "found": event.found,
            "times": event.times,
        }

    async def _record_interactions(
        self, connection: AsyncConnection, accepted: Sequence[tuple[Event, int]], now: datetime
    ) -> Sequence[Interaction]:
        """Store the first interaction per day, user, movie and kind; returns those that were not stored before."""
        first: dict[tuple[int, str, str, str], Interaction] = {}
        for event, day in accepted:
            if event.user_id is not None and event.movie_id is not None and event.kind.value in _INTERACTION_KINDS:
                kind = InteractionKind(event.kind.value)
                interaction = Interaction(event.movie_id, kind, weight_of(kind, event.rating), event.at, now)
                first.setdefault((day, event.user_id, as_stored(event.movie_id), kind.value), interaction)
        columns = (interactions.c.day, interactions.c.user_id, interactions.c.movie_id, interactions.c.kind)
        statement = upsert(connection, interactions).on_conflict_do_nothing().returning(*columns)
        inserted: set[tuple[Any, ...]] = set()
        # Sorted, so that concurrent transactions lock in one order and cannot deadlock.
        for chunk in _chunks(sorted(first)):
            rows = [self._interaction_row(key, first[key]) for key in chunk]
            inserted |= {tuple(row) for row in await connection.execute(statement, rows)}
        return [interaction for key, interaction in first.items() if key in inserted]

    def _interaction_row(self, key: tuple[int, str, str, str], interaction: Interaction) -> dict[str, Any]:
        day, user_id, movie_id, kind = key
        return {
            "source": self._source,
            "day": day,
            "user_id": user_id,
            "movie_id": movie_id,
            "kind": kind,
            "weight": interaction.weight,
            "at": micros_of(interaction.at),
            "kept_at": micros_of(interaction.stored_at),
        }

    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        row: dict[str, Any] = dict.fromkeys(source_days.c.keys(), 0)
        row |= {"source": self._source, "day": day.toordinal(), **counts}
        async with transaction(self._engine) as connection:
            await connection.execute(_add_on_conflict(upsert(connection, source_days).values(row), source_days))

    async def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        key = (interactions.c.day, interactions.c.user_id, interactions.c.movie_id, interactions.c.kind)
        query = select(interactions).where(interactions.c.source == self._source).order_by(*key).limit(PAGE)
        last: tuple[Any, ...] | None = None
        while True:
            page = query if last is None else query.where(tuple_(*key) > tuple_(*map(literal, last)))
            async with transaction(self._engine, read_only=True) as connection:
                rows = (await connection.execute(page)).all()
            if rows:
                yield [_interaction(row) for row in rows]
            if len(rows) < PAGE:
                return
            last = (rows[-1].day, rows[-1].user_id, rows[-1].movie_id, rows[-1].kind)

    # --- personal data of all sources

    async def export(self, user_id: str) -> EventExport:
        figures = select(user_days).where(user_days.c.user_id == user_id).order_by(user_days.c.day)
        own = select(_events).where(_events.c.user_id == user_id).order_by(_events.c.at, _events.c.id)
        async with transaction(self._engine, read_only=True, seconds=LONG_SECONDS) as connection:
            # In chunks: converting hundreds of thousands at once would block the event loop for seconds.
            exported: list[ExportedEvent] = []
            for chunk in (await connection.execute(own)).partitions(ROWS_PER_STATEMENT):
                exported += [_event(row).exported(row.source) for row in chunk]
                await asyncio.sleep(0)
            days = [_exported_day(row) for row in await connection.execute(figures)]
        return EventExport(exported, days)

    async def erase(self, user_id: str) -> None:
        # Events first: as long as there are any, a purge may add their figures to `user_days`.
        for table in (_events, interactions, user_days):
            await self._delete(table, table.c.user_id == user_id, owner=users.c.id == user_id)

    # --- retention

    async def purge(self, before: date) -> int:
        """See `EventStore.purge`. To keep locks short, a transaction covers `BATCH` events, or one day of a user."""
        await self._close_days(before)
        deleted = 0
        while count := await self._aggregate(before):
            deleted += count
        await self._delete(
            interactions, (interactions.c.source == self._source) & (interactions.c.day < before.toordinal())
        )
        first_day = before.toordinal() - FIGURES_RETENTION.days
        for table in (user_days, query_days, source_days):
            await self._delete(table, (table.c.source == self._source) & (table.c.day < first_day))
        return deleted

    async def _close_days(self, before: date) -> None:
        """Make `append` reject events of earlier days from now on."""
        async with transaction(self._engine) as connection:
            row = {"source": self._source, "before": 0}
            await connection.execute(upsert(connection, purges).values(row).on_conflict_do_nothing())
            own = purges.c.source == self._source
            # Conflicts with the lock of `append`: waits for transactions that read the old value, and blocks new ones.
            await connection.execute(select(purges.c.before).where(own).with_for_update())
            is_earlier = purges.c.before < before.toordinal()
            await connection.execute(update(purges).where(own, is_earlier).values(before=before.toordinal()))

    async def _first_open_day(self, connection: AsyncConnection) -> int:
        """Return the first day that accepts events, and lock it against a concurrent purge."""
        query = select(purges.c.before).where(purges.c.source == self._source)
        lock = query.with_for_update(read=True, key_share=True)
        before = await connection.scalar(lock)
        if before is None:
            row = {"source": self._source, "before": 0}
            await connection.execute(upsert(connection, purges).values(row).on_conflict_do_nothing())
            before = await connection.scalar(lock)
        return int(before or 0)

    async def _aggregate(self, before: date) -> int:
        """Replace a batch of events of the earliest day by figures in `user_days` and `query_days`.

        Returns the number of events deleted; 0 if there are none before the given day.
        """
        async with transaction(self._engine) as connection:
            # Serialises purges; does not block `append`.
            lock = select(purges.c.before).where(purges.c.source == self._source).with_for_update(key_share=True)
            await connection.execute(lock)
            old = (_events.c.source == self._source) & (_events.c.day < before.toordinal())
            day = await connection.scalar(select(func.min(_events.c.day)).where(old))
            if day is None:
                return 0
            of_day = (_events.c.source == self._source) & (_events.c.day == day)
            of_users = select(_events.c.user_id).where(of_day, _events.c.user_id.is_not(None))
            batch = of_users.order_by(_events.c.user_id).limit(BATCH).subquery()
            user_ids = (await connection.scalars(select(batch.c.user_id).distinct())).all()
            if user_ids:
                await _lock_user_rows(connection, user_ids)
                condition = of_day & _events.c.user_id.in_(user_ids)
            else:
                anonymous = select(_events.c.id).where(of_day, _events.c.user_id.is_(None)).limit(BATCH)
                condition = of_day & _events.c.id.in_((await connection.scalars(anonymous)).all())
            figures = daily_figures(condition, _FIGURE_NAMES)
            await connection.execute(
                insert(user_days).from_select(["source", "user_id", "day", *_FIGURE_NAMES], figures)
            )
            columns = [column.name for column in query_days.c]
            insertion = upsert(connection, query_days).from_select(columns, _query_figures(condition))
            await connection.execute(_add_on_conflict(insertion, query_days))
            return (await connection.execute(delete(_events).where(condition))).rowcount

    async def _delete(
        self, table: Table, condition: ColumnElement[bool], *, owner: ColumnElement[bool] | None = None
    ) -> None:
        """Delete rows in batches. Locks the user that `owner` selects; without it, skips locked rows."""
        key = list(table.primary_key.columns)
        batch = select(*key).where(condition).limit(PAGE).with_for_update(skip_locked=owner is None)
        count = PAGE
        while count == PAGE:
            async with transaction(self._engine) as connection:
                if owner is not None:
                    await connection.execute(select(users.c.id).where(owner).with_for_update())
                count = (await connection.execute(delete(table).where(tuple_(*key).in_(batch)))).rowcount


_events = events  # the table; a parameter of `append` hides its name
_INTERACTION_KINDS = frozenset(InteractionKind)


def _query_figures(condition: ColumnElement[bool]) -> Select[Any]:
    """Select rows of `query_days`, computed from events."""
    key = (events.c.source, events.c.day, events.c.query)
    return (
        select(
            *key,
            event_count(is_search),
            func.count(events.c.user_id.distinct()),
            event_count(is_zero_search),
            func.count(case((is_zero_search, events.c.user_id)).distinct()),
        )
        .where(condition, is_search, events.c.query != "")
        .group_by(*key)
    )


async def _lock_user_rows(connection: AsyncConnection, user_ids: Collection[str]) -> set[str]:
    """Prevent the deletion of users until the commit. Returns the active ones that have recording enabled."""
    recorded: set[str] = set()
    for chunk in _chunks(sorted(user_ids)):
        query = select(users.c.id, users.c.is_active & users.c.record_events).where(users.c.id.in_(chunk))
        rows = await connection.execute(query.order_by(users.c.id).with_for_update(read=True, key_share=True))
        recorded |= {user_id for user_id, is_recorded in rows if is_recorded}
    return recorded


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Split rows so that building one statement blocks the event loop only briefly."""
    return (rows[start : start + ROWS_PER_STATEMENT] for start in range(0, len(rows), ROWS_PER_STATEMENT))


def _add_on_conflict(statement: Any, table: Table) -> Any:
    """Make an INSERT add its numbers to an existing row with the same key."""
    key = {column.name for column in table.primary_key.columns}
    sums = {c.name: c + statement.excluded[c.name] for c in table.c if c.name not in key}
    return statement.on_conflict_do_update(index_elements=sorted(key), set_=sums)


def _interaction(row: Any) -> Interaction:
    return Interaction(row.movie_id, InteractionKind(row.kind), row.weight, time_of(row.at), time_of(row.kept_at))


def _event(row: Any) -> Event:
    return Event(
        EventKind(row.kind),
        time_of(row.at),
        row.user_id,
        row.movie_id,
        row.query,
        row.position,
        row.rating,
        row.found,
        row.times,
    )


def _exported_day(row: Any) -> ExportedEventDay:
    def time_or_none(micros: int | None) -> datetime | None:
        return None if micros is None else time_of(micros)

    return ExportedEventDay(
        source=row.source,
        day=date.fromordinal(row.day),
        searches=row.searches,
        zero_results=row.zero_results,
        clicked_searches=row.clicked_searches,
        clicks=row.clicks,
        placed_clicks=row.placed_clicks,
        positions=row.positions,
        ratings=row.ratings,
        first_search=time_or_none(row.first_search),
        first_click=time_or_none(row.first_click),
        click_after_search=time_or_none(row.click_after_search),
        last_rating=time_or_none(row.last_rating),
    )
