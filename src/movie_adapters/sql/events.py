"""What users did, in a SQL database: events, what of them counts for trends, and what days come to.

Events go after a time. What `SqlAnalytics` tells is reckoned from what `day_figures` says of a user and a day; a purge
keeps just that, by the same expressions, so that the answers stay the same.
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
from movie_core.clock import iso_time
from movie_core.discovery.analytics import CLICK_WINDOW, KEPT
from movie_core.discovery.event_recorder import BATCH
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.trending import Interaction, InteractionKind, utc_day, weight_of

LONG_SECONDS = 15.0
"""How long reading through all events of a user, or of many days, may take."""
PAGE = 5_000
"""Deeds of a batch, and rows that go in one transaction."""
PIECE = 250
"""Rows of one statement."""

Row = TypeVar("Row")


def _moment(name: str, *, nullable: bool = False) -> Column[Any]:
    """As `micros_of` tells it."""
    return Column(name, BigInteger(), nullable=nullable)


def _day() -> Column[Any]:
    """A UTC day as `date.toordinal` counts it, from Monday on."""
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
    _moment("at"),
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
    _moment("at"),
    _moment("kept_at"),
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
    _moment("first_search", nullable=True),
    _moment("first_click", nullable=True),
    _moment("click_after_search", nullable=True),
    _moment("last_rating", nullable=True),
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

# Written out, not bound: an index over some rows serves only a query that plainly asks for these.
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


def times(which: ColumnElement[bool]) -> ColumnElement[Any]:
    """How often such events happened."""
    return func.sum(case((which, events.c.times), else_=0))


_FIGURES: Mapping[str, ColumnElement[Any]] = {
    "searches": times(is_search),
    "zero_results": times(is_zero_search),
    "clicked_searches": times(is_search & _is_followed),
    "clicks": times(_is_click),
    "placed_clicks": times(_is_click & events.c.position.is_not(None)),
    "positions": func.sum(case((_is_click, events.c.times * func.coalesce(events.c.position, 0)), else_=0)),
    "ratings": times(_is_rating),
    "first_search": func.min(case((is_search, events.c.at))),
    "first_click": func.min(case((_is_click, events.c.at))),
    "last_rating": func.max(case((_is_rating, events.c.at))),
}


def day_figures(which: ColumnElement[bool], names: Sequence[str]) -> Select[Any]:
    """Source, user and day, and figures of `user_days` under their names, of the events that those of a user and a day
    are: `which` must choose all of them."""
    key = (events.c.source, events.c.user_id, events.c.day)
    if "click_after_search" not in names:
        return select(*key, *(_FIGURES[name].label(name) for name in names)).where(which, is_active).group_by(*key)
    needed = dict.fromkeys(("first_search", *(name for name in names if name != "click_after_search")))
    days = day_figures(which, list(needed)).subquery()
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
    own = {"click_after_search": first.label("click_after_search")}
    return select(days.c.source, days.c.user_id, days.c.day, *(own.get(name, days.c.get(name)) for name in names))


_KEPT_FIGURES = tuple(column.name for column in user_days.c if column.name not in {"id", "source", "user_id", "day"})


class SqlEventStore:
    """An `EventStore` for the movies of one source, in tables that `engine.migrate` has made.

    The engine stays its owner's to dispose of.
    """

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        if not events:
            return []
        async with transaction(self._engine) as connection:
            before = await self._purged_before(connection)
            known = await _lock_users(connection, {event.user_id for event in events if event.user_id is not None})
            kept = [
                (event, day)
                for event in events
                if (day := utc_day(event.at).toordinal()) >= before
                and (event.user_id is None or event.user_id in known)
            ]
            for some in _pieces(kept):
                await connection.execute(insert(_table), [self._row(event, day) for event, day in some])
            return await self._count_deeds(connection, kept, now)

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

    async def _count_deeds(
        self, connection: AsyncConnection, kept: Sequence[tuple[Event, int]], now: datetime
    ) -> Sequence[Interaction]:
        first: dict[tuple[int, str, str, str], Interaction] = {}
        for event, day in kept:
            if event.user_id is not None and event.movie_id is not None and event.kind.value in _DEED_KINDS:
                kind = InteractionKind(event.kind.value)
                interaction = Interaction(event.movie_id, kind, weight_of(kind, event.rating), event.at, now)
                first.setdefault((day, event.user_id, as_stored(event.movie_id), kind.value), interaction)
        key = (interactions.c.day, interactions.c.user_id, interactions.c.movie_id, interactions.c.kind)
        statement = upsert(connection, interactions).on_conflict_do_nothing().returning(*key)
        counted: set[tuple[Any, ...]] = set()
        # In one order, so that those who append at once never wait for each other in a circle.
        for some in _pieces(sorted(first)):
            rows = [self._deed_row(one, first[one]) for one in some]
            counted |= {tuple(row) for row in await connection.execute(statement, rows)}
        return [interaction for one, interaction in first.items() if one in counted]

    def _deed_row(self, key: tuple[int, str, str, str], interaction: Interaction) -> dict[str, Any]:
        day, user_id, movie_id, kind = key
        return {
            "source": self._source,
            "day": day,
            "user_id": user_id,
            "movie_id": movie_id,
            "kind": kind,
            "weight": interaction.weight,
            "at": micros_of(interaction.at),
            "kept_at": micros_of(interaction.kept_at),
        }

    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        row: dict[str, Any] = dict.fromkeys(source_days.c.keys(), 0)
        row |= {"source": self._source, "day": day.toordinal(), **counts}
        async with transaction(self._engine) as connection:
            await connection.execute(_add(upsert(connection, source_days).values(row), source_days))

    async def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        key = (interactions.c.day, interactions.c.user_id, interactions.c.movie_id, interactions.c.kind)
        query = select(interactions).where(interactions.c.source == self._source).order_by(*key).limit(PAGE)
        last: tuple[Any, ...] | None = None
        while True:
            after = query if last is None else query.where(tuple_(*key) > tuple_(*map(literal, last)))
            async with transaction(self._engine, read_only=True) as connection:
                rows = (await connection.execute(after)).all()
            if rows:
                yield [_interaction(row) for row in rows]
            if len(rows) < PAGE:
                return
            last = (rows[-1].day, rows[-1].user_id, rows[-1].movie_id, rows[-1].kind)

    # --- what is personal, whatever the source

    async def export(self, user_id: str) -> Mapping[str, Any]:
        figures = select(user_days).where(user_days.c.user_id == user_id).order_by(user_days.c.day)
        own = select(_table).where(_table.c.user_id == user_id).order_by(_table.c.at, _table.c.id)
        async with transaction(self._engine, read_only=True, seconds=LONG_SECONDS) as connection:
            # Bit by bit: hundreds of thousands at once would keep all other requests waiting for seconds.
            told: list[dict[str, Any]] = []
            for some in (await connection.execute(own)).partitions(PIECE):
                told += [{"source": row.source, **_event(row).told()} for row in some]
                await asyncio.sleep(0)
            days = [_told_day(row) for row in await connection.execute(figures)]
        return {"events": told, "event_days": days}

    async def erase(self, user_id: str) -> None:
        # Events first: until they are gone, a purge may make days of them.
        for table in (_table, interactions, user_days):
            await self._remove(table, table.c.user_id == user_id, whose=users.c.id == user_id)

    # --- what goes after a time

    async def purge(self, before: date) -> int:
        """As `EventStore.purge`, in transactions of some `BATCH` events or one user's day: nobody waits for it."""
        await self._close(before)
        removed = 0
        while amount := await self._fold(before):
            removed += amount
        await self._remove(
            interactions, (interactions.c.source == self._source) & (interactions.c.day < before.toordinal())
        )
        ending = before.toordinal() - KEPT.days
        for table in (user_days, query_days, source_days):
            await self._remove(table, (table.c.source == self._source) & (table.c.day < ending))
        return removed

    async def _close(self, before: date) -> None:
        """From now on nothing more is kept for the days before."""
        async with transaction(self._engine) as connection:
            row = {"source": self._source, "before": 0}
            await connection.execute(upsert(connection, purges).values(row).on_conflict_do_nothing())
            own = purges.c.source == self._source
            # The lock waits for those who append by the old day, and they for it.
            await connection.execute(select(purges.c.before).where(own).with_for_update())
            later = purges.c.before < before.toordinal()
            await connection.execute(update(purges).where(own, later).values(before=before.toordinal()))

    async def _purged_before(self, connection: AsyncConnection) -> int:
        query = select(purges.c.before).where(purges.c.source == self._source)
        lock = query.with_for_update(read=True, key_share=True)
        before = await connection.scalar(lock)
        if before is None:
            row = {"source": self._source, "before": 0}
            await connection.execute(upsert(connection, purges).values(row).on_conflict_do_nothing())
            before = await connection.scalar(lock)
        return int(before or 0)

    async def _fold(self, before: date) -> int:
        """Make some events of the first day before into what `user_days` and `query_days` keep; how many."""
        async with transaction(self._engine) as connection:
            # One at a time; those who append go on.
            mark = select(purges.c.before).where(purges.c.source == self._source).with_for_update(key_share=True)
            await connection.execute(mark)
            old = (_table.c.source == self._source) & (_table.c.day < before.toordinal())
            day = await connection.scalar(select(func.min(_table.c.day)).where(old))
            if day is None:
                return 0
            of_day = (_table.c.source == self._source) & (_table.c.day == day)
            known = select(_table.c.user_id).where(of_day, _table.c.user_id.is_not(None))
            some = known.order_by(_table.c.user_id).limit(BATCH).subquery()
            user_ids = (await connection.scalars(select(some.c.user_id).distinct())).all()
            if user_ids:
                await _lock_users(connection, user_ids)
                which = of_day & _table.c.user_id.in_(user_ids)
            else:
                unknown = select(_table.c.id).where(of_day, _table.c.user_id.is_(None)).limit(BATCH)
                which = of_day & _table.c.id.in_((await connection.scalars(unknown)).all())
            figures = day_figures(which, _KEPT_FIGURES)
            await connection.execute(
                insert(user_days).from_select(["source", "user_id", "day", *_KEPT_FIGURES], figures)
            )
            added = upsert(connection, query_days).from_select([c.name for c in query_days.c], _query_figures(which))
            await connection.execute(_add(added, query_days))
            return (await connection.execute(delete(_table).where(which))).rowcount

    async def _remove(
        self, table: Table, which: ColumnElement[bool], *, whose: ColumnElement[bool] | None = None
    ) -> None:
        """Remove rows, those that are being removed by others left out unless it is said whose they are."""
        key = list(table.primary_key.columns)
        some = select(*key).where(which).limit(PAGE).with_for_update(skip_locked=whose is None)
        amount = PAGE
        while amount == PAGE:
            async with transaction(self._engine) as connection:
                if whose is not None:
                    await connection.execute(select(users.c.id).where(whose).with_for_update())
                amount = (await connection.execute(delete(table).where(tuple_(*key).in_(some)))).rowcount


