"""How fast the event stores take what the recorder writes, what that costs the event loop, and, with a million events,
how long analytics take."""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.servers import postgres_database, postgres_server

from bench.rows import Row
from movie_adapters.sql.analytics import SqlAnalytics
from movie_adapters.sql.engine import create_engine, migrate
from movie_adapters.sql.events import SqlEventStore
from movie_adapters.sql.tables import users
from movie_core.discovery.analytics import Days
from movie_core.discovery.event_recorder import BATCH
from movie_core.discovery.events import Event, EventKind

USERS, MOVIES, QUERIES, DAYS = 2_000, 10_000, 5_000, 30
KINDS = {EventKind.SEARCH: 40, EventKind.IMPRESSION: 30, EventKind.CLICK: 15, EventKind.VIEW: 10, EventKind.RATING: 5}
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def events(*, is_full: bool) -> Iterator[Row]:
    amount = 1_000_000 if is_full else 40_000
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/movies.db"
        migrate(url)
        yield from asyncio.run(_measure("SQLite", url, amount))
    with postgres_server() as server, postgres_database(server) as url:
        migrate(url)
        yield from asyncio.run(_measure("PostgreSQL", url, amount))


async def _measure(name: str, url: str, amount: int) -> list[Row]:
    engine, chance = create_engine(url), random.Random(5)
    try:
        await _add_users(engine)
        store, analytics = SqlEventStore(engine, "catalogue"), SqlAnalytics(engine, "catalogue")
        seconds = longest = 0.0
        held = []
        async with _loop_watched() as gaps:
            for _ in range(amount // BATCH):
                batch = _batch(chance)
                await asyncio.sleep(0.002)  # making events up isn't what is measured
                del gaps[:]
                took = await _timed(lambda batch=batch: store.append(batch, NOW))  # type: ignore[misc]
                seconds, longest = seconds + took, max(longest, took)
                held.append(max(gaps, default=0.0))
        # Others on the machine hold it too, now and then for much longer.
        hold = statistics.median(held)
        rate = amount // BATCH * BATCH / seconds
        rows = [
            Row(f"{name}: events kept, batches of {BATCH:,}", f"{rate:,.0f}/s", "≥ 5,000/s", rate >= 5_000),
            Row(f"{name}: longest transaction of a batch", f"{longest:.2f} s", "< 1 s", longest < 1),
            Row(f"{name}: event loop held by a batch, median", f"{1e3 * hold:.0f} ms", "≤ 10 ms", hold <= 0.01),
        ]
        if amount >= 1_000_000:
            rows += await _analytics(name, analytics, store)
        return rows
    finally:
        await engine.dispose()


async def _analytics(name: str, analytics: SqlAnalytics, store: SqlEventStore) -> list[Row]:
    rows = []
    days = Days(NOW.date() - timedelta(days=DAYS - 1), NOW.date())
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "summary": lambda: analytics.summary(days),
        "top searches": lambda: analytics.top_searches(days),
        "zero-result searches": lambda: analytics.top_searches(days, zero_results=True),
        "clicks": lambda: analytics.clicks(days),
        "funnel": lambda: analytics.funnel(days),
        "retention": lambda: analytics.retention(days),
    }
    for what, call in calls.items():
        took = await _timed(call)
        rows.append(Row(f"{name}: {what} of 1,000,000 events", f"{took:.2f} s", "≤ 5 s", took <= 5))
    took = await _timed(lambda: store.purge(days.last - timedelta(days=20)))
    rows.append(Row(f"{name}: purge of 10 days of these", f"{took:.1f} s", "≤ 60 s", took <= 60))
    return rows


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


@asynccontextmanager
async def _loop_watched() -> AsyncIterator[list[float]]:
    """Seconds for which the event loop didn't come to other work."""
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - began - 0.001)

    task = asyncio.create_task(watch())
    try:
        yield gaps
    finally:
        task.cancel()


async def _add_users(engine: AsyncEngine) -> None:
    rows = [
        {
            "id": f"{n:032x}",
            **dict.fromkeys(("email", "email_key", "username", "username_key"), f"user{n}@example.com"),
            "password_hash": "",
            "is_active": True,
            "is_staff": False,
            "record_events": True,
            "created_at": NOW - timedelta(days=n % DAYS),
        }
        for n in range(USERS)
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(users), rows)


def _batch(chance: random.Random) -> Sequence[Event]:
    """Some users looking for films in some half hour; few queries and films make most of it."""
    begin = NOW - chance.random() * timedelta(days=DAYS - 1)
    made = []
    for kind in chance.choices(list(KINDS), list(KINDS.values()), k=BATCH):
        user_id = f"{chance.randrange(USERS):032x}"
        at = begin + chance.random() * timedelta(minutes=30)
        query = f"query {int(QUERIES * chance.random() ** 3)}"
        if kind is EventKind.SEARCH:
            made.append(Event(kind, at, user_id, query=query, found=chance.random() < 0.9))
        else:
            movie_id = str(int(MOVIES * chance.random() ** 3))
            rating = 7.5 if kind is EventKind.RATING else None
            made.append(Event(kind, at, user_id, movie_id, query, chance.randrange(1, 100), rating))
    return made
