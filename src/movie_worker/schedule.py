"""The scheduler: queues periodic tasks for the workers."""

import asyncio
import logging
import time
from collections.abc import Callable

from movie_adapters.redis.task_queue import DELIVER_MAIL, PURGE, TRAIN, TaskQueue
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import PURGE_INTERVAL, TRAIN_INTERVAL
from movie_core.errors import Unavailable
from movie_core.outage_log import OutageLog
from movie_worker.shutdown import stop_on_signals, wait_for_stop

RETRY_INTERVAL = 2.0
"""Seconds until the next attempt while Redis is unavailable."""
SCHEDULE_INTERVAL = 15.0
"""Seconds between two ticks of the scheduler. Each also makes a worker look for tasks left by a killed worker."""

_log = logging.getLogger(__name__)


def run_scheduler(settings: Settings, announce: Callable[[], None]) -> int:
    """Queues periodic tasks until SIGTERM or SIGINT. Returns the exit code. Several schedulers may run."""
    return asyncio.run(_run_scheduler(settings, announce))


async def _run_scheduler(settings: Settings, announce: Callable[[], None]) -> int:
    stop = stop_on_signals()
    queue = TaskQueue(settings.redis_url or "", settings.key_prefix)
    announce()
    due = {PURGE: time.monotonic(), TRAIN: time.monotonic()}
    outage = OutageLog(
        _log,
        unavailable="scheduler paused: %s",
        recovered="Redis available again, queueing tasks",
    )
    while not stop.is_set():
        wait = SCHEDULE_INTERVAL
        try:
            await queue.put(DELIVER_MAIL)
            for task, seconds in ((PURGE, PURGE_INTERVAL), (TRAIN, TRAIN_INTERVAL)):
                if time.monotonic() >= due[task]:
                    await queue.put(task)
                    due[task] = time.monotonic() + seconds
            outage.recovered()
        except Unavailable as error:
            outage.failed(error.detail)
            wait = RETRY_INTERVAL
        await wait_for_stop(stop, wait)
    await queue.close()
    return 0
