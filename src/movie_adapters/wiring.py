"""The one recipe book: which adapter stands behind which port, made from the settings.

Both programs and the command line build their container here; tests pass providers that stand in for some of it.
Adapters are imported where they are chosen: SQLAlchemy, httpx and redis cost start-up time and memory that an embedded
deployment needn't pay.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator

from dishka import AsyncContainer, Provider, Scope, from_context, make_async_container, provide
from dishka.entities.validation_settings import ValidationSettings

from movie_adapters.local_movies import BatchedSeenMovies
from movie_adapters.settings import SettingError, Settings
from movie_core.catalog import Catalog
from movie_core.errors import Unavailable
from movie_core.health import Part, Readiness
from movie_core.movies import Movie, MovieQuery
from movie_core.paging import Window
from movie_core.patience import Patience
from movie_core.ports import Catalogue, MovieSource, SeenMovies

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
            from movie_adapters.sqlite_movies import SqliteMovies

            sqlite = SqliteMovies(settings.sqlite_path, settings.source)
            yield sqlite
            await sqlite.close()
        else:
            from movie_adapters.postgres_movies import PostgresMovies
            from movie_adapters.sql_database import create_engine

            engine = create_engine(settings.database_url)
            yield PostgresMovies(engine, settings.source)
            await engine.dispose()

    @provide
    async def source(self, settings: Settings, catalogue: Catalogue) -> AsyncIterator[MovieSource]:
        """The source itself, and around it the patience that the network needs."""
        if settings.source == EMBEDDED:
            yield catalogue
            return
        import stamina

        from movie_adapters.resilient_movies import ResilientMovies
        from movie_adapters.source_http import SourceHttp
        from movie_adapters.third_party_movies import ThirdPartyMovies
        from movie_adapters.tmdb_movies import TmdbMovies, tmdb_http

        stamina.instrumentation.set_on_retry_hooks(())  # a source that fails half the time would fill the log
        timeout, retry_status = settings.source_timeout, settings.source_retry_status
        inner: MovieSource
        if settings.source == "tmdb":
            http = tmdb_http(
                settings.source_token or "", base_url=settings.source_url, timeout=timeout, retry_status=retry_status
            )
            inner = TmdbMovies(http)
        else:
            http = SourceHttp(settings.source_url or "", timeout=timeout, retry_status=retry_status)
            inner = ThirdPartyMovies(http)
        resilient = ResilientMovies(inner, Patience(deadline=settings.source_deadline, timeout=timeout))
        yield resilient
        await resilient.close()
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
        if settings.redis_url is None:
            yield Readiness(parts)
            return
        from redis.asyncio import Redis

        redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        yield Readiness([*parts, _redis_part(redis.ping)])
        await redis.aclose()


def _database_part(settings: Settings, catalogue: Catalogue) -> Part:
    async def check() -> str:
        count = await catalogue.count()
        if not count and settings.source == EMBEDDED:
            raise Unavailable("it holds no movies")
        return f"{count} movies"

    advice = "start the server that MOVIE_DATABASE_URL names, then run `movie-search migrate`"
    return Part("database", check, advice, is_vital=settings.source == EMBEDDED)


def _source_part(source: MovieSource) -> Part:
    async def check() -> str:
        page = await source.search(MovieQuery(), Window(limit=1))
        return f"{page.total} movies"

    return Part("source", check, "check MOVIE_SOURCE_URL and MOVIE_SOURCE_TOKEN, and whether the source is up")


def _redis_part(ping: Callable[[], object]) -> Part:
    async def check() -> str:
        from redis.exceptions import RedisError

        try:
            await ping()  # type: ignore[misc]  # redis types its commands for both of its clients at once
        except (RedisError, OSError) as error:
            raise Unavailable("it can't be reached") from error
        return "answers"

    return Part("redis", check, "start the server that MOVIE_REDIS_URL names, or unset it")


def create_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """The container of a process. Later providers win; one that replaces something must say `override=True`."""
    for name in ("httpx", "httpcore"):  # they log each URL in full, the key of a source in it
        logging.getLogger(name).setLevel(logging.WARNING)
    strict = ValidationSettings(nothing_overridden=True, implicit_override=True, nothing_decorated=True)
    return make_async_container(Adapters(), *overrides, context={Settings: settings}, validation_settings=strict)


def notice_of(settings: Settings) -> str:
    """What the source in use asks to be said of it."""
    if settings.source != "tmdb":
        return ""
    from movie_adapters.tmdb_movies import TMDB_ATTRIBUTION

    return TMDB_ATTRIBUTION


async def prepare(
    settings: Settings, catalogue: Catalogue, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> bool:
    """Bring the schema up to date and make the bundled films searchable; True when films were loaded.

    `progress` is called with movies done and movies in all. Films that were imported in place of the bundled ones stay.
    Raises `StoreUnavailable`, and `SettingError` for a data dir that can't be made.
    """
    if settings.sqlite_path is not None:
        try:
            settings.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError("MOVIE_DATA_DIR", f"can't be made: {error.strerror}") from None
    from movie_adapters.sql_database import migrate

    await asyncio.to_thread(migrate, settings.database_url)
    if settings.source != EMBEDDED:
        return False
    from movie_adapters.movie_files import BUNDLED_EDITION, BUNDLED_FILMS, BUNDLED_NAME, bundled_films

    edition = await catalogue.edition()
    if edition is not None and (edition == BUNDLED_EDITION or not edition.startswith(BUNDLED_NAME)):
        return False

    def counted() -> Iterator[Movie]:
        for done, movie in enumerate(bundled_films(), 1):
            if done % 500 == 0 or done == BUNDLED_FILMS:
                progress(done, BUNDLED_FILMS)
            yield movie

    await catalogue.load(counted(), edition=BUNDLED_EDITION)
    return True
