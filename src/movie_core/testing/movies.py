"""The suites of the ports about movies, and answers about them."""

import asyncio
import random
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from movie_core.discovery.ratings import MovieIdentity
from movie_core.errors import FilterUnsupported, MovieNotFound
from movie_core.paging import Window
from movie_core.ports import CacheStore, MovieCatalogue, MovieSource, SeenMovies
from movie_core.search.caching import CacheEntry, CacheStats, Lease
from movie_core.search.movies import Capability, LoadResult, Movie, MovieQuery, Order, Years
from movie_core.testing.shared import ODD_STRINGS, SAMPLE, clause, walk

_ODD_QUERIES = (
    *("'", '"', "*", "a OR b", "NEAR(a b)", "-", "%", "_", "\\", "(", "title:x", "; DROP TABLE movies", "{}"),
    *("x y&z=1/ä", "a&limit=1#?/../", "千と千尋", "π", "💡" * 200, "a" * 200, "a " * 100),
)

_NEVER_THERE = frozenset((*ODD_STRINGS, *(str(number) for number in range(10_000, 30_000))))
_RIVERS = frozenset(movie.id for movie in SAMPLE if "River" in movie.title)


class MovieSourceContract:
    """What every `MovieSource` keeps; the numbers are the clauses of `movie_core.ports`."""

    ids_are_kept = True
    """Whether the source answers with the ids of the movies that it was opened with."""

    def open(self, movies: Sequence[Movie]) -> AbstractAsyncContextManager[MovieSource]:
        """The adapter under test, holding just these movies."""
        raise NotImplementedError

    @clause
    async def test_2_what_a_source_is_not_able_to_do_is_refused(self) -> None:
        async with self.open(SAMPLE) as source:
            lacking = frozenset(Capability) - source.capabilities
            calls: dict[Capability, Callable[[], Awaitable[object]]] = {
                Capability.DETAILS: lambda: source.get("201"),
                Capability.SUGGEST: lambda: source.suggest("gla", 5),
                Capability.GENRES: source.genres,
                Capability.YEAR: lambda: source.search(MovieQuery(years=Years(1999, 1999)), Window()),
                Capability.GENRE: lambda: source.search(MovieQuery(genre="Drama"), Window()),
                Capability.ORDER: lambda: source.search(MovieQuery(order=Order.YEAR), Window()),
                Capability.EXCLUDE: lambda: source.search(MovieQuery(without=frozenset(("201",))), Window()),
            }
            for ability in sorted(lacking):
                try:
                    await calls[ability]()
                except FilterUnsupported:
                    continue
                raise AssertionError(f"{ability} is not among the abilities, but was answered")

    @clause
    async def test_3_the_total_counts_all_matches_whatever_the_window(self) -> None:
        async with self.open(SAMPLE) as source:
            for window in (Window(0, 1), Window(5, 10), Window(20, 100)):
                page = await source.search(MovieQuery("river"), window)
                assert page.total == len(_RIVERS), window
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
    async def test_4_a_window_is_filled_and_never_overfilled(self) -> None:
        async with self.open(SAMPLE) as source:
            assert len((await source.search(MovieQuery("river"), Window(0, 10))).items) == 10
            assert len((await source.search(MovieQuery("river"), Window(20, 10))).items) == 3
            past = await source.search(MovieQuery("river"), Window(1000, 10))
            assert (past.total, past.items) == (len(_RIVERS), ())

    @clause
    async def test_5_consecutive_windows_visit_every_match_once(self) -> None:
        async with self.open(SAMPLE) as source:
            for limit in (1, 7, 10, 23, 24, 100):
                found = [movie.id for movie in await walk(source, MovieQuery("river"), limit)]
                assert len(found) == len(set(found)) == len(_RIVERS), limit
                if self.ids_are_kept:
                    assert set(found) == _RIVERS

    @clause
    async def test_5_the_order_is_the_same_for_every_window_size(self) -> None:
        async with self.open(SAMPLE) as source:
            whole = [movie.id for movie in await walk(source, MovieQuery("river"), 100)]
            assert [movie.id for movie in await walk(source, MovieQuery("river"), 4)] == whole

    @clause
    async def test_an_empty_query_finds_every_movie(self) -> None:
        async with self.open(SAMPLE) as source:
            assert len(await walk(source, MovieQuery(), 10)) == len(SAMPLE)

    @clause
    async def test_6_every_item_is_of_the_years_and_the_genre(self) -> None:
        async with self.open(SAMPLE) as source:
            if Capability.YEAR in source.capabilities:
                years = [movie.year for movie in await walk(source, MovieQuery(years=Years(1960, 1969)), 4)]
                assert sorted(year or 0 for year in years) == list(range(1960, 1970))
            if Capability.GENRE in source.capabilities:
                for name in ("Western", "western"):
                    westerns = await walk(source, MovieQuery(genre=name), 5)
                    assert len(westerns) == 8
                    assert all("Western" in movie.genres for movie in westerns)
                none = await source.search(MovieQuery(genre="No such genre"), Window())
                assert (none.total, none.items) == (0, ())

    @clause
    async def test_6_an_order_is_kept(self) -> None:
        async with self.open(SAMPLE) as source:
            if Capability.ORDER in source.capabilities:
                by_year = [movie.year or 0 for movie in await walk(source, MovieQuery(order=Order.YEAR), 9)]
                assert by_year == sorted(by_year, reverse=True)
                known = await walk(source, MovieQuery(order=Order.POPULARITY), 9)
                assert known[0].title == "The Glass Orrery"
                assert len(known) == len(SAMPLE)

    @clause
    async def test_7_items_have_an_id_and_a_clean_title(self) -> None:
        async with self.open(SAMPLE) as source:
            for movie in await walk(source, MovieQuery(), 100):
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
    async def test_8_an_id_leads_to_its_movie(self) -> None:
        async with self.open(SAMPLE) as source:
            if Capability.DETAILS in source.capabilities:
                shown = (await source.search(MovieQuery("glass orrery"), Window())).items[0]
                movie = (await source.get(shown.id)).movie
                assert (movie.id, movie.title, movie.year) == (shown.id, "The Glass Orrery", 1999)

    @clause
    async def test_8_an_unknown_id_is_not_found(self) -> None:
        async with self.open(SAMPLE) as source:
            if Capability.DETAILS in source.capabilities:
                for movie_id in ("", "999999999", "../etc", "a" * 10_000, "\x00", "💡", "1 OR 1=1"):
                    try:
                        await source.get(movie_id)
                    except MovieNotFound:
                        continue
                    raise AssertionError(f"{movie_id[:20]!r} was found")

    @clause
    async def test_9_suggestions_come_while_typing(self) -> None:
        async with self.open(SAMPLE) as source:
            if Capability.SUGGEST in source.capabilities:
                assert [movie.title for movie in await source.suggest("the glass", 10)][:1] == ["The Glass Orrery"]
                assert len(await source.suggest("river", 5)) == 5
                assert not await source.suggest("", 10)

    @clause
    async def test_10_genres_are_counted(self) -> None:
        async with self.open(SAMPLE) as source:
            if Capability.GENRES in source.capabilities:
                counted = [(genre.name, genre.movies) for genre in await source.genres()]
                assert counted == [("Comedy", 2), ("Drama", 23), ("Mystery", 2), ("Western", 8)]


