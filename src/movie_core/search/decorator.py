"""The base class of movie sources that wrap another one."""

from collections.abc import Sequence

from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.movies import Capability, FoundMovie, Genre, Movie, MoviePage, MovieQuery


class MovieSourceDecorator(MovieSource):
    """A `MovieSource` that delegates every method to `inner`; subclasses override what they change."""

    def __init__(self, inner: MovieSource) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._inner.capabilities

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        return await self._inner.search(query, window)

    async def get(self, movie_id: str) -> FoundMovie:
        return await self._inner.get(movie_id)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        return await self._inner.suggest(text, limit)

    async def genres(self) -> Sequence[Genre]:
        return await self._inner.genres()
