from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from movie_adapters.sources.seen import MAX_PENDING, BatchedSeenMovies
from movie_core import MemoryMovieCatalogue, Movie, StoreUnavailable
from movie_core.search.movies import LoadResult
from movie_core.testing import SAMPLE, SeenMoviesContract


class TestBatchedSeenMovies(SeenMoviesContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[BatchedSeenMovies]:
        seen = BatchedSeenMovies(MemoryMovieCatalogue(source="third_party"))
        yield seen
        await seen.close()


class CountedCatalogue(MemoryMovieCatalogue):
    loads = 0
    is_unavailable = False

    async def load(self, movies: Iterable[Movie], *, replace: bool = False, edition: str | None = None) -> LoadResult:
        self.loads += 1
        if self.is_unavailable:
            raise StoreUnavailable("unavailable")
        return await super().load(movies, replace=replace, edition=edition)


async def test_many_results_are_written_in_one_batch() -> None:
    catalogue = CountedCatalogue()
    seen = BatchedSeenMovies(catalogue)
    for movie in SAMPLE:
        seen.remember([movie])
    await seen.close()
    assert (catalogue.loads, await catalogue.count()) == (1, len(SAMPLE))


async def test_movies_are_buffered_while_the_store_is_unavailable() -> None:
    catalogue = CountedCatalogue()
    catalogue.is_unavailable = True
    seen = BatchedSeenMovies(catalogue)
    seen.remember(SAMPLE)
    await seen.flush()
    renamed = replace(SAMPLE[0], title="Renamed meanwhile")
    seen.remember([renamed])
    await seen.flush()
    assert seen.dropped == 0
    catalogue.is_unavailable = False
    await seen.close()
    assert await catalogue.count() == len(SAMPLE)
    assert (await catalogue.get(renamed.id)).movie == renamed


async def test_a_store_that_stays_unavailable_drops_movies_without_an_error() -> None:
    catalogue = CountedCatalogue()
    catalogue.is_unavailable = True
    seen = BatchedSeenMovies(catalogue)
    for number in range(MAX_PENDING + 5):
        seen.remember([Movie(id=str(number), title="A film")])
        if number == MAX_PENDING // 2:
            await seen.flush()
    assert seen.dropped == 5
    await seen.close()
    assert seen.dropped == MAX_PENDING + 5
