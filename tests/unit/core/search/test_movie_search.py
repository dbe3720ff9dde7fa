import asyncio
from collections.abc import Sequence

import pytest
from tests.support.virtual_time import settle

from movie_core import (
    Capability,
    FilterUnsupported,
    FoundMovie,
    Genre,
    MemoryMovieCatalogue,
    Movie,
    MovieNotFound,
    MoviePage,
    MovieQuery,
    MovieSearch,
    Order,
    SourceUnavailable,
    StoreUnavailable,
    Window,
)
from movie_core.errors import InvalidQuery, PageOutOfRange
from movie_core.memory import MemorySeenMovies
from movie_core.provenance import CacheStatus
from movie_core.search.movies import NoMatch
from movie_core.testing import SAMPLE


class PlainSource(MemoryMovieCatalogue):
    """A source that supports text search only, and can be unavailable."""

    name = "third_party"
    capabilities: frozenset[Capability] = frozenset()
    is_unavailable = False

    def _check(self, capability: Capability | None = None) -> None:
        if capability is not None and capability not in self.capabilities:
            raise FilterUnsupported(f"no {capability}")
        if self.is_unavailable:
            raise SourceUnavailable("unavailable")

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        self._check()
        return await super().search(query, window)

    async def get(self, movie_id: str) -> FoundMovie:
        self._check(Capability.DETAILS)
        return await super().get(movie_id)

    async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
        self._check(Capability.SUGGEST)
        return await super().suggest(text, limit)

    async def genres(self) -> Sequence[Genre]:
        self._check(Capability.GENRES)
        return await super().genres()


def plain() -> tuple[PlainSource, MemorySeenMovies, MovieSearch]:
    source = PlainSource(SAMPLE, source="third_party")
    seen = MemorySeenMovies(MemoryMovieCatalogue(source="third_party"))
    return source, seen, MovieSearch(source, seen)


async def test_no_match_is_not_found_whatever_the_offset() -> None:
    movie_search = MovieSearch(MemoryMovieCatalogue(SAMPLE))
    for offset in (0, 500):
        with pytest.raises(MovieNotFound):
            await movie_search.search(MovieQuery("zzqxj"), Window(offset))


async def test_no_match_has_the_empty_page() -> None:
    with pytest.raises(NoMatch) as error:
        await MovieSearch(MemoryMovieCatalogue(SAMPLE)).search(MovieQuery("zzqxj"), Window())
    assert (error.value.page.total, error.value.page.source) == (0, "catalogue")
    assert error.value.code == MovieNotFound.code


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        (MovieQuery.parse("glass", year="1850"), ["The Glass Orrery"]),
        (MovieQuery.parse("the glass orrery", year="1850"), []),  # the text itself is no alternative
        (MovieQuery("orrery online free"), ["The Glass Orrery"]),
        (MovieQuery("orrery zzqxjzzqxj"), ["The Glass Orrery"]),
        (MovieQuery("zzqxj"), []),
        (MovieQuery("zzqxj jqxzz"), []),
        (MovieQuery.parse(year="1850"), []),
        (MovieQuery("a b c"), []),
    ],
)
async def test_the_closest_titles_match_without_filters_or_one_word(query: MovieQuery, titles: list[str]) -> None:
    assert list(await MovieSearch(MemoryMovieCatalogue(SAMPLE)).closest_titles(query)) == titles


async def test_at_most_five_titles_are_suggested_each_once() -> None:
    movies = [Movie(id=str(number), title=f"River {number // 2}") for number in range(20)]
    titles = await MovieSearch(MemoryMovieCatalogue(movies)).closest_titles(MovieQuery.parse("river", year="1850"))
    assert len(set(titles)) == len(titles) <= 5


async def test_no_title_is_suggested_for_a_word_that_matches_something_else() -> None:
    movies = [Movie(id="1", title="Priscilla", directors=("Sofia Coppola",), alt_titles=("Coppola",))]
    assert not await MovieSearch(MemoryMovieCatalogue(movies)).closest_titles(MovieQuery("coppola zzqxj"))


async def test_the_closest_titles_are_stored_ones_if_movies_are_stored() -> None:
    source, seen, movie_search = plain()
    source.is_unavailable = True
    assert not await movie_search.closest_titles(MovieQuery("glass"))
    await seen.movies.load(SAMPLE)
    assert await movie_search.closest_titles(MovieQuery("glass")) == ["The Glass Orrery"]


async def test_a_source_without_suggestions_and_stored_movies_has_no_closest_titles() -> None:
    assert await MovieSearch(PlainSource(SAMPLE)).closest_titles(MovieQuery("glass")) == ()


@pytest.mark.parametrize("error", [StoreUnavailable("away"), SourceUnavailable("away"), TimeoutError()])
async def test_a_failing_store_has_no_closest_titles(error: Exception) -> None:
    class Failing(MemoryMovieCatalogue):
        async def suggest(self, text: str, limit: int) -> Sequence[Movie]:
            raise error

    assert await MovieSearch(Failing(SAMPLE)).closest_titles(MovieQuery("glass orrery")) == []


async def test_a_page_past_the_end_is_rejected() -> None:
    with pytest.raises(PageOutOfRange, match="23 items on 3 pages"):
        await MovieSearch(MemoryMovieCatalogue(SAMPLE)).search(MovieQuery("river"), Window(23))


