"""The ports in memory keep the contracts that every other adapter keeps."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from movie_core import MemoryCatalogue, MemorySeenMovies, Movie
from movie_core.testing import CatalogueContract, SeenMoviesContract


class TestMemoryCatalogue(CatalogueContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MemoryCatalogue]:
        yield MemoryCatalogue(movies)

    @asynccontextmanager
    async def open_two(self) -> AsyncIterator[tuple[MemoryCatalogue, MemoryCatalogue]]:
        yield MemoryCatalogue(source="one"), MemoryCatalogue(source="other")


class TestMemorySeenMovies(SeenMoviesContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[MemorySeenMovies]:
        yield MemorySeenMovies(MemoryCatalogue(source="third_party"))
