"""Import of lists whose popularities have another scale than the catalogue."""

from movie_core.memory import MemoryMovieCatalogue
from movie_core.search.catalogue_import import import_movies
from movie_core.search.movies import ListedMovie, LoadResult, Movie

STORED = tuple(
    Movie(id=f"tt000000{number}", title=f"Film {number}", imdb_id=f"tt000000{number}", popularity=popularity)
    for number, popularity in enumerate((120.0, 60.0, 40.0, None), 1)
)


def listed(number: int, popularity: float | None, movie_id: str = "") -> ListedMovie:
    imdb_id = f"tt000000{number}"
    movie = Movie(id=movie_id or imdb_id, title=f"Film {number}", imdb_id=imdb_id, popularity=popularity)
    return ListedMovie(movie, frozenset(("title", "imdb_id", "popularity")), has_own_id=bool(movie_id))


async def popularities(rows: list[ListedMovie], *, replace: bool = False) -> list[tuple[str, float | None]]:
    catalogue = MemoryMovieCatalogue(STORED)
    await import_movies(catalogue, rows, replace=replace, edition="mine")
    again = await import_movies(catalogue, rows, replace=replace)
    assert again == LoadResult(unchanged=len(rows))
    assert await catalogue.edition() == "mine"
    return [(movie.id[-1], movie.popularity) for movie in await catalogue.most_popular(10)]


async def test_votes_do_not_lift_obscure_movies_above_well_known_ones() -> None:
    rows = [listed(2, 620_000.0), listed(3, 310_000.0), listed(9, 150.0, "mine"), listed(8, None)]
    order = await popularities(rows)
    assert order[:3] == [("1", 120.0), ("2", 60.0), ("3", 40.0)]
    assert [movie_id for movie_id, popularity in order if popularity and popularity < 1] == ["e"]


async def test_popularities_of_the_same_scale_are_stored_as_they_are() -> None:
    assert (await popularities([listed(2, 100.0), listed(3, 50.0)]))[:3] == [("1", 120.0), ("2", 100.0), ("3", 50.0)]


async def test_the_scale_of_a_list_that_replaces_the_catalogue_is_its_own() -> None:
    assert await popularities([listed(2, 620_000.0), listed(7, 5.0)], replace=True) == [("2", 620_000.0), ("7", 5.0)]


async def test_a_catalogue_without_popularities_has_no_scale() -> None:
    catalogue = MemoryMovieCatalogue(STORED[3:])
    await import_movies(catalogue, [listed(4, 9_000.0)])
    assert (await catalogue.most_popular(1))[0].popularity == 9_000.0
