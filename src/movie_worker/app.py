"""The composition root of the worker, `create_broker(settings, *overrides)`, and the worker.

Email is delivered from the outbox in the database, by a loop that does not depend on Redis; a queued task only starts
the delivery sooner.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from dishka import AsyncContainer, Provider, Scope, provide
from dishka.integrations.taskiq import TaskiqProvider, setup_dishka
from taskiq import AsyncBroker, InMemoryBroker, TaskiqEvents, TaskiqState
from taskiq.receiver import Receiver

from movie_adapters.observability.metrics import Metrics, TaskCounts
from movie_adapters.observability.tracing import Tracing
from movie_adapters.redis.task_broker import TaskBroker
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.background import run_email_delivery
from movie_adapters.wiring.event_notifier import EventNotifier
from movie_adapters.wiring.providers import create_container
from movie_core.accounts.outbox import SEND_SECONDS
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.ports import DeliveryNotifier
from movie_worker.metrics import MetricsProvider, TaskCountingMiddleware, serve_metrics
from movie_worker.shutdown import stop_on_signals
from movie_worker.tasks import TASKS

MAX_CONCURRENT_TASKS = 10
SHUTDOWN_TIMEOUT = SEND_SECONDS + 1
"""Graceful shutdown: seconds that running tasks and the current email have to finish."""

_log = logging.getLogger(__name__)


class _InProcessNotifierProvider(Provider):
    """In a worker, a delivery notification wakes the delivery loop of the same process."""

    scope = Scope.APP

    @provide(override=True)
    def notifier(self) -> DeliveryNotifier:
        return EventNotifier()


def create_broker(settings: Settings, *overrides: Provider) -> AsyncBroker:
    """Returns a broker with every task: on Redis streams if `MOVIE_REDIS_URL` is set, otherwise in this process.

    `overrides` are providers that replace some of `movie_adapters.wiring.providers`.
    """
    task_counts = TaskCounts(TASKS)
    return _create_broker(settings, _create_container(settings, task_counts, *overrides), task_counts)


def _create_container(settings: Settings, task_counts: TaskCounts, *overrides: Provider) -> AsyncContainer:
    worker_providers = (TaskiqProvider(), _InProcessNotifierProvider(), MetricsProvider(task_counts))
    return create_container(settings, *worker_providers, *overrides)


def _create_broker(settings: Settings, container: AsyncContainer, task_counts: TaskCounts) -> AsyncBroker:
    broker: AsyncBroker = InMemoryBroker()
    if settings.redis_url is not None:
        broker = TaskBroker(settings.redis_url, settings.key_prefix, on_malformed=task_counts.count_malformed)
    broker = broker.with_middlewares(TaskCountingMiddleware(task_counts))
    if settings.tasks_url is not None:
        from movie_worker.task_dashboard import TaskDashboardReporter

        broker = broker.with_middlewares(TaskDashboardReporter(settings.tasks_url, settings.tasks_token or ""))
    for name, task in TASKS.items():
        broker.register_task(_traced(name, task, container), task_name=name)
    setup_dishka(container, broker)

    async def close(_: TaskiqState) -> None:
        await container.close()

    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, close)
    return broker


def _traced(name: str, task: Callable[..., Awaitable[object]], container: AsyncContainer) -> Callable[..., Any]:
    @functools.wraps(task)
    async def traced(*arguments: Any, **keywords: Any) -> object:
        with (await container.get(Tracing)).task(name):
            return await task(*arguments, **keywords)

    return traced


async def run_worker(settings: Settings, announce: Callable[[], None]) -> int:
    """Delivers email and runs tasks until SIGTERM or SIGINT. Returns the exit code.

    Requires `MOVIE_REDIS_URL`. Redis and the database may be unavailable for any length of time.
    """
    stop = stop_on_signals()
    task_counts = TaskCounts(TASKS)
    container = _create_container(settings, task_counts)
    broker = _create_broker(settings, container, task_counts)
    broker.is_worker_process = True
    receiver = Receiver(broker, max_async_tasks=MAX_CONCURRENT_TASKS, wait_tasks_timeout=SHUTDOWN_TIMEOUT)
    notifier = await container.get(DeliveryNotifier)
    assert isinstance(notifier, EventNotifier)  # noqa: S101  (provided by _InProcessNotifierProvider)
    dispatcher = await container.get(OutboxDispatcher)
    metrics_server = await serve_metrics(settings, (await container.get(Metrics)).text)
    stopped = asyncio.create_task(stop.wait())
    delivery = asyncio.create_task(run_email_delivery(dispatcher, notifier, finish_seconds=SHUTDOWN_TIMEOUT))
    consumer = asyncio.create_task(receiver.listen(stop))
    announce()
    await asyncio.wait([stopped, delivery, consumer], return_when=asyncio.FIRST_COMPLETED)
    code = 0 if stop.is_set() else 1
    stop.set()
    delivery.cancel()
    for result in await asyncio.gather(delivery, consumer, return_exceptions=True):
        if isinstance(result, Exception):
            _log.error("the worker failed", exc_info=result)
    if metrics_server is not None:
        metrics_server.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await broker.shutdown()
    return code
