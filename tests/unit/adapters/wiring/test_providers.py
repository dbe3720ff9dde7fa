"""Which Redis is used for what."""

from pathlib import Path

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.providers import SharedRedis, create_container
from movie_core.operations.health import Readiness


async def shared(**environ: str) -> tuple[SharedRedis, list[str]]:
    """What is shared, and the parts that are looked at."""
    container = create_container(Settings.load(environ, dotenv=None))
    try:
        return await container.get(SharedRedis), [
            finding.part.name for finding in await (await container.get(Readiness)).findings()
        ]
    finally:
        await container.close()


async def test_without_redis_nothing_is_shared(tmp_path: Path) -> None:
    redis, parts = await shared(MOVIE_DATA_DIR=str(tmp_path))
    assert (redis.link, redis.entries()) == (None, None)
    assert parts == ["database"]


async def test_one_redis_is_reached_over_one_link(tmp_path: Path) -> None:
    redis, parts = await shared(MOVIE_DATA_DIR=str(tmp_path), MOVIE_REDIS_URL=f"unix://{tmp_path}/nobody")
    assert redis.link is redis.cache is not None
    assert parts == ["database", "redis"]


async def test_answers_go_to_the_redis_that_may_forget(tmp_path: Path) -> None:
    redis, parts = await shared(
        MOVIE_DATA_DIR=str(tmp_path),
        MOVIE_REDIS_URL=f"unix://{tmp_path}/nobody",
        MOVIE_CACHE_REDIS_URL=f"unix://{tmp_path}/forgets",
    )
    assert redis.link is not redis.cache
    assert redis.entries() is not None
    assert parts == ["database", "redis", "cache"]


async def test_the_redis_that_may_forget_is_no_broker(tmp_path: Path) -> None:
    redis, _ = await shared(MOVIE_DATA_DIR=str(tmp_path), MOVIE_CACHE_REDIS_URL=f"unix://{tmp_path}/forgets")
    assert redis.link is None
    assert redis.entries() is not None
