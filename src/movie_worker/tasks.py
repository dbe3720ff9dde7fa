"""What runs outside of requests. Tasks take plain values, may be delivered twice, and end far sooner than the
broker's idle timeout, after which they would be delivered again.
"""

from collections.abc import Awaitable, Callable, Mapping

from dishka import FromDishka
from dishka.integrations.taskiq import inject

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare
from movie_core.operations.maintenance import Maintenance
from movie_core.ports import DeliveryNotifier, MovieCatalogue


@inject(patch_module=True)
async def deliver_mail(notifier: FromDishka[DeliveryNotifier]) -> None:
    """Wake the delivery of this process: it goes on whatever becomes of the queue, and finishes a mail when stopped."""
    await notifier.notify()


@inject(patch_module=True)
async def purge(upkeep: FromDishka[Maintenance]) -> int:
    """Remove what has outlived its use; the number of things removed."""
    return await upkeep.purge()


@inject(patch_module=True)
async def train(upkeep: FromDishka[Maintenance]) -> bool:
    """Learn from ratings, where there are new ones; whether there were."""
    return await upkeep.train()


@inject(patch_module=True)
async def prepare_catalogue(settings: FromDishka[Settings], catalogue: FromDishka[MovieCatalogue]) -> bool:
    """Bring the schema up to date and make the bundled films searchable; True when films were loaded."""
    return await prepare(settings, catalogue)


TASKS: Mapping[str, Callable[..., Awaitable[object]]] = {
    "deliver_mail": deliver_mail,
    "purge": purge,
    "train": train,
    "prepare_catalogue": prepare_catalogue,
}
"""Every task under the name that messages carry."""
