"""Events and analytics in SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.servers import postgres_database

from movie_adapters import sql_events
from movie_adapters.sql_analytics import SqlAnalytics
from movie_adapters.sql_database import create_engine, metadata, migrate
from movie_adapters.sql_events import SqlEvents
from movie_adapters.sql_outbox import SqlOutbox
from movie_adapters.sql_sessions import SqlSessions
from movie_adapters.sql_users import SqlUsers
from movie_core.analytics import Days
from movie_core.errors import StoreUnavailable
from movie_core.events import Event, EventKind
from movie_core.keys import Keys
from movie_core.testing import NOW, UNLIMITED, AnalyticsContract, EventStoreContract, EventStores, Stores, join

TABLES = ("events", "deeds", "user_days", "query_days", "source_days", "purges")
TODAY = NOW.date()


@pytest.fixture(scope="module")
def postgres_url(postgres: str) -> Iterator[str]:
    with postgres_database(postgres) as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('events')}/movies.db"
    migrate(url)
    return url


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
    keys = Keys(["k" * 32])
    accounts = Stores(SqlUsers(engine, UNLIMITED, keys), SqlSessions(engine), SqlOutbox(engine, UNLIMITED, keys), keys)
    return EventStores(accounts, SqlEvents(engine, source), SqlAnalytics(engine, source))


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


@pytest.fixture(params=["sqlite", "postgres"])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEngine]:
    """A database without rows, of either kind."""
    async with emptied(request.getfixturevalue(f"{request.param}_url")) as engine:
        yield engine