class MovieCatalogueContract(MovieSourceContract):
    """What every `MovieCatalogue` keeps on top."""

    def open(self, movies: Sequence[Movie]) -> AbstractAsyncContextManager[MovieCatalogue]:
        raise NotImplementedError

    def open_two(self) -> AbstractAsyncContextManager[tuple[MovieCatalogue, MovieCatalogue]]:
        """Two empty catalogues of different names over one store."""
        raise NotImplementedError

    @clause
    async def test_a_catalogue_is_able_to_do_everything(self) -> None:
        async with self.open(()) as catalogue:
            assert catalogue.capabilities == frozenset(Capability)

    @clause
    async def test_tiers_are_exact_then_prefix_then_words(self) -> None:
        titles = ("A Long Way to Marble", "Marble Arch at Night", "Marble")
        movies = [Movie(id=f"t{i}", title=title, popularity=100.0 - i) for i, title in enumerate(titles)]
        async with self.open(movies) as catalogue:
            found = await walk(catalogue, MovieQuery("marble"), 10)
            assert [movie.title for movie in found] == list(reversed(titles))

    @clause
    async def test_case_accents_and_alternative_titles_are_seen_through(self) -> None:
        other = Movie(id="900", title="Spirit of the Lake", alt_titles=("Le génie du lac",))
        async with self.open((*SAMPLE, other)) as catalogue:
            for text, movie_id in (("CAFE MUNCHHAUSEN", "202"), ("café munchhausen", "202"), ("genie du lac", "900")):
                assert (await catalogue.search(MovieQuery(text), Window())).items[0].id == movie_id, text

    @clause
    async def test_a_movie_comes_back_as_it_was_loaded(self) -> None:
        whole = Movie(
            id="x/1 ä",
            title="Whole",
            year=2001,
            genres=("Drama", "Western"),
            original_title="Ganz",
            overview="All.",
            runtime_minutes=90,
            directors=("A. Director",),
            cast=("B. Actor", "C. Actor"),
            countries=("Peru", "Chad"),
            poster_url="https://example.test/p.jpg",
            imdb_id="tt0000001",
            tmdb_id="1",
            popularity=2.5,
            alt_titles=("W",),
        )
        async with self.open((whole,)) as catalogue:
            assert (await catalogue.get(whole.id)).movie == whole
            assert (await catalogue.search(MovieQuery("whole"), Window())).items == (whole,)

    @clause
    async def test_11_a_load_adds_updates_and_may_be_repeated(self) -> None:
        async with self.open(SAMPLE[:5]) as catalogue:
            renamed = replace(SAMPLE[0], title="Renamed Brook", popularity=99.0)
            assert await catalogue.load((renamed, *SAMPLE[1:7])) == LoadResult(added=2, updated=1, unchanged=4)
            assert await catalogue.load((renamed, *SAMPLE[1:7])) == LoadResult(unchanged=7)
            assert await catalogue.count() == 7
            assert (await catalogue.search(MovieQuery("renamed brook"), Window())).items == (renamed,)
            assert (await catalogue.search(MovieQuery(SAMPLE[0].title), Window())).items[:1] != (renamed,)

    @clause
    async def test_11_the_last_of_several_with_one_id_counts(self) -> None:
        async with self.open(()) as catalogue:
            await catalogue.load([replace(SAMPLE[0], title=title) for title in ("First", "Second", "Third")])
            assert await catalogue.count() == 1
            assert (await catalogue.get(SAMPLE[0].id)).movie.title == "Third"

    @clause
    async def test_12_replace_removes_what_is_lacking(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            loaded = await catalogue.load(SAMPLE[:3], replace=True)
            assert loaded == LoadResult(unchanged=3, removed=len(SAMPLE) - 3)
            assert {movie.id for movie in await walk(catalogue, MovieQuery(), 10)} == {m.id for m in SAMPLE[:3]}
            assert (await catalogue.search(MovieQuery("glass orrery"), Window())).total == 0

    @clause
    async def test_12_an_iterable_that_raises_leaves_nothing_removed(self) -> None:
        def broken() -> Iterable[Movie]:
            yield SAMPLE[0]
            raise RuntimeError("broken file")

        async with self.open(SAMPLE) as catalogue:
            try:
                await catalogue.load(broken(), replace=True)
            except RuntimeError:
                pass
            else:
                raise AssertionError("the error of the iterable was lost")
            assert await catalogue.count() == len(SAMPLE)
            assert (await catalogue.search(MovieQuery("river"), Window())).total == len(_RIVERS)

    @clause
    async def test_13_an_edition_is_kept_with_its_load(self) -> None:
        async with self.open(()) as catalogue:
            assert await catalogue.edition() is None
            await catalogue.load(SAMPLE, edition="spring")
            assert await catalogue.edition() == "spring"
            await catalogue.load(SAMPLE[:2])
            assert await catalogue.edition() == "spring"

    @clause
    async def test_two_names_never_mix(self) -> None:
        async with self.open_two() as (one, other):
            await one.load(SAMPLE, edition="one")
            twin = replace(SAMPLE[0], title="Twin Brook")
            await other.load((twin,))
            assert [(await each.get(twin.id)).movie for each in (one, other)] == [SAMPLE[0], twin]
            assert (await one.count(), await other.count()) == (len(SAMPLE), 1)
            assert (await other.search(MovieQuery("river"), Window())).total == 0
            assert [genre.name for genre in await other.genres()] == ["Drama", "Western"]
            assert await other.edition() is None
            await other.load((), replace=True)
            assert (await one.count(), await other.count()) == (len(SAMPLE), 0)

    @clause
    async def test_movies_are_left_out_of_a_search_and_its_total(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            asked = (
                *(MovieQuery("river", order=order) for order in (Order.RELEVANCE, Order.POPULARITY, Order.YEAR)),
                *(MovieQuery("amber river"), MovieQuery("amber rivr"), MovieQuery("glass orrery"), MovieQuery()),
                *(MovieQuery("river", genre="Western"), MovieQuery(years=Years(1955, 1999), order=Order.YEAR)),
            )
            some = frozenset(movie.id for movie in SAMPLE if int(movie.id) % 3 == 0)
            for without in (some, frozenset(("201",)), frozenset(movie.id for movie in SAMPLE), _NEVER_THERE):
                for query in asked:
                    every = [movie.id for movie in await walk(catalogue, query, 100)]
                    lessened = replace(query, without=without)
                    left = [movie_id for movie_id in every if movie_id not in without]
                    for limit in (3, 100):
                        assert [movie.id for movie in await walk(catalogue, lessened, limit)] == left, query
                    assert (await catalogue.search(lessened, Window(500, 10))).total == len(left)

    @clause
    async def test_nothing_else_is_found_in_place_of_a_match_that_is_left_out(self) -> None:
        movies = (Movie(id="1", title="Quiet Harbour"), Movie(id="2", title="Quiet Hardour"))
        async with self.open(movies) as catalogue:
            for text in ("quiet harbour", "quiet harbou"):
                page = await catalogue.search(MovieQuery(text, without=frozenset("1")), Window())
                assert (page.total, page.items) == (0, ())

    @clause
    async def test_17_movies_are_found_by_their_ids(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            asked = [SAMPLE[3].id, "999999", *ODD_STRINGS, SAMPLE[-1].id, SAMPLE[3].id]
            assert await catalogue.get_many(asked) == {movie.id: movie for movie in (SAMPLE[3], SAMPLE[-1])}
            assert await catalogue.get_many(()) == {}
            many = {movie.id for movie in SAMPLE} | {str(number) for number in range(10_000, 50_000)}
            assert await catalogue.get_many(many) == {movie.id: movie for movie in SAMPLE}

    @clause
    async def test_18_the_best_known_come_first(self) -> None:
        fames = (1.0, 1.002, None, 0.0, 300.0, -1.0, 1.001)
        movies = [Movie(id=str(number), title=f"Film {number}", popularity=fame) for number, fame in enumerate(fames)]
        async with self.open(movies) as catalogue:
            for limit in (0, 1, 4, 7, 30_000):
                found = await catalogue.most_popular(limit)
                assert [movie.id for movie in found] == ["4", "1", "6", "0", "3", "5", "2"][:limit]
                assert all(movie in movies for movie in found)

    @clause
    async def test_19_ids_decide_before_titles(self) -> None:
        one = Movie(id="1", title="Marble", year=1990, imdb_id="tt0000001", tmdb_id="11")
        two = Movie(id="2", title="Granite", year=1991, imdb_id="tt0000002", tmdb_id="12")
        three, four = (Movie(id=movie_id, title="Slate", imdb_id="tt0000003") for movie_id in "34")
        async with self.open((one, two, three, four)) as catalogue:
            told = {
                MovieIdentity(movie_id="1", imdb_id="tt0000002"): one,
                MovieIdentity(movie_id="77", imdb_id="tt0000002", tmdb_id="11"): two,
                MovieIdentity(imdb_id="tt0000077", tmdb_id="11", title="Granite", year=1991): one,
                MovieIdentity(imdb_id="tt0000001", title="Granite", year=1991): one,
                MovieIdentity(imdb_id="tt0000077", tmdb_id="77", title="Granite", year=1991): two,
                MovieIdentity(imdb_id="tt0000003", title="Granite", year=1991): None,
                MovieIdentity(imdb_id="tt0000077"): None,
                MovieIdentity(tmdb_id="tt0000001"): None,
                MovieIdentity(imdb_id="", tmdb_id="", movie_id="", title="", year=None): None,
                MovieIdentity(): None,
            }
            assert await catalogue.match(list(told)) == list(told.values())
            assert not await catalogue.match(())

    @clause
    async def test_19_a_title_is_seen_through_its_spelling(self) -> None:
        movies = (
            *SAMPLE,
            Movie(id="1", title="The Marble, Cut", year=1990, alt_titles=("Der Marmor",)),
            Movie(id="2", title="Glue", year=1990, original_title="L'Été à Łódź"),
            Movie(id="3", title="Spider-Crab & Son's Tale", year=1990),
            Movie(id="4", title="!!!", year=1990),
            Movie(id="5", title="千と千尋", year=1990),
        )
        async with self.open(movies) as catalogue:
            for title, movie_id in {
                "Marble, Cut, The": "1",
                "the marble cut": "1",
                "THE MARBLE: CUT!": "1",
                "Marmor, Der": "1",
                "Marble, Cut": None,
                "The Marble": None,
                "l\u2019ete a Łodz": "2",
                "Été à Łódź, L'": "2",
                "Spidercrab and Sons Tale": "3",
                "spider crab & son\u2019s tale": "3",
                "!!!": "4",
                "!!": None,
                "千と千尋": "5",
                "Glass Orrery, The": None,
            }.items():
                (found,) = await catalogue.match([MovieIdentity(title=title, year=1990)])
                assert (found.id if found else None) == movie_id, title
            odd = [MovieIdentity(movie_id=text, imdb_id=text, tmdb_id=text, title=text) for text in ODD_STRINGS]
            assert await catalogue.match(odd) == [None] * len(odd)

    @clause
    async def test_19_the_year_tells_movies_of_one_title_apart(self) -> None:
        years = {
            "1": ("Dusk", 1950),
            "2": ("Dusk", 1951),
            "3": ("Dusk", 1980),
            "4": ("Noon", None),
            "5": ("Dawn", 2000),
        }
        years |= {
            "6": ("Eve", 1990),
            "7": ("Eve", 1990),
            "8": ("Eve", 1991),
            "9": ("Night", None),
            "10": ("Night", 2000),
        }
        movies = [Movie(id=movie_id, title=title, year=year) for movie_id, (title, year) in years.items()]
        async with self.open(movies) as catalogue:
            for (title, year), movie_id in {
                ("Dusk", 1950): "1",
                ("Dusk", 1951): "2",
                ("Dusk", 1952): "2",
                ("Dusk", 1949): "1",
                ("Dusk", 1979): "3",
                ("Dusk", 1982): None,
                ("Dusk", None): None,
                ("Noon", 1900): "4",
                ("Noon", None): "4",
                ("Dawn", None): "5",
                ("Dawn", 1999): "5",
                ("Dawn", 1998): None,
                ("Eve", 1990): None,
                ("Eve", 1991): "8",
                ("Eve", 1992): "8",
                ("Night", 2000): "10",
                ("Night", 2001): None,
                ("Night", 1950): "9",
            }.items():
                (found,) = await catalogue.match([MovieIdentity(title=title, year=year)])
                assert (found.id if found else None) == movie_id, (title, year)

    @clause
    async def test_19_many_are_told_at_once_in_their_order(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            wanted = [
                MovieIdentity(title=f"{movie.title} {number}" if number % 2 else movie.title, year=movie.year)
                for number in range(200)
                for movie in SAMPLE[:25]
            ]
            found = await catalogue.match(wanted)
            assert [one and one.id for one in found] == [
                None if number % 2 else movie.id for number in range(200) for movie in SAMPLE[:25]
            ]


class SeenMoviesContract:
    """What every `SeenMovies` keeps."""

    def open(self) -> AbstractAsyncContextManager[SeenMovies]:
        """The adapter under test, empty."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_what_is_remembered_is_found_after_a_flush(self) -> None:
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
                seen.remember((Movie(id=str(number), title="A flood"),))
            await seen.flush()
            assert 1 <= await seen.movies.count() < 30_000


class CacheStoreContract:
    """What every `CacheStore` keeps; the numbers are the clauses of `movie_core.ports`."""

    fills = 1000
    """How many answers of holders that may have lost their lease are written in a random order."""

    def open(self) -> AbstractAsyncContextManager[CacheStore]:
        """The store under test, without entries and leases."""
        raise NotImplementedError

    def now(self) -> float:
        """Overridden where the store has a clock of its own, as is `pass_time`."""
        return time.time()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def entry(self, value: bytes = b"an answer", *, fence: int = 1, seconds: float = 60.0) -> CacheEntry:
        """An entry that is past its `stale_until` after so many seconds."""
        now = self.now()
        return CacheEntry(value, now, now + seconds / 2, now + seconds, fence)

    @clause
    async def test_2_any_key_and_any_value_will_do(self) -> None:
        keys = ("a", "A", "a:b", "a*", "a?", "[a]", "{a}", "\\a", "x" * 200, '"', "%", "\x7f")
        values = (b"", b"\x00", b"\xff\xfe", b"\r\n", b"x" * 200_000)
        async with self.open() as store:
            entries = {key: self.entry(key.encode(), fence=number) for number, key in enumerate(keys, 1)}
            entries |= {f"value:{number}": self.entry(value) for number, value in enumerate(values)}
            for key, entry in entries.items():
                assert await store.write(key, entry), key
            for key, entry in entries.items():
                assert await store.read(key) == entry, key
            assert await store.clear() == len(entries)

    @clause
    async def test_3_there_is_no_entry_before_one_is_written(self) -> None:
        async with self.open() as store:
            assert await store.read("a") is None
            await store.lease("a", 30)
            assert await store.read("a") is None

    @clause
    async def test_3_an_entry_is_gone_after_its_stale_until(self) -> None:
        async with self.open() as store:
            assert await store.write("a", self.entry(seconds=1))
            assert await store.write("b", self.entry())
            await self.pass_time(1.1)
            assert await store.read("a") is None
            assert await store.read("b") is not None

    @clause
    async def test_4_one_of_many_at_once_has_the_lease(self) -> None:
        async with self.open() as store:
            leases = [one for one in await asyncio.gather(*(store.lease("a", 30) for _ in range(50))) if one]
            assert [lease.key for lease in leases] == ["a"]
            assert await store.lease("b", 30) is not None

    @clause
    async def test_4_a_lease_ends_by_itself_and_the_next_fence_is_greater(self) -> None:
        async with self.open() as store:
            fences = []
            for _ in range(3):
                lease = await store.lease("a", 0.05)
                assert lease is not None
                fences.append(lease.fence)
                await self.pass_time(0.1)
            assert fences == sorted(set(fences))

    @clause
    async def test_4_a_fence_is_greater_than_that_of_every_entry_and_lease_before(self) -> None:
        async with self.open() as store:
            newest = 0
            for ahead in (0, 3_600_000_000, 1):
                for is_cleared in (False, True):
                    lease = await store.lease("a", 30)
                    assert lease is not None
                    assert lease.fence > newest
                    newest = lease.fence + ahead
                    assert await store.write("a", self.entry(fence=newest))
                    await store.release(lease)
                    if is_cleared:
                        await store.clear()

    @clause
    async def test_5_a_lease_is_renewed(self) -> None:
        async with self.open() as store:
            lease = await store.lease("a", 1)
            assert lease is not None
            assert await store.renew(lease, 30)
            await self.pass_time(1.1)
            assert await store.lease("a", 30) is None
            assert await store.renew(lease, 0.05)
            await self.pass_time(0.1)
            assert await store.lease("a", 30) is not None

    @clause
    async def test_5_a_lease_that_has_ended_is_not_renewed(self) -> None:
        async with self.open() as store:
            old = await store.lease("a", 0.05)
            assert old is not None
            await self.pass_time(0.1)
            assert not await store.renew(old, 30)
            new = await store.lease("a", 1)
            assert new is not None
            assert not await store.renew(old, 30)
            assert not await store.renew(Lease("b", new.fence), 30)
            await self.pass_time(1.1)
            assert await store.lease("a", 30) is not None
            assert await store.lease("b", 30) is not None

    @clause
    async def test_6_a_released_lease_is_free(self) -> None:
        async with self.open() as store:
            first = await store.lease("a", 30)
            assert first is not None
            await store.release(first)
            second = await store.lease("a", 30)
            assert second is not None
            assert second.fence > first.fence
            assert not await store.renew(first, 30)

    @clause
    async def test_6_who_has_lost_a_lease_can_not_release_that_of_another(self) -> None:
        async with self.open() as store:
            old = await store.lease("a", 0.05)
            assert old is not None
            await self.pass_time(0.1)
            new = await store.lease("a", 30)
            assert new is not None
            await store.release(old)
            await store.release(Lease("nobody's", 1))
            assert await store.lease("a", 30) is None
            assert await store.renew(new, 30)

    @clause
    async def test_7_what_has_a_lesser_fence_changes_nothing(self) -> None:
        async with self.open() as store:
            newer = self.entry(b"newer", fence=1_700_000_000_000_002)
            assert await store.write("a", newer)
            assert not await store.write("a", self.entry(b"older", fence=1_700_000_000_000_001, seconds=3600))
            assert await store.read("a") == newer
            newest = self.entry(b"newest", fence=1_700_000_000_000_003)
            assert await store.write("a", newest)
            assert await store.read("a") == newest

    @clause
    async def test_7_what_is_past_its_stale_until_changes_nothing(self) -> None:
        async with self.open() as store:
            kept = self.entry(fence=1)
            assert await store.write("a", kept)
            for seconds in (0, -0.001, -3600):
                assert not await store.write("a", self.entry(b"too late", fence=2, seconds=seconds))
            assert await store.read("a") == kept

    @clause
    async def test_7_freshness_is_never_set_back_whoever_writes_and_when(self) -> None:
        chance = random.Random(11)
        async with self.open() as store:
            held: list[Lease] = []
            newest = 0

            async def fill() -> None:
                nonlocal newest
                for _ in range(self.fills // 8):
                    if (lease := await store.lease("a", 0.001)) is not None:
                        held.append(lease)
                    if held:
                        lease, before = chance.choice(held[-50:]), newest
                        is_kept = await store.write("a", self.entry(b"%d" % lease.fence, fence=lease.fence))
                        assert not (is_kept and lease.fence < before)
                        newest = max(newest, lease.fence)
                    before = newest
                    entry = await store.read("a")
                    assert entry is None or entry.value == b"%d" % entry.fence
                    assert (0 if entry is None else entry.fence) >= before
                    await self.pass_time(0.0)

            await asyncio.gather(*(fill() for _ in range(8)))
            assert newest

    @clause
    async def test_8_clear_forgets_entries_but_no_lease(self) -> None:
        async with self.open() as store:
            assert await store.clear() == 0
            lease = await store.lease("a", 30)
            assert lease is not None
            for number in range(1200):
                await store.write(f"key:{number}", self.entry())
            assert await store.clear() == 1200
            assert await store.read("key:7") is None
            assert await store.lease("a", 30) is None
            assert await store.renew(lease, 30)
            assert await store.clear() == 0

    @clause
    async def test_9_the_generation_changes_when_entries_are_cleared(self) -> None:
        async with self.open() as store:
            assert await store.generation() is None
            told = []
            for _ in range(2):
                await store.clear()
                told.append(await store.generation())
                await store.write("a", self.entry())
                await store.lease("a", 30)
                assert await store.generation() == told[-1]
            assert len({None, *told}) == 3

    @clause
    async def test_10_entries_and_their_bytes_are_counted(self) -> None:
        async with self.open() as store:
            assert await store.stats() == CacheStats(0, 0)
            for number in range(1000, 2200):
                await store.write(f"key:{number}", self.entry(b"x" * 100, fence=1))
                await store.write(f"key:{number}", self.entry(b"x" * 92, fence=2))
            await store.lease("a", 30)
            assert await store.stats() == CacheStats(1200, 120_000)
            await store.clear()
            assert await store.stats() == CacheStats(0, 0)
