"""The scheduler: its ticks, and outages of the queue."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from taskiq.cli.scheduler.run import SchedulerLoop
from taskiq.message import BrokerMessage
from taskiq.schedule_sources import LabelScheduleSource

from movie_adapters.redis.task_queue import DELIVER_MAIL, PURGE, RETRY_INTERVAL, TRAIN
from movie_adapters.settings.settings import Settings
from movie_worker import schedule as module
from movie_worker.schedule import INTERVALS, create_scheduler

SETTINGS = Settings.load({"MOVIE_REDIS_URL": "redis://redis.invalid/0"}, dotenv=None)


class Queue:
    """A fake queue that can be unavailable."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.is_unavailable = False

    async def kick(self, message: BrokerMessage) -> None:
        if self.is_unavailable:
            raise ConnectionError
        self.names.append(message.task_name)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(module.TaskBroker, "kick", lambda _, message: queue.kick(message))
    return queue


async def test_every_task_has_a_schedule_and_is_due_at_the_start() -> None:
    scheduler = create_scheduler(SETTINGS)
    (source,) = scheduler.sources
    assert isinstance(source, LabelScheduleSource)
    await source.startup()
    tasks = await source.get_schedules()
    assert {task.task_name: task.interval for task in tasks} == INTERVALS
    loop = SchedulerLoop(scheduler)
    start = datetime(2026, 11, 10, 12, tzinfo=UTC)
    assert all(loop._is_schedule_ready_to_send(task, start) for task in tasks)
    due = [task.task_name for task in tasks if loop._is_schedule_ready_to_send(task, start + timedelta(seconds=15))]
    assert due == [DELIVER_MAIL]


async def test_tasks_due_during_an_outage_are_queued_once_after_it(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "movie_worker")
    scheduler = create_scheduler(SETTINGS)
    (source,) = scheduler.sources
    await source.startup()
    queue.is_unavailable = True
    sends = [asyncio.create_task(scheduler.on_ready(source, task)) for task in await source.get_schedules()]
    await asyncio.sleep(3 * RETRY_INTERVAL)
    assert queue.names == []
    queue.is_unavailable = False
    await asyncio.gather(*sends)
    assert queue.names == [DELIVER_MAIL, PURGE, TRAIN]
    assert [record.getMessage() for record in caplog.records] == [
        "scheduler paused: Redis unavailable, cannot queue tasks: ConnectionError",
        "Redis available again, queueing tasks",
    ]
