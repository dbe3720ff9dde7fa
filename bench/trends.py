"""Trend stores: interactions per second, and the error of scores compared with brute force.

The first half of the interactions, up to 900 half-lives old, fills a store. The second half, up to the maximum age of
events, is added in batches by two concurrent callers with separate connections.
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

OpenStores = Callable[[], AbstractAsyncContextManager[tuple[TrendStore, TrendStore]]]

INTERACTIONS = 40_000
HALF_LIVES = 900
MOVIES = 5_000
LISTED = 50
BATCH = 100
"""Interactions per batch."""


def trends(*, is_full: bool = False) -> Iterator[Row]:
    """With `is_full`, ten times as many interactions."""
    count = INTERACTIONS * (10 if is_full else 1)
    with own_redis() as server:
        yield from _rows("Redis", lambda: _on_redis(server.url), count, goal=5_000)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{Path(folder, 'movies.db')}"
        migrate(url)
        yield from _rows("SQLite", lambda: _on_sql(url), count, goal=None)
    with postgres_server() as server_url, postgres_database(server_url) as url:
        migrate(url)
        yield from _rows("PostgreSQL", lambda: _on_sql(url), count, goal=None)


def _rows(name: str, open_stores: OpenStores, count: int, goal: int | None) -> Iterator[Row]:
    rate, errors, are_same = asyncio.run(_measure(open_stores, count))
    goal_text = "measured only" if goal is None else f"≥ {goal:,}/s"
    yield Row(
        f"{name}: interactions added, batches of {BATCH}", f"{rate:,.0f}/s", goal_text, goal is None or rate >= goal
    )
    for window, error in errors.items():
        what = f"{name}: greatest relative error of the top {LISTED}, {window.value}"
        yield Row(what, f"{error:.0e}", f"≤ {PRECISION:.0e}", error <= PRECISION)
    yield Row(f"{name}: top {LISTED} compared with brute force", "same" if are_same else "different", "same", are_same)


async def _measure(open_stores: OpenStores, count: int) -> tuple[float, dict[TrendWindow, float], bool]:
    """Returns interactions per second, the greatest error for each window, and whether the lists are equal."""
    now = utc_now()
    age = HALF_LIVES * timedelta(seconds=TrendWindow.DAY.half_life)
    filled = make_interactions(count // 2, now, age=age, movies=MOVIES)
    added = [
        replace(interaction, stored_at=now)
        for interaction in make_interactions(count // 2, now, age=MAX_AGE, movies=MOVIES, seed=6)
    ]
    interactions = filled + added
    async with open_stores() as (one, other):
        totals = Totals(now)
        totals.add(filled)
        if not (
            await one.start_epoch(now, None) and await one.claim_rebuild(now) and await one.finish_rebuild(totals, now)
        ):
            raise RuntimeError("the store was not empty")
        began = time.perf_counter()
        await asyncio.gather(_add(one, added[::2]), _add(other, added[1::2]))
        seconds = time.perf_counter() - began
        errors, are_same = {}, True
        for window in TrendWindow:
            trends, expected = (
                await one.top(window, LISTED, now) or [],
                expected_trends(interactions, window, now)[:LISTED],
            )
            are_same &= [trend.movie_id for trend in trends] == [trend.movie_id for trend in expected]
            scores = {trend.movie_id: trend.score for trend in trends}
            errors[window] = max(abs(scores.get(trend.movie_id, 0.0) - trend.score) / trend.score for trend in expected)
    return len(added) / seconds, errors, are_same


async def _add(store: TrendStore, interactions: list[Interaction]) -> None:
    for start in range(0, len(interactions), BATCH):
        await store.add(interactions[start : start + BATCH])


@asynccontextmanager
async def _on_redis(url: str) -> AsyncIterator[tuple[TrendStore, TrendStore]]:
    clients = RedisClient(url), RedisClient(url)
    try:
        yield RedisTrendStore(clients[0], "catalogue"), RedisTrendStore(clients[1], "catalogue")
    finally:
        for client in clients:
            await client.close()


@asynccontextmanager
async def _on_sql(url: str) -> AsyncIterator[tuple[TrendStore, TrendStore]]:
    engines = create_engine(url), create_engine(url)
    try:
        yield SqlTrendStore(engines[0], "catalogue"), SqlTrendStore(engines[1], "catalogue")
    finally:
        for engine in engines:
            await engine.dispose()
