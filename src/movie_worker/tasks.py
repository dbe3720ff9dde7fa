"""Background tasks. They take plain values, may be delivered more than once, and must end long before the broker's idle
timeout, after which they are delivered again.
"""

from collections.abc import Awaitable, Callable, Mapping

from dishka import FromDishka
from dishka.integrations.taskiq import inject

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare_database
from movie_core.operations.maintenance import Maintenance
from movie_core.ports import DeliveryNotifier, MovieCatalogue


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


@inject(patch_module=True)
async def prepare_catalogue(settings: FromDishka[Settings], catalogue: FromDishka[MovieCatalogue]) -> bool:
    """Migrates the database and loads the bundled films if needed. Returns whether films were loaded."""
    return await prepare_database(settings, catalogue)


TASKS: Mapping[str, Callable[..., Awaitable[object]]] = {
    "deliver_mail": deliver_mail,
    "purge": purge,
    "train": train,
    "prepare_catalogue": prepare_catalogue,
}
"""All tasks by their names in queue messages, of which `movie_adapters.redis.task_queue` has constants."""
