"""Preparation at startup: migrations, and the bundled films."""

import asyncio
from collections.abc import Callable, Iterator

from movie_adapters.private_files import make_private_folder
from movie_adapters.settings.settings import EMBEDDED_SOURCE, SettingError, Settings
from movie_core.ports import MovieCatalogue
from movie_core.search.movies import Movie


async def prepare_schema(settings: Settings) -> None:
    """Run pending migrations.

    Raises `StoreUnavailable`, and `SettingError` if the data directory cannot be created.
    """
    if settings.sqlite_path is not None:
        try:
            make_private_folder(settings.sqlite_path.parent)
        except OSError as error:
            raise SettingError("MOVIE_DATA_DIR", f"cannot be created: {error.strerror}") from None
    from movie_adapters.sql.engine import migrate

    await asyncio.to_thread(
        migrate,
        settings.database_url,
        connect_timeout=settings.database_connect_timeout,
        transaction_pooler=settings.database_pooler is not None,
    )


async def prepare_database(
    settings: Settings, catalogue: MovieCatalogue, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> bool:
    """Run pending migrations and load the bundled films; returns True if films were loaded.

    `progress` is called with the number of loaded films and their total. Films that were imported in place of the
    bundled ones are not replaced. Raises `StoreUnavailable`, and `SettingError` if the data directory cannot be
    created.
    """
    await prepare_schema(settings)
    if settings.source != EMBEDDED_SOURCE:
        return False
    from movie_adapters.catalogue.bundled import BUNDLED_EDITION, BUNDLED_FILMS, BUNDLED_NAME, bundled_films

    edition = await catalogue.edition()
    if edition is not None and (edition == BUNDLED_EDITION or not edition.startswith(BUNDLED_NAME)):
        return False

    def films_with_progress() -> Iterator[Movie]:
        for done, film in enumerate(bundled_films(), 1):
            if done % 500 == 0 or done == BUNDLED_FILMS:
                progress(done, BUNDLED_FILMS)
            yield film

    await catalogue.load(films_with_progress(), edition=BUNDLED_EDITION)
    return True
