"""Event stores: write throughput, blocking of the event loop, and, with a million events, the duration of analytics
queries."""

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
KIND_WEIGHTS = {
    EventKind.SEARCH: 40,
    EventKind.IMPRESSION: 30,
    EventKind.CLICK: 15,
    EventKind.VIEW: 10,
    EventKind.RATING: 5,
}
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
    engine, rng = create_engine(url), random.Random(5)
    try:
        await _add_users(engine)
        store, analytics = SqlEventStore(engine, "catalogue"), SqlAnalytics(engine, "catalogue")
        seconds = longest = 0.0
        blocked = []
        async with _loop_watched() as gaps:
            for _ in range(amount // BATCH):
                batch = _batch(rng)
                await asyncio.sleep(0.002)  # generating events is not measured
                del gaps[:]
                took = await _timed(lambda batch=batch: store.append(batch, NOW))  # type: ignore[misc]
                seconds, longest = seconds + took, max(longest, took)
                blocked.append(max(gaps, default=0.0))
        # Other processes of the machine block it as well, occasionally for much longer.
        block_seconds = statistics.median(blocked)
        rate = amount // BATCH * BATCH / seconds
        rows = [
            Row(f"{name}: events stored, batches of {BATCH:,}", f"{rate:,.0f}/s", "≥ 5,000/s", rate >= 5_000),
            Row(f"{name}: longest transaction of a batch", f"{longest:.2f} s", "< 1 s", longest < 1),
            Row(
                f"{name}: event loop blocked by a batch, median",
                f"{1e3 * block_seconds:.0f} ms",
                "≤ 10 ms",
                block_seconds <= 0.01,
            ),
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
    for query, call in calls.items():
        took = await _timed(call)
        rows.append(Row(f"{name}: {query} of 1,000,000 events", f"{took:.2f} s", "≤ 5 s", took <= 5))
    took = await _timed(lambda: store.purge(days.last - timedelta(days=20)))
    rows.append(Row(f"{name}: purge of 10 days of these", f"{took:.1f} s", "≤ 60 s", took <= 60))
    return rows


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


@asynccontextmanager
async def _loop_watched() -> AsyncIterator[list[float]]:
    """Yields a list of the periods, in seconds, in which the event loop was blocked."""
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


def _batch(rng: random.Random) -> Sequence[Event]:
    """Generates events of random users within half an hour; few queries and films account for most of them."""
    begin = NOW - rng.random() * timedelta(days=DAYS - 1)
    batch = []
    for kind in rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()), k=BATCH):
        user_id = f"{rng.randrange(USERS):032x}"
        at = begin + rng.random() * timedelta(minutes=30)
        query = f"query {int(QUERIES * rng.random() ** 3)}"
        if kind is EventKind.SEARCH:
            batch.append(Event(kind, at, user_id, query=query, found=rng.random() < 0.9))
        else:
            movie_id = str(int(MOVIES * rng.random() ** 3))
            rating = 7.5 if kind is EventKind.RATING else None
            batch.append(Event(kind, at, user_id, movie_id, query, rng.randrange(1, 100), rating))
    return batch
