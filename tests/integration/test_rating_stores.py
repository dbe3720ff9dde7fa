"""The store of ratings on SQLite and PostgreSQL keeps its contract, also when many write."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.account_stores import sql_account_stores
from tests.support.pace import slowness

from movie_adapters.sql.engine import create_engine, metadata
from movie_adapters.sql.ratings import SqlRatingStore
from movie_adapters.sql.tables import transaction
from movie_core.accounts.keyring import Keyring
from movie_core.discovery.ratings import MAX_IMPORT, MAX_RATINGS, NewRating
from movie_core.errors import StoreUnavailable
from movie_core.paging import Window
from movie_core.testing import NOW, UNLIMITED, RatingStoreContract, RatingStores, create_user

TABLES = ("ratings", "rating_versions", "users", "registrations", "links", "mails")


@asynccontextmanager
async def stores_at(url: str) -> AsyncIterator[tuple[AsyncEngine, RatingStores]]:
    """The stores over a database, emptied."""
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


@pytest.mark.usefixtures("patient")
class TestRatingsOnSqlite(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


@pytest.mark.usefixtures("patient")
class TestRatingsOnPostgres(OpenStores):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


async def test_sources_are_apart_but_for_what_is_exported_and_erased(url: str) -> None:
    async with stores_at(url) as (engine, stores):
        ada, _ = await create_user(stores.accounts)
        one, other = stores.ratings, SqlRatingStore(engine, "third_party")
        await one.put(ada.id, [NewRating("1", "One", 1990, 5.0)], NOW)
        assert (await other.version(), await other.history(ada.id)) == ("0", [])
        await other.put(ada.id, [NewRating("1", "Other", None, 9.0)], NOW)
        assert not await one.remove(ada.id, "2")
        assert [rating.title for rating in await one.history(ada.id)] == ["One"]
        assert [rating.title async for batch in other.iter_all() for _, rating in batch] == ["Other"]
        exported = (await one.export(ada.id))["ratings"]
        assert [(row["source"], row["title"]) for row in exported] == [("catalogue", "One"), ("third_party", "Other")]
        assert json.dumps(exported)
        before = await one.version(), await other.version()
        await other.erase(ada.id)
        assert await one.history(ada.id) == await other.history(ada.id) == []
        assert all(old != new for old, new in zip(before, (await one.version(), await other.version()), strict=True))


@pytest.mark.usefixtures("patient")
async def test_one_row_is_left_of_two_hundred_ratings_of_one_movie_at_once(url: str) -> None:
    async with stores_at(url) as (_, stores):
        ada, _ = await create_user(stores.accounts)
        kept: list[float] = []

        async def rate(number: int) -> None:
            value = 0.5 + number % 20 / 2
            (one,) = await stores.ratings.put(ada.id, [NewRating("1", "A Film", None, value)], NOW)
            kept.append(one.rating.rating)

        await asyncio.gather(*(rate(number) for number in range(200)))
        total, (left,) = await stores.ratings.list_page(ada.id, Window())
        assert (total, len(kept)) == (1, 200)
        assert left.rating in kept
        await rate(3)
        assert [one.rating for one in await stores.ratings.history(ada.id)] == [2.0]


@pytest.mark.usefixtures("patient")
async def test_a_thousand_writes_200_at_a_time_lose_nothing(url: str) -> None:
    async with stores_at(url) as (_, stores):
        people = [(await create_user(stores.accounts, f"p{n}@example.com", f"P {n}"))[0] for n in range(20)]
        turns = asyncio.Semaphore(200)

        async def rate(number: int) -> None:
            async with turns:
                new = NewRating(str(number // 20), "A Film", None, 5.0)
                await stores.ratings.put(people[number % 20].id, [new], NOW)

        await asyncio.gather(*(rate(number) for number in range(1000)))
        found = [(user, one.movie_id) async for batch in stores.ratings.iter_all() for user, one in batch]
        assert sorted(found) == sorted((user.id, str(number)) for user in people for number in range(50))
        assert await stores.ratings.version() == "1000"


@pytest.mark.usefixtures("patient")
async def test_a_whole_list_is_read_and_an_import_written_in_well_under_a_transaction(url: str) -> None:
    async with stores_at(url) as (_, stores):
        ada, _ = await create_user(stores.accounts)
        writes, reads = dict[float, list[float]](), list[float]()
        for start in range(0, MAX_RATINGS, MAX_IMPORT):
            numbers = range(start, start + MAX_IMPORT)
            rows = [NewRating(str(number), f"Film {number}", 2000, 5.0) for number in numbers]
            for again in (rows, [replace(row, rating=6.0) for row in rows]):
                began = time.monotonic()
                assert len(await stores.ratings.put(ada.id, again, NOW)) == MAX_IMPORT
                writes.setdefault(again[0].rating, []).append(time.monotonic() - began)
        for durations in writes.values():  # of inserts, and of updates, when the list is longest
            assert statistics.median(durations[-3:]) < 2 * slowness()  # some 0.3 s on a quiet machine
        for _ in range(3):
            began = time.monotonic()
            assert len(await stores.ratings.history(ada.id)) == MAX_RATINGS
            reads.append(time.monotonic() - began)
        assert min(reads) < 0.9 * slowness()
        began = time.monotonic()
        await stores.ratings.erase(ada.id)
        assert time.monotonic() - began < 2 * slowness()


def _shape(connection: Connection) -> dict[str, Any]:
    found = inspect(connection)
    return {
        name: {
            "columns": [(one["name"], one["nullable"], type(one["type"]).__name__) for one in found.get_columns(name)],
            "primary": found.get_pk_constraint(name)["constrained_columns"],
            "foreign": [(one["constrained_columns"], one["options"]) for one in found.get_foreign_keys(name)],
        }
        for name in ("ratings", "rating_versions")
    }


async def test_the_migration_makes_the_tables_that_the_store_uses(url: str, tmp_path: Path) -> None:
    def declared(connection: Connection) -> dict[str, Any]:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("CREATE SCHEMA declared")
            connection.exec_driver_sql("SET search_path TO declared")
        metadata.create_all(connection)
        return _shape(connection)

    engine = create_engine(url)
    other = create_engine(f"sqlite+aiosqlite:///{tmp_path}/other.db") if engine.dialect.name == "sqlite" else engine
    async with engine.connect() as connection:
        migrated = await connection.run_sync(_shape)
    async with other.connect() as connection:
        assert migrated == await connection.run_sync(declared)
        await connection.rollback()
    await engine.dispose()
    await other.dispose()


async def test_a_database_without_tables_is_a_store_that_is_away(tmp_path: Path) -> None:
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


async def test_who_was_erased_while_rating_leaves_nothing(url: str) -> None:
    async with stores_at(url) as (engine, stores):
        people = [(await create_user(stores.accounts, f"p{n}@example.com", f"P {n}"))[0] for n in range(5)]

        async def rate(user_id: str) -> None:
            await stores.ratings.put(user_id, [NewRating(str(n), "A Film", None, 5.0) for n in range(200)], NOW)

        rating = [rate(user.id) for user in people for _ in range(3)]
        erasing = [stores.accounts.users.erase(user.address.key, NOW) for user in people]
        await asyncio.gather(*rating, *erasing, return_exceptions=True)
        async with transaction(engine, read_only=True) as connection:
            left = await connection.exec_driver_sql("SELECT count(*) FROM ratings")
            assert left.scalar() == 0
