"""The catalogues on SQLite and PostgreSQL keep the contract of catalogues."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from movie_adapters.postgres_movies import PostgresMovies
from movie_adapters.sql_database import create_engine, migrate
from movie_adapters.sqlite_movies import SqliteMovies
from movie_core.movies import Movie
from movie_core.testing import CatalogueContract
from tests.servers import postgres_database, postgres_server


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_server() as server, postgres_database(server) as url:
        migrate(url)
        yield url


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    path = tmp_path / "movies.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


class TestSqliteMovies(CatalogueContract):
    @pytest.fixture(autouse=True)
    def _file(self, sqlite_path: Path) -> None:
        self.path = sqlite_path

    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[SqliteMovies]:
        async with self.open_two() as (catalogue, _):
            await catalogue.load(movies)
            yield catalogue

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[SqliteMovies, SqliteMovies]]:
        catalogues = SqliteMovies(self.path, "catalogue"), SqliteMovies(self.path, "other")
        try:
            yield catalogues
        finally:
            for catalogue in catalogues:
                await catalogue.close()


class TestPostgresMovies(CatalogueContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url

    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[PostgresMovies]:
        async with self.open_two() as (catalogue, _):
            await catalogue.load(movies)
            yield catalogue

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[PostgresMovies, PostgresMovies]]:
        engine = create_engine(self.url)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("TRUNCATE movies, movie_words, movie_genres, catalogues"))
            yield PostgresMovies(engine, "catalogue"), PostgresMovies(engine, "other")
        finally:
            await engine.dispose()
