"""Contract of the `MovieSource` port."""

import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from unittest import SkipTest

from movie_core.errors import FilterUnsupported, MovieNotFound
from movie_core.paging import Window
from movie_core.ports import MovieSource
from movie_core.search.movies import Capability, Movie, MovieQuery, Order, Years
from movie_core.testing.shared import RIVER_IDS, SAMPLE, clause, collect_pages

_ODD_QUERIES = (
    *("'", '"', "*", "a OR b", "NEAR(a b)", "-", "%", "_", "\\", "(", "title:x", "; DROP TABLE movies", "{}"),
    *("x y&z=1/ä", "a&limit=1#?/../", "千と千尋", "π", "💡" * 200, "a" * 200, "a " * 100),
)


class MovieSourceContract:
    """Contract of every `MovieSource`. The numbers in test names are the clauses of the port.

    The clause of a capability is skipped for a source without it.
    """

    preserves_ids = True
    """Whether the source returns the ids of the movies that it was opened with."""

    def open(self, movies: Sequence[Movie]) -> AbstractAsyncContextManager[MovieSource]:
        """The adapter under test, with exactly these movies."""
        raise NotImplementedError

    @asynccontextmanager
    async def _open_sample(self, required: Capability) -> AsyncIterator[MovieSource]:
        async with self.open(SAMPLE) as source:
            if required not in source.capabilities:
                raise SkipTest(f"the source {source.name} does not have the capability {required}")
            yield source

    @clause
    async def test_2_a_filter_without_its_capability_is_rejected(self) -> None:
        async with self.open(SAMPLE) as source:
            missing = frozenset(Capability) - source.capabilities
            calls: dict[Capability, Callable[[], Awaitable[object]]] = {
                Capability.DETAILS: lambda: source.get("201"),
                Capability.SUGGEST: lambda: source.suggest("gla", 5),
                Capability.GENRES: source.genres,
                Capability.YEAR: lambda: source.search(MovieQuery(years=Years(1999, 1999)), Window()),
                Capability.GENRE: lambda: source.search(MovieQuery(genre="Drama"), Window()),
                Capability.ORDER: lambda: source.search(MovieQuery(order=Order.YEAR), Window()),
                Capability.EXCLUDE: lambda: source.search(MovieQuery(exclude_ids=frozenset(("201",))), Window()),
            }
            for capability in sorted(missing):
                try:
                    await calls[capability]()
                except FilterUnsupported:
                    continue
                raise AssertionError(f"{capability} is not among the capabilities, but the call succeeded")

    @clause
    async def test_3_the_total_counts_all_matches_for_any_window(self) -> None:
        async with self.open(SAMPLE) as source:
            for window in (Window(0, 1), Window(5, 10), Window(20, 100)):
                page = await source.search(MovieQuery("river"), window)
                assert page.total == len(RIVER_IDS), window
                assert page.source == source.name
                assert page.fetched_at.utcoffset() is not None

    @clause
    async def test_3_no_match_is_a_total_of_0_without_items(self) -> None:
        async with self.open(SAMPLE) as source:
            page = await source.search(MovieQuery("zzqxj wvvqk"), Window())
            assert (page.total, page.items) == (0, ())

    @clause
    async def test_3_an_empty_source_has_no_match(self) -> None:
        async with self.open(()) as source:
            page = await source.search(MovieQuery(), Window())
            assert (page.total, page.items) == (0, ())

    @clause
    async def test_4_a_window_is_filled_exactly(self) -> None:
        async with self.open(SAMPLE) as source:
            assert len((await source.search(MovieQuery("river"), Window(0, 10))).items) == 10
            assert len((await source.search(MovieQuery("river"), Window(20, 10))).items) == 3
            past = await source.search(MovieQuery("river"), Window(1000, 10))
            assert (past.total, past.items) == (len(RIVER_IDS), ())

    @clause
    async def test_5_consecutive_windows_visit_every_match_once(self) -> None:
        async with self.open(SAMPLE) as source:
            for limit in (1, 7, 10, 23, 24, 100):
                found = [movie.id for movie in await collect_pages(source, MovieQuery("river"), limit)]
                assert len(found) == len(set(found)) == len(RIVER_IDS), limit
                if self.preserves_ids:
                    assert set(found) == RIVER_IDS

    @clause
    async def test_5_the_order_is_the_same_for_every_window_size(self) -> None:
        async with self.open(SAMPLE) as source:
            expected = [movie.id for movie in await collect_pages(source, MovieQuery("river"), 100)]
            assert [movie.id for movie in await collect_pages(source, MovieQuery("river"), 4)] == expected

    @clause
    async def test_an_empty_query_finds_every_movie(self) -> None:
        async with self.open(SAMPLE) as source:
            assert len(await collect_pages(source, MovieQuery(), 10)) == len(SAMPLE)

    @clause
    async def test_6_every_item_matches_the_years(self) -> None:
        async with self._open_sample(Capability.YEAR) as source:
            years = [movie.year for movie in await collect_pages(source, MovieQuery(years=Years(1960, 1969)), 4)]
            assert sorted(year or 0 for year in years) == list(range(1960, 1970))

    @clause
    async def test_6_every_item_matches_the_genre(self) -> None:
        async with self._open_sample(Capability.GENRE) as source:
            for name in ("Western", "western"):
                westerns = await collect_pages(source, MovieQuery(genre=name), 5)
                assert len(westerns) == 8
                assert all("Western" in movie.genres for movie in westerns)
            none = await source.search(MovieQuery(genre="No such genre"), Window())
            assert (none.total, none.items) == (0, ())

    @clause
    async def test_6_items_follow_the_requested_order(self) -> None:
        async with self._open_sample(Capability.ORDER) as source:
            by_year = [movie.year or 0 for movie in await collect_pages(source, MovieQuery(order=Order.YEAR), 9)]
            assert by_year == sorted(by_year, reverse=True)
            by_popularity = await collect_pages(source, MovieQuery(order=Order.POPULARITY), 9)
            assert by_popularity[0].title == "The Glass Orrery"
            assert len(by_popularity) == len(SAMPLE)

    @clause
    async def test_7_items_have_an_id_and_a_clean_title(self) -> None:
        async with self.open(SAMPLE) as source:
            for movie in await collect_pages(source, MovieQuery(), 100):
                assert movie.id
                assert movie.title
                assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in movie.id + movie.title)

    @clause
    async def test_any_legal_query_is_answered(self) -> None:
        async with self.open(SAMPLE) as source:
            for text in _ODD_QUERIES:
                page = await source.search(MovieQuery(text), Window())
                assert page.total >= len(page.items)

    @clause
    async def test_8_a_movie_is_found_by_its_id(self) -> None:
        async with self._open_sample(Capability.DETAILS) as source:
            shown = (await source.search(MovieQuery("glass orrery"), Window())).items[0]
            movie = (await source.get(shown.id)).movie
            assert (movie.id, movie.title, movie.year) == (shown.id, "The Glass Orrery", 1999)

    @clause
    async def test_8_an_unknown_id_is_not_found(self) -> None:
        async with self._open_sample(Capability.DETAILS) as source:
            for movie_id in ("", "999999999", "../etc", "a" * 10_000, "\x00", "💡", "1 OR 1=1"):
                try:
                    await source.get(movie_id)
                except MovieNotFound:
                    continue
                raise AssertionError(f"{movie_id[:20]!r} was found")

    @clause
    async def test_9_suggestions_match_an_incomplete_word(self) -> None:
        async with self._open_sample(Capability.SUGGEST) as source:
            assert [movie.title for movie in await source.suggest("the glass", 10)][:1] == ["The Glass Orrery"]
            assert len(await source.suggest("river", 5)) == 5
            assert not await source.suggest("", 10)

    @clause
    async def test_10_genres_are_counted(self) -> None:
        async with self._open_sample(Capability.GENRES) as source:
            counted = [(genre.name, genre.movies) for genre in await source.genres()]
            assert counted == [("Comedy", 2), ("Drama", 23), ("Mystery", 2), ("Western", 8)]
