"""The one recipe book: which adapter stands behind which port, made from the settings.

Both programs and the command line build their container here; tests pass providers that override some of it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from dishka import AsyncContainer, Provider, Scope, from_context, make_async_container, provide
from dishka.entities.validation_settings import ValidationSettings
from movie_core.catalog import Catalog
from movie_core.errors import Unavailable
from movie_core.health import Part, Readiness
from movie_core.movies import MovieQuery
from movie_core.paging import Window
from movie_core.patience import Patience
from movie_core.ports import Catalogue, MovieSource, SeenMovies
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.local_movies import BatchedSeenMovies
from movie_adapters.movie_files import BUNDLED_EDITION, BUNDLED_FILMS, bundled_films
from movie_adapters.postgres_movies import PostgresMovies
from movie_adapters.resilient_movies import ResilientMovies
from movie_adapters.settings import Settings
from movie_adapters.source_http import SourceHttp
from movie_adapters.sql_database import create_engine, migrate
from movie_adapters.sqlite_movies import SqliteMovies
from movie_adapters.third_party_movies import ThirdPartyMovies
from movie_adapters.tmdb_movies import TMDB_ATTRIBUTION, TmdbMovies, tmdb_http

EMBEDDED = "catalogue"
"""The source that keeps its movies itself."""


class Adapters(Provider):
    """Everything lives as long as the process."""

    scope = Scope.APP
    settings = from_context(Settings)

    @provide
    async def catalogue(self, settings: Settings) -> AsyncIterator[Catalogue]:
        """The movies that we keep under the name of the source in use."""
        if settings.sqlite_path is not None:
            sqlite = SqliteMovies(settings.sqlite_path, settings.source)
            yield sqlite
            await sqlite.close()
        else:
            engine = create_engine(settings.database_url)
            yield PostgresMovies(engine, settings.source)
            await engine.dispose()

    @provide
    async def source(self, settings: Settings, catalogue: Catalogue) -> AsyncIterator[MovieSource]:
        """The source itself, and around it the patience that the network needs."""
        if settings.source == EMBEDDED:
            yield catalogue
            return
        http = source_http(settings)
        inner = ThirdPartyMovies(http) if settings.source == "third_party" else TmdbMovies(http)
        yield ResilientMovies(inner, Patience(deadline=settings.source_deadline))
        await http.close()

    @provide
    async def seen(self, catalogue: Catalogue) -> AsyncIterator[SeenMovies]:
        seen = BatchedSeenMovies(catalogue)
        yield seen
        await seen.close()

    @provide
    def catalog(self, settings: Settings, source: MovieSource, seen: SeenMovies) -> Catalog:
        return Catalog(source, None if settings.source == EMBEDDED else seen)

    @provide
    async def readiness(
        self, settings: Settings, catalogue: Catalogue, source: MovieSource
    ) -> AsyncIterator[Readiness]:
        parts = [_database_part(settings, catalogue)]
        if settings.source != EMBEDDED:
            parts.append(_source_part(source))
        redis = None if settings.redis_url is None else Redis.from_url(settings.redis_url, socket_timeout=2)
        if redis is not None:
            parts.append(_redis_part(redis))
        yield Readiness(parts)
        if redis is not None:
            await redis.aclose()


def _database_part(settings: Settings, catalogue: Catalogue) -> Part:
    async def check() -> str:
        count = await catalogue.count()
        if not count and settings.source == EMBEDDED:
            raise Unavailable("it holds no movies")
        return f"{count} movies"

    return Part(
        "database",
        check,
        "start the server that MOVIE_DATABASE_URL names, then run `movie-search migrate`",
        is_vital=settings.source == EMBEDDED,
    )


def _source_part(source: MovieSource) -> Part:
    async def check() -> str:
        page = await source.search(MovieQuery(), Window(limit=1))
        return f"{page.total} movies"

    return Part("source", check, "check MOVIE_SOURCE_URL and MOVIE_SOURCE_TOKEN, and whether the source is up")


def _redis_part(redis: Redis) -> Part:
    async def check() -> str:
        try:
            await redis.ping()
        except (RedisError, OSError) as error:
            raise Unavailable("it can't be reached") from error
        return "answers"

    return Part("redis", check, "start the server that MOVIE_REDIS_URL names, or unset it")


def create_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """The container of a process; later providers win, and one that overrides nothing is an error."""
    strict = ValidationSettings(nothing_overridden=True, implicit_override=True, nothing_decorated=True)
    return make_async_container(Adapters(), *overrides, context={Settings: settings}, validation_settings=strict)


async def prepare(settings: Settings, catalogue: Catalogue, progress: Callable[[int, int], None]) -> bool:
    """Bring the schema up to date and make the bundled films searchable; True when films were loaded.

    `progress` is called with movies done and movies in all. Films that were imported in place of the bundled ones
    (`catalogue import --replace`) stay. Raises `StoreUnavailable`.
    """
    await asyncio.to_thread(migrate, settings.database_url)
    if settings.source != EMBEDDED:
        return False
    edition = await catalogue.edition()
    if edition is not None and (edition == BUNDLED_EDITION or not edition.startswith(BUNDLED_NAME)):
        return False

    def counted():
        for done, movie in enumerate(bundled_films(), 1):
            if done % 500 == 0:
                progress(done, BUNDLED_FILMS)
            yield movie

    await catalogue.load(counted(), edition=BUNDLED_EDITION)
    progress(BUNDLED_FILMS, BUNDLED_FILMS)
    return True


def notice_of(settings: Settings) -> str:
    """What the source in use asks to be said of it."""
    return TMDB_ATTRIBUTION if settings.source == "tmdb" else ""


def quieten() -> None:
    """httpx logs each URL in full at INFO, the key of a source in it."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
