"""The composition root of the worker: `create_broker(settings, *overrides)`."""

from dishka import Provider
from dishka.integrations.taskiq import TaskiqProvider, setup_dishka
from taskiq import AsyncBroker, InMemoryBroker, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from movie_adapters.settings import Settings
from movie_adapters.wiring import create_container
from movie_worker.tasks import TASKS

IDLE_TIMEOUT = 600_000
"""Milliseconds after which a task that nobody acknowledged is delivered again; tasks must end far sooner."""
MAX_ENTRIES = 10_000
"""Entries that the stream keeps, about; acknowledged ones are not removed by themselves."""


def create_broker(settings: Settings, *overrides: Provider) -> AsyncBroker:
    """The broker with every task: Redis streams where Redis is set, in this process otherwise.

    `overrides` are providers that stand in for some of `movie_adapters.wiring`.
    """
    broker: AsyncBroker = InMemoryBroker()
    if settings.redis_url is not None:
        # Without socket_timeout=None a blocked read swallows the cancellation that should end the worker.
        broker = RedisStreamBroker(
            settings.redis_url, socket_timeout=None, maxlen=MAX_ENTRIES, idle_timeout=IDLE_TIMEOUT
        )
    for name, task in TASKS.items():
        broker.register_task(task, task_name=name)
    container = create_container(settings, TaskiqProvider(), *overrides)
    setup_dishka(container, broker)

    async def close(_: TaskiqState) -> None:
        await container.close()

    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, close)
    return broker
