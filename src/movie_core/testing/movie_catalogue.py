"""Contract of the `MovieCatalogue` port."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from movie_core.discovery.movie_matching import MatchedBy, MismatchReason, MovieIdentity, MovieMatch
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue
from movie_core.search.movies import Capability, ListedMovie, LoadResult, Movie, MovieQuery, Order, Years
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


def _listed(movie: Movie, *fields: str, has_own_id: bool = False) -> ListedMovie:
    return ListedMovie(movie, frozenset(("title", *fields)), has_own_id)


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
        fifth = Movie(id="5", title="Chalk", year=1992, imdb_id="tt0000000", tmdb_id="0")
        async with self.open((first, second, third, fourth, fifth)) as catalogue:
            expected = {
                MovieIdentity(movie_id="1"): "1 by movie_id",
                MovieIdentity(movie_id="1", title="MARBLE", year=1991): "1 by movie_id",
                MovieIdentity(movie_id="1", title="Granite", year=1991): "2 by title_year",
                MovieIdentity(movie_id="1", imdb_id="tt0000002"): "2 by imdb_id",
                MovieIdentity(movie_id="77", imdb_id="tt0000002", tmdb_id="12"): "2 by imdb_id",
                MovieIdentity(imdb_id="tt0000001", title="Granite", year=1991): "1 by imdb_id",
                MovieIdentity(tmdb_id="11", title="Granite", year=1991): "1 by tmdb_id",
                MovieIdentity(imdb_id="tt0000003", title="Granite", year=1991): "3 by imdb_id",
                MovieIdentity(title="Slate", year=1950): "3 by near_year",
                MovieIdentity(imdb_id="tt0000077", title="Chalk", year=1992): "5 by title_year",
                MovieIdentity(imdb_id="tt0000077", tmdb_id="11", title="Marble", year=1990): MismatchReason.OTHER_ID,
                MovieIdentity(imdb_id="tt0000001", tmdb_id="12"): MismatchReason.UNKNOWN,
                MovieIdentity(imdb_id="tt0000000", tmdb_id="0"): MismatchReason.UNKNOWN,
                MovieIdentity(imdb_id="tt0000077"): MismatchReason.UNKNOWN,
                MovieIdentity(tmdb_id="tt0000001"): MismatchReason.UNKNOWN,
                MovieIdentity(imdb_id="", tmdb_id="", movie_id="", title="", year=None): MismatchReason.UNKNOWN,
                MovieIdentity(): MismatchReason.UNKNOWN,
            }
            found = dict(zip(expected, await _match(catalogue, *expected), strict=True))
            assert found == expected
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
            Movie(id="6", title="The Quarry: Part II", year=1990),
            Movie(id="7", title="Slate, Volume One", year=1990),
        )
        async with self.open(movies) as catalogue:
            for title, movie_id in {
                "The Quarry 2": "6",
                "Quarry: Part Two, The": "6",
                "Quarry 2": None,
                "Slate, Vol. 1": "7",
                "Slate 2": None,
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
            }.items():
                found = f"{movie_id} by title_year" if movie_id else MismatchReason.UNKNOWN
                for identity in (
                    MovieIdentity(title=title, year=1990),
                    MovieIdentity(title="X", original_title=title, year=1990),
                    MovieIdentity(title="X", alt_titles=("Y", title), year=1990),
                ):
                    assert await _match(catalogue, identity) == [found], title
            odd = [MovieIdentity(movie_id=text, imdb_id=text, tmdb_id=text, title=text) for text in ODD_STRINGS]
            assert set(await _match(catalogue, *odd)) == {MismatchReason.UNKNOWN}

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
            for (title, year), found in {
                ("Dusk", 1950): "1 by title_year",
                ("Dusk", 1951): "2 by title_year",
                ("Dusk", 1952): "2 by near_year",
                ("Dusk", 1949): "1 by near_year",
                ("Dusk", 1979): "3 by near_year",
                ("Dusk", 1982): MismatchReason.OTHER_YEAR,
                ("Dusk", None): MismatchReason.AMBIGUOUS,
                ("Noon", 1900): "4 by near_year",
                ("Noon", None): "4 by near_year",
                ("Dawn", None): "5 by near_year",
                ("Dawn", 1999): "5 by near_year",
                ("Dawn", 1998): MismatchReason.OTHER_YEAR,
                ("Eve", 1990): MismatchReason.AMBIGUOUS,
                ("Eve", 1991): "8 by title_year",
                ("Eve", 1992): "8 by near_year",
                ("Night", 2000): "10 by title_year",
                ("Night", 2001): MismatchReason.AMBIGUOUS,
                ("Night", 1950): "9 by near_year",
            }.items():
                assert await _match(catalogue, MovieIdentity(title=title, year=year)) == [found], (title, year)

    @clause
    async def test_19_many_identities_are_matched_in_order(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            identities = [
                MovieIdentity(
                    title=f"{movie.title} {number}" if number % 2 else movie.title,
                    original_title=f"Original Title {number}",
                    alt_titles=(f"Other Title {number}", f"The Third Title {number}"),
                    year=movie.year,
                )
                for number in range(200)
                for movie in SAMPLE[:25]
            ]
            assert await _match(catalogue, *identities) == [
                MismatchReason.UNKNOWN if number % 2 else f"{movie.id} by {MatchedBy.TITLE_YEAR}"
                for number in range(200)
                for movie in SAMPLE[:25]
            ]

    @clause
    async def test_20_a_known_imdb_id_identifies_the_movie_whatever_else_differs(self) -> None:
        stored = Movie(id="m1", title="Marble", year=1990, cast=("A. Actor",), countries=("Peru",), imdb_id="tt0000001")
        async with self.open((stored, *SAMPLE)) as catalogue:
            row = Movie(id="9", title="Der Marmor", year=2004, genres=("War",), imdb_id="tt0000001", tmdb_id="7")
            listed = _listed(row, "year", "genres", "imdb_id", "tmdb_id", has_own_id=True)
            assert await catalogue.import_list([listed]) == LoadResult(updated=1)
            assert await catalogue.import_list([listed]) == LoadResult(unchanged=1)
            merged = replace(row, id="m1", cast=stored.cast, countries=stored.countries)
            assert (await catalogue.get("m1")).movie == merged
            assert (await catalogue.search(MovieQuery("der marmor"), Window())).items == (merged,)
            assert (await catalogue.search(MovieQuery("marble"), Window())).total == 0
            assert await catalogue.count() == 1 + len(SAMPLE)

    @clause
    async def test_20_fields_that_a_list_lacks_or_leaves_empty_do_not_change(self) -> None:
        stored = Movie(id="m1", title="Marble", year=1990, overview="Stone.", genres=("War",), popularity=3.0)
        async with self.open((stored,)) as catalogue:
            row = _listed(Movie(id="m1", title="Marble"), "year", "overview", "genres", has_own_id=True)
            assert await catalogue.import_list([row]) == LoadResult(unchanged=1)
            assert await catalogue.import_list([row], replace=True) == LoadResult(updated=1)
            assert (await catalogue.get("m1")).movie == Movie(id="m1", title="Marble", popularity=3.0)

    @clause
    async def test_20_a_generated_id_survives_corrections(self) -> None:
        await self._check_corrections(replaces=False)

    @clause
    async def test_20_a_generated_id_survives_corrections_that_replace_the_catalogue(self) -> None:
        await self._check_corrections(replaces=True)

    async def _check_corrections(self, *, replaces: bool) -> None:
        first = Movie(id="marble-1948-joe-cotten", title="Marble", year=1948, cast=("Joe Cotten",))
        async with self.open(SAMPLE) as catalogue:
            await catalogue.import_list([_listed(first, "year", "cast")], replace=replaces)
            second = replace(first, id="marble-1949-c-reid", year=1949, directors=("C. Reid",))
            listed = _listed(second, "year", "cast", "directors")
            assert (await catalogue.import_list([listed], replace=replaces)).added == 0
            assert (await catalogue.get(first.id)).movie == replace(second, id=first.id)
            third = replace(second, id="marble-1949-joe-cotton", cast=("Joe Cotton",), imdb_id="tt0000009")
            listed = _listed(third, "cast", "imdb_id")
            assert (await catalogue.import_list([listed], replace=replaces)).added == 0
            assert await catalogue.count() == (1 if replaces else 1 + len(SAMPLE))
            assert (await catalogue.get(first.id)).movie.imdb_id == "tt0000009"

    @clause
    async def test_20_movies_of_the_same_name_keep_their_ids_in_any_order(self) -> None:
        horror = Movie(id="night-2020", title="Night", year=2020, overview="A hotel.")
        short = Movie(id="night-2020-2", title="Night", year=2020, overview="A short.")
        async with self.open(SAMPLE) as catalogue:
            await catalogue.import_list([_listed(movie, "year", "overview") for movie in (horror, short)])
            swapped = (replace(short, id=horror.id), replace(horror, id=short.id))
            for rows in (swapped, swapped[:1], swapped[1:]):
                result = await catalogue.import_list([_listed(movie, "year", "overview") for movie in rows])
                assert (result.added, result.updated) == (0, 0)
            assert [(await catalogue.get(movie.id)).movie for movie in (horror, short)] == [horror, short]
            other = Movie(id="night-2020", title="Night", year=2020, directors=("N. Body",), overview="Another.")
            assert (await catalogue.import_list([_listed(other, "year", "directors", "overview")])).added == 1
            assert (await catalogue.get(horror.id)).movie == horror

    @clause
    async def test_20_a_movie_of_another_provider_is_the_stored_one_of_its_title_and_year(self) -> None:
        stored = (
            Movie(id="a", title="The Marble", year=1990, cast=("A. Actor",)),
            Movie(id="b", title="Granite", year=1934, directors=("A. Hitch",)),
            Movie(id="c", title="Slate", year=1990, imdb_id="tt0000003"),
            Movie(id="d", title="Dusk", year=1990),
            Movie(id="e", title="Dusk", year=1990),
            Movie(id="f", title="Chalk", year=1990),
            Movie(id="g", title="Flint", year=1991),
            Movie(id="h", title="Basalt", year=2022, directors=("R. Zee",)),
        )
        async with self.open(stored) as catalogue:
            rows = [
                Movie(id="1", title="Marble, The", year=1990, imdb_id="tt0000011"),
                Movie(id="2", title="Granite", year=1956, directors=("A. Hitch",), imdb_id="tt0000012"),
                Movie(id="3", title="Slate", year=1990, imdb_id="tt0000013"),
                Movie(id="4", title="Dusk", year=1990, imdb_id="tt0000014"),
                Movie(id="5", title="Chalk", year=1991, imdb_id="tt0000015"),
                Movie(id="6", title="Flint", year=1993, imdb_id="tt0000016"),
                Movie(id="7", title="Basalt", year=2022, directors=("G. Bull",), imdb_id="tt0000017"),
            ]
            listed = [_listed(movie, "year", "directors", "imdb_id") for movie in rows]
            assert await catalogue.import_list(listed) == LoadResult(added=5, updated=2)
            assert await catalogue.import_list(listed) == LoadResult(unchanged=7)
            for number, movie_id in enumerate(("a", "2", "3", "4", "f", "6", "7"), 11):
                matches = await _match(catalogue, MovieIdentity(imdb_id=f"tt00000{number}"))
                assert matches == [f"{movie_id} by {MatchedBy.IMDB_ID}"]

    @clause
    async def test_20_ids_of_different_providers_do_not_mix(self) -> None:
        async with self.open((Movie(id="862", title="Marble", imdb_id="tt0000001"),)) as catalogue:
            row = Movie(id="862", title="Granite", imdb_id="tt0000002")
            await catalogue.import_list([_listed(row, "imdb_id", has_own_id=True)])
            assert (await catalogue.get("862")).movie.title == "Marble"
            assert (await catalogue.get("tt0000002")).movie.title == "Granite"
            corrected = Movie(id="862", title="Marble", imdb_id="tt0000009")
            await catalogue.import_list([_listed(corrected, "imdb_id", has_own_id=True)])
            assert (await catalogue.get("862")).movie == corrected

    @clause
    async def test_20_replace_and_edition_are_those_of_load(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            listed = [_listed(movie, "year", has_own_id=True) for movie in SAMPLE[:3]]
            result = await catalogue.import_list(listed, replace=True, edition="mine")
            assert result == LoadResult(unchanged=3, removed=len(SAMPLE) - 3)
            assert (await catalogue.edition(), await catalogue.count()) == ("mine", 3)

    @clause
    async def test_21_movies_are_removed_by_id(self) -> None:
        async with self.open(SAMPLE) as catalogue:
            assert await catalogue.remove((*ODD_STRINGS, SAMPLE[0].id, "201", "999999")) == 2
            assert await catalogue.remove((SAMPLE[0].id,)) == 0
            assert await catalogue.count() == len(SAMPLE) - 2
            assert (await catalogue.search(MovieQuery("glass orrery"), Window())).total == 0
            assert await catalogue.remove(()) == 0


async def _match(catalogue: MovieCatalogue, *identities: MovieIdentity) -> list[str]:
    """The id of each match and what identified it, or the reason why there is none."""
    return [
        f"{match.movie.id} by {match.by}" if isinstance(match, MovieMatch) else match.reason
        for match in await catalogue.match(identities)
    ]
