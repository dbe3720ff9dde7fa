"""The worker's composition root with an in-process broker."""

import json
from datetime import datetime, timedelta

import pytest
from dishka import Provider, Scope, provide
from taskiq import AsyncBroker, InMemoryBroker, TaskiqResult
from taskiq.formatters.json_formatter import JSONFormatter

from movie_adapters.redis.task_broker import READ_BLOCK, TaskBroker
from movie_adapters.redis.task_queue import DELIVER_MAIL, PURGE, TRAIN, entry, stream_of
from movie_adapters.settings.settings import Settings
from movie_core import MemoryMovieCatalogue
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.clock import utc_now
from movie_core.memory import (
    MemoryAccountDataRepo,
    MemoryAuditLog,
    MemoryDatabase,
    MemoryDeliveryNotifier,
    MemoryEventStore,
    MemoryRatingStore,
    MemoryRecommender,
)
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


class PurgingAccountDataRepo(MemoryAccountDataRepo):
    """A repository in which `purge` always deletes three records."""

    async def purge(self, now: datetime) -> int:
        self.purged_at = now
        return 3


class InMemory(Provider):
    scope = Scope.APP

    def __init__(self) -> None:
        super().__init__()
        self.movies = MemoryMovieCatalogue()
        self.database = MemoryDatabase(MailRules(timedelta(hours=1), None), Keyring(("x" * 32,)))
        self.account_data_repo = PurgingAccountDataRepo(self.database)
        self.notifier = MemoryDeliveryNotifier()

    @provide(override=True)
    def catalogue(self) -> MovieCatalogue:
        return self.movies

    @provide(override=True)
    def account_data(self) -> AccountDataRepo:
        return self.account_data_repo

    @provide(override=True)
    def ratings(self) -> RatingStore:
        return MemoryRatingStore(self.database)

    @provide(override=True)
    def events(self) -> EventStore:
        return MemoryEventStore(self.database)

    @provide(override=True)
    def recommender(self, ratings: RatingStore) -> Recommender:
        return MemoryRecommender(ratings, self.movies)

    @provide(override=True)
    def notifier(self) -> DeliveryNotifier:
        return self.notifier

    @provide(override=True)
    def audit_log(self) -> AuditLog:
        return MemoryAuditLog(self.database)


async def run_task(broker: AsyncBroker, name: str) -> "TaskiqResult[object]":
    task = broker.find_task(name)
    assert task is not None
    return await (await task.kiq()).wait_result(timeout=30)


def test_every_task_is_registered_with_the_broker() -> None:
    broker = create_broker(Settings.load({}, dotenv=None), InMemory())
    assert isinstance(broker, InMemoryBroker)
    assert set(broker.get_all_tasks()) == set(TASKS)


async def test_deliver_mail_wakes_the_delivery_loop() -> None:
    memory = InMemory()
    broker = create_broker(Settings.load({}, dotenv=None), memory)
    await broker.startup()
    assert not (await run_task(broker, DELIVER_MAIL)).is_err
    assert memory.notifier.notifications == 1
    await broker.shutdown()


async def test_purge_uses_the_current_time() -> None:
    memory = InMemory()
    broker = create_broker(Settings.load({}, dotenv=None), memory)
    await broker.startup()
    result = await run_task(broker, PURGE)
    assert (result.is_err, result.return_value) == (False, 3)
    assert abs(memory.account_data_repo.purged_at - utc_now()) < timedelta(minutes=1)
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
