"""`EaseRecommender`: the port contract, newer models, and unavailable stores."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from movie_adapters.recommender.ease import RELOAD_INTERVAL, EaseRecommender
from movie_core import memory
from movie_core.discovery.ratings import Rating
from movie_core.discovery.recommendations import ModelInfo, ReasonKind, Tier
from movie_core.errors import StoreUnavailable
from movie_core.memory import MemoryModelStore
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, RatingStore, TrainingRatingStore
from movie_core.search.movies import Movie
from movie_core.testing import NOW, RecommenderContract

FILMS = [Movie(id=str(n), title=f"Film {n}", year=1990 + n, genres=("Drama",), popularity=float(n)) for n in range(9)]


class TestEaseRecommender(RecommenderContract):
    @asynccontextmanager
    async def open(
        self, ratings: RatingStore, imported: TrainingRatingStore, movies: MovieCatalogue
    ) -> AsyncIterator[EaseRecommender]:
        recommender = EaseRecommender(ratings, imported, movies, MemoryModelStore(), clock=lambda: NOW)
        yield recommender
        await recommender.close()


class Models(MemoryModelStore):
    """A model store that counts its calls and can be made unavailable."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0
        self.loads = 0
        self.is_unavailable = False
        self.gate: asyncio.Event | None = None
        self.is_waiting = asyncio.Event()
        self.saved: list[ModelInfo] = []

    async def current(self) -> tuple[ModelInfo, str] | None:
        self.checks += 1
        if self.is_unavailable:
            raise StoreUnavailable("down")
        return await super().current()

    async def save(self, info: ModelInfo, version: str, body: bytes) -> bool:
        if self.gate is not None:
            self.is_waiting.set()
            await self.gate.wait()
        self.saved.append(info)
        return await super().save(info, version, body)

    async def body(self, made_at: datetime) -> bytes | None:
        self.loads += 1
        if self.gate is not None:
            await self.gate.wait()
        return await super().body(made_at)


class World:
    """Two processes with the same stores: one trains, the other one recommends."""

    def __init__(self) -> None:
        self.models = Models()
        deployment = memory.deployment(FILMS[:5])
        self.catalogue = deployment.catalogue
        self.now = NOW
        self.seconds = 0.0
        self.trainer, self.reader = (
            EaseRecommender(
                deployment.ratings,
                deployment.training_ratings,
                self.catalogue,
                self.models,
                clock=lambda: self.now,
                monotonic=lambda: self.seconds,
            )
            for _ in range(2)
        )

    async def total(self) -> int:
        return (await self.reader.recommend([], Window(), self.now)).total

    async def train(self, films: int) -> None:
        self.now += timedelta(minutes=1)
        await self.catalogue.load(FILMS[:films], replace=True)
        await self.trainer.train()

    async def finish_reload(self) -> None:
        """Wait for a reload in progress."""
        await self.reader.close()


async def similar(world: World) -> int:
    return (await world.reader.similar(FILMS[0], Window())).total


async def test_every_process_uses_a_new_model_within_a_minute() -> None:
    world = World()
    assert await world.total() == 5
    assert await similar(world) == 4
    await world.train(7)
    assert await similar(world) == 4
    world.seconds += RELOAD_INTERVAL
    assert RELOAD_INTERVAL < 60
    await world.total()
    await world.finish_reload()
    assert await world.total() == 7
    assert await similar(world) == 6
    await world.reader.close()


async def test_a_training_that_started_earlier_does_not_replace_a_newer_model() -> None:
    world = World()
    world.models.gate = asyncio.Event()
    slow = asyncio.create_task(world.trainer.train())
    await world.models.is_waiting.wait()
    world.models.gate, gate = None, world.models.gate
    world.now += timedelta(seconds=1)
    await world.catalogue.load(FILMS[:7], replace=True)
    newer = await world.reader.train()
    gate.set()
    older = await slow
    assert world.models.saved == [newer, older]
    assert await world.trainer.model() == newer
    assert not await world.trainer.is_outdated()
    assert await world.total() == 7
    assert (await world.trainer.recommend([], Window(), world.now)).total == 7


async def test_a_later_training_replaces_the_model_even_if_the_clock_is_behind() -> None:
    world = World()
    await world.train(5)
    world.now -= timedelta(hours=1)
    await world.catalogue.load(FILMS[:7], replace=True)
    newer = await world.reader.train()
    assert await world.trainer.model() == newer
    assert await world.total() == 7


async def test_movies_added_after_an_empty_model_are_recommended() -> None:
    world = World()
    await world.train(0)
    assert await world.total() == 0
    await world.catalogue.load(FILMS[:5], replace=True)
    assert await world.total() == 5
    await world.reader.close()


