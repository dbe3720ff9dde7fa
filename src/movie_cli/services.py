"""Access of commands to the services of the core."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from dishka import AsyncContainer

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare_database, prepare_schema
from movie_adapters.wiring.providers import create_container
from movie_cli.output import show_progress
from movie_core.operations.administration import Administration
from movie_core.ports import MovieCatalogue

S = TypeVar("S")
T = TypeVar("T")


@asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[AsyncContainer]:
    container = create_container(settings)
    try:
        yield container
    finally:
        await container.close()


async def prepare_search(settings: Settings, container: AsyncContainer) -> bool:
    """Migrates the database and loads the bundled films if needed. Returns whether movies were loaded."""
    with show_progress("loading the bundled films") as progress:
        return await prepare_database(settings, await container.get(MovieCatalogue), progress)


@asynccontextmanager
async def open_migrated_container() -> AsyncIterator[AsyncContainer]:
    """Opens a container after migrating the database schema."""
    settings = Settings.load()
    await prepare_schema(settings)
    async with open_container(settings) as container:
        yield container


def with_service(service: type[S], work: Callable[[S], Awaitable[T]]) -> T:
    """Runs `work` with a service of the core."""

    async def run() -> T:
        async with open_migrated_container() as container:
            return await work(await container.get(service))

    return asyncio.run(run())


def with_administration(work: Callable[[Administration], Awaitable[T]]) -> T:
    """Runs `work` with the administration service, which records changes in the audit log."""
    return with_service(Administration, work)
