"""Access of commands to the services of the core."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from dishka import AsyncContainer, Provider

from movie_adapters.observability.logs import announce, configure_logging
from movie_adapters.settings.settings import EMBEDDED_SOURCE, Settings
from movie_adapters.wiring.preparation import prepare_database, prepare_schema
from movie_adapters.wiring.providers import create_container
from movie_cli.output import plain, show_progress
from movie_core.ports import MovieCatalogue, RatingStore

S = TypeVar("S")


def load_settings(*, port: int = 8000) -> Settings:
    """Loads the settings, and warns about variables that look like misspelled ones. Raises `SettingError`."""
    settings = Settings.load(port=port)
    for name, closest in settings.unknown.items():
        announce(settings.log_format, f"{plain(name)} is not a setting and is ignored; the closest one is {closest}")
    return settings


def configure_process(settings: Settings) -> None:
    """Configures logging and libraries for a process that runs until it is stopped. Only programs call this: the
    settings of libraries apply to the whole process."""
    configure_logging(settings.log_format)
    _disable_retry_log(settings)


def _disable_retry_log(settings: Settings) -> None:
    """Disables stamina's log of each retry, with which a source that fails often would flood the log."""
    if settings.source != EMBEDDED_SOURCE:
        import stamina  # not in `main`, as importing it takes longer than many commands

        stamina.instrumentation.set_on_retry_hooks(())


@asynccontextmanager
async def open_container(settings: Settings, *overrides: Provider) -> AsyncIterator[AsyncContainer]:
    """Opens the container of a command."""
    _disable_retry_log(settings)
    container = create_container(settings, *overrides)
    try:
        yield container
    finally:
        await container.close()


async def prepare_search(settings: Settings, container: AsyncContainer) -> bool:
    """Migrates the database and loads the bundled films if needed. Returns whether movies were loaded."""
    with show_progress("loading the bundled films") as progress:
        catalogue, ratings = await container.get(MovieCatalogue), await container.get(RatingStore)
        return await prepare_database(settings, catalogue, ratings, progress)


@asynccontextmanager
async def open_migrated_container() -> AsyncIterator[AsyncContainer]:
    """Opens a container after migrating the database schema."""
    settings = load_settings()
    await prepare_schema(settings)
    async with open_container(settings) as container:
        yield container


@asynccontextmanager
async def open_service(service: type[S]) -> AsyncIterator[S]:
    """Opens a service of the core after migrating the database schema."""
    async with open_migrated_container() as container:
        yield await container.get(service)
