"""Contract tests of the store of training ratings on SQLite and PostgreSQL, and what it leaves in the tables."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine
from tests.support.schema import migrated_and_declared

from movie_adapters.sql.engine import create_engine
from movie_adapters.sql.training_ratings import (
    DELETED_PER_TRANSACTION,
    WRITING,
    SqlTrainingRatingStore,
    training_imports,
    training_movies,
    training_ratings,
)
from movie_core.discovery.training_ratings import TrainingRating
from movie_core.errors import StoreUnavailable
from movie_core.testing import TrainingRatingStoreContract

TABLES = (training_imports, training_movies, training_ratings)
pytestmark = pytest.mark.usefixtures("long_database_timeouts")


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[tuple[AsyncEngine, SqlTrainingRatingStore]]:
    """The store over a database, after deleting all rows."""
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            for table in TABLES:
                await connection.execute(table.delete())
        yield engine, SqlTrainingRatingStore(engine, "catalogue")
    finally:
        await engine.dispose()


class OpenStore(TrainingRatingStoreContract):
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SqlTrainingRatingStore]:
        async with store_at(self.url) as (_, store):
            yield store


class TestOnSqlite(OpenStore):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


class TestOnPostgres(OpenStore):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


def ratings(movie_id: str, users: int = 3) -> list[TrainingRating]:
    return [TrainingRating(user, movie_id, 8.5, 1_600_000_000) for user in range(users)]


async def counts(engine: AsyncEngine) -> list[int]:
    """The number of rows of each table."""
    async with engine.connect() as connection:
        return [(await connection.execute(select(func.count()).select_from(table))).scalar_one() for table in TABLES]


async def stored(store: SqlTrainingRatingStore) -> list[TrainingRating]:
    return [rating async for batch in store.iter_all() for rating in batch]


async def test_the_ratings_of_different_sources_are_separate(url: str) -> None:
    async with store_at(url) as (engine, one):
        other = SqlTrainingRatingStore(engine, "third_party")
        await one.replace([ratings("1")])
        assert (await stored(other), await other.version()) == ([], "0")
        await other.replace([ratings("2")])
        await other.replace([ratings("3")])
        assert (await stored(one), await stored(other)) == (ratings("1"), ratings("3"))


async def test_a_replaced_failed_or_interrupted_import_leaves_no_rows(url: str) -> None:
    async with store_at(url) as (engine, store):
        assert await store.replace([ratings("1"), ratings("2")]) == 6
        assert await counts(engine) == [1, 2, 6]
        assert await store.replace([ratings("3")]) == 3
        assert await counts(engine) == [1, 1, 3]

        def failing() -> Iterator[Sequence[TrainingRating]]:
            yield ratings("4")
            raise ValueError

        with pytest.raises(ValueError):
            await store.replace(failing())
        assert await counts(engine) == [1, 1, 3]
        async with engine.begin() as connection:  # as an import leaves them whose process was killed
            row = {"number": 999, "source": "catalogue", "state": WRITING}
            await connection.execute(training_imports.insert().values(row))
            for table, values in (
                (training_movies, {"number": 0, "movie_id": "5"}),
                (training_ratings, {"user_number": 0, "movie_number": 0, "half_points": 9, "rated_at": 1}),
            ):
                await connection.execute(table.insert().values({"import_number": 999, **values}))
        assert await stored(store) == ratings("3")
        await store.replace([ratings("6")])
        assert (await counts(engine), await stored(store)) == ([1, 1, 3], ratings("6"))


async def test_many_rows_are_deleted_in_several_transactions(url: str) -> None:
    async with store_at(url) as (engine, store):
        many = DELETED_PER_TRANSACTION + 10
        assert await store.replace([ratings("1", users=many)]) == many
        statements: list[str] = []

        def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(engine.sync_engine, "before_cursor_execute", record)
        await store.replace([ratings("2")])
        assert sum(statement.startswith("DELETE FROM training_ratings") for statement in statements) == 2
        assert await counts(engine) == [1, 1, 3]


async def test_of_concurrent_imports_one_is_stored_completely(url: str) -> None:
    async with store_at(url) as (engine, store):
        numbers = range(1, 6)
        results = await asyncio.gather(*(store.replace([ratings(str(n), users=n)] * 3) for n in numbers))
        (number,) = {int(rating.movie_id) for rating in await stored(store)}
        assert await stored(store) == ratings(str(number), users=number)
        assert results[number - 1] == number
        await store.replace([ratings("1")])
        assert await counts(engine) == [1, 1, 3]


def _shape(connection: Connection) -> dict[str, Any]:
    inspector = inspect(connection)
    return {
        table.name: (
            [
                (column["name"], column["nullable"], type(column["type"]).__name__)
                for column in inspector.get_columns(table.name)
            ],
            inspector.get_pk_constraint(table.name)["constrained_columns"],
            [index["column_names"] for index in inspector.get_indexes(table.name)],
        )
        for table in TABLES
    }


async def test_the_migration_creates_the_declared_tables(url: str, tmp_path: Path) -> None:
    migrated, declared = await migrated_and_declared(url, tmp_path, _shape)
    assert migrated == declared


async def test_a_database_without_tables_is_reported_as_unavailable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/none.db")
    store = SqlTrainingRatingStore(engine, "catalogue")
    for call in (store.replace([ratings("1")]), anext(aiter(store.iter_all())), store.version()):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
