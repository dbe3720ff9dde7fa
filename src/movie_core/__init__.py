"""Movie search rules and ports; needs nothing but the standard library.

Searching a list of movies:

>>> import asyncio
>>> from movie_core import Catalog, MemoryCatalogue, Movie, MovieQuery, Window
>>> movies = [
...     Movie(id="603", title="The Matrix", year=1999, genres=("Action", "Science Fiction")),
...     Movie(id="604", title="The Matrix Reloaded", year=2003, genres=("Action",)),
...     Movie(id="129", title="Spirited Away", year=2001, genres=("Animation",)),
... ]
>>> catalog = Catalog(MemoryCatalogue(movies))
>>> page = asyncio.run(catalog.search(MovieQuery("the matrix"), Window(offset=0, limit=10)))
>>> page.total, [movie.title for movie in page.items]
(2, ['The Matrix', 'The Matrix Reloaded'])

Errors belong to five families, and each has a code that stays stable:

>>> from movie_core import MovieNotFound
>>> try:
...     asyncio.run(catalog.search(MovieQuery("casablanca"), Window()))
... except MovieNotFound as error:
...     print(error.code)
movie_not_found

To search another source, write a class with the methods of `movie_core.ports.MovieSource`, and prove it with
`movie_core.testing.MovieSourceContract`.
"""

from movie_core.catalog import Catalog
from movie_core.errors import (
    Conflict,
    Denied,
    FilterUnsupported,
    Invalid,
    InvalidOffsetOrLimit,
    InvalidParameter,
    InvalidQuery,
    InvalidToken,
    MovieError,
    MovieNotFound,
    NotAuthenticated,
    NotFound,
    PageOutOfRange,
    SourceUnavailable,
    StoreUnavailable,
    Unavailable,
)
from movie_core.memory import MemoryCatalogue, MemorySeenMovies
from movie_core.movies import (
    Ability,
    FoundMovie,
    Genre,
    Loaded,
    Movie,
    MoviePage,
    MovieQuery,
    Order,
    State,
    Years,
    normalise_query,
)
from movie_core.paging import PageInfo, PageLinks, Window

__all__ = [
    "Ability",
    "Catalog",
    "Conflict",
    "Denied",
    "FilterUnsupported",
    "FoundMovie",
    "Genre",
    "Invalid",
    "InvalidOffsetOrLimit",
    "InvalidParameter",
    "InvalidQuery",
    "InvalidToken",
    "Loaded",
    "MemoryCatalogue",
    "MemorySeenMovies",
    "Movie",
    "MovieError",
    "MovieNotFound",
    "MoviePage",
    "MovieQuery",
    "NotAuthenticated",
    "NotFound",
    "Order",
    "PageInfo",
    "PageLinks",
    "PageOutOfRange",
    "SourceUnavailable",
    "State",
    "StoreUnavailable",
    "Unavailable",
    "Window",
    "Years",
    "normalise_query",
]