async def test_checks_for_a_newer_model_are_rare_and_single_flight() -> None:
    world = World()
    await world.train(7)
    before = world.models.checks
    await asyncio.gather(*(world.total() for _ in range(20)))
    assert (world.models.checks - before, world.models.loads) == (1, 1)
    world.seconds += RELOAD_INTERVAL
    await asyncio.gather(*(world.total() for _ in range(20)))
    await world.finish_reload()
    assert (world.models.checks - before, world.models.loads) == (2, 1)


async def test_requests_do_not_wait_for_a_newer_model() -> None:
    world = World()
    await world.train(5)
    assert await world.total() == 5
    await world.train(9)
    world.seconds += RELOAD_INTERVAL
    world.models.gate = asyncio.Event()
    assert [await world.total() for _ in range(3)] == [5, 5, 5]
    world.models.gate.set()
    await world.finish_reload()
    assert await world.total() == 9


async def test_the_loaded_model_is_used_while_its_store_is_unavailable() -> None:
    world = World()
    world.models.is_unavailable = True
    with pytest.raises(StoreUnavailable):
        await world.total()
    world.models.is_unavailable = False
    await world.train(7)
    assert await world.total() == 7
    world.models.is_unavailable = True
    world.seconds += RELOAD_INTERVAL
    assert await world.total() == 7
    await world.finish_reload()
    assert await world.total() == 7
    with pytest.raises(StoreUnavailable):
        await world.reader.model()


@pytest.mark.parametrize(
    "body", [b"", b"another format", b"movie-ease-1\n\xff\xff\xff\x00", b"movie-ease-1\n\x02\x00\x00\x00{}"]
)
async def test_a_model_that_cannot_be_loaded_is_skipped(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.models.save(ModelInfo(NOW, 0, 0, 0), "", body)
    for _ in range(2):
        assert await world.total() == 5
        world.seconds += RELOAD_INTERVAL
        await world.total()
        await world.finish_reload()
    assert world.models.loads == 1
    assert len(caplog.records) == 1
    await world.train(7)
    world.seconds += RELOAD_INTERVAL
    await world.total()
    await world.finish_reload()
    assert await world.total() == 7


async def test_unreleased_movies_are_not_recommended() -> None:
    world = World()
    world.now = datetime(1993, 6, 1, tzinfo=NOW.tzinfo)
    for _ in range(2):
        found = await world.reader.recommend([], Window(), world.now)
        assert {item.movie_id for item in found.items} == {"0", "1", "2", "3"}
        await world.trainer.train()
        world.seconds += RELOAD_INTERVAL
        await world.total()
        await world.finish_reload()


async def test_before_the_first_training_the_content_of_new_movies_counts_too() -> None:
    world = World()
    assert await similar(world) == 4
    await world.catalogue.load(FILMS[:7])
    assert await similar(world) == 4
    world.seconds += RELOAD_INTERVAL
    await similar(world)
    await world.finish_reload()
    assert await similar(world) == 6
    assert await world.reader.model() is None


async def test_concurrent_first_requests_build_one_model_from_the_content() -> None:
    world = World()
    found = await asyncio.gather(*(world.reader.similar(FILMS[0], Window()) for _ in range(20)))
    assert {page.total for page in found} == {4}
    rating = Rating("0", "Film 0", 1990, 9.0, NOW)
    page = await world.reader.recommend([rating], Window(), NOW)
    assert {reason.movie_id for item in page.items for reason in item.reasons} <= {"0"}
    assert page.total == 4


async def test_popular_movies_are_recommended_where_content_distinguishes_none() -> None:
    world = World()
    page = await world.reader.recommend([Rating("0", "Film 0", 1990, 9.0, NOW)], Window(), NOW)
    assert (page.tier, [item.movie_id for item in page.items]) == (Tier.POPULAR, ["4", "3", "2", "1"])


async def test_an_empty_catalogue_has_no_similar_movies() -> None:
    world = World()
    await world.catalogue.load((), replace=True)
    assert await similar(world) == 0
    assert await world.reader.affinities([], ["0"]) == {}


async def test_similar_movies_have_reasons() -> None:
    world = World()
    await world.train(9)
    unknown = Movie(id="new", title="New", year=1991, genres=("Drama",))
    found = await world.reader.similar(unknown, Window())
    assert found.total == 9
    assert {reason.kind for item in found.items for reason in item.reasons} == {ReasonKind.ALIKE}
    assert (await world.reader.similar(Movie(id="new", title="New"), Window())).total == 0


async def test_a_history_of_unknown_movies_gives_popular_movies() -> None:
    world = World()
    await world.train(9)
    rating = Rating("gone", "Gone", None, 9.0, NOW)
    popular = await world.reader.recommend([], Window(), world.now)
    assert await world.reader.recommend([rating], Window(), world.now) == popular


def test_numpy_is_imported_at_first_use() -> None:
    code = "import sys, movie_adapters.recommender.ease, movie_adapters.sql.models; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
