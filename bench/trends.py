"""Trends in each store: how many deeds a second, and how far scores are from brute force.

One half of the deeds, as old as 900 half-lives, fills a store; the other, as old as events may be told, is added in
batches by two callers at once, each with connections of its own.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.support.servers import own_redis, postgres_database, postgres_server

from bench.rows import Row
from movie_adapters.redis.client import RedisClient
from movie_adapters.redis.trends import RedisTrendStore
from movie_adapters.sql.engine import create_engine, migrate
from movie_adapters.sql.trends import SqlTrendStore
from movie_core.clock import utc_now
from movie_core.discovery.events import MAX_AGE
from movie_core.discovery.trending import Interaction, Totals, TrendWindow
from movie_core.ports import TrendStore
from movie_core.testing import PRECISION, expected_trends, make_interactions

Open = Callable[[], AbstractAsyncContextManager[tuple[TrendStore, TrendStore]]]

DEEDS = 40_000
HALF_LIVES = 900
MOVIES = 5_000
LISTED = 50
BATCH = 100
"""Deeds that are added together."""


def trends(*, is_full: bool = False) -> Iterator[Row]:
    """With `is_full` ten times as many deeds."""
    count = DEEDS * (10 if is_full else 1)
    with own_redis() as server:
        yield from _rows("Redis", lambda: _on_redis(server.url), count, goal=5_000)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{Path(folder, 'movies.db')}"
        migrate(url)
        yield from _rows("SQLite", lambda: _on_sql(url), count, goal=None)
    with postgres_server() as server_url, postgres_database(server_url) as url:
        migrate(url)
        yield from _rows("PostgreSQL", lambda: _on_sql(url), count, goal=None)


def _rows(name: str, opened: Open, count: int, goal: int | None) -> Iterator[Row]:
    rate, errors, are_same = asyncio.run(_measure(opened, count))
    told = "measured only" if goal is None else f"≥ {goal:,}/s"
    yield Row(f"{name}: deeds added, batches of {BATCH}", f"{rate:,.0f}/s", told, goal is None or rate >= goal)
    for window, error in errors.items():
        what = f"{name}: greatest relative error of the top {LISTED}, {window.value}"
        yield Row(what, f"{error:.0e}", f"≤ {PRECISION:.0e}", error <= PRECISION)
    yield Row(f"{name}: top {LISTED} as by brute force", "same" if are_same else "other", "same", are_same)


async def _measure(opened: Open, count: int) -> tuple[float, dict[TrendWindow, float], bool]:
    """Deeds a second, the greatest error for each window, and whether lists are the same."""
    now = utc_now()
    age = HALF_LIVES * timedelta(seconds=TrendWindow.DAY.half_life)
    filled = make_interactions(count // 2, now, age=age, movies=MOVIES)
    added = [
        replace(interaction, kept_at=now)
        for interaction in make_interactions(count // 2, now, age=MAX_AGE, movies=MOVIES, seed=6)
    ]
    interactions = filled + added
    async with opened() as (one, other):
        totals = Totals(now)
        totals.add(filled)
        if not (
            await one.start_epoch(now, None) and await one.claim_rebuild(now) and await one.finish_rebuild(totals, now)
        ):
            raise RuntimeError("the store wasn't empty")
        began = time.perf_counter()
        await asyncio.gather(_add(one, added[::2]), _add(other, added[1::2]))
        seconds = time.perf_counter() - began
        errors, are_same = {}, True
        for window in TrendWindow:
            found, expected = (
                await one.top(window, LISTED, now) or [],
                expected_trends(interactions, window, now)[:LISTED],
            )
            are_same &= [trend.movie_id for trend in found] == [trend.movie_id for trend in expected]
            scores = {trend.movie_id: trend.score for trend in found}
            errors[window] = max(abs(scores.get(trend.movie_id, 0.0) - trend.score) / trend.score for trend in expected)
    return len(added) / seconds, errors, are_same


async def _add(store: TrendStore, interactions: list[Interaction]) -> None:
    for start in range(0, len(interactions), BATCH):
        await store.add(interactions[start : start + BATCH])


@asynccontextmanager
async def _on_redis(url: str) -> AsyncIterator[tuple[TrendStore, TrendStore]]:
    links = RedisClient(url), RedisClient(url)
    try:
        yield RedisTrendStore(links[0], "catalogue"), RedisTrendStore(links[1], "catalogue")
    finally:
        for link in links:
            await link.close()


@asynccontextmanager
async def _on_sql(url: str) -> AsyncIterator[tuple[TrendStore, TrendStore]]:
    engines = create_engine(url), create_engine(url)
    try:
        yield SqlTrendStore(engines[0], "catalogue"), SqlTrendStore(engines[1], "catalogue")
    finally:
        for engine in engines:
            await engine.dispose()
