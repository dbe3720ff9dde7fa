"""`MemoryMovieCatalogue` and `MemorySeenMovies` follow the contracts of their ports."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from movie_core.memory import MemoryMovieCatalogue, MemorySeenMovies
from movie_core.search.movies import Movie
from movie_core.testing import MovieCatalogueContract, SeenMoviesContract


class TestMemoryMovieCatalogue(MovieCatalogueContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MemoryMovieCatalogue]:
        yield MemoryMovieCatalogue(movies)

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[MemoryMovieCatalogue, MemoryMovieCatalogue]]:
        yield MemoryMovieCatalogue(source="one"), MemoryMovieCatalogue(source="other")


class TestMemorySeenMovies(SeenMoviesContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemorySeenMovies]:
        yield MemorySeenMovies(MemoryMovieCatalogue(source="third_party"))
