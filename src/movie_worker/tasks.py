"""Background tasks. They take plain values, may be delivered more than once, and must end long before the broker's idle
timeout, after which they are delivered again.
"""

from collections.abc import Awaitable, Callable, Mapping

from dishka import FromDishka
from dishka.integrations.taskiq import inject

from movie_core.operations.maintenance import Maintenance
from movie_core.ports import DeliveryNotifier


@inject(patch_module=True)
async def deliver_mail(notifier: FromDishka[DeliveryNotifier]) -> None:
    """Wakes the delivery loop of this process, which works without the queue and finishes an email on shutdown."""
    await notifier.notify()


@inject(patch_module=True)
async def purge(maintenance: FromDishka[Maintenance]) -> int:
    """Deletes expired data. Returns the number of deleted records."""
    return await maintenance.purge()


@inject(patch_module=True)
async def train(maintenance: FromDishka[Maintenance]) -> bool:
    """Trains the recommendation model if ratings or movies have changed. Returns whether it did."""
    return await maintenance.train()


TASKS: Mapping[str, Callable[..., Awaitable[object]]] = {
    "deliver_mail": deliver_mail,
    "purge": purge,
    "train": train,
}
"""All tasks by their names in queue messages, of which `movie_adapters.redis.task_queue` has constants."""
