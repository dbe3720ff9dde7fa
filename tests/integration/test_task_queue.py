"""The list of tasks in the queue."""

import time
from collections.abc import AsyncIterator

import pytest
from redis import Redis
from taskiq_redis import RedisStreamBroker

from movie_adapters.redis.client import PREFIX
from movie_adapters.redis.task_queue import DELIVER_MAIL, GROUP, PURGE, TRAIN, TaskQueue, stream_of
from movie_core.errors import Unavailable


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[TaskQueue]:
    with Redis.from_url(redis_url) as redis:
        redis.delete(stream_of(PREFIX))
    queue = TaskQueue(redis_url)
    yield queue
    await queue.close()


async def listed(queue: TaskQueue) -> list[tuple[str, int]]:
    return [(task.name, task.deliveries) for task in await queue.list_tasks()]


async def test_tasks_are_listed_until_they_are_done(queue: TaskQueue, redis_url: str) -> None:
    assert await queue.list_tasks() == []
    for name in (PURGE, TRAIN, DELIVER_MAIL):
        await queue.put(name)
    assert await listed(queue) == [(PURGE, 0), (TRAIN, 0), (DELIVER_MAIL, 0)]
    with Redis.from_url(redis_url) as redis:
        redis.xgroup_create(stream_of(PREFIX), GROUP, id="0")
        assert await listed(queue) == [(PURGE, 0), (TRAIN, 0), (DELIVER_MAIL, 0)]
        ((_, ((first, _), (second, _))),) = redis.xreadgroup(GROUP, "a worker", {stream_of(PREFIX): ">"}, count=2)  # type: ignore[union-attr, misc]
        assert await listed(queue) == [(PURGE, 1), (TRAIN, 1), (DELIVER_MAIL, 0)]
        redis.xack(stream_of(PREFIX), GROUP, first)
        redis.xclaim(stream_of(PREFIX), GROUP, "another", min_idle_time=0, message_ids=[second])
        assert await listed(queue) == [(TRAIN, 2), (DELIVER_MAIL, 0)]
        redis.xack(stream_of(PREFIX), GROUP, second)
        assert await listed(queue) == [(DELIVER_MAIL, 0)]


async def test_a_listed_task_has_an_id_and_an_age(queue: TaskQueue, redis_url: str) -> None:
    created = int((time.time() - 90) * 1000)
    with Redis.from_url(redis_url) as redis:
        redis.xadd(stream_of(PREFIX), {"data": '{"task_name": "purge"}'}, id=f"{created}-7")
        redis.xadd(stream_of(PREFIX), {"other": "not a task"})
        redis.xadd(stream_of(PREFIX), {"data": "\xff"})
        redis.xadd(stream_of(PREFIX), {"data": "[" * 100_000})
    old, *others = await queue.list_tasks()
    assert (old.id, old.name) == (f"{created}-7", "purge")
    assert 89 < old.age < 95
    assert [(task.name, -1 < task.age < 5) for task in others] == [("", True)] * 3


async def test_a_delivered_task_with_a_removed_entry_has_no_name(queue: TaskQueue, redis_url: str) -> None:
    await queue.put(PURGE)
    with Redis.from_url(redis_url) as redis:
        redis.xgroup_create(stream_of(PREFIX), GROUP, id="0")
        redis.xreadgroup(GROUP, "a worker", {stream_of(PREFIX): ">"})
        redis.xtrim(stream_of(PREFIX), maxlen=0, approximate=False)
    assert await listed(queue) == [("", 1)]


async def test_the_consumer_group_is_that_of_the_workers(queue: TaskQueue, redis_url: str) -> None:
    broker = RedisStreamBroker(redis_url, queue_name=stream_of(PREFIX), consumer_id="0")
    await broker.startup()
    await queue.put(PURGE)
    assert await listed(queue) == [(PURGE, 0)]
    message = await anext(broker.listen())
    assert await listed(queue) == [(PURGE, 1)]
    await message.ack()  # type: ignore[misc]
    assert await listed(queue) == []
    await broker.shutdown()


async def test_listing_raises_unavailable_without_redis() -> None:
    queue = TaskQueue("unix:///nowhere/socket")
    with pytest.raises(Unavailable):
        await queue.list_tasks()
    await queue.close()
