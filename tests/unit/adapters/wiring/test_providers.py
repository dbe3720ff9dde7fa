"""Selection of Redis clients by the settings."""

from pathlib import Path

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import SharedRedis
from movie_adapters.wiring.providers import create_container
from movie_core.operations.health import Readiness


async def shared(**environ: str) -> tuple[SharedRedis, list[str]]:
    """The Redis clients, and the names of the dependencies that the readiness probe checks."""
    container = create_container(Settings.load(environ, dotenv=None))
    try:
        return await container.get(SharedRedis), [
            result.dependency.name for result in await (await container.get(Readiness)).results()
        ]
    finally:
        await container.close()


async def test_without_a_redis_url_there_is_no_client(tmp_path: Path) -> None:
    redis, names = await shared(MOVIE_DATA_DIR=str(tmp_path))
    assert (redis.client, redis.cache_store()) == (None, None)
    assert names == ["database"]


async def test_one_redis_has_one_client(tmp_path: Path) -> None:
    redis, names = await shared(MOVIE_DATA_DIR=str(tmp_path), MOVIE_REDIS_URL=f"unix://{tmp_path}/absent")
    assert redis.client is redis.cache_client is not None
    assert names == ["database", "redis"]


async def test_the_cache_redis_has_a_client_of_its_own(tmp_path: Path) -> None:
    redis, names = await shared(
        MOVIE_DATA_DIR=str(tmp_path),
        MOVIE_REDIS_URL=f"unix://{tmp_path}/absent",
        MOVIE_CACHE_REDIS_URL=f"unix://{tmp_path}/cache",
    )
    assert redis.client is not redis.cache_client
    assert redis.cache_store() is not None
    assert names == ["database", "redis", "cache"]


async def test_the_cache_redis_alone_is_not_the_broker(tmp_path: Path) -> None:
    redis, _ = await shared(MOVIE_DATA_DIR=str(tmp_path), MOVIE_CACHE_REDIS_URL=f"unix://{tmp_path}/cache")
    assert redis.client is None
    assert redis.cache_store() is not None
