"""The worker's composition root with an in-process broker."""

import json
from datetime import timedelta

import pytest
from dishka import Provider, Scope, provide
from taskiq import AsyncBroker, InMemoryBroker, TaskiqResult
from taskiq.formatters.json_formatter import JSONFormatter
from tests.support.api import PORTS, adapter

from movie_adapters.redis.task_broker import READ_BLOCK, TaskBroker
from movie_adapters.redis.task_queue import DELIVER_MAIL, PURGE, TRAIN, entry, stream_of
from movie_adapters.settings.settings import Settings
from movie_core import memory
from movie_core.clock import utc_now
from movie_core.memory import Deployment
from movie_core.operations.audit import COMMAND_LINE, RETENTION, Action, AuditEntry
from movie_core.paging import Window
from movie_core.ports import (
    AccountDataRepo,
    AuditLog,
    DeliveryNotifier,
    EventStore,
    MovieCatalogue,
    RatingStore,
    Recommender,
)
from movie_worker.app import create_broker
from movie_worker.tasks import TASKS


class InMemory(Provider):
    """Replaces the adapters that tasks use by those of a deployment in memory."""

    scope = Scope.APP

    def __init__(self) -> None:
        super().__init__()
        self.world = memory.deployment()
        for port in (
            *(AccountDataRepo, AuditLog, DeliveryNotifier, EventStore),
            *(MovieCatalogue, RatingStore, Recommender),
        ):
            self.provide(adapter(PORTS[port]), provides=port, override=True)

    @provide
    def deployment(self) -> Deployment:
        return self.world


async def run_task(broker: AsyncBroker, name: str) -> "TaskiqResult[object]":
    task = broker.find_task(name)
    assert task is not None
    return await (await task.kiq()).wait_result(timeout=30)


def test_every_task_is_registered_with_the_broker() -> None:
    broker = create_broker(Settings.load({}, dotenv=None), InMemory())
    assert isinstance(broker, InMemoryBroker)
    assert set(broker.get_all_tasks()) == set(TASKS)


async def test_deliver_mail_wakes_the_delivery_loop() -> None:
    in_memory = InMemory()
    broker = create_broker(Settings.load({}, dotenv=None), in_memory)
    await broker.startup()
    assert not (await run_task(broker, DELIVER_MAIL)).is_err
    assert in_memory.world.notifier.notifications == 1
    await broker.shutdown()


async def test_purge_deletes_what_has_expired_by_now() -> None:
    in_memory = InMemory()
    broker = create_broker(Settings.load({}, dotenv=None), in_memory)
    await broker.startup()
    minute = timedelta(minutes=1)
    expires_at = utc_now() - RETENTION
    expired, kept = (
        AuditEntry(at, COMMAND_LINE, Action.CACHE_FLUSHED, None) for at in (expires_at - minute, expires_at + minute)
    )
    await in_memory.world.audit_log.append([expired, kept])
    result = await run_task(broker, PURGE)
    assert (result.is_err, result.return_value) == (False, 1)
    assert await in_memory.world.audit_log.list_page(Window()) == (1, [kept])
    await broker.shutdown()


async def test_train_skips_ratings_already_learned() -> None:
    broker = create_broker(Settings.load({}, dotenv=None), InMemory())
    await broker.startup()
    results = [await run_task(broker, TRAIN) for _ in range(2)]
    assert [(result.is_err, result.return_value) for result in results] == [(False, True), (False, False)]
    await broker.shutdown()


async def test_the_redis_broker_waits_longer_for_a_response_than_a_read_takes() -> None:
    broker = create_broker(Settings.load({"MOVIE_REDIS_URL": "redis://redis.invalid/0"}, dotenv=None), InMemory())
    assert isinstance(broker, TaskBroker)
    assert broker.queue_name == stream_of("movie:")
    assert broker.connection_pool.connection_kwargs["socket_timeout"] >= 2 * READ_BLOCK


@pytest.mark.parametrize("name", [DELIVER_MAIL, PURGE, TRAIN])
def test_a_queue_entry_is_parsed_as_its_task(name: str) -> None:
    message = InMemoryBroker().formatter.loads(entry(name))
    message.parse_labels()
    assert (message.task_name, message.args, message.kwargs) == (name, [], {})
    assert name in TASKS
    assert entry(name) != entry(name), "each entry has its own id"
    assert json.loads(JSONFormatter().dumps(message).message) == json.loads(entry(name)) | {"task_id": message.task_id}
