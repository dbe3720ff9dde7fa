"""What runs outside of requests. Tasks take plain values, may be delivered twice, and end far sooner than the
broker's idle timeout, after which they would be delivered again.
"""

from collections.abc import Awaitable, Callable, Mapping

from dishka import FromDishka
from dishka.integrations.taskiq import inject

from movie_adapters.settings import Settings
from movie_adapters.wiring import prepare
from movie_core.ports import Catalogue


@inject(patch_module=True)
async def prepare_catalogue(settings: FromDishka[Settings], catalogue: FromDishka[Catalogue]) -> bool:
    """Bring the schema up to date and make the bundled films searchable; True when films were loaded."""
    return await prepare(settings, catalogue)


TASKS: Mapping[str, Callable[..., Awaitable[object]]] = {"prepare_catalogue": prepare_catalogue}
"""Every task under the name that messages carry."""
