"""The dependencies of a process, as checked by the readiness probe and by `movie-search doctor`."""

from collections.abc import Callable

from movie_core.errors import Unavailable
from movie_core.operations.health import Dependency
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, MovieSource
from movie_core.search.movies import MovieQuery


def database_dependency(catalogue: MovieCatalogue, *, is_required: bool) -> Dependency:
    """`is_required` is true for the source `catalogue`: nothing can be served while its database has no movies."""

    async def check() -> str:
        count = await catalogue.count()
        if not count and is_required:
            raise Unavailable("contains no movies")
        return f"{count} movies"

    advice = "start the database server of MOVIE_DATABASE_URL, then run `movie-search migrate`"
    return Dependency("database", check, advice, is_required=is_required)


def source_dependency(source: MovieSource) -> Dependency:
    async def check() -> str:
        page = await source.search(MovieQuery(), Window(limit=1))
        return f"{page.total} movies"

    return Dependency("source", check, "check MOVIE_SOURCE_URL and MOVIE_SOURCE_TOKEN, and whether the source is up")


def redis_dependency(name: str, ping: Callable[[], object]) -> Dependency:
    """`name` is `redis` or `cache`."""

    async def check() -> str:
        from redis.exceptions import RedisError

        try:
            await ping()  # type: ignore[misc]  # redis declares its commands for the sync and async client at once
        except (RedisError, OSError) as error:
            raise Unavailable("unreachable") from error
        return "reachable"

    variable = {"redis": "MOVIE_REDIS_URL", "cache": "MOVIE_CACHE_REDIS_URL"}[name]
    return Dependency(name, check, f"start the Redis server of {variable}, or unset the variable")
