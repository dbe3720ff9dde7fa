from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from movie_core.memory import MemoryMovieCatalogue
from movie_core.paging import Window
from movie_core.search.decorator import MovieSourceDecorator
from movie_core.search.movies import Movie, MoviePage, MovieQuery
from movie_core.testing import SAMPLE, MovieSourceContract


class TestMovieSourceDecorator(MovieSourceContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[MovieSourceDecorator]:
        yield MovieSourceDecorator(MemoryMovieCatalogue(movies))


class Uppercase(MovieSourceDecorator):
    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        page = await super().search(query, window)
        items = tuple(Movie(id=movie.id, title=movie.title.upper()) for movie in page.items)
        return MoviePage(page.total, items, page.source)


async def test_a_subclass_changes_one_method_and_delegates_the_others() -> None:
    inner = MemoryMovieCatalogue(SAMPLE, source="third_party")
    source = Uppercase(inner)
    page = await source.search(MovieQuery("glass"), Window())
    assert [movie.title for movie in page.items] == ["THE GLASS ORRERY"]
    assert (source.name, source.capabilities) == ("third_party", inner.capabilities)
    assert (await source.get("201")).movie.title == "The Glass Orrery"
    assert await source.suggest("glass", 5) == await inner.suggest("glass", 5)
    assert await source.genres() == await inner.genres()
