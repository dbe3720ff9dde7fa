"""The stores of trends and of kept orders on SQLite, PostgreSQL and Redis keep their contracts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.servers import postgres_database

from movie_adapters.redis_link import RedisLink
from movie_adapters.redis_orders import RedisOrders
from movie_adapters.redis_trends import RedisTrends
from movie_adapters.sql_database import create_engine, metadata, migrate
from movie_adapters.sql_orders import SqlOrders
from movie_adapters.sql_outbox import SqlOutbox
from movie_adapters.sql_sessions import SqlSessions
from movie_adapters.sql_trends import SqlTrends
from movie_adapters.sql_users import SqlUsers
from movie_core.keys import Keys
from movie_core.mails import MailRules
from movie_core.memory import MemoryBook, MemoryOutbox, MemorySessions, MemoryUsers
from movie_core.testing import NOW, KeptOrdersContract, OrderStores, Stores, TrendStoreContract
from movie_core.trending import KEPT_MOVIES

KEYS = Keys(["k" * 32])
RULES = MailRules(link_ttl=timedelta(hours=24), limit=None)


@pytest.fixture(scope="module")
def postgres_url(postgres: str) -> Iterator[str]:
    with postgres_database(postgres) as url:
        migrate(url)
        yield url


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('trends')}/movies.db"
    migrate(url)
    return url


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name.startswith("trend_") or table.name in ("kept_orders", "users"):
                    await connection.execute(table.delete())
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def link_to(redis_url: str, patience: float = 10.0) -> AsyncIterator[RedisLink]:
    """Patient, as a busy machine must not look like a Redis that is away."""
    link = RedisLink(redis_url, patience=patience)
    try:
        yield link
    finally:
        await link.close()


class OnSqlite:
    url: str

    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


class OnPostgres:
    url: str

    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


class SqlTrendStores(TrendStoreContract):
    url: str

    @asynccontextmanager
    async def open(self, kept: int = KEPT_MOVIES) -> AsyncIterator[SqlTrends]:
        async with emptied(self.url) as engine:
            yield SqlTrends(engine, "catalogue", kept)


class TestTrendsOnSqlite(OnSqlite, SqlTrendStores):
    pass


class TestTrendsOnPostgres(OnPostgres, SqlTrendStores):
    pass


class SqlOrderStores(KeptOrdersContract):
    url: str
    now = NOW

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OrderStores]:
        async with emptied(self.url) as engine:
            accounts = Stores(SqlUsers(engine, RULES, KEYS), SqlSessions(engine), SqlOutbox(engine, RULES, KEYS), KEYS)
            yield OrderStores(SqlOrders(engine, "catalogue", lambda: self.now), accounts)

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class TestOrdersOnSqlite(OnSqlite, SqlOrderStores):
    pass


class TestOrdersOnPostgres(OnPostgres, SqlOrderStores):
    pass


class TestTrendsOnRedis(TrendStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    @asynccontextmanager
    async def open(self, kept: int = KEPT_MOVIES) -> AsyncIterator[RedisTrends]:
        async with link_to(self.url) as link:
            await link.call("FLUSHDB")
            yield RedisTrends(link, "catalogue", kept)
            assert not link.is_away


class TestOrdersOnRedis(KeptOrdersContract):
    seconds = 3.0

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OrderStores]:
        book = MemoryBook(RULES, KEYS)
        accounts = Stores(MemoryUsers(book), MemorySessions(book), MemoryOutbox(book), KEYS)
        async with link_to(self.url) as link:
            await link.call("FLUSHDB")
            yield OrderStores(RedisOrders(link, "catalogue", self.seconds), accounts)
            assert not link.is_away

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
