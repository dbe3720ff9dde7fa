"""The worker's composition root, its broker in this process."""

from dishka import Provider, Scope, provide
from taskiq import InMemoryBroker

from movie_adapters.settings import Settings
from movie_core import MemoryCatalogue
from movie_core.ports import Catalogue
from movie_worker.app import create_broker
from movie_worker.tasks import TASKS


class InMemory(Provider):
    scope = Scope.APP

    def __init__(self) -> None:
        super().__init__()
        self.movies = MemoryCatalogue()

    @provide(override=True)
    def catalogue(self) -> Catalogue:
        return self.movies


def test_every_task_is_known_to_the_broker() -> None:
    broker = create_broker(Settings.load({}, dotenv=None), InMemory())
    assert isinstance(broker, InMemoryBroker)
    assert set(broker.get_all_tasks()) == set(TASKS)


async def test_the_bundled_films_are_made_searchable(tmp_path) -> None:
    memory = InMemory()
    settings = Settings.load({"MOVIE_DATA_DIR": str(tmp_path)}, dotenv=None)
    broker = create_broker(settings, memory)
    await broker.startup()
    for was_loaded in (True, False):
        task = broker.find_task("prepare_catalogue")
        assert task is not None
        result = await (await task.kiq()).wait_result(timeout=30)
        assert (result.is_err, result.return_value) == (False, was_loaded)
    assert await memory.movies.count() > 40_000
    await broker.shutdown()
