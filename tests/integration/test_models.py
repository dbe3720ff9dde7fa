"""Contract tests of the model store on SQLite and PostgreSQL."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from movie_adapters.recommender.ease import EaseRecommender
from movie_adapters.sql.engine import create_engine
from movie_adapters.sql.models import CHUNK_BYTES, SqlModelStore, model_parts, models
from movie_core.discovery.recommendations import ModelInfo
from movie_core.errors import StoreUnavailable
from movie_core.ports import MovieCatalogue, RatingStore, TrainingRatingStore
from movie_core.testing import NOW, ModelStoreContract, RecommenderContract


class OpenModels:
    url: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[SqlModelStore]:
        engine = create_engine(self.url)
        try:
            async with engine.begin() as connection:
                for table in (model_parts, models):
                    await connection.execute(table.delete())
            yield SqlModelStore(engine, "catalogue")
        finally:
            await engine.dispose()


@pytest.mark.usefixtures("long_database_timeouts")
class TestOnSqlite(OpenModels, ModelStoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url


@pytest.mark.usefixtures("long_database_timeouts")
class TestOnPostgres(OpenModels, ModelStoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url


async def test_models_of_different_sources_are_separate(url: str) -> None:
    engine = create_engine(url)
    try:
        one, other = SqlModelStore(engine, "one"), SqlModelStore(engine, "other")
        await one.save(ModelInfo(NOW, 1, 2, 3), "of one", b"1" * (2 * CHUNK_BYTES))
        assert await other.current() is None
        assert await other.body(NOW) is None
        await other.save(ModelInfo(NOW, 4, 5, 6), "of the other", b"2")
        assert await one.current() == (ModelInfo(NOW, 1, 2, 3), "of one")
        assert await one.body(NOW) == b"1" * (2 * CHUNK_BYTES)
    finally:
        await engine.dispose()


async def test_an_unavailable_database_is_reported(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    engine = create_engine(f"sqlite+aiosqlite:///{tmp_path}/nowhere/movies.db")
    store = SqlModelStore(engine, "catalogue")
    with pytest.raises(StoreUnavailable):
        await store.current()
    with pytest.raises(StoreUnavailable):
        await store.body(NOW)
    with pytest.raises(StoreUnavailable):
        await store.save(ModelInfo(NOW, 1, 1, 1), "", b"")
    await engine.dispose()
    # The driver's threads notify the event loop when they end, even if they could not connect, so it must still run.
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10)


class TestEaseRecommenderOverSql(RecommenderContract):
    """With models stored in a database."""

    @pytest.fixture(autouse=True)
    def _database(self, sqlite_url: str) -> None:
        self.url = sqlite_url

    @asynccontextmanager
    async def open(
        self, ratings: RatingStore, imported: TrainingRatingStore, movies: MovieCatalogue
    ) -> AsyncIterator[EaseRecommender]:
        engine = create_engine(self.url)
        async with engine.begin() as connection:
            for table in (model_parts, models):
                await connection.execute(table.delete())
        recommender = EaseRecommender(ratings, imported, movies, SqlModelStore(engine, "catalogue"), clock=lambda: NOW)
        try:
            yield recommender
        finally:
            await recommender.close()
            await engine.dispose()
