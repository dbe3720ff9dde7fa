"""The recommender over a trained model: its contract, newer models, and stores that fail."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from movie_adapters.recommender.ease import LOOK_SECONDS, EaseRecommender
from movie_core.accounts.keyring import Keyring
from movie_core.discovery.ratings import Rating
from movie_core.discovery.recommendations import ModelInfo, ReasonKind
from movie_core.errors import StoreUnavailable
from movie_core.memory import MemoryDatabase, MemoryModelStore, MemoryMovieCatalogue, MemoryRatingStore
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, RatingStore
from movie_core.search.movies import Movie
from movie_core.testing import NOW, UNLIMITED, RecommenderContract

FILMS = [Movie(id=str(n), title=f"Film {n}", year=1990 + n, genres=("Drama",), popularity=float(n)) for n in range(9)]


class TestEaseRecommender(RecommenderContract):
    @asynccontextmanager
    async def open(self, ratings: RatingStore, movies: MovieCatalogue) -> AsyncIterator[EaseRecommender]:
        recommender = EaseRecommender(ratings, movies, MemoryModelStore(), clock=lambda: NOW)
        yield recommender
        await recommender.close()


class Models(MemoryModelStore):
    """Counts looks, and is away when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.loads = 0
        self.is_away = False
        self.gate: asyncio.Event | None = None
        self.is_waiting = asyncio.Event()
        self.saved: list[ModelInfo] = []

    async def present(self) -> tuple[ModelInfo, str] | None:
        self.looks += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().present()

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
    """Two processes over the same stores: one that trains, one that answers."""

    def __init__(self) -> None:
        self.models = Models()
        self.catalogue = MemoryMovieCatalogue(FILMS[:5])
        self.now = NOW
        self.seconds = 0.0
        ratings = MemoryRatingStore(MemoryDatabase(UNLIMITED, Keyring(["a secret of the tests, 32 bytes or more"])))
        self.trainer, self.answerer = (
            EaseRecommender(
                ratings, self.catalogue, self.models, clock=lambda: self.now, monotonic=lambda: self.seconds
            )
            for _ in range(2)
        )

    async def total(self) -> int:
        return (await self.answerer.recommend([], Window(), self.now)).total

    async def train(self, films: int) -> None:
        self.now += timedelta(minutes=1)
        await self.catalogue.load(FILMS[:films], replace=True)
        await self.trainer.train()

    async def look(self) -> None:
        """Let a look that has begun come to its end."""
        if self.answerer._look is not None:
            await asyncio.wait([self.answerer._look])


async def similar(world: World) -> int:
    return (await world.answerer.similar(FILMS[0], Window())).total


async def test_another_process_answers_by_a_new_model_within_a_minute() -> None:
    world = World()
    assert await world.total() == 5
    assert await similar(world) == 0
    await world.train(7)
    assert await similar(world) == 0
    world.seconds += LOOK_SECONDS
    assert LOOK_SECONDS < 60
    await world.total()
    await world.look()
    assert await world.total() == 7
    assert await similar(world) == 6
    await world.answerer.close()


async def test_a_training_that_began_earlier_and_ends_later_replaces_nothing() -> None:
    world = World()
    world.models.gate = asyncio.Event()
    slow = asyncio.create_task(world.trainer.train())
    await world.models.is_waiting.wait()
    world.models.gate, gate = None, world.models.gate
    world.now += timedelta(seconds=1)
    await world.catalogue.load(FILMS[:7], replace=True)
    newer = await world.answerer.train()
    gate.set()
    older = await slow
    assert world.models.saved == [newer, older]
    assert await world.trainer.model() == newer
    assert not await world.trainer.is_outdated()
    assert await world.total() == 7
    assert (await world.trainer.recommend([], Window(), world.now)).total == 7


