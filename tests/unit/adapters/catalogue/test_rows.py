"""Databases match the rows of imports like an index of all movies."""

from collections.abc import Iterable

from hypothesis import given
from tests.support.catalogues import files

from movie_adapters.catalogue.rows import match_movies
from movie_adapters.catalogue.terms import index_entry
from movie_core.discovery.movie_matching import MovieIdentity, MovieIndex
from movie_core.search.movies import Movie


class Store:
    """Looks movies up by ids and index terms, as the databases do."""

    def __init__(self, movies: Iterable[Movie]) -> None:
        self._movies = list(movies)

    async def by_ids(self, ids: list[str], imdb_ids: list[str], tmdb_ids: list[str]) -> list[Movie]:
        return [
            movie for movie in self._movies if movie.id in ids or movie.imdb_id in imdb_ids or movie.tmdb_id in tmdb_ids
        ]

    async def by_terms(self, terms: list[str]) -> list[Movie]:
        return [movie for movie in self._movies if not set(terms).isdisjoint(index_entry(movie).terms)]


@given(files())
async def test_the_terms_of_a_title_find_every_movie_that_may_match(
    file: tuple[list[Movie], list[MovieIdentity]],
) -> None:
    movies, rows = file
    known, index = Store(movies[1:]), MovieIndex(movies[1:])
    assert await match_movies(rows, known.by_ids, known.by_terms) == list(map(index.match, rows))
