"""Test data and helpers that several contracts share."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.movies import Movie, MovieQuery

Suite = TypeVar("Suite")

_PLACES = (
    *("Amber", "Bay", "Calder", "Dover", "Elm", "Fallow", "Garnet", "Hollow", "Iron", "Juniper", "Kestrel", "Lantern"),
    *("Mallow", "North", "Orchard", "Pine", "Quarry", "Rowan", "Silver", "Tamar", "Umber", "Vale", "Willow"),
)

SAMPLE: tuple[Movie, ...] = (
    *(
        Movie(
            id=str(100 + number),
            title=f"{place} River",
            year=1950 + number,
            genres=("Drama", "Western") if number % 3 == 0 else ("Drama",),
            popularity=float(number),
        )
        for number, place in enumerate(_PLACES)
    ),
    Movie(id="201", title="The Glass Orrery", year=1999, genres=("Mystery",), popularity=50.0),
    Movie(id="202", title="Café Münchhausen", year=2004, genres=("Comedy", "Mystery"), popularity=7.0),
    Movie(id="203", title="Undated", genres=("Comedy",), popularity=1.0),
)
"""Fictional movies: 23 with the word River in the title, of the years 1950 to 1972, and three others."""
RIVER_IDS = frozenset(movie.id for movie in SAMPLE if "River" in movie.title)
"""Ids of the movies with the word River in their title."""


def clause(test: Callable[[Suite], Awaitable[None]]) -> Callable[[Suite], None]:
    """Make an async test synchronous, so that it runs without a plug-in. Its timeout only ends a test that hangs."""

    @functools.wraps(test)
    def run(self: Suite) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(300):
                await test(self)

        asyncio.run(bounded())

    return run


async def collect_pages(source: MovieSource, query: MovieQuery, limit: int) -> list[Movie]:
    """All matches of a query, fetched in pages of `limit` items."""
    movies: list[Movie] = []
    offset: int | None = 0
    while offset is not None:
        page = await source.search(query, Window(offset, limit))
        movies += page.items
        offset = Window(offset, limit).next_offset(page.total)
    return movies


NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ODD_STRINGS = ("", "\x00", "a\x00b", "\ud800", "💡", "' OR 1=1 --", "%", "a" * 10_240, "0" * 32, "0" * 64)
"""Strings that a client may send as an id, a token or a key."""


async def assert_raises(error: type[Exception], call: Awaitable[object]) -> None:
    try:
        await call
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")
