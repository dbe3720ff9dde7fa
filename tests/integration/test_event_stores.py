"""Contract tests of event stores and analytics on SQLite and PostgreSQL, and tests of concurrent purges."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tests.support.account_stores import sql_account_stores

from movie_adapters.sql import events as sql_events
from movie_adapters.sql.analytics import SqlAnalytics
from movie_adapters.sql.engine import create_engine, metadata
from movie_adapters.sql.events import SqlEventStore
from movie_core.accounts.keyring import Keyring
from movie_core.discovery.analytics import Days, Funnel, Summary
from movie_core.discovery.events import Event, EventKind
from movie_core.errors import StoreUnavailable
from movie_core.testing import NOW, UNLIMITED, AnalyticsContract, EventStoreContract, EventStores, create_user
from movie_core.testing.rating_store import is_empty

pytestmark = pytest.mark.usefixtures("long_database_timeouts")

TABLES = ("events", "deeds", "user_days", "query_days", "source_days", "purges")
TODAY = NOW.date()


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name in (*TABLES, "mails", "links", "registrations", "users"):
                    await connection.execute(table.delete())
        yield engine
    finally:
        await engine.dispose()


def stores_of(engine: AsyncEngine, source: str = "catalogue") -> EventStores:
    keys = Keyring(["k" * 32])
    accounts = sql_account_stores(engine, UNLIMITED, keys)
    return EventStores(accounts, SqlEventStore(engine, source), SqlAnalytics(engine, source))


class OpenStores:
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EventStores]:
        async with emptied(self.url) as engine:
            yield stores_of(engine)


class OnSqlite(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


class OnPostgres(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


class TestEventsOnSqlite(OnSqlite, EventStoreContract):
    pass


class TestAnalyticsOnSqlite(OnSqlite, AnalyticsContract):
    pass


class TestEventsOnPostgres(OnPostgres, EventStoreContract):
    pass


class TestAnalyticsOnPostgres(OnPostgres, AnalyticsContract):
    pass


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    async with emptied(url) as engine:
        yield engine


DAYS = Days(TODAY - timedelta(days=20), TODAY)


def click(user_id: str, movie_id: str, days_ago: int = 0) -> Event:
    return Event(EventKind.CLICK, NOW - timedelta(days=days_ago), user_id, movie_id, "q")


async def test_the_migration_creates_the_declared_tables(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[Any]:
        def is_included(name: str | None, kind: str, _: object) -> bool:
            return kind != "table" or name in TABLES

        options = {
            "include_name": is_included,
            "include_object": lambda _item, name, kind, *_: is_included(name, kind, None),
        }
        changes = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        return [change for change in changes if "modify_comment" not in str(change)]

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_sources_are_separate_except_for_export_and_erasure(engine: AsyncEngine) -> None:
    one, other = stores_of(engine, "one"), stores_of(engine, "other")
    ada, _ = await create_user(one.accounts, at=NOW)
    for stores in (one, other):
        search = Event(EventKind.SEARCH, NOW - timedelta(days=9), ada.id, query="q", found=True)
        assert len(await stores.events.append([click(ada.id, "1"), click(ada.id, "1", 9), search], NOW)) == 2
        await stores.events.count(TODAY, {"live": 1})
    assert await one.events.purge(TODAY) == 2
    for stores, left in ((one, 1), (other, 2)):
        assert (await stores.analytics.summary(DAYS)).clicks == 2
        assert [query.count for query in await stores.analytics.top_searches(DAYS)] == [1]
        assert [figures.live for figures in await stores.analytics.source(DAYS)] == [1]
        assert [len(batch) async for batch in stores.events.interactions()] == [left]
    export = await other.events.export(ada.id)
    assert sorted(event.source for event in export.events) == ["one", "other", "other", "other"]
    assert [(day.source, day.clicks, day.searches) for day in export.event_days] == [("one", 1, 1)]
    assert export.event_days[0].first_search == datetime(2026, 11, 15, 9, tzinfo=UTC)
    await one.events.erase(ada.id)
    assert is_empty(await other.events.export(ada.id))
    assert [batch async for batch in other.events.interactions()] == []


async def test_exporting_a_long_history_does_not_block_the_event_loop(engine: AsyncEngine) -> None:
    stores = stores_of(engine)
    ada, _ = await create_user(stores.accounts, at=NOW)
    clicks = [click(ada.id, str(n)) for n in range(1_000)]
    for _ in range(40):
        await stores.events.append(clicks, NOW)
    gc.disable()  # excludes pauses of the garbage collector
    try:
        export, longest, before = asyncio.create_task(stores.events.export(ada.id)), 0.0, time.thread_time()
        while not export.done():
            await asyncio.sleep(0)
            longest, before = max(longest, time.thread_time() - before), time.thread_time()
    finally:
        gc.enable()
    assert len((await export).events) == 40_000
    assert longest < 0.1  # about 0.01 s; converting all at once blocks the event loop for 0.2 s and more


async def test_a_click_counts_for_a_search_of_the_same_source_only(engine: AsyncEngine) -> None:
    one, other = stores_of(engine, "one"), stores_of(engine, "other")
    ada, _ = await create_user(one.accounts, at=NOW)
    early = Event(EventKind.CLICK, NOW - timedelta(minutes=1), ada.id, "1", "q")
    await one.events.append([early, Event(EventKind.SEARCH, NOW, ada.id, query="q", found=True)], NOW)
    await other.events.append([click(ada.id, "1")], NOW)
    for _ in range(2):
        assert (await one.analytics.clicks(DAYS)).click_through_rate == 0
        assert await one.analytics.funnel(DAYS) == Funnel(1, 0, 0)
        await one.events.purge(TODAY + timedelta(days=1))


async def test_figures_of_purged_days_are_deleted_with_the_user(engine: AsyncEngine) -> None:
    stores = stores_of(engine)
    ada, _ = await create_user(stores.accounts, at=NOW)
    await stores.events.append([click(ada.id, "1", 3), click(ada.id, "1")], NOW)
    await stores.events.purge(TODAY)
    await stores.accounts.data.erase(ada.address.key, NOW)
    async with engine.connect() as connection:
        for table in ("events", "deeds", "user_days"):
            assert await connection.scalar(select(func.count()).select_from(metadata.tables[table])) == 0


async def test_concurrent_purges_and_appends_count_each_event_once(engine: AsyncEngine) -> None:
    stores = stores_of(engine)
    users = [(await create_user(stores.accounts, f"user{n}@example.com", f"user{n}", at=NOW))[0].id for n in range(4)]

    async def append(number: int) -> int:
        """Append events, each a separate interaction; returns how many were stored for days to be purged."""
        events = [click(one, f"{number}-{n}", n % 6) for one in users for n in range(60)]
        interactions = await stores.events.append(events, NOW)
        return sum(interaction.at.date() < TODAY - timedelta(days=2) for interaction in interactions)

    stored = sum([await append(number) for number in range(5)])
    assert stored == 5 * 4 * 30
    purging = [asyncio.create_task(stores.events.purge(TODAY - timedelta(days=2))) for _ in range(3)]
    stored += sum(await asyncio.gather(*(append(number) for number in range(5, 15))))
    assert sum(await asyncio.gather(*purging)) == stored
    old = Days(DAYS.first, TODAY - timedelta(days=3))
    assert (await stores.analytics.summary(old)).clicks == stored
    assert await append(99) == 0
    assert (await stores.analytics.summary(old)).clicks == stored


async def test_users_can_be_erased_during_a_purge(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_events, "BATCH", 40)
    stores = stores_of(engine)
    users = [(await create_user(stores.accounts, f"user{n}@example.com", f"user{n}", at=NOW))[0] for n in range(12)]
    for one in users:
        await stores.events.append([click(one.id, str(n), n % 3) for n in range(90)], NOW)
    await asyncio.gather(
        stores.events.purge(TODAY),
        *(stores.events.erase(one.id) for one in users[:4]),
        *(stores.accounts.data.erase(one.address.key, NOW) for one in users[2:8]),
    )
    assert await stores.analytics.summary(DAYS) == Summary(0, 4, 0, 4 * 90, 0)
    for one in users[:8]:
        assert is_empty(await stores.events.export(one.id))


async def test_a_failed_purge_is_resumed(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_events, "BATCH", 7)
    stores = stores_of(engine)
    users = [(await create_user(stores.accounts, f"user{n}@example.com", f"user{n}", at=NOW))[0].id for n in range(4)]
    await stores.events.append([click(one, str(n), 3 + n % 2) for one in users for n in range(10)], NOW)
    aggregate, calls = SqlEventStore._aggregate, 0

    async def fail_third_call(self: SqlEventStore, before: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StoreUnavailable("connection lost")
        return await aggregate(self, before)

    monkeypatch.setattr(SqlEventStore, "_aggregate", fail_third_call)
    with pytest.raises(StoreUnavailable):
        await stores.events.purge(TODAY)
    assert (await stores.analytics.summary(DAYS)).clicks == 40
    left = await stores.events.purge(TODAY)
    assert 0 < left < 40
    assert (await stores.analytics.summary(DAYS)).clicks == 40


async def test_a_failed_append_stores_nothing(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = stores_of(engine)
    ada, _ = await create_user(stores.accounts, at=NOW)

    async def fail(_: SqlEventStore, connection: AsyncConnection, *_rest: object) -> None:
        await connection.execute(text("SELECT no_such_column"))

    monkeypatch.setattr(SqlEventStore, "_record_interactions", fail)
    with pytest.raises(StoreUnavailable):
        await stores.events.append([click(ada.id, str(n)) for n in range(600)], NOW)
    assert (await stores.analytics.summary(DAYS)).clicks == 0


async def test_a_database_without_tables_is_reported_as_unavailable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/none.db")
    events, analytics = SqlEventStore(engine, "catalogue"), SqlAnalytics(engine, "catalogue")
    for call in (
        events.append([click("u", "1")], NOW),
        events.count(TODAY, {"live": 1}),
        anext(events.interactions()),
        events.purge(TODAY),
        events.export("u"),
        events.erase("u"),
        analytics.summary(DAYS),
        analytics.top_searches(DAYS),
        analytics.clicks(DAYS),
        analytics.funnel(DAYS),
        analytics.retention(DAYS),
        analytics.source(DAYS),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