async def test_a_training_on_a_machine_whose_clock_is_behind_replaces_the_model() -> None:
    world = World()
    await world.train(5)
    world.now -= timedelta(hours=1)
    await world.catalogue.load(FILMS[:7], replace=True)
    newer = await world.answerer.train()
    assert await world.trainer.model() == newer
    assert await world.total() == 7


async def test_movies_that_come_after_an_empty_model_are_recommended() -> None:
    world = World()
    await world.train(0)
    assert await world.total() == 0
    await world.catalogue.load(FILMS[:5], replace=True)
    assert await world.total() == 5
    await world.answerer.close()


async def test_looks_are_rare_and_one_at_a_time() -> None:
    world = World()
    await world.train(7)
    before = world.models.looks
    await asyncio.gather(*(world.total() for _ in range(20)))
    assert (world.models.looks - before, world.models.loads) == (1, 1)
    world.seconds += LOOK_SECONDS
    await asyncio.gather(*(world.total() for _ in range(20)))
    await world.look()
    assert (world.models.looks - before, world.models.loads) == (2, 1)


async def test_nobody_waits_for_a_newer_model() -> None:
    world = World()
    await world.train(5)
    assert await world.total() == 5
    await world.train(9)
    world.seconds += LOOK_SECONDS
    world.models.gate = asyncio.Event()
    async with asyncio.timeout(1):
        assert [await world.total() for _ in range(3)] == [5, 5, 5]
    world.models.gate.set()
    await world.look()
    assert await world.total() == 9


async def test_the_model_at_hand_answers_while_its_store_is_away() -> None:
    world = World()
    world.models.is_away = True
    with pytest.raises(StoreUnavailable):
        await world.total()
    world.models.is_away = False
    await world.train(7)
    assert await world.total() == 7
    world.models.is_away = True
    world.seconds += LOOK_SECONDS
    assert await world.total() == 7
    await world.look()
    assert await world.total() == 7
    with pytest.raises(StoreUnavailable):
        await world.answerer.model()


@pytest.mark.parametrize(
    "body", [b"", b"another format", b"movie-ease-1\n\xff\xff\xff\x00", b"movie-ease-1\n\x02\x00\x00\x00{}"]
)
async def test_a_model_that_cannot_be_read_is_passed_over(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.models.save(ModelInfo(NOW, 0, 0, 0), "", body)
    for _ in range(2):
        assert await world.total() == 5
        world.seconds += LOOK_SECONDS
        await world.total()
        await world.look()
    assert world.models.loads == 1
    assert len(caplog.records) == 1
    await world.train(7)
    world.seconds += LOOK_SECONDS
    await world.total()
    await world.look()
    assert await world.total() == 7


async def test_what_is_released_later_is_not_recommended() -> None:
    world = World()
    world.now = datetime(1993, 6, 1, tzinfo=NOW.tzinfo)
    for _ in range(2):
        found = await world.answerer.recommend([], Window(), world.now)
        assert {item.movie_id for item in found.items} == {"0", "1", "2", "3"}
        await world.trainer.train()
        world.seconds += LOOK_SECONDS
        await world.total()
        await world.look()


async def test_similar_movies_say_what_they_have_in_common() -> None:
    world = World()
    await world.train(9)
    strange = Movie(id="new", title="New", year=1991, genres=("Drama",))
    found = await world.answerer.similar(strange, Window())
    assert found.total == 9
    assert {reason.kind for item in found.items for reason in item.reasons} == {ReasonKind.ALIKE}
    assert (await world.answerer.similar(Movie(id="new", title="New"), Window())).total == 0


async def test_ratings_of_unknown_movies_alone_leave_what_is_popular() -> None:
    world = World()
    await world.train(9)
    odd = Rating("gone", "Gone", None, 9.0, NOW)
    plain = await world.answerer.recommend([], Window(), world.now)
    assert await world.answerer.recommend([odd], Window(), world.now) == plain


def test_numpy_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, movie_adapters.recommender.ease, movie_adapters.sql.models; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
