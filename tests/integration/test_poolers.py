"""PostgreSQL behind a pooler in transaction mode, and a database that takes seconds to start."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from tests.integration.test_accounts_stores import TABLES
from tests.support.account_stores import sql_account_stores
from tests.support.transaction_pooler import transaction_pooler

from movie_adapters.catalogue.postgres import PostgresMovieCatalogue
from movie_adapters.sql.engine import create_engine, metadata, migrate
from movie_adapters.sql.tables import transaction
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.errors import StoreUnavailable
from movie_core.search.movies import Movie
from movie_core.testing import MovieCatalogueContract, RegistrationRepoContract, SessionRepoContract
from movie_core.testing.account_fixtures import AccountStores

CLIENTS = 12


@pytest.fixture(scope="module")
def pooler_url(postgres_url: str) -> Iterator[str]:
    with transaction_pooler(postgres_url) as url:
        yield url


class OnPooler:
    @pytest.fixture(autouse=True)
    def _database(self, pooler_url: str) -> None:
        self.url = pooler_url


class OpenAccounts(OnPooler):
    @asynccontextmanager
    async def open(self, rules: MailRules) -> AsyncIterator[AccountStores]:
        engine = create_engine(self.url, transaction_pooler=True)
        try:
            async with engine.begin() as connection:
                for table in reversed(metadata.sorted_tables):
                    if table.name in TABLES:
                        await connection.execute(table.delete())
            yield sql_account_stores(engine, rules, Keyring(["k" * 32]))
        finally:
            await engine.dispose()


@pytest.mark.usefixtures("long_database_timeouts")
class TestRegistrationRepoBehindAPooler(OpenAccounts, RegistrationRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestSessionRepoBehindAPooler(OpenAccounts, SessionRepoContract):
    pass


@pytest.mark.usefixtures("long_database_timeouts")
class TestCatalogueBehindAPooler(OnPooler, MovieCatalogueContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[PostgresMovieCatalogue]:
        async with self.open_two() as (catalogue, _):
            await catalogue.load(movies)
            yield catalogue

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[PostgresMovieCatalogue, PostgresMovieCatalogue]]:
        engine = create_engine(self.url, transaction_pooler=True)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("TRUNCATE movies, movie_words, movie_genres, catalogues"))
            yield PostgresMovieCatalogue(engine, "catalogue"), PostgresMovieCatalogue(engine, "other")
        finally:
            await engine.dispose()


async def test_concurrent_transactions_share_the_connections_of_a_pooler(pooler_url: str) -> None:
    engine = create_engine(pooler_url, transaction_pooler=True)

    async def work(number: int) -> list[int]:
        found: list[int] = []
        for round_number in range(5):
            async with transaction(engine, read_only=bool(round_number % 2)) as connection:
                for value in (number, number + 1):
                    rows = await connection.scalars(text("SELECT :value + 0"), {"value": value})
                    found += rows
        return found

    results = await asyncio.gather(*(work(number) for number in range(CLIENTS)))
    assert results == [[number, number + 1] * 5 for number in range(CLIENTS)]
    await engine.dispose()


async def test_without_the_setting_a_pooler_fails(pooler_url: str) -> None:
    engine = create_engine(pooler_url)
    with pytest.raises(StoreUnavailable):
        async with transaction(engine) as connection:
            await connection.execute(text("SELECT 1"))
    await engine.dispose()


def test_the_schema_is_migrated_through_a_pooler(empty_database_url: str) -> None:
    with transaction_pooler(empty_database_url) as url:
        migrate(url, transaction_pooler=True)
        migrate(url, transaction_pooler=True)


async def test_a_read_waits_for_a_database_that_has_to_start(postgres_url: str) -> None:
    with transaction_pooler(postgres_url, delay=1.5) as url:
        engine = create_engine(url, connect_timeout=10.0, transaction_pooler=True)
        async with transaction(engine, read_only=True) as connection:  # its statements may take one second
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
        await engine.dispose()


def test_the_schema_is_migrated_after_several_attempts_to_connect(postgres_url: str) -> None:
    with transaction_pooler(postgres_url, delay=0.4) as url:
        with pytest.raises(StoreUnavailable):
            migrate(url, connect_timeout=0.2, transaction_pooler=True)
        migrate(url, connect_timeout=10.0, transaction_pooler=True)