_table = events
_DEED_KINDS = frozenset(InteractionKind)


def _query_figures(which: ColumnElement[bool]) -> Select[Any]:
    """Rows of `query_days`."""
    key = (events.c.source, events.c.day, events.c.query)
    return (
        select(
            *key,
            times(is_search),
            func.count(events.c.user_id.distinct()),
            times(is_zero_search),
            func.count(case((is_zero_search, events.c.user_id)).distinct()),
        )
        .where(which, is_search, events.c.query != "")
        .group_by(*key)
    )


async def _lock_users(connection: AsyncConnection, user_ids: Collection[str]) -> set[str]:
    """See to it that nobody goes before the transaction ends; those who are there, active and recording."""
    recorded: set[str] = set()
    for some in _pieces(sorted(user_ids)):
        query = select(users.c.id, users.c.is_active & users.c.record_events).where(users.c.id.in_(some))
        found = await connection.execute(query.order_by(users.c.id).with_for_update(read=True, key_share=True))
        recorded |= {user_id for user_id, is_recorded in found if is_recorded}
    return recorded


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Few enough rows for a statement that its making doesn't hold the event loop for long."""
    return (rows[start : start + PIECE] for start in range(0, len(rows), PIECE))


def _add(statement: Any, table: Table) -> Any:
    """The insert, adding to the numbers of a row with the same key."""
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


def _told_day(row: Any) -> dict[str, Any]:
    """A row of `user_days` as JSON."""
    told: dict[str, Any] = {"source": row.source, "day": date.fromordinal(row.day).isoformat()}
    for name in _KEPT_FIGURES:
        value = getattr(row, name)
        is_moment = name in {"first_search", "first_click", "click_after_search", "last_rating"}
        told[name] = iso_time(time_of(value)) if is_moment and value is not None else value
    return told
