"""Contract tests of trend stores and personal order stores on SQLite, PostgreSQL and Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, Table, delete, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import DropTable
from tests.support.account_stores import sql_account_stores
from tests.support.deployment import redis_fault
from tests.support.servers import own_redis

from movie_adapters.redis.client import RedisClient
from movie_adapters.redis.trends import RedisTrendStore
from movie_adapters.sql.engine import create_engine, metadata
from movie_adapters.sql.personal_orders import SqlPersonalOrderStore, personal_orders
from movie_adapters.sql.tables import transaction, users
from movie_adapters.sql.trends import SqlTrendStore, trend_counts, trend_epochs, trend_strengths
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.discovery.personal_ranking import ORDER_SECONDS
from movie_core.discovery.trending import MAX_TREND_MOVIES, Interaction, InteractionKind, Totals, Trend, TrendWindow
from movie_core.errors import StoreUnavailable
from movie_core.ports import TrendStore
from movie_core.testing import (
    NOW,
    OrderStores,
    PersonalOrderStoreContract,
    TrendStoreContract,
    check_trends,
    create_user,
    expected_trends,
    make_interactions,
)

TABLES = (trend_epochs, trend_strengths, trend_counts, personal_orders)
KEYS = Keyring(["k" * 32])
RULES = MailRules(link_ttl=timedelta(hours=24), limit=None)


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            for table in (*TABLES, users):
                await connection.execute(table.delete())
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def redis_client(redis_url: str, call_timeout: float = 10.0) -> AsyncIterator[RedisClient]:
    """A client with a long timeout: on a busy machine Redis must not appear unavailable."""
    client = RedisClient(redis_url, timeout=call_timeout, queue_timeout=60)
    try:
        yield client
    finally:
        await client.close()


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
    async def open(self, max_movies: int = MAX_TREND_MOVIES) -> AsyncIterator[SqlTrendStore]:
        async with emptied(self.url) as engine:
            yield SqlTrendStore(engine, "catalogue", max_movies)


@pytest.mark.usefixtures("long_database_timeouts")
class TestTrendsOnSqlite(OnSqlite, SqlTrendStores):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestTrendsOnPostgres(OnPostgres, SqlTrendStores):
    pass


class SqlOrderStores(PersonalOrderStoreContract):
    url: str
    now = NOW

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OrderStores]:
        async with emptied(self.url) as engine:
            accounts = sql_account_stores(engine, RULES, KEYS)
            yield OrderStores(SqlPersonalOrderStore(engine, "catalogue", lambda: self.now), accounts)

    async def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.mark.usefixtures("long_database_timeouts")
class TestOrdersOnSqlite(OnSqlite, SqlOrderStores):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestOrdersOnPostgres(OnPostgres, SqlOrderStores):
    pass


class TestTrendsOnRedis(TrendStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    @asynccontextmanager
    async def open(self, max_movies: int = MAX_TREND_MOVIES) -> AsyncIterator[RedisTrendStore]:
        async with redis_client(self.url) as client:
            await client.call("FLUSHDB")
            yield RedisTrendStore(client, "catalogue", max_movies)
            assert not client.is_unavailable


# --- behaviour of one implementation


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    async with emptied(url) as engine:
        yield engine


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[RedisClient]:
    async with redis_client(redis_url) as client:
        await client.call("FLUSHDB")
        yield client


async def user_of(engine: AsyncEngine, name: str = "ada") -> str:
    stores = sql_account_stores(engine, RULES, KEYS)
    return (await create_user(stores, f"{name}@example.com", name))[0].id


def views(*movie_ids: str, at: datetime = NOW, stored_at: datetime = NOW) -> list[Interaction]:
    return [Interaction(movie_id, InteractionKind.VIEW, 1.0, at, stored_at) for movie_id in movie_ids]


async def rows(engine: AsyncEngine, table: Table) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


async def check_two_sources(one: TrendStore, other: TrendStore) -> None:
    for store, movie_id in ((one, "1"), (other, "2")):
        assert await store.start_epoch(NOW, None)
        assert await store.claim_rebuild(NOW)
        assert await store.finish_rebuild(Totals(NOW), NOW)
        await store.add(views(movie_id))
    assert await other.start_epoch(NOW + timedelta(hours=1), NOW)
    trends = await one.top(TrendWindow.DAY, 10, NOW)
    assert trends == [Trend("1", 1.0, {InteractionKind.VIEW: 1})]


async def test_sql_separates_trends_of_different_sources(engine: AsyncEngine) -> None:
    await check_two_sources(SqlTrendStore(engine, "catalogue"), SqlTrendStore(engine, "third_party"))


async def test_redis_separates_trends_of_different_sources(client: RedisClient) -> None:
    await check_two_sources(RedisTrendStore(client, "catalogue"), RedisTrendStore(client, "third_party"))


async def test_orders_of_different_sources_are_separate_but_erased_together(engine: AsyncEngine) -> None:
    one, other = SqlPersonalOrderStore(engine, "catalogue"), SqlPersonalOrderStore(engine, "third_party")
    ada = await user_of(engine)
    assert await one.save(ada, "river", ["1"]) == ["1"]
    assert await other.save(ada, "river", ["2"]) == ["2"]
    assert await one.find(ada, "river") == ["1"]
    exported = [(order.source, order.movie_ids) for order in (await one.export(ada)).orders]
    assert exported == [
        ("catalogue", ["1"]),
        ("third_party", ["2"]),
    ]
    await one.erase(ada)
    assert await other.find(ada, "river") is None


async def test_the_migration_creates_the_declared_tables(engine: AsyncEngine) -> None:
    def shape(connection: Connection) -> dict[str, object]:
        inspector = inspect(connection)
        return {
            table.name: (
                {column["name"]: (str(column["type"]).split()[0], column["nullable"]) for column in columns},
                inspector.get_pk_constraint(table.name)["constrained_columns"],
                sorted((str(index["name"]), index["column_names"]) for index in inspector.get_indexes(table.name)),
                [(key["referred_table"], key["options"]) for key in inspector.get_foreign_keys(table.name)],
            )
            for table in TABLES
            if (columns := inspector.get_columns(table.name))
        }

    async with engine.connect() as connection:
        migrated = await connection.run_sync(shape)
        for table in TABLES:
            await connection.execute(DropTable(table))
        await connection.run_sync(metadata.create_all)
        assert migrated == await connection.run_sync(shape)
        await connection.rollback()


async def test_sql_deletes_weak_movies_old_counts_and_earlier_epochs(engine: AsyncEngine) -> None:
    store = SqlTrendStore(engine, "catalogue", max_movies=50)
    assert await store.start_epoch(NOW, None)
    await store.add(views(*map(str, range(200))))
    assert await rows(engine, trend_counts) == 2 * 200
    assert await rows(engine, trend_strengths) == 2 * 50
    for day in (1, 7):
        later = NOW + timedelta(days=day)
        await store.add(views("1", at=later, stored_at=later))
        assert await rows(engine, trend_counts) == (200 + 2 if day == 1 else 1 + 2)
    assert await store.start_epoch(NOW + timedelta(days=8), NOW)
    assert await rows(engine, trend_counts) == await rows(engine, trend_strengths) == 0


async def test_sql_deletes_expired_orders_and_those_of_deleted_users(engine: AsyncEngine) -> None:
    now = [NOW]
    orders = SqlPersonalOrderStore(engine, "catalogue", lambda: now[0])
    ada, bob = await user_of(engine), await user_of(engine, "bob")
    for number in range(20):
        await orders.save(ada, str(number), ["1"])
    now[0] += timedelta(seconds=ORDER_SECONDS)
    await orders.save(bob, "river", ["1"])
    assert await rows(engine, personal_orders) == 1
    async with transaction(engine) as connection:
        await connection.execute(delete(users).where(users.c.id == bob))
    assert await rows(engine, personal_orders) == 0
    assert await orders.save(bob, "river", ["1"]) == ["1"]
    assert await rows(engine, personal_orders) == 0


async def test_redis_counts_expire(client: RedisClient) -> None:
    trends = RedisTrendStore(client, "catalogue")
    await trends.start_epoch(NOW - timedelta(days=8), None)
    await trends.add(views("1", at=NOW - timedelta(days=6)) + views("2"))
    ttls = {key.decode(): await client.call("TTL", key) for key in await client.call("KEYS", "*")}
    persistent = {f"movie:trends:catalogue:{name}" for name in ("life", "day", "week")}
    assert {key for key, seconds in ttls.items() if seconds == -1} == persistent
    day, week = ([ttls.pop(key) for key in sorted(ttls) if f"{name}:" in key] for name in ("day", "week"))
    assert [round(seconds / 3600) for seconds in day] == [25]
    assert [round(seconds / 86_400) for seconds in week] == [2, 8]
    assert len(ttls) == len(persistent)


@pytest.mark.parametrize("lost", ["life", "day", "week"])
async def test_a_lost_redis_key_ends_the_epoch(client: RedisClient, lost: str) -> None:
    store = RedisTrendStore(client, "catalogue")
    assert await store.start_epoch(NOW, None)
    assert await store.claim_rebuild(NOW)
    assert await store.finish_rebuild(Totals(NOW), NOW)
    await store.add(views("1"))
    await client.call("DEL", f"movie:trends:catalogue:{lost}")
    assert await store.epoch() is None
    await store.add(views("1"))
    assert await store.epoch() is None
    assert await store.top(TrendWindow.DAY, 10, NOW) is None
    assert await store.start_epoch(NOW, None)
    assert await store.claim_rebuild(NOW)
    assert await store.finish_rebuild(Totals(NOW), NOW)
    assert await store.top(TrendWindow.WEEK, 10, NOW) == []


async def test_a_large_rebuild_blocks_redis_only_briefly(redis_url: str, client: RedisClient) -> None:
    interactions = make_interactions(60_000, NOW, age=timedelta(days=7), movies=30_000)
    totals = Totals(NOW)
    totals.add(interactions)
    await client.call("CONFIG", "SET", "slowlog-log-slower-than", 0)
    await client.call("CONFIG", "SET", "slowlog-max-len", 10_000)
    await client.call("SLOWLOG", "RESET")
    store = RedisTrendStore(client, "catalogue")
    assert await store.start_epoch(NOW, None)
    assert await store.claim_rebuild(NOW)
    assert await store.finish_rebuild(totals, NOW)
    for window in TrendWindow:
        check_trends(await store.top(window, 100, NOW), expected_trends(interactions, window, NOW), limit=100)
    durations = [entry[2] for entry in await client.call("SLOWLOG", "GET", -1)]
    assert max(durations) <= sum(durations) / 4  # one command for all would take all the time


@pytest.mark.parametrize("kind", ["stopped", "frozen"])
async def test_an_unavailable_redis_is_reported(kind: str) -> None:
    with own_redis() as server:
        async with redis_client(server.url, call_timeout=0.07) as client, redis_client(server.url) as slow_client:
            await RedisTrendStore(slow_client, "catalogue").start_epoch(NOW, None)
            trends = RedisTrendStore(client, "catalogue")
            with redis_fault(server, kind):
                for call in (
                    lambda: trends.add(views(*map(str, range(2000)))),
                    trends.epoch,
                    lambda: trends.top(TrendWindow.DAY, 10, NOW),
                    lambda: trends.start_epoch(NOW, None),
                    lambda: trends.claim_rebuild(NOW),
                    lambda: trends.finish_rebuild(Totals(NOW), NOW),
                ):
                    with pytest.raises(StoreUnavailable):
                        await call()
