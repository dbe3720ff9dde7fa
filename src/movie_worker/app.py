"""The composition root of the worker, `create_broker(settings, *overrides)`, and the loops of worker and scheduler.

Mail goes out from the database, in a loop that knows nothing of Redis; the queue makes it sooner.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dishka import AsyncContainer, Provider, Scope, provide
from dishka.integrations.taskiq import TaskiqProvider, setup_dishka
from taskiq import AsyncBroker, InMemoryBroker, TaskiqEvents, TaskiqState
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from movie_adapters.observability.metrics import Metrics, TaskCounts
from movie_adapters.observability.tracing import Tracing
from movie_adapters.redis.task_queue import DELIVER_MAIL, MAX_ENTRIES, PURGE, TRAIN, TaskQueue, stream_of
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import PURGE_SECONDS, TRAIN_SECONDS, keep_delivering
from movie_adapters.wiring.event_notifier import EventNotifier
from movie_adapters.wiring.providers import create_container
from movie_core.accounts.outbox import SEND_SECONDS
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.errors import Unavailable
from movie_core.ports import DeliveryNotifier
from movie_worker.metrics import CountTasks, MetricsProvider, answer_metrics
from movie_worker.tasks import TASKS

IDLE_TIMEOUT = 600_000
"""Milliseconds after which a task that nobody acknowledged is delivered again; tasks must end far sooner."""
TASKS_AT_ONCE = 10
CHECK_SECONDS = 2.0
"""Between looks whether Redis still answers, and between tries to reach it again."""
FINISH_SECONDS = SEND_SECONDS + 1
"""How long tasks and the mail in hand may take to finish."""
HARD_SECONDS = 15.0
"""After a signal to stop, the process is gone by then, whatever still hangs."""
SCHEDULE_SECONDS = 15.0
"""Between two ticks of the scheduler. Each also makes a worker look for tasks that a killed one left."""

_log = logging.getLogger(__name__)


class _DeliversItself(Provider):
    """In a worker the doorbell wakes its own delivery."""

    scope = Scope.APP

    @provide(override=True)
    def notifier(self) -> DeliveryNotifier:
        return EventNotifier()


def create_broker(settings: Settings, *overrides: Provider) -> AsyncBroker:
    """The broker with every task: Redis streams where Redis is set, in this process otherwise.

    `overrides` are providers that stand in for some of `movie_adapters.wiring.providers`.
    """
    tasks = TaskCounts(TASKS)
    return _broker(settings, _container(settings, tasks, *overrides), tasks)


def _container(settings: Settings, tasks: TaskCounts, *overrides: Provider) -> AsyncContainer:
    return create_container(settings, TaskiqProvider(), _DeliversItself(), MetricsProvider(tasks), *overrides)


def _broker(settings: Settings, container: AsyncContainer, tasks: TaskCounts) -> AsyncBroker:
    broker: AsyncBroker = InMemoryBroker()
    if settings.redis_url is not None:
        # Without socket_timeout=None a blocked read swallows the cancellation that should end the worker. A group made
        # anew starts with what the stream already holds.
        broker = RedisStreamBroker(
            settings.redis_url,
            queue_name=stream_of(settings.key_prefix),
            consumer_id="0",
            socket_timeout=None,
            maxlen=MAX_ENTRIES,
            idle_timeout=IDLE_TIMEOUT,
            unacknowledged_lock_timeout=30,
        )
    broker = broker.with_middlewares(CountTasks(tasks))
    if settings.tasks_url is not None:
        from movie_worker.task_page import ShowTasks

        broker = broker.with_middlewares(ShowTasks(settings.tasks_url, settings.tasks_token or ""))
    for name, task in TASKS.items():
        broker.register_task(_traced(name, task, container), task_name=name)
    setup_dishka(container, broker)

    async def close(_: TaskiqState) -> None:
        await container.close()

    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, close)
    return broker


def _traced(name: str, task: Callable[..., Awaitable[object]], container: AsyncContainer) -> Callable[..., Any]:
    @functools.wraps(task)
    async def traced(*arguments: Any, **named: Any) -> object:
        with (await container.get(Tracing)).task(name):
            return await task(*arguments, **named)

    return traced


def run_worker(settings: Settings, announce: Callable[[], None]) -> int:
    """Deliver mail and run tasks until SIGTERM or SIGINT; the exit code. Needs Redis in the settings, but Redis and the
    database may be away for as long as they like."""
    return asyncio.run(_work(settings, announce))


async def _work(settings: Settings, announce: Callable[[], None]) -> int:
    logging.getLogger("taskiq").setLevel(logging.WARNING)  # it tells of every task
    stop = _stop_on_signals()
    tasks = TaskCounts(TASKS)
    container = _container(settings, tasks)
    broker = _broker(settings, container, tasks)
    broker.is_worker_process = True
    queue = TaskQueue(settings.redis_url or "", settings.key_prefix)
    notifier = await container.get(DeliveryNotifier)
    assert isinstance(notifier, EventNotifier)  # noqa: S101  (as provided above)
    dispatcher = await container.get(OutboxDispatcher)
    telling = await answer_metrics(settings, (await container.get(Metrics)).text)
    stopping = asyncio.create_task(stop.wait())
    delivering = asyncio.create_task(keep_delivering(dispatcher, notifier, finish_seconds=FINISH_SECONDS))
    listening = asyncio.create_task(_listen(broker, queue, stop))
    announce()
    await asyncio.wait([stopping, delivering, listening], return_when=asyncio.FIRST_COMPLETED)
    code = 0 if stop.is_set() else 1
    stop.set()
    delivering.cancel()
    for ended in await asyncio.gather(delivering, listening, return_exceptions=True):
        if isinstance(ended, Exception):
            _log.error("the worker can't go on", exc_info=ended)
    if telling is not None:
        telling.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await broker.shutdown()
            await queue.close()
    return code


async def _listen(broker: AsyncBroker, queue: TaskQueue, stop: asyncio.Event) -> None:
    """Run tasks from the queue until `stop`. Redis may go away and come back, also without all that it held."""
    is_away = False
    while not stop.is_set():
        try:
            await queue.ping()
            async with asyncio.timeout(CHECK_SECONDS):
                await broker.startup()  # makes the consumer group where there is none
            if is_away:
                _log.info("tasks are taken from Redis again")
            is_away = False
            await _listen_once(broker, queue, stop)
        except Exception as error:  # noqa: BLE001  (what libraries raise for a Redis that is away is many things)
            if not is_away:
                _log.warning("no task can be taken from Redis, mail goes out none the less: %s", _reason(error))
            is_away = True
            await _pause(stop, CHECK_SECONDS)


async def _listen_once(broker: AsyncBroker, queue: TaskQueue, stop: asyncio.Event) -> None:
    """Run tasks until `stop`; raises when Redis went away, also when it froze, which the listening connection itself
    would never notice."""
    receiver = Receiver(broker, run_startup=False, max_async_tasks=TASKS_AT_ONCE, wait_tasks_timeout=FINISH_SECONDS)
    finish = asyncio.Event()
    listening = asyncio.create_task(receiver.listen(finish))
    stopping = asyncio.create_task(stop.wait())
    try:
        while not (listening.done() or stopping.done()):
            await queue.ping()
            await asyncio.wait([listening, stopping], timeout=CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        finish.set()
        stopping.cancel()
        await listening


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return getattr(error, "detail", None) or f"{type(error).__name__}: {error}"


def run_scheduler(settings: Settings, announce: Callable[[], None]) -> int:
    """Queue what is due from time to time, until SIGTERM or SIGINT; the exit code. Any number may run."""
    return asyncio.run(_schedule(settings, announce))


async def _schedule(settings: Settings, announce: Callable[[], None]) -> int:
    stop = _stop_on_signals()
    queue = TaskQueue(settings.redis_url or "", settings.key_prefix)
    announce()
    due = {PURGE: time.monotonic(), TRAIN: time.monotonic()}
    is_away = False
    while not stop.is_set():
        wait = SCHEDULE_SECONDS
        try:
            await queue.put(DELIVER_MAIL)
            for task, seconds in ((PURGE, PURGE_SECONDS), (TRAIN, TRAIN_SECONDS)):
                if time.monotonic() >= due[task]:
                    await queue.put(task)
                    due[task] = time.monotonic() + seconds
            if is_away:
                _log.info("tasks are queued again")
            is_away = False
        except Unavailable as away:
            if not is_away:
                _log.warning("%s", away.detail)
            is_away = True
            wait = CHECK_SECONDS
        await _pause(stop, wait)
    await queue.close()
    return 0


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()

    def asked() -> None:
        if not stop.is_set():
            # A thread, since what hangs may be the loop itself or one of its threads. Nothing is lost: mails and tasks
            # in hand are taken up by others.
            limit = threading.Timer(HARD_SECONDS, os._exit, (0,))
            limit.daemon = True
            limit.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    return stop
