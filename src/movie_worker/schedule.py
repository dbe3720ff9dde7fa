"""The scheduler: queues periodic tasks for the workers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from taskiq import ScheduledTask, ScheduleSource, TaskiqScheduler
from taskiq.api import run_scheduler_task
from taskiq.exceptions import SendTaskError
from taskiq.schedule_sources import LabelScheduleSource

from movie_adapters.redis.task_broker import TaskBroker
from movie_adapters.redis.task_queue import DELIVER_MAIL, PURGE, RETRY_INTERVAL, TRAIN
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import PURGE_INTERVAL, TRAIN_INTERVAL
from movie_core.outage_log import OutageLog
from movie_worker.shutdown import stop_on_signals
from movie_worker.tasks import TASKS

DELIVER_MAIL_INTERVAL = 15.0
"""Seconds between tasks that look for due emails. A tick also shows that tasks reach a worker."""
INTERVALS = {DELIVER_MAIL: DELIVER_MAIL_INTERVAL, PURGE: PURGE_INTERVAL, TRAIN: TRAIN_INTERVAL}
"""Seconds between two ticks of each periodic task; whole seconds. The first tick is immediate."""

_log = logging.getLogger(__name__)


class PersistentScheduler(TaskiqScheduler):
    """Queues tasks that were due during an outage of Redis as soon as it is available, each once.

    The base class would drop them until they are due again, in up to an hour, and log a traceback for each.
    """

    def __init__(self, broker: TaskBroker, sources: list[ScheduleSource]) -> None:
        super().__init__(broker, sources)
        self._turn = asyncio.Lock()
        self._outage = OutageLog(
            _log,
            unavailable="scheduler paused: Redis unavailable, cannot queue tasks: %s",
            recovered="Redis available again, queueing tasks",
        )

    async def on_ready(self, source: ScheduleSource, task: ScheduledTask) -> None:
        async with self._turn:  # so that only one task is retried, and the outage is logged once
            while True:
                try:
                    await super().on_ready(source, task)
                except SendTaskError as error:
                    self._outage.failed(type(error.__cause__).__name__)
                    await asyncio.sleep(RETRY_INTERVAL)
                else:
                    self._outage.recovered()
                    return


def create_scheduler(settings: Settings) -> TaskiqScheduler:
    """Returns a scheduler for the queue at `MOVIE_REDIS_URL`."""
    broker = TaskBroker(settings.redis_url or "", settings.key_prefix)
    for name, interval in INTERVALS.items():
        schedule = {"interval": int(interval), "schedule_id": name}
        broker.register_task(TASKS[name], task_name=name, schedule=[schedule])
    return PersistentScheduler(broker, [LabelScheduleSource(broker)])


async def run_scheduler(settings: Settings, announce: Callable[[], None]) -> int:
    """Queues periodic tasks until SIGTERM or SIGINT. Returns the exit code. Several schedulers may run."""
    stop = stop_on_signals()
    scheduler = create_scheduler(settings)
    stopped = asyncio.create_task(stop.wait())
    ticks = asyncio.create_task(run_scheduler_task(scheduler))
    announce()
    await asyncio.wait([stopped, ticks], return_when=asyncio.FIRST_COMPLETED)
    ticks.cancel()
    (failure,) = await asyncio.gather(ticks, return_exceptions=True)
    if isinstance(failure, Exception):
        _log.error("the scheduler failed", exc_info=failure)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await scheduler.shutdown()
    return int(isinstance(failure, Exception))
