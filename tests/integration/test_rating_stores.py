"""Contract tests of the rating store on SQLite and PostgreSQL, and tests of concurrent writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, inspect
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.account_stores import sql_account_stores
from tests.support.schema import migrated_and_declared

from movie_adapters.sql.engine import create_engine, metadata
from movie_adapters.sql.ratings import SqlRatingStore
from movie_adapters.sql.tables import transaction
from movie_core.accounts.keyring import Keyring
from movie_core.discovery.ratings import MAX_IMPORT, NewRating
from movie_core.errors import StoreUnavailable
from movie_core.paging import Window
from movie_core.testing import NOW, UNLIMITED, RatingStoreContract, RatingStores, create_user

TABLES = ("ratings", "rating_versions", "users", "registrations", "links", "mails")


@asynccontextmanager
async def stores_at(url: str) -> AsyncIterator[tuple[AsyncEngine, RatingStores]]:
    """The stores over a database, after deleting all rows."""
    engine, keys = create_engine(url), Keyring(["k" * 32])
    try:
        async with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name in TABLES:
                    await connection.execute(table.delete())
        accounts = sql_account_stores(engine, UNLIMITED, keys)
        yield engine, RatingStores(SqlRatingStore(engine, "catalogue"), accounts)
    finally:
        await engine.dispose()


class OpenStores(RatingStoreContract):
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RatingStores]:
        async with stores_at(self.url) as (_, stores):
            yield stores


@pytest.mark.usefixtures("long_database_timeouts")
class TestRatingsOnSqlite(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


@pytest.mark.usefixtures("long_database_timeouts")
class TestRatingsOnPostgres(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


async def test_sources_are_separate_except_for_export_and_erasure(url: str) -> None:
    async with stores_at(url) as (engine, stores):
        ada, _ = await create_user(stores.accounts)
        one, other = stores.ratings, SqlRatingStore(engine, "third_party")
        await one.put(ada.id, [NewRating("1", "One", 1990, 5.0)], NOW)
        assert (await other.version(), await other.history(ada.id)) == ("0", [])
        await other.put(ada.id, [NewRating("1", "Other", None, 9.0)], NOW)
        assert not await one.remove(ada.id, "2")
        assert [rating.title for rating in await one.history(ada.id)] == ["One"]
        assert [rating.title async for batch in other.iter_all() for _, rating in batch] == ["Other"]
        exported = (await one.export(ada.id)).ratings
        assert [(row.source, row.title) for row in exported] == [("catalogue", "One"), ("third_party", "Other")]
        before = await one.version(), await other.version()
        await other.erase(ada.id)
        assert await one.history(ada.id) == await other.history(ada.id) == []
        assert all(old != new for old, new in zip(before, (await one.version(), await other.version()), strict=True))


@pytest.mark.usefixtures("long_database_timeouts")
async def test_100_concurrent_ratings_of_one_movie_leave_one_row(url: str) -> None:
    async with stores_at(url) as (_, stores):
        ada, _ = await create_user(stores.accounts)
        results: list[float] = []

        async def rate(number: int) -> None:
            value = 0.5 + number % 20 / 2
            (change,) = await stores.ratings.put(ada.id, [NewRating("1", "A Film", None, value)], NOW)
            results.append(change.rating.rating)

        await asyncio.gather(*(rate(number) for number in range(100)))
        total, (stored,) = await stores.ratings.list_page(ada.id, Window())
        assert (total, len(results)) == (1, 100)
        assert stored.rating in results
        await rate(3)
        assert [rating.rating for rating in await stores.ratings.history(ada.id)] == [2.0]


@pytest.mark.usefixtures("long_database_timeouts")
async def test_400_writes_with_200_concurrent_lose_none(url: str) -> None:
    async with stores_at(url) as (_, stores):
        users = [(await create_user(stores.accounts, f"p{n}@example.com", f"P {n}"))[0] for n in range(20)]
        slots = asyncio.Semaphore(200)

        async def rate(number: int) -> None:
            async with slots:
                new = NewRating(str(number // 20), "A Film", None, 5.0)
                await stores.ratings.put(users[number % 20].id, [new], NOW)

        await asyncio.gather(*(rate(number) for number in range(400)))
        stored = [(user, rating.movie_id) async for batch in stores.ratings.iter_all() for user, rating in batch]
        assert sorted(stored) == sorted((user.id, str(number)) for user in users for number in range(20))
        assert await stores.ratings.version() == "400"


@pytest.mark.usefixtures("long_database_timeouts")
async def test_the_number_of_statements_does_not_depend_on_the_number_of_ratings(url: str) -> None:
    """So that a full list and a full import take less than the transaction timeout; `make bench` measures them."""
    async with stores_at(url) as (engine, stores):
        ada, _ = await create_user(stores.accounts)
        statements: list[str] = []

        def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(engine.sync_engine, "before_cursor_execute", record)

        async def count(work: Awaitable[Any]) -> int:
            statements.clear()
            await work
            return len(statements)

        rows = [NewRating(str(number), f"Film {number}", 2000, 5.0) for number in range(2 * MAX_IMPORT)]
        inserts, updates = set[int](), set[int]()
        for first in (0, MAX_IMPORT):
            batch = rows[first : first + MAX_IMPORT]
            inserts.add(await count(stores.ratings.put(ada.id, batch, NOW)))
            updates.add(await count(stores.ratings.put(ada.id, [replace(row, rating=6.0) for row in batch], NOW)))
        assert len(inserts) == len(updates) == 1
        assert max(inserts | updates) < MAX_IMPORT / 10
        full = await count(stores.ratings.history(ada.id))
        assert len(await stores.ratings.history(ada.id)) == len(rows)
        erased = await count(stores.ratings.erase(ada.id))
        assert await stores.ratings.history(ada.id) == []
        await stores.ratings.put(ada.id, rows[:1], NOW)
        assert full == await count(stores.ratings.history(ada.id))
        assert erased == await count(stores.ratings.erase(ada.id))


def _shape(connection: Connection) -> dict[str, Any]:
    inspector = inspect(connection)
    return {
        name: {
            "columns": [
                (column["name"], column["nullable"], type(column["type"]).__name__)
                for column in inspector.get_columns(name)
            ],
            "primary": inspector.get_pk_constraint(name)["constrained_columns"],
            "foreign": [(key["constrained_columns"], key["options"]) for key in inspector.get_foreign_keys(name)],
        }
        for name in ("ratings", "rating_versions")
    }


async def test_the_migration_creates_the_declared_tables(url: str, tmp_path: Path) -> None:
    migrated, declared = await migrated_and_declared(url, tmp_path, _shape)
    assert migrated == declared


async def test_a_database_without_tables_is_reported_as_unavailable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/none.db")
    store = SqlRatingStore(engine, "catalogue")
    for call in (
        store.put("x", [], NOW),
        store.remove("x", "1"),
        store.get("x", "1"),
        store.list_page("x", Window()),
        store.history("x"),
        anext(aiter(store.iter_all())),
        store.version(),
        store.export("x"),
        store.erase("x"),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()


async def test_a_user_erased_while_rating_leaves_no_ratings(url: str) -> None:
    async with stores_at(url) as (engine, stores):
        users = [(await create_user(stores.accounts, f"p{n}@example.com", f"P {n}"))[0] for n in range(5)]

        async def rate(user_id: str) -> None:
            await stores.ratings.put(user_id, [NewRating(str(n), "A Film", None, 5.0) for n in range(200)], NOW)

        rating = [rate(user.id) for user in users for _ in range(3)]
        erasing = [stores.accounts.data.erase(user.address.key, NOW) for user in users]
        await asyncio.gather(*rating, *erasing, return_exceptions=True)
        async with transaction(engine, read_only=True) as connection:
            left = await connection.exec_driver_sql("SELECT count(*) FROM ratings")
            assert left.scalar() == 0
