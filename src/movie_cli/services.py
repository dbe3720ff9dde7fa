"""The services that commands use."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from dishka import AsyncContainer

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare, prepare_schema
from movie_adapters.wiring.providers import create_container
from movie_cli.output import show_progress
from movie_core.accounts.services import Accounts
from movie_core.operations.administration import Administration
from movie_core.ports import MovieCatalogue

T = TypeVar("T")


@asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[AsyncContainer]:
    container = create_container(settings)
    try:
        yield container
    finally:
        await container.close()


async def prepare_search(settings: Settings, container: AsyncContainer) -> bool:
    """What a command needs before it can search; True when films were loaded."""
    with show_progress("making the bundled films searchable") as progress:
        return await prepare(settings, await container.get(MovieCatalogue), progress)


@asynccontextmanager
async def beside_serve() -> AsyncIterator[AsyncContainer]:
    """A container over a database whose schema is up to date."""
    settings = Settings.load()
    await prepare_schema(settings)
    async with open_container(settings) as container:
        yield container


def with_accounts(work: Callable[[Accounts], Awaitable[T]]) -> T:
    async def run() -> T:
        async with beside_serve() as container:
            return await work(await container.get(Accounts))

    return asyncio.run(run())


def as_staff(work: Callable[[Administration], Awaitable[T]]) -> T:
    """What is done this way is kept in the audit log."""

    async def run() -> T:
        async with beside_serve() as container:
            return await work(await container.get(Administration))

    return asyncio.run(run())
