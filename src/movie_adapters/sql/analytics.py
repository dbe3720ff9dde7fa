"""What the events in a SQL database come to; see `sql_events`."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Subquery, Table, case, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.sql.events import (
    LONG_SECONDS,
    day_figures,
    events,
    is_search,
    is_zero_search,
    query_days,
    source_days,
    user_days,
)
from movie_adapters.sql.tables import transaction, users
from movie_core.discovery.analytics import MAX_QUERIES, Clicks, Cohort, Days, Funnel, QueryCount, SourceDay, Summary


class SqlAnalytics:
    """The `Analytics` over what `SqlEventStore` keeps of the same source.

    Each number is from one statement, so that a purge that goes on meanwhile changes none; it takes `LONG_SECONDS` at
    most.
    """

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def summary(self, days: Days) -> Summary:
        rows = self._days(days, "searches", "ratings", "clicks", "zero_results")
        sums = [func.sum(rows.c[name]) for name in ("searches", "ratings", "clicks", "zero_results")]
        found = await self._one(select(*sums, func.count(rows.c.user_id.distinct())))
        searches, ratings, clicks, zero_results, known = (int(number or 0) for number in found)
        return Summary(searches, known, ratings, clicks, zero_results)

    async def top_searches(self, days: Days, *, zero_results: bool = False) -> Sequence[QueryCount]:
        wanted = (is_zero_search if zero_results else is_search) & (events.c.query != "")
        by_user = (
            select(events.c.query, events.c.user_id, func.sum(events.c.times).label("count"))
            .where(self._within(events, days), wanted)
            .group_by(events.c.query, events.c.user_id)
            .subquery()
        )
        users_ = func.count(by_user.c.user_id).label("users")
        raw = select(by_user.c.query, func.sum(by_user.c.count).label("count"), users_).group_by(by_user.c.query)
        names = ("zero_results", "zero_users") if zero_results else ("searches", "users")
        kept = select(query_days.c.query, *(query_days.c[name] for name in names)).where(self._within(query_days, days))
        rows = union_all(raw, kept).subquery()
        count = func.sum(rows.c.count).label("count")
        # By code point, as Python sorts and SQLite does by itself.
        text = rows.c.query.collate("C") if self._engine.dialect.name == "postgresql" else rows.c.query
        query = (
            select(rows.c.query, count, func.sum(rows.c.users))
            .group_by(rows.c.query)
            .having(func.sum(rows.c.count) > 0)
            .order_by(count.desc(), text)
            .limit(MAX_QUERIES)
        )
        return [QueryCount(text, int(number), int(known)) for text, number, known in await self._all(query)]

    async def clicks(self, days: Days) -> Clicks:
        names = ("searches", "clicked_searches", "clicks", "placed_clicks", "positions")
        rows = self._days(days, *names)
        found = await self._one(select(*(func.sum(rows.c[name]) for name in names)))
        searches, clicked, clicks, placed, positions = (int(number or 0) for number in found)
        rate = clicked / searches if searches else 0.0
        return Clicks(searches, clicks, rate, positions / placed if placed else None)

    async def funnel(self, days: Days) -> Funnel:
        rows = self._days(days, "first_search", "first_click", "click_after_search", "last_rating")
        began = func.min(rows.c.first_search).over(partition_by=rows.c.user_id).label("began")
        placed = select(rows, began).where(rows.c.user_id.is_not(None)).subquery()
        # On the day of the first search it is the click after it; on later days every click is after it.
        click = case((placed.c.first_click >= placed.c.began, placed.c.first_click), else_=placed.c.click_after_search)
        steps = (
            select(
                func.min(placed.c.began).label("searched"),
                func.min(click).label("clicked"),
                func.max(placed.c.last_rating).label("rated"),
            )
            .group_by(placed.c.user_id)
            .subquery()
        )
        is_rated = case((steps.c.rated >= steps.c.clicked, 1))
        counts = (func.count(steps.c.searched), func.count(steps.c.clicked), func.count(is_rated))
        return Funnel(*await self._one(select(*counts)))

    async def retention(self, days: Days) -> Sequence[Cohort]:
        weeks = range(_week(days.first), _week(days.last) + 1)
        members = (
            select(users.c.id, case(*((users.c.created_at < _begin(week + 1), week) for week in weeks)).label("cohort"))
            .where(
                users.c.created_at >= datetime.combine(days.first, time(), UTC),
                users.c.created_at < datetime.combine(days.last + timedelta(days=1), time(), UTC),
            )
            .subquery()
        )
        rows = self._days(Days(date.fromordinal(7 * weeks[0] + 1), days.last), "first_search", only=is_search)
        week = (rows.c.day - 1) // 7
        searched = (
            select(rows.c.user_id, week.label("week"))
            .where(rows.c.first_search.is_not(None))
            .group_by(rows.c.user_id, week)
            .subquery()
        )
        query = (
            select(members.c.cohort, searched.c.week, func.count())
            .join_from(members, searched, searched.c.user_id == members.c.id)
            .group_by(members.c.cohort, searched.c.week)
        )
        sizes = select(members.c.cohort, func.count()).group_by(members.c.cohort).order_by(members.c.cohort)
        returned = {(cohort, in_week): number for cohort, in_week, number in await self._all(query)}
        return [
            Cohort(f"{_begin(cohort):%G-W%V}", size, tuple(returned.get((cohort, w), 0) for w in weeks if w >= cohort))
            for cohort, size in await self._all(sizes)
        ]

    async def source(self, days: Days) -> Sequence[SourceDay]:
        names = ("attempts", "failures", "live", "fresh", "stale", "fallback")
        query = select(source_days.c.day, *(source_days.c[name] for name in names))
        rows = await self._all(query.where(self._within(source_days, days)).order_by(source_days.c.day))
        return [SourceDay(date.fromordinal(day), *numbers) for day, *numbers in rows]

    def _within(self, table: Table, days: Days) -> ColumnElement[bool]:
        between = table.c.day.between(days.first.toordinal(), days.last.toordinal())
        return (table.c.source == self._source) & between

    def _days(self, days: Days, *names: str, only: ColumnElement[bool] | None = None) -> Subquery:
        """Figures of users and days: of events that are there, and of those that were purged."""
        which = self._within(events, days)
        raw = day_figures(which if only is None else which & only, names)
        kept = select(user_days.c.source, user_days.c.user_id, user_days.c.day, *(user_days.c[name] for name in names))
        return union_all(raw, kept.where(self._within(user_days, days))).subquery()

    async def _all(self, query: Any) -> Sequence[Any]:
        async with transaction(self._engine, read_only=True, seconds=LONG_SECONDS) as connection:
            return (await connection.execute(query)).all()

    async def _one(self, query: Any) -> Any:
        return (await self._all(query))[0]


def _week(day: date) -> int:
    """Weeks since Monday, the first day of the year 1."""
    return (day.toordinal() - 1) // 7


def _begin(week: int) -> datetime:
    return datetime.combine(date.fromordinal(7 * week + 1), time(), UTC)
