"""Contract of the `MovieCatalogue` port."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from movie_core.discovery.ratings import MovieIdentity
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue
from movie_core.search.movies import Capability, LoadResult, Movie, MovieQuery, Order, Years
from movie_core.testing.movie_source import MovieSourceContract
from movie_core.testing.shared import ODD_STRINGS, RIVER_IDS, SAMPLE, clause, collect_pages

_SPELLINGS = {
    "...": ("\u2026", "\uff0e\uff0e\uff0e", ". . ."),
    "?": ("\uff1f",),
    "$": ("\uff04",),
    "Kaua\u02bbi \u02bbO\u02bbo": ("kauai oo", "Kaua\u02bci \u02bcO\u02bco", "Kaua'i 'O'o"),
    "Crab\u2011Man": ("crab-man", "Crab\u2013Man", "\uff23\uff52\uff41\uff42\uff0d\uff2d\uff41\uff4e"),
    "Ocean\u2019s Lamp": ("Ocean's Lamp", "oceans lamp"),
    "Glass\u00b2": ("glass 2", "[Glass]\u00b2"),
    "\u00c6ther\ufb01re": ("aetherfire", "AETHERFIRE"),
    "\u2764\ufe0f": ("\u2764",),
    "\u0401\u043b\u043a\u0438": ("\u0435\u043b\u043a\u0438",),
    "\u0645\u06cc\u200c\u062f": ("\u0645\u06cc\u062f", "\u0645\u064a\u062f"),
}
"""Titles and other spellings of each: full-width, typographic and invisible characters, symbols, accents."""
_UNKNOWN_IDS = frozenset((*ODD_STRINGS, *(str(number) for number in range(10_000, 30_000))))


class MovieCatalogueContract(MovieSourceContract):
    """Contract of every `MovieCatalogue`, in addition to that of `MovieSource`."""

    def open(self, movies: Sequence[Movie]) -> AbstractAsyncContextManager[MovieCatalogue]:
        raise NotImplementedError

    def open_two(self) -> AbstractAsyncContextManager[tuple[MovieCatalogue, MovieCatalogue]]:
        """Two empty catalogues of different names over one store."""
        raise NotImplementedError

    @clause
    async def test_a_catalogue_has_every_capability(self) -> None:
        async with self.open(()) as catalogue:
            assert catalogue.capabilities == frozenset(Capability)

    @clause
    async def test_tiers_are_exact_then_prefix_then_words(self) -> None:
        titles = ("A Long Way to Marble", "Marble Arch at Night", "Marble")
        movies = [Movie(id=f"t{i}", title=title, popularity=100.0 - i) for i, title in enumerate(titles)]
        async with self.open(movies) as catalogue:
            found = await collect_pages(catalogue, MovieQuery("marble"), 10)
            assert [movie.title for movie in found] == list(reversed(titles))

    @clause
    async def test_matching_ignores_case_and_accents_and_includes_alternative_titles(self) -> None:
        other = Movie(id="900", title="Spirit of the Lake", alt_titles=("Le génie du lac",))
        async with self.open((*SAMPLE, other)) as catalogue:
            for text, movie_id in (("CAFE MUNCHHAUSEN", "202"), ("café munchhausen", "202"), ("genie du lac", "900")):
                assert (await catalogue.search(MovieQuery(text), Window())).items[0].id == movie_id, text

    @clause
    async def test_full_width_and_typographic_characters_equal_plain_ones(self) -> None:
        async with self.open([Movie(id=title, title=title) for title in _SPELLINGS]) as catalogue:
            for title, spellings in _SPELLINGS.items():
                for text in (title, *spellings):
                    found = (await catalogue.search(MovieQuery(text), Window())).items
                    assert [movie.title for movie in found[:1]] == [title], text

    @clause
    async def test_an_id_or_url_of_imdb_or_tmdb_finds_the_movie(self) -> None:
        movies = (
            *SAMPLE,
            Movie(id="1", title="Marble", year=1990, imdb_id="tt0000001", tmdb_id="11"),
            Movie(id="2", title="Granite", year=1991, genres=("Drama",), imdb_id="tt12345678", tmdb_id="1"),
        )
        queries = {
            "tt0000001": "1",
            "TT0000001": "1",
            "tt1": "1",
            "tt12345678": "2",
            "https://www.imdb.com/title/tt12345678/": "2",
            "http://m.imdb.com/title/tt12345678?ref_=nv_sr_1": "2",
            "imdb.com/de/title/tt12345678/fullcredits#cast": "2",
            "https://www.themoviedb.org/movie/1": "2",
            "https://www.themoviedb.org/movie/11-marble?language=pt-BR": "1",
            "themoviedb.org/movie/11/cast": "1",
            "tt7654321": None,
            "https://www.imdb.com/title/tt7654321/": None,
            "https://www.themoviedb.org/movie/111": None,
        }
        async with self.open(movies) as catalogue:
            for text, movie_id in queries.items():
                page = await catalogue.search(MovieQuery(text), Window())
                assert [movie.id for movie in page.items] == ([movie_id] if movie_id else []), text
                assert page.total == len(page.items)
            for query in (
                MovieQuery("tt12345678", years=Years(1990, 1990)),
                MovieQuery("tt12345678", genre="Western"),
                MovieQuery("tt12345678", exclude_ids=frozenset(("2",))),
            ):
                assert (await catalogue.search(query, Window())).total == 0, query
            filtered = MovieQuery("tt12345678", years=Years(1991, 1991), genre="drama", order=Order.YEAR)
            assert [movie.id for movie in (await catalogue.search(filtered, Window())).items] == ["2"]
            assert [movie.id for movie in await catalogue.suggest("tt0000001", 5)] == ["1"]

    @clause
    async def test_a_movie_is_returned_as_loaded(self) -> None:
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
    async def test_11_a_load_adds_and_updates_and_is_idempotent(self) -> None:
        async with self.open(SAMPLE[:5]) as catalogue:
            renamed = replace(SAMPLE[0], title="Renamed Brook", popularity=99.0)
            assert await catalogue.load((renamed, *SAMPLE[1:7])) == LoadResult(added=2, updated=1, unchanged=4)
            assert await catalogue.load((renamed, *SAMPLE[1:7])) == LoadResult(unchanged=7)
            assert await catalogue.count() == 7
            assert (await catalogue.search(MovieQuery("renamed brook"), Window())).items == (renamed,)
            assert (await catalogue.search(MovieQuery(SAMPLE[0].title), Window())).items[:1] != (renamed,)

    @clause
    async def test_11_the_last_of_several_movies_with_one_id_is_stored(self) -> None:
        async with self.open(()) as catalogue:
            await catalogue.load([replace(SAMPLE[0], title=title) for title in ("First", "Second", "Third")])
            assert await catalogue.count() == 1
            assert (await catalogue.get(SAMPLE[0].id)).movie.title == "Third"

    @clause
    async def test_12_replace_deletes_missing_movies(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            loaded = await catalogue.load(SAMPLE[:3], replace=True)
            assert loaded == LoadResult(unchanged=3, removed=len(SAMPLE) - 3)
            assert {movie.id for movie in await collect_pages(catalogue, MovieQuery(), 10)} == {
                m.id for m in SAMPLE[:3]
            }
            assert (await catalogue.search(MovieQuery("glass orrery"), Window())).total == 0

    @clause
    async def test_12_a_failing_iterable_deletes_nothing(self) -> None:
        def broken() -> Iterable[Movie]:
            yield SAMPLE[0]
            raise RuntimeError("broken file")

        async with self.open(SAMPLE) as catalogue:
            try:
                await catalogue.load(broken(), replace=True)
            except RuntimeError:
                pass
            else:
                raise AssertionError("the error of the iterable was swallowed")
            assert await catalogue.count() == len(SAMPLE)
            assert (await catalogue.search(MovieQuery("river"), Window())).total == len(RIVER_IDS)

    @clause
    async def test_13_the_edition_of_a_load_is_stored(self) -> None:
        async with self.open(()) as catalogue:
            assert await catalogue.edition() is None
            await catalogue.load(SAMPLE, edition="spring")
            assert await catalogue.edition() == "spring"
            await catalogue.load(SAMPLE[:2])
            assert await catalogue.edition() == "spring"

    @clause
    async def test_catalogues_with_different_names_are_separate(self) -> None:
        async with self.open_two() as (first, second):
            await first.load(SAMPLE, edition="one")
            twin = replace(SAMPLE[0], title="Twin Brook")
            await second.load((twin,))
            assert [(await each.get(twin.id)).movie for each in (first, second)] == [SAMPLE[0], twin]
            assert (await first.count(), await second.count()) == (len(SAMPLE), 1)
            assert (await second.search(MovieQuery("river"), Window())).total == 0
            assert [genre.name for genre in await second.genres()] == ["Drama", "Western"]
            assert await second.edition() is None
            await second.load((), replace=True)
            assert (await first.count(), await second.count()) == (len(SAMPLE), 0)

    @clause
    async def test_excluded_movies_are_not_found_or_counted(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            queries = (
                *(MovieQuery("river", order=order) for order in (Order.RELEVANCE, Order.POPULARITY, Order.YEAR)),
                *(MovieQuery("amber river"), MovieQuery("amber rivr"), MovieQuery("glass orrery"), MovieQuery()),
                *(MovieQuery("river", genre="Western"), MovieQuery(years=Years(1955, 1999), order=Order.YEAR)),
            )
            every_third = frozenset(movie.id for movie in SAMPLE if int(movie.id) % 3 == 0)
            for without in (every_third, frozenset(("201",)), frozenset(movie.id for movie in SAMPLE), _UNKNOWN_IDS):
                for query in queries:
                    all_ids = [movie.id for movie in await collect_pages(catalogue, query, 100)]
                    excluding = replace(query, exclude_ids=without)
                    expected = [movie_id for movie_id in all_ids if movie_id not in without]
                    for limit in (3, 100):
                        assert [movie.id for movie in await collect_pages(catalogue, excluding, limit)] == expected, (
                            query
                        )
                    assert (await catalogue.search(excluding, Window(500, 10))).total == len(expected)

    @clause
    async def test_an_excluded_match_is_not_replaced_by_a_weaker_one(self) -> None:
        movies = (Movie(id="1", title="Quiet Harbour"), Movie(id="2", title="Quiet Hardour"))
        async with self.open(movies) as catalogue:
            for text in ("quiet harbour", "quiet harbou"):
                page = await catalogue.search(MovieQuery(text, exclude_ids=frozenset("1")), Window())
                assert (page.total, page.items) == (0, ())

    @clause
    async def test_17_movies_are_found_by_their_ids(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            ids = [SAMPLE[3].id, "999999", *ODD_STRINGS, SAMPLE[-1].id, SAMPLE[3].id]
            assert await catalogue.get_many(ids) == {movie.id: movie for movie in (SAMPLE[3], SAMPLE[-1])}
            assert await catalogue.get_many(()) == {}
            many = {movie.id for movie in SAMPLE} | {str(number) for number in range(10_000, 50_000)}
            assert await catalogue.get_many(many) == {movie.id: movie for movie in SAMPLE}

    @clause
    async def test_18_the_most_popular_movies_are_returned_first(self) -> None:
        popularities = (1.0, 1.002, None, 0.0, 300.0, -1.0, 1.001)
        movies = [
            Movie(id=str(number), title=f"Film {number}", popularity=popularity)
            for number, popularity in enumerate(popularities)
        ]
        async with self.open(movies) as catalogue:
            for limit in (0, 1, 4, 7, 30_000):
                found = await catalogue.most_popular(limit)
                assert [movie.id for movie in found] == ["4", "1", "6", "0", "3", "5", "2"][:limit]
                assert all(movie in movies for movie in found)

    @clause
    async def test_19_ids_take_precedence_over_titles(self) -> None:
        first = Movie(id="1", title="Marble", year=1990, imdb_id="tt0000001", tmdb_id="11")
        second = Movie(id="2", title="Granite", year=1991, imdb_id="tt0000002", tmdb_id="12")
        third, fourth = (Movie(id=movie_id, title="Slate", imdb_id="tt0000003") for movie_id in "34")
        async with self.open((first, second, third, fourth)) as catalogue:
            expected = {
                MovieIdentity(movie_id="1", imdb_id="tt0000002"): first,
                MovieIdentity(movie_id="77", imdb_id="tt0000002", tmdb_id="11"): second,
                MovieIdentity(imdb_id="tt0000077", tmdb_id="11", title="Granite", year=1991): first,
                MovieIdentity(imdb_id="tt0000001", title="Granite", year=1991): first,
                MovieIdentity(imdb_id="tt0000077", tmdb_id="77", title="Granite", year=1991): second,
                MovieIdentity(imdb_id="tt0000003", title="Granite", year=1991): None,
                MovieIdentity(imdb_id="tt0000077"): None,
                MovieIdentity(tmdb_id="tt0000001"): None,
                MovieIdentity(imdb_id="", tmdb_id="", movie_id="", title="", year=None): None,
                MovieIdentity(): None,
            }
            assert await catalogue.match(list(expected)) == list(expected.values())
            assert not await catalogue.match(())

    @clause
    async def test_19_a_title_matches_in_any_spelling(self) -> None:
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
    async def test_19_the_year_distinguishes_movies_with_the_same_title(self) -> None:
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
    async def test_19_many_identities_are_matched_in_order(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            identities = [
                MovieIdentity(title=f"{movie.title} {number}" if number % 2 else movie.title, year=movie.year)
                for number in range(200)
                for movie in SAMPLE[:25]
            ]
            found = await catalogue.match(identities)
            assert [match and match.id for match in found] == [
                None if number % 2 else movie.id for number in range(200) for movie in SAMPLE[:25]
            ]
