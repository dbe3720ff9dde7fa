"""Contract of the `TrainingRatingStore` port."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from movie_core.discovery.training_ratings import TrainingRating
from movie_core.errors import InvalidParameter
from movie_core.ports import TrainingRatingStore
from movie_core.testing.shared import ODD_STRINGS, assert_raises, clause


def _ratings(*movie_ids: str, users: int = 3, rated_at: int = 1_600_000_000) -> list[TrainingRating]:
    return [
        TrainingRating(user, movie_id, 0.5 + (user + number) % 20 / 2, rated_at + number)
        for user in range(users)
        for number, movie_id in enumerate(movie_ids)
    ]


async def _all(store: TrainingRatingStore) -> list[TrainingRating]:
    return sorted([rating async for batch in store.iter_all() for rating in batch])


class TrainingRatingStoreContract:
    """Contract of every `TrainingRatingStore`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[TrainingRatingStore]:
        """The store under test, empty."""
        raise NotImplementedError

    @clause
    async def test_1_an_import_replaces_the_previous_one(self) -> None:
        async with self.open() as store:
            assert await _all(store) == []
            for ratings in (_ratings("1", "2", "3"), _ratings("3", "4", users=5), []):
                assert await store.replace([ratings[:4], ratings[4:]]) == len(ratings)
                assert await _all(store) == sorted(ratings)
            assert await store.replace([]) == 0

    @clause
    async def test_1_and_4_values_are_stored_exactly(self) -> None:
        async with self.open() as store:
            movie_ids = [text for text in ODD_STRINGS if text and "\x00" not in text and text.isprintable()]
            ratings = [TrainingRating(2_000_000, movie_id, 0.5, 0) for movie_id in movie_ids]
            ratings += [TrainingRating(number, "x", (number + 1) / 2, 4_000_000_000 + number) for number in range(20)]
            assert await store.replace([ratings]) == len(ratings)
            assert await _all(store) == sorted(ratings)

    @clause
    async def test_1_the_newest_rating_of_a_person_for_a_movie_counts(self) -> None:
        async with self.open() as store:
            newest = TrainingRating(1, "a", 9.0, 500)
            last = TrainingRating(1, "b", 3.0, 7)
            batches = [
                [TrainingRating(1, "a", 1.0, 100), TrainingRating(1, "b", 2.0, 7), newest],
                [TrainingRating(1, "a", 2.0, 499), last, TrainingRating(2, "a", 4.0, 1)],
            ]
            assert await store.replace(batches) == 3
            assert await _all(store) == sorted([newest, last, TrainingRating(2, "a", 4.0, 1)])

    @clause
    async def test_2_the_previous_ratings_are_returned_until_all_are_stored(self) -> None:
        async with self.open() as store:
            old, new = _ratings("old"), _ratings("new")
            await store.replace([old])
            version, loop = await store.version(), asyncio.get_running_loop()
            seen: list[tuple[list[TrainingRating], str]] = []

            async def look() -> None:
                seen.append((await _all(store), await store.version()))

            def batches() -> Iterator[Sequence[TrainingRating]]:
                for rating in new:
                    yield [rating]
                    asyncio.run_coroutine_threadsafe(look(), loop).result(60)

            assert await store.replace(batches()) == len(new)
            assert seen == [(old, version)] * len(new)
            assert await _all(store) == new

    @clause
    async def test_2_and_5_a_failed_import_changes_nothing(self) -> None:
        async with self.open() as store:
            old = _ratings("old")
            await store.replace([old])
            version = await store.version()

            def batches() -> Iterator[Sequence[TrainingRating]]:
                yield _ratings("new")
                raise InvalidParameter("the file is damaged")

            for _ in range(2):
                await assert_raises(InvalidParameter, store.replace(batches()))
                assert (await _all(store), await store.version()) == (old, version)
            assert await store.replace([_ratings("new")]) == 3
            assert await _all(store) == _ratings("new")

    @clause
    async def test_3_of_two_imports_the_one_that_started_last_counts(self) -> None:
        async with self.open() as store:
            loop = asyncio.get_running_loop()
            second = _ratings("second")
            for position in (0, 1):
                first = [_ratings("first", users=1), _ratings("other", users=1)]

                def batches(
                    position: int = position, first: Sequence[Sequence[TrainingRating]] = first
                ) -> Iterator[Sequence[TrainingRating]]:
                    yield from first[:position]
                    assert asyncio.run_coroutine_threadsafe(store.replace([second]), loop).result(60) == 3
                    yield from first[position:]

                assert await store.replace(batches()) is None
                assert await _all(store) == second

    @clause
    async def test_3_an_import_that_starts_while_another_one_ends_counts(self) -> None:
        async with self.open() as store:
            loop = asyncio.get_running_loop()

            def batches() -> Iterator[Sequence[TrainingRating]]:
                yield _ratings("first")
                assert asyncio.run_coroutine_threadsafe(store.replace([_ratings("second")]), loop).result(60) == 3

            assert await store.replace(batches()) is None
            assert await _all(store) == _ratings("second")

    @clause
    async def test_4_all_ratings_of_many_batches_are_returned_once(self) -> None:
        async with self.open() as store:
            ratings = _ratings(*map(str, range(1_500)), users=30)
            parts = [ratings[start : start + 7_000] for start in range(0, len(ratings), 7_000)]
            assert await store.replace(parts) == len(ratings)
            batches = [batch async for batch in store.iter_all()]
            assert len(batches) > 1
            assert sorted(rating for batch in batches for rating in batch) == sorted(ratings)
            assert await store.replace([_ratings("1")]) == 3
            assert await _all(store) == _ratings("1")

    @clause
    async def test_5_the_version_changes_with_each_import(self) -> None:
        async with self.open() as store:
            versions = [await store.version()]
            for _ in range(3):
                await store.replace([_ratings("1")])
                versions.append(await store.version())
                assert await store.version() == versions[-1]
            assert len(set(versions)) == 4
