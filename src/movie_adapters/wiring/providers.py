"""The composition root: dishka providers that create an adapter for each port from the settings.

API, worker and command line create their container here; tests replace providers by overrides. Adapters are imported
where they are selected: SQLAlchemy, httpx and redis cost startup time and memory that an embedded deployment does not
need. The scope of all providers is the process: each object is created once, at first use.
"""

from collections.abc import AsyncIterator

from dishka import STRICT_VALIDATION, AsyncContainer, Provider, Scope, make_async_container, provide

from movie_adapters.observability.tracing import Tracing
from movie_adapters.settings.settings import EMBEDDED_SOURCE, Settings
from movie_adapters.sources.cached import CachedMovieSource
from movie_adapters.sources.seen import BatchedSeenMovies
from movie_adapters.wiring.account_provider import AccountProvider
from movie_adapters.wiring.connections import ConnectionProvider, Database, SharedRedis, UpstreamSource
from movie_adapters.wiring.discovery_provider import DiscoveryProvider
from movie_adapters.wiring.health_checks import database_dependency, redis_dependency, source_dependency
from movie_core.memory import MemoryCacheStore
from movie_core.operations.health import Readiness
from movie_core.ports import MovieCatalogue, MovieSource, SeenMovies
from movie_core.search.caching import BLOCK_SIZES, RESPONSE_CACHE_FRACTION, CacheInvalidation, CachePolicy
from movie_core.search.movie_search import MovieSearch
from movie_core.search.retry_policy import RetryPolicy

TMDB_BLOCK_SIZE = 20
"""Movies per block of the cache for TMDB: its own page length, so that no page is fetched twice."""


class SearchProvider(Provider):
    """Movie source, catalogue, cache and readiness probe."""

    scope = Scope.APP
    invalidation = provide(CacheInvalidation)
    movie_search = provide(MovieSearch)

    @provide
    async def catalogue(self, settings: Settings, database: Database) -> AsyncIterator[MovieCatalogue]:
        """The movies stored in the database for the configured source."""
        if settings.sqlite_path is not None:
            from movie_adapters.catalogue.sqlite import SqliteMovieCatalogue

            sqlite = SqliteMovieCatalogue(settings.sqlite_path, settings.source)
            yield sqlite
            await sqlite.close()
        else:
            from movie_adapters.catalogue.postgres import PostgresMovieCatalogue

            yield PostgresMovieCatalogue(database.engine, settings.source)

    @provide
    async def upstream(
        self, settings: Settings, catalogue: MovieCatalogue, tracing: Tracing
    ) -> AsyncIterator[UpstreamSource]:
        if settings.source == EMBEDDED_SOURCE:
            yield UpstreamSource(catalogue)
            return
        from movie_adapters.sources.http import SourceHttp
        from movie_adapters.sources.resilient import ResilientMovieSource
        from movie_adapters.sources.third_party import ThirdPartyMovieSource
        from movie_adapters.sources.tmdb import TmdbMovieSource, tmdb_http

        timeout, retry_status = settings.source_timeout, settings.source_retry_status
        inner: MovieSource
        if settings.source == "tmdb":
            http = tmdb_http(
                settings.source_token or "", base_url=settings.source_url, timeout=timeout, retry_status=retry_status
            )
            inner = TmdbMovieSource(http)
        else:
            http = SourceHttp(settings.source_url or "", timeout=timeout, retry_status=retry_status)
            inner = ThirdPartyMovieSource(http)
        resilient = ResilientMovieSource(
            tracing.source(inner), RetryPolicy(deadline=settings.source_deadline, timeout=timeout)
        )
        yield UpstreamSource(resilient)
        await resilient.close()
        await http.close()

    @provide
    async def source(
        self,
        settings: Settings,
        upstream: UpstreamSource,
        seen: SeenMovies,
        redis: SharedRedis,
        invalidation: CacheInvalidation,
    ) -> AsyncIterator[MovieSource]:
        """The source that searches use: cached, unless it is the embedded catalogue."""
        if settings.source == EMBEDDED_SOURCE:
            yield upstream.movie_source
            return
        cached = CachedMovieSource(
            upstream.movie_source,
            store=redis.cache_store(),
            memory=MemoryCacheStore(settings.cache_bytes - settings.cache_bytes // RESPONSE_CACHE_FRACTION),
            policy=CachePolicy(settings.cache_fresh, settings.cache_stale),
            deadline=settings.source_deadline,
            block_size=TMDB_BLOCK_SIZE if settings.source == "tmdb" else BLOCK_SIZES[0],
            namespace=settings.source_url or "",
            remember=seen.remember,
            invalidation=invalidation,
        )
        yield cached
        await cached.close()

    @provide
    async def seen(self, catalogue: MovieCatalogue) -> AsyncIterator[SeenMovies]:
        seen = BatchedSeenMovies(catalogue)
        yield seen
        await seen.close()

    @provide
    def seen_unless_embedded(self, settings: Settings, seen: SeenMovies) -> SeenMovies | None:
        """None for the embedded catalogue, which contains its movies already."""
        return None if settings.source == EMBEDDED_SOURCE else seen

    @provide
    async def readiness(
        self, settings: Settings, catalogue: MovieCatalogue, upstream: UpstreamSource
    ) -> AsyncIterator[Readiness]:
        dependencies = [database_dependency(catalogue, is_required=settings.source == EMBEDDED_SOURCE)]
        if settings.source != EMBEDDED_SOURCE:
            dependencies.append(source_dependency(upstream.movie_source))
        redis_urls = {"redis": settings.redis_url}
        if settings.cache_redis_url != settings.redis_url:
            redis_urls["cache"] = settings.cache_redis_url
        urls = {name: url for name, url in redis_urls.items() if url is not None}
        if not urls:
            yield Readiness(dependencies)
            return
        from redis.asyncio import Redis

        clients = {name: Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) for name, url in urls.items()}
        yield Readiness([*dependencies, *(redis_dependency(name, client.ping) for name, client in clients.items())])
        for client in clients.values():
            await client.aclose()


def create_container(settings: Settings, *overrides: Provider) -> AsyncContainer:
    """The container of a process. Later providers override earlier ones and must declare it with `override=True`."""
    return make_async_container(
        ConnectionProvider(),
        SearchProvider(),
        AccountProvider(),
        DiscoveryProvider(),
        *overrides,
        context={Settings: settings},
        validation_settings=STRICT_VALIDATION,
    )


def source_attribution(settings: Settings) -> str:
    """The attribution that the configured source requires; empty if it requires none."""
    if settings.source != "tmdb":
        return ""
    from movie_adapters.sources.tmdb import TMDB_ATTRIBUTION

    return TMDB_ATTRIBUTION
