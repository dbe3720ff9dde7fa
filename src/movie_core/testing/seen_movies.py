"""Contract of the `SeenMovies` port."""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from movie_core.ports import SeenMovies
from movie_core.search.movies import Movie
from movie_core.testing.shared import SAMPLE, clause


class SeenMoviesContract:
    """Contract of every `SeenMovies`. The numbers in test names are the clauses of the port."""

    def open(self) -> AbstractAsyncContextManager[SeenMovies]:
        """The adapter under test, empty."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_remembered_movies_are_found_after_a_flush(self) -> None:
        async with self.open() as seen:
            seen.remember(SAMPLE[:4])
            seen.remember((replace(SAMPLE[0], title="Seen Again"), *SAMPLE[2:6]))
            await seen.flush()
            assert await seen.movies.count() == 6
            assert (await seen.movies.get(SAMPLE[0].id)).movie.title == "Seen Again"

    @clause
    async def test_1_memory_is_bounded(self) -> None:
        async with self.open() as seen:
            for number in range(30_000):
                seen.remember((Movie(id=str(number), title="Movie"),))
            await seen.flush()
            assert 1 <= await seen.movies.count() < 30_000
