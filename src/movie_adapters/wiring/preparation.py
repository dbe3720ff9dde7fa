"""Preparation at startup: migrations, and the bundled films."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from movie_adapters.private_files import make_private_folder
from movie_adapters.settings.settings import EMBEDDED_SOURCE, SettingError, Settings
from movie_core.discovery.movie_matching import MatchedBy, MovieIdentity, MovieMatch
from movie_core.ports import MovieCatalogue, RatingStore
from movie_core.search.movies import Movie


async def prepare_schema(settings: Settings) -> None:
    """Run pending migrations.

    Raises `StoreUnavailable`, and `SettingError` if the data directory cannot be created or the host of the database
    cannot be resolved.
    """
    if settings.sqlite_path is not None:
        try:
            make_private_folder(settings.sqlite_path.parent)
        except OSError as error:
            raise SettingError("MOVIE_DATA_DIR", f"cannot be created: {error.strerror}") from None
    from movie_adapters.sql.engine import HostNotFound, migrate

    try:
        await asyncio.to_thread(
            migrate,
            settings.database_url,
            connect_timeout=settings.database_connect_timeout,
            transaction_pooler=settings.database_pooler is not None,
        )
    except HostNotFound as error:
        raise SettingError("MOVIE_DATABASE_URL", error.detail) from None


def check_database_host(settings: Settings) -> None:
    """Raise `SettingError` if the host of the database cannot be resolved, for processes that do not run migrations."""
    from movie_adapters.sql.engine import HostNotFound, check_host

    try:
        check_host(settings.database_url, timeout=settings.database_connect_timeout)
    except HostNotFound as error:
        raise SettingError("MOVIE_DATABASE_URL", error.detail) from None


async def prepare_database(
    settings: Settings,
    catalogue: MovieCatalogue,
    ratings: RatingStore,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> bool:
    """Run pending migrations, update the title index and load the bundled films; returns True if films were loaded.

    If ids of films differ from those of the edition that is stored, their ratings move to the present ids. `progress`
    is called with the number of loaded films and their total. Films that were imported in place of the bundled ones are
    not replaced. Raises `StoreUnavailable`, and `SettingError` if the data directory cannot be created.
    """
    await prepare_schema(settings)
    await catalogue.load(())  # indexes the movies again if an earlier version has indexed them
    if settings.source != EMBEDDED_SOURCE:
        return False
    from movie_adapters.catalogue.bundled import BUNDLED_EDITION, BUNDLED_FILMS, BUNDLED_NAME, MOVED_IDS, bundled_films

    edition = await catalogue.edition()
    if edition is not None and (edition == BUNDLED_EDITION or not edition.startswith(BUNDLED_NAME)):
        return False

    def films_with_progress() -> Iterator[Movie]:
        for done, film in enumerate(bundled_films(), 1):
            if done % 500 == 0 or done == BUNDLED_FILMS:
                progress(done, BUNDLED_FILMS)
            yield film

    await load_edition(catalogue, ratings, films_with_progress, BUNDLED_EDITION, MOVED_IDS)
    return True


async def load_edition(
    catalogue: MovieCatalogue,
    ratings: RatingStore,
    films: Callable[[], Iterable[Movie]],
    edition: str,
    moved_ids: Mapping[str, str],
) -> None:
    """Load an edition of films, of which an earlier one may be stored.

    The ratings of films whose ids have changed, those of `moved_ids` and others that are found, move to the new ids.
    """
    if await catalogue.edition() is None:
        await catalogue.load(films(), edition=edition)
        return
    moved = {**moved_ids, **await _find_moved_ids(catalogue, list(films()))}
    await catalogue.load(films())
    await ratings.move(moved)
    await catalogue.remove(list(moved))
    await catalogue.load((), edition=edition)  # last, so that an interrupted update is repeated


async def _find_moved_ids(catalogue: MovieCatalogue, films: Sequence[Movie]) -> dict[str, str]:
    """Stored ids that `films` lack, and the id that the same film has in `films`."""
    ids = {film.id for film in films}
    stored = await catalogue.get_many(ids)
    new = [film for film in films if film.id not in stored]
    former = await catalogue.match(
        [MovieIdentity(imdb_id=film.imdb_id, title=film.title, year=film.year) for film in new]
    )
    return {
        match.movie.id: film.id
        for film, match in zip(new, former, strict=True)
        if isinstance(match, MovieMatch) and match.movie.id not in ids and match.by is not MatchedBy.NEAR_YEAR
    }
