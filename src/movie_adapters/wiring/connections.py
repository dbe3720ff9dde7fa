"""Connections to database and Redis, and other objects that several providers share."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dishka import Provider, Scope, from_context, provide

from movie_adapters.observability.tracing import Tracing
from movie_adapters.settings.settings import Settings
from movie_core.clock import Clock, utc_now
from movie_core.ports import CacheStore, MovieSource

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from movie_adapters.redis.client import RedisClient


class Database:
    """The database of the process. The engine is created, and SQLAlchemy imported, at first use."""

    def __init__(self, settings: Settings, tracing: Tracing) -> None:
        self._settings = settings
        self._tracing = tracing

    @cached_property
    def engine(self) -> "AsyncEngine":
        from movie_adapters.sql.engine import create_engine

        settings = self._settings
        engine = create_engine(
            settings.database_url,
            connect_timeout=settings.database_connect_timeout,
            transaction_pooler=settings.database_pooler is not None,
        )
        self._tracing.instrument(engine)
        return engine

    async def close(self) -> None:
        if "engine" in self.__dict__:
            await self.engine.dispose()


@dataclass(frozen=True, slots=True)
class UpstreamSource:
    """The movie source without its cache; a remote source has retries and a circuit breaker."""

    movie_source: MovieSource


@dataclass(frozen=True, slots=True)
class SharedRedis:
    """The Redis clients of the process; None if no URL is set. The process also works while Redis is unavailable."""

    client: "RedisClient | None"
    cache_client: "RedisClient | None"
    """For `MOVIE_CACHE_REDIS_URL`; the same client if both URLs are equal."""

    def cache_store(self) -> CacheStore | None:
        """The cache that all processes share."""
        if self.cache_client is None:
            return None
        from movie_adapters.redis.cache import RedisCacheStore

        return RedisCacheStore(self.cache_client)

    def outage_checks(self) -> dict[str, Callable[[], bool]]:
        """For each Redis in use, a function that returns whether it is unavailable."""
        cache_client = None if self.cache_client is self.client else self.cache_client
        clients = {"redis": self.client, "cache_redis": cache_client}
        return {name: _outage_check(client) for name, client in clients.items() if client is not None}


def _outage_check(client: "RedisClient") -> Callable[[], bool]:
    return lambda: client.is_unavailable


class ConnectionProvider(Provider):
    """Settings, clock, tracing, and the connections to database and Redis."""

    scope = Scope.APP
    settings = from_context(Settings)

    @provide
    def clock(self) -> Clock:
        """The clock of everything in the process that compares or stores times of day."""
        return utc_now

    @provide
    async def tracing(self, settings: Settings) -> AsyncIterator[Tracing]:
        tracing = Tracing.for_collector(settings.otlp_url)
        yield tracing
        await tracing.close()

    @provide
    async def database(self, settings: Settings, tracing: Tracing) -> AsyncIterator[Database]:
        database = Database(settings, tracing)
        yield database
        await database.close()

    @provide
    async def redis(self, settings: Settings, tracing: Tracing) -> AsyncIterator[SharedRedis]:
        urls = (settings.redis_url, settings.cache_redis_url)
        if urls == (None, None):
            yield SharedRedis(None, None)
            return
        from movie_adapters.redis.client import RedisClient

        clients = {
            url: RedisClient(url, prefix=settings.key_prefix, wrap_send=tracing.redis)
            for url in urls
            if url is not None
        }
        yield SharedRedis(*(None if url is None else clients[url] for url in urls))
        for client in clients.values():
            await client.close()