@pytest.mark.parametrize(
    "query", [MovieQuery(order=Order.YEAR), MovieQuery(genre="Drama"), MovieQuery.parse(year="1999")]
)
async def test_an_unsupported_filter_is_rejected_without_a_call(query: MovieQuery) -> None:
    source, _, movie_search = plain()
    source.is_unavailable = True
    with pytest.raises(FilterUnsupported):
        await movie_search.search(query, Window())


async def test_movies_of_results_have_details() -> None:
    _, seen, movie_search = plain()
    with pytest.raises(MovieNotFound):
        await movie_search.get("201")
    await movie_search.search(MovieQuery("glass"), Window())
    await seen.flush()
    found = await movie_search.get("201")
    assert (found.movie.title, found.source) == ("The Glass Orrery", "local")
    assert [movie.id for movie in await movie_search.suggest("gla")] == ["201"]
    assert await movie_search.genres() == (Genre("Mystery", 1),)


async def test_movies_of_the_latest_results_have_details_in_every_process() -> None:
    source, seen, movie_search = plain()
    other = MovieSearch(source, MemorySeenMovies(seen.movies))
    await movie_search.search(MovieQuery("glass"), Window())
    looking = asyncio.create_task(other.get("201"))
    await settle()
    assert (await movie_search.get("201")).movie.title == "The Glass Orrery"
    assert (await looking).movie.title == "The Glass Orrery"


async def test_details_survive_an_outage_of_the_source() -> None:
    source, seen, movie_search = plain()
    source.capabilities = frozenset({Capability.DETAILS})
    assert (await movie_search.get("201")).source == "third_party"
    await movie_search.search(MovieQuery("glass"), Window())
    await seen.flush()
    source.is_unavailable = True
    assert (await movie_search.get("201")).source == "local"
    with pytest.raises(SourceUnavailable):
        await movie_search.get("202")


async def stored_then_unavailable() -> tuple[PlainSource, MemorySeenMovies, MovieSearch]:
    """All rivers and the glass orrery are stored, and the source is unavailable."""
    source, seen, movie_search = plain()
    for text in ("river", "glass"):
        await movie_search.search(MovieQuery(text), Window(0, 100))
    await seen.flush()
    source.is_unavailable = True
    return source, seen, movie_search


async def test_stored_movies_replace_an_unavailable_source() -> None:
    _, _, movie_search = await stored_then_unavailable()
    page = await movie_search.search(MovieQuery("glass"), Window())
    assert ([movie.id for movie in page.items], page.source, page.cache_status) == (
        ["201"],
        "local",
        CacheStatus.FALLBACK,
    )


@pytest.mark.parametrize(("text", "offset"), [("never shown", 0), ("glass", 10), ("river", 5000)])
async def test_without_a_stored_match_the_source_error_is_raised(text: str, offset: int) -> None:
    _, _, movie_search = await stored_then_unavailable()
    with pytest.raises(SourceUnavailable, match="unavailable"):
        await movie_search.search(MovieQuery(text), Window(offset))


async def test_equal_searches_while_the_source_is_unavailable_search_the_stored_movies_once() -> None:
    _, seen, movie_search = await stored_then_unavailable()
    searches: list[MovieQuery] = []
    search = seen.movies.search

    async def counted(query: MovieQuery, window: Window) -> MoviePage:
        searches.append(query)
        await asyncio.sleep(0.001)
        return await search(query, window)

    seen.movies.search = counted  # type: ignore[method-assign]
    pages = await asyncio.gather(*(movie_search.search(MovieQuery("river"), Window()) for _ in range(100)))
    assert len(searches) == 1
    assert len({page.items for page in pages}) == 1


@pytest.mark.parametrize("seconds", [None, 60.0])
async def test_if_the_stored_movies_are_unavailable_too_the_error_of_the_source_is_raised(
    seconds: float | None,
) -> None:
    _, seen, movie_search = await stored_then_unavailable()

    async def broken(query: MovieQuery, window: Window) -> MoviePage:
        if seconds is None:
            raise StoreUnavailable("the database failed")
        await asyncio.sleep(seconds)
        raise AssertionError("unreachable")

    seen.movies.search = broken  # type: ignore[method-assign]
    with pytest.raises(SourceUnavailable, match="unavailable"):
        await movie_search.search(MovieQuery("river"), Window())


async def test_without_stored_movies_details_are_not_found() -> None:
    with pytest.raises(MovieNotFound):
        await MovieSearch(PlainSource(SAMPLE)).get("201")


async def test_a_suggestion_requires_a_valid_text() -> None:
    movie_search = MovieSearch(MemoryMovieCatalogue(SAMPLE))
    assert await movie_search.suggest("   ") == ()
    assert len(await movie_search.suggest("river")) == 10
    with pytest.raises(InvalidQuery):
        await movie_search.suggest("a\x00")


async def test_without_stored_movies_the_error_of_the_source_is_raised() -> None:
    source = PlainSource(SAMPLE)
    source.capabilities, source.is_unavailable = frozenset({Capability.DETAILS}), True
    movie_search = MovieSearch(source)
    with pytest.raises(SourceUnavailable):
        await movie_search.search(MovieQuery("river"), Window())
    with pytest.raises(SourceUnavailable):
        await movie_search.get("201")
