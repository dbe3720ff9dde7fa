"""Reports computed from the events in a SQL database; see `movie_adapters.sql.events`."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Subquery, Table, case, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.sql.events import (
    LONG_SECONDS,
    daily_figures,
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
    """An `Analytics` over the tables of `SqlEventStore`, for the same source.

    Each number is computed by a single statement, so that a concurrent purge does not change it. The timeout of a
    statement is `LONG_SECONDS`.
    """

    def __init__(self, engine: AsyncEngine, source: str) -> None:
        self._engine = engine
        self._source = source

    async def summary(self, days: Days) -> Summary:
        rows = self._days(days, "searches", "ratings", "clicks", "zero_results")
        sums = [func.sum(rows.c[name]) for name in ("searches", "ratings", "clicks", "zero_results")]
        row = await self._one(select(*sums, func.count(rows.c.user_id.distinct())))
        searches, ratings, clicks, zero_results, user_count = (int(number or 0) for number in row)
        return Summary(searches, user_count, ratings, clicks, zero_results)

    async def top_searches(self, days: Days, *, zero_results: bool = False) -> Sequence[QueryCount]:
        condition = (is_zero_search if zero_results else is_search) & (events.c.query != "")
        by_user = (
            select(events.c.query, events.c.user_id, func.sum(events.c.times).label("count"))
            .where(self._within(events, days), condition)
            .group_by(events.c.query, events.c.user_id)
            .subquery()
        )
        user_count = func.count(by_user.c.user_id).label("users")
        raw = select(by_user.c.query, func.sum(by_user.c.count).label("count"), user_count).group_by(by_user.c.query)
        names = ("zero_results", "zero_users") if zero_results else ("searches", "users")
        purged = select(query_days.c.query, *(query_days.c[name] for name in names))
        rows = union_all(raw, purged.where(self._within(query_days, days))).subquery()
        count = func.sum(rows.c.count).label("count")
        # Ties are ordered by code point, as Python sorts; SQLite does so by default.
        text = rows.c.query.collate("C") if self._engine.dialect.name == "postgresql" else rows.c.query
        query = (
            select(rows.c.query, count, func.sum(rows.c.users))
            .group_by(rows.c.query)
            .having(func.sum(rows.c.count) > 0)
            .order_by(count.desc(), text)
            .limit(MAX_QUERIES)
        )
        return [QueryCount(text, int(searches), int(users_)) for text, searches, users_ in await self._all(query)]

    async def clicks(self, days: Days) -> Clicks:
        names = ("searches", "clicked_searches", "clicks", "placed_clicks", "positions")
        rows = self._days(days, *names)
        row = await self._one(select(*(func.sum(rows.c[name]) for name in names)))
        searches, clicked, clicks, placed, positions = (int(number or 0) for number in row)
        rate = clicked / searches if searches else 0.0
        return Clicks(searches, clicks, rate, positions / placed if placed else None)

    async def funnel(self, days: Days) -> Funnel:
        rows = self._days(days, "first_search", "first_click", "click_after_search", "last_rating")
        first_search = func.min(rows.c.first_search).over(partition_by=rows.c.user_id).label("user_first_search")
        user_rows = select(rows, first_search).where(rows.c.user_id.is_not(None)).subquery()
        # On the day of the first search only a click after it counts; on later days every click is after it.
        is_after = user_rows.c.first_click >= user_rows.c.user_first_search
        click = case((is_after, user_rows.c.first_click), else_=user_rows.c.click_after_search)
        steps = (
            select(
                func.min(user_rows.c.user_first_search).label("searched"),
                func.min(click).label("clicked"),
                func.max(user_rows.c.last_rating).label("rated"),
            )
            .group_by(user_rows.c.user_id)
            .subquery()
        )
        is_rated = case((steps.c.rated >= steps.c.clicked, 1))
        counts = (func.count(steps.c.searched), func.count(steps.c.clicked), func.count(is_rated))
        return Funnel(*await self._one(select(*counts)))

    async def retention(self, days: Days) -> Sequence[Cohort]:
        weeks = range(_week(days.first), _week(days.last) + 1)
        cohorts = [(users.c.created_at < _week_start(week + 1), week) for week in weeks]
        members = (
            select(
                users.c.id,
                case(*cohorts).label("cohort"),
            )
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
            Cohort(
                f"{_week_start(cohort):%G-W%V}",
                size,
                tuple(returned.get((cohort, week), 0) for week in weeks if week >= cohort),
            )
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
        """Select figures by user and day: computed from stored events, and stored for purged ones."""
        condition = self._within(events, days)
        raw = daily_figures(condition if only is None else condition & only, names)
        key = (user_days.c.source, user_days.c.user_id, user_days.c.day)
        purged = select(*key, *(user_days.c[name] for name in names)).where(self._within(user_days, days))
        return union_all(raw, purged).subquery()

    async def _all(self, query: Any) -> Sequence[Any]:
        async with transaction(self._engine, read_only=True, seconds=LONG_SECONDS) as connection:
            return (await connection.execute(query)).all()

    async def _one(self, query: Any) -> Any:
        return (await self._all(query))[0]


def _week(day: date) -> int:
    """Number of the week, counted from Monday 0001-01-01."""
    return (day.toordinal() - 1) // 7


def _week_start(week: int) -> datetime:
    return datetime.combine(date.fromordinal(7 * week + 1), time(), UTC)
