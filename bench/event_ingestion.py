"""Event ingestion over HTTP: a burst, sustained load, and the responses while the buffer is full.

The server and the client have one core each; PostgreSQL, where it is the store, shares both.
"""

import asyncio
import itertools
import json
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import httpx
from tests.support.servers import postgres_database, postgres_server

from bench.fast import Place, Server, run
from bench.load import Connection, connect, post_of, steady
from bench.rows import Row

BATCH = 100
"""Events per request."""
BURST = 50_000
"""Events in a burst."""
RATE = 22_000
"""Events per second in a burst."""
SUSTAINED_SECONDS = 10.0
CONNECTIONS = 4
IDLE_SECONDS = 1.5
"""Three times the maximum delay of a batch of events."""


def event_ingestion(*, is_full: bool) -> Iterator[Row]:
    """Measures the embedded deployment, then PostgreSQL."""
    if not hasattr(os, "sched_setaffinity"):
        print("     event_ingestion: skipped; it requires Linux")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield from _on("SQLite", Place(folder), lambda: _sqlite_count(folder), is_full)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(postgres_database(stack.enter_context(postgres_server())))
        yield from _on("PostgreSQL", Place(folder, MOVIE_DATABASE_URL=url), lambda: _postgres_count(url), is_full)


def _on(name: str, place: Place, count: Callable[[], int], is_full: bool) -> Iterator[Row]:
    core = place.cores[0]
    with place.api(core=core) as api:
        os.sched_setaffinity(0, {place.cores[-1]})
        try:
            requests = _requests(api, place)
            run(steady([api.port], requests, 50, 0.5))  # warm
            time.sleep(1.5)
            rate = RATE / BATCH
            answers = run(steady([api.port], requests, rate, BURST / RATE))
            accepted_events = BATCH * sum(answer.status == 202 for answer in answers)
            times = sorted(answer.seconds * 1e3 for answer in answers)
            p99 = times[int(0.99 * len(times))]
            yield Row(
                f"{name}: accepted in a burst of {BURST:,} at {RATE:,}/s",
                f"{accepted_events:,}",
                f"≥ {BURST:,}",
                accepted_events >= BURST,
            )
            yield Row(f"{name}: p99 of the responses", f"{p99:.1f} ms", "≤ 20 ms", p99 <= 20)
            _wait_until_idle(count)

            before, began = count(), time.perf_counter()
            statuses = run(_send_events(api.port, requests, SUSTAINED_SECONDS * (6 if is_full else 1)))
            _wait_until_idle(count)
            stored, took = count() - before, time.perf_counter() - began - IDLE_SECONDS
            accepted = statuses[202] * BATCH
            yield Row(f"{name}: events/s stored under sustained load", f"{stored / took:,.0f}", "measured only", True)
            yield Row(f"{name}: stored of those accepted", f"{stored:,} of {accepted:,}", "all", stored == accepted)
            others = statuses.total() - statuses[202] - statuses[503]
            yield Row(f"{name}: responses 503 / other errors", f"{statuses[503]} / {others}", "any / 0", not others)
        finally:
            os.sched_setaffinity(0, place.cores)


async def _send_events(port: int, requests: Iterator[bytes], seconds: float) -> Counter[int]:
    """Sends events continuously over a few connections and honours `Retry-After` of a 503. Returns the statuses."""
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + seconds

    async def send_until_end(connection: Connection) -> None:
        while time.perf_counter() < end:
            answer = await connection.get(next(requests))
            statuses[answer.status] += 1
            if answer.status == 503:
                await asyncio.sleep(int(answer.head.lower().split(b"retry-after: ")[1].split(b"\r\n")[0]))

    connections = await connect(port, CONNECTIONS)
    await asyncio.gather(*(send_until_end(connection) for connection in connections))
    for connection in connections:
        connection.close()
    return statuses


def _requests(api: Server, place: Place) -> Iterator[bytes]:
    """Yields requests with different events: repeated ones would count once."""
    headers = {"authorization": f"Bearer {place.token}"}
    with httpx.Client(base_url=api.url, headers=headers, trust_env=False, timeout=30) as client:
        items = (
            client.get("/api/v1/movies/", params={"query": "river", "limit": 100}).raise_for_status().json()["items"]
        )
    ids = [item["id"] for item in items]
    for page in itertools.count():
        events = [
            {"type": "impression", "movie_id": ids[number % len(ids)], "query": f"river {page}", "position": number + 1}
            for number in range(BATCH)
        ]
        yield post_of("/api/v1/events/", json.dumps(events).encode(), place.token)


def _wait_until_idle(count: Callable[[], int]) -> None:
    """Waits until nothing has been written for `IDLE_SECONDS`."""
    last, since = count(), time.perf_counter()
    while time.perf_counter() < since + IDLE_SECONDS:
        time.sleep(0.1)
        if (current := count()) != last:
            last, since = current, time.perf_counter()


def _sqlite_count(folder: Path) -> int:
    connection = sqlite3.connect(folder / "var" / "movies.db")
    try:
        return int(
            connection.execute("SELECT COALESCE(SUM(times), 0) FROM events WHERE kind <> 'search'").fetchone()[0]
        )
    finally:
        connection.close()


def _postgres_count(url: str) -> int:
    async def query() -> int:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return int(await connection.fetchval("SELECT COALESCE(SUM(times), 0) FROM events WHERE kind <> 'search'"))
        finally:
            await connection.close()

    return asyncio.run(query())
