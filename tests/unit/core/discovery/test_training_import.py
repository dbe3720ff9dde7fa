"""Import of training ratings: matching, reasons, the sample of a large file, and the shift of times."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from movie_core.discovery.movie_matching import MatchedBy, MismatchReason, MovieIdentity
from movie_core.discovery.training_import import BATCH, BEYOND_LIMIT, FUTURE, import_training_ratings
from movie_core.discovery.training_ratings import FileRating, TrainingImport, TrainingRating
from movie_core.errors import InvalidParameter
from movie_core.memory import MemoryMovieCatalogue, MemoryTrainingRatingStore
from movie_core.search.movies import Movie
from movie_core.testing import NOW

MOVIES = [
    Movie(id="casablanca", title="Casablanca", year=1942, imdb_id="tt0034583"),
    Movie(id="heat", title="Heat", year=1995, tmdb_id="949"),
    Movie(id="ran", title="Ran", year=1985),
    Movie(id="twin-1", title="Twin", year=2000, imdb_id="tt0000011"),
    Movie(id="twin-2", title="Twin", year=2000, imdb_id="tt0000012"),
]
IDENTITIES = {
    "1": MovieIdentity(imdb_id="tt0034583", title="Another title", year=1900),
    "2": MovieIdentity(tmdb_id="949"),
    "3": MovieIdentity(title="Ran", year=1985),
    "4": MovieIdentity(title="Ran", year=1984),
    "5": MovieIdentity(title="Twin", year=2000),
    "6": MovieIdentity(title="Nowhere", year=2000),
}
RECENT = int(NOW.timestamp())


@dataclass
class World:
    """A catalogue, a store with one rating, and a file."""

    rows: list[FileRating | str]
    store: MemoryTrainingRatingStore = field(default_factory=MemoryTrainingRatingStore)

    async def run(self, **options: int) -> TrainingImport | None:
        def identify(movies: Collection[str]) -> Mapping[str, MovieIdentity]:
            return {movie: IDENTITIES[movie] for movie in movies if movie in IDENTITIES}

        catalogue = MemoryMovieCatalogue(MOVIES)
        return await import_training_ratings(self.store, catalogue, self.rows, identify, NOW, **options)

    async def stored(self) -> list[TrainingRating]:
        return [rating async for batch in self.store.iter_all() for rating in batch]


def rating(user: str, movie: str, value: float = 8.0, rated_at: int = RECENT) -> FileRating:
    return FileRating(user, movie, value, rated_at)


async def test_movies_are_matched_by_imdb_id_tmdb_id_and_title_with_year() -> None:
    world = World([rating("ann", "1"), rating("ann", "2", 3.0), rating("bob", "3"), rating("bob", "1", 1.0)])
    assert await world.run() == TrainingImport(
        ratings=4,
        users=2,
        movies=3,
        matched_by={MatchedBy.IMDB_ID: 1, MatchedBy.TMDB_ID: 1, MatchedBy.TITLE_YEAR: 1},
        unused={},
    )
    assert await world.stored() == [
        TrainingRating(0, "casablanca", 8.0, RECENT),
        TrainingRating(0, "heat", 3.0, RECENT),
        TrainingRating(1, "ran", 8.0, RECENT),
        TrainingRating(1, "casablanca", 1.0, RECENT),
    ]


async def test_every_unused_row_is_counted_with_its_reason() -> None:
    tomorrow = int((NOW + timedelta(days=2)).timestamp())
    rows = [rating("ann", movie) for movie in ("1", "3", "4", "5", "6", "6", "unidentified")]
    world = World([*rows, "the row is damaged", "the row is damaged", rating("ann", "1", rated_at=tomorrow)])
    result = await world.run()
    assert result is not None
    assert result.unused == {
        "the row is damaged": 2,
        FUTURE: 1,
        MismatchReason.OTHER_ROW: 1,
        MismatchReason.AMBIGUOUS: 1,
        MismatchReason.UNKNOWN: 3,
    }
    assert [one.movie_id for one in await world.stored()] == ["casablanca", "ran"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "no row of the file can be used: it has none"),
        (["damaged", rating("ann", "6"), rating("bob", "6")], "no movie matches (2); damaged (1)"),
    ],
)
async def test_a_file_without_a_usable_row_changes_nothing(rows: list[FileRating | str], reason: str) -> None:
    world = World([rating("ann", "1")])
    await world.run()
    before = await world.stored(), await world.store.version()
    world.rows = rows
    with pytest.raises(InvalidParameter) as raised:
        await world.run()
    assert reason in raised.value.detail
    assert (await world.stored(), await world.store.version()) == before


async def test_of_a_large_file_the_ratings_of_a_sample_of_its_users_are_imported() -> None:
    users = [f"user {number}" for number in range(500)]
    world = World([rating(user, movie) for user in users for movie in ("1", "2", "3")])
    result = await world.run(max_ratings=600)
    assert result is not None
    assert 400 < result.ratings <= 600
    assert result.unused == {BEYOND_LIMIT: 1500 - result.ratings}
    complete = [count for count in Counter(one.user for one in await world.stored()).values() if count == 3]
    assert len(complete) >= result.users - 1


async def test_the_limit_is_never_exceeded() -> None:
    for limit in range(1, 20):
        world = World([rating(f"user {number}", "1") for number in range(20)])
        result = await world.run(max_ratings=limit)
        assert result is not None
        assert len(await world.stored()) == result.ratings <= limit
        assert result.unused == {BEYOND_LIMIT: 20 - result.ratings}


@pytest.mark.parametrize("count", [BATCH, BATCH + 1])
async def test_all_ratings_up_to_the_limit_are_imported(count: int) -> None:
    world = World([rating(f"user {number}", "1") for number in range(count)])
    result = await world.run(max_ratings=count)
    assert result is not None
    assert (result.ratings, result.users, result.unused) == (count, count, {})


async def test_times_are_shifted_so_that_the_newest_rating_is_of_now() -> None:
    world = World([rating("ann", "1", rated_at=900), rating("ann", "2", rated_at=1000), rating("bob", "2", rated_at=0)])
    await world.run()
    assert [one.rated_at - RECENT for one in await world.stored()] == [-100, 0, -1000]


async def test_an_import_that_another_one_has_overtaken_has_no_result() -> None:
    class Overtaken(MemoryTrainingRatingStore):
        async def replace(self, batches: object) -> None:
            return None

    assert await World([rating("ann", "1")], Overtaken()).run() is None
