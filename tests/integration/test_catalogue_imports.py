"""Imports of whole files over the bundled films, on SQLite and PostgreSQL."""

import asyncio
import csv
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from movie_adapters.catalogue.bundled import bundled_films
from movie_adapters.catalogue.files import MovieFile
from movie_adapters.catalogue.postgres import PostgresMovieCatalogue
from movie_adapters.catalogue.sqlite import SqliteMovieCatalogue
from movie_adapters.sql.engine import create_engine, migrate
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue
from movie_core.search.catalogue_import import import_movies
from movie_core.search.movies import ListedMovie, LoadResult, Movie, MovieQuery

pytestmark = pytest.mark.usefixtures("long_database_timeouts")

NEEDED = ("Casablanca", "The Goonies", "The Third Man", "Toy Story", "The Matrix", "Matrix")
FILMS = [film for number, film in enumerate(bundled_films()) if number % 20 == 0 or film.title in NEEDED]


class _File:
    """A file that can be iterated repeatedly."""

    def __init__(self, path: Path, *, adult: bool = False) -> None:
        self.file = MovieFile(path, adult=adult)

    def __iter__(self) -> Iterator[ListedMovie]:
        return self.file.listed()


Run = Callable[[Callable[[MovieCatalogue], Awaitable[None]]], None]


@pytest.fixture(params=["sqlite", "postgres"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a test with a catalogue of some two thousand bundled films."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[MovieCatalogue]:
        if request.param == "sqlite":
            sqlite = SqliteMovieCatalogue(tmp_path / "movies.db", "catalogue")
            yield sqlite
            await sqlite.close()
        else:
            engine = create_engine(request.getfixturevalue("postgres_url"))
            yield PostgresMovieCatalogue(engine, "catalogue")
            await engine.dispose()

    def run_test(test: Callable[[MovieCatalogue], Awaitable[None]]) -> None:
        async def with_catalogue() -> None:
            async with opened() as catalogue:
                await catalogue.load(FILMS, replace=True)
                await test(catalogue)

        asyncio.run(with_catalogue())

    if request.param == "sqlite":
        migrate(f"sqlite+aiosqlite:///{tmp_path / 'movies.db'}")
    else:
        request.getfixturevalue("postgres_url")
    return run_test


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_rows(*rows: Sequence[str], name: str = "list.csv") -> Path:
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return tmp_path / name

    return write_rows


Write = Callable[..., Path]


async def _import(catalogue: MovieCatalogue, path: Path, *, replace: bool = False) -> LoadResult:
    return await import_movies(catalogue, _File(path), replace=replace)


async def _titled(catalogue: MovieCatalogue, title: str) -> list[Movie]:
    page = await catalogue.search(MovieQuery(title), Window(limit=50))
    return [movie for movie in page.items if movie.title == title]


IMDB_LIST = (
    ("Position", "Const", "Description", "Title", "Original Title", "Title Type", "Year", "Genres", "Num Votes"),
    ("1", "tt0034583", "", "Casablanca", "Casablanca", "Movie", "1942", "Drama, Romance, War", "620000"),
    ("2", "tt0089218", "", "The Goonies", "The Goonies", "Movie", "1985", "Adventure, Comedy", "310000"),
    ("3", "tt9999001", "", "Matrix Diary", "Matrix Diary", "Movie", "2011", "Drama", "150"),
)


def test_a_list_of_imdb_leaves_what_it_lacks_and_the_order_of_popularity(run: Run, write: Write) -> None:
    path = write(*IMDB_LIST)

    async def test(catalogue: MovieCatalogue) -> None:
        before = (await catalogue.get("tt0034583")).movie
        assert (await _import(catalogue, path)).added == 1
        after = (await catalogue.get("tt0034583")).movie
        assert (after.cast, after.countries, after.runtime_minutes) == (
            before.cast,
            before.countries,
            before.runtime_minutes,
        )
        assert after.genres == ("Drama", "Romance", "War")
        (diary,) = await _titled(catalogue, "Matrix Diary")
        popularities = [film.popularity or 0 for film in FILMS]
        assert (diary.popularity or 0) < max(popularities) / 10
        assert max(movie.popularity or 0 for movie in await catalogue.most_popular(1)) == max(popularities)
        first = (await catalogue.search(MovieQuery("matrix"), Window(limit=1))).items[0]
        assert first.title == "The Matrix"
        assert (await _import(catalogue, path)) == LoadResult(unchanged=3)

    run(test)


def test_movielens_files_add_no_film_that_is_stored(run: Run, write: Write) -> None:
    films = [film for film in FILMS if '"' not in film.title and film.title.isascii() and "(" not in film.title][:800]
    movies, links = [("movieId", "title", "genres")], [("movieId", "imdbId", "tmdbId")]
    for number, film in enumerate(films, 1):
        article, _, rest = film.title.partition(" ")
        title = f"{rest}, {article}" if article in {"The", "A", "An"} and rest else film.title
        movies.append((str(number), f"{title} ({film.year})", "(no genres listed)"))
        imdb_id = film.imdb_id or f"tt{99_000_000 + number}"
        links.append((str(number), imdb_id.removeprefix("tt").removeprefix("0"), str(number)))
    write(*links, name="links.csv")
    path = write(*movies, name="movies.csv")

    async def test(catalogue: MovieCatalogue) -> None:
        result = await _import(catalogue, path)
        assert (result.added, result.removed) == (0, 0)
        assert await catalogue.count() == len(FILMS)
        stored = await catalogue.get_many([film.id for film in films])
        assert [stored[film.id].genres for film in films] == [film.genres for film in films]
        assert {stored[film.id].tmdb_id for film in films} == {str(number) for number in range(1, len(films) + 1)}
        assert (await _import(catalogue, path)).updated == 0

    run(test)


@pytest.mark.parametrize("replace", [False, True])
def test_a_corrected_film_stays_the_same_film(run: Run, write: Write, replace: bool) -> None:
    first = write(("title", "year", "cast"), ("The Third Man", "1948", "Joseph Cotten"), name="v1.csv")
    header = ("title", "year", "cast", "director")
    corrected = write(header, ("The Third Man", "1949", "Joseph Cotten", "Carol Reed"), name="v2.csv")

    async def test(catalogue: MovieCatalogue) -> None:
        await _import(catalogue, first, replace=replace)
        (before,) = await _titled(catalogue, "The Third Man")
        await _import(catalogue, corrected, replace=replace)
        (after,) = await _titled(catalogue, "The Third Man")
        assert (after.id, after.year, after.directors) == (before.id, 1949, ("Carol Reed",))
        assert await catalogue.count() == (1 if replace else len(FILMS))

    run(test)


def test_films_of_the_same_name_keep_their_ids_in_another_order(run: Run, write: Write) -> None:
    header = ("Date", "Name", "Year", "Letterboxd URI", "Description")
    horror = ("2024-01-01", "The Night", "2020", "https://boxd.it/aa", "An Iranian hotel horror")
    short = ("2024-01-02", "The Night", "2020", "https://boxd.it/bb", "A Taiwanese short")
    bare = [(*row[:-1], "") for row in (short, horror)]
    paths = [
        write(header, horror, short, name="a.csv"),
        write(header, short, horror, name="b.csv"),
        write(header, *bare, name="c.csv"),
    ]

    async def test(catalogue: MovieCatalogue) -> None:
        seen = []
        for path in paths:
            await _import(catalogue, path)
            seen.append({movie.overview: movie.id for movie in await _titled(catalogue, "The Night")})
        assert len(seen[0]) == 2
        assert seen == [seen[0]] * 3

    run(test)


def test_zero_is_no_id_of_another_provider(run: Run, write: Write) -> None:
    path = write(
        ("id", "title", "year", "tmdb_id", "imdb_id"),
        ("z1", "Unlinked Home Movie", "2003", "0", ""),
        ("z2", "Another Home Movie", "2004", "0", "0000000"),
    )

    async def test(catalogue: MovieCatalogue) -> None:
        assert (await _import(catalogue, path)).added == 2
        for movie_id in ("z1", "z2"):
            movie = (await catalogue.get(movie_id)).movie
            assert (movie.tmdb_id, movie.imdb_id) == (None, None)

    run(test)


def test_a_data_set_of_tmdb_updates_the_film_with_the_imdb_id(run: Run, write: Write) -> None:
    path = write(
        ("adult", "belongs_to_collection", "genres", "id", "imdb_id", "original_language", "overview", "popularity",
         "production_countries", "release_date", "runtime", "title", "vote_average"),
        ("False", "{'id': 10194, 'name': 'Toys'}", "[{'id': 16, 'name': 'Animation'}]", "862", "tt0114709", "en",
         "Toys that are alive.", "21.9", "[{'iso_3166_1': 'US', 'name': 'Moon'}]", "1995-10-30", "81.0",
         "Toy Story", "7"),
        ("True", "", "[]", "999", "tt0000999", "en", "x", "0.5", "[]", "1995-10-30", "0", "Adult Film", "7"),
    )  # fmt: skip

    async def test(catalogue: MovieCatalogue) -> None:
        assert (await _import(catalogue, path)).added == 0
        (film,) = await _titled(catalogue, "Toy Story")
        assert (film.id, film.genres, film.countries) == ("toy-story-1995-tim-allen", ("Animation",), ("Moon",))
        assert (await catalogue.search(MovieQuery("toys alive"), Window())).items == (film,)
        assert await _titled(catalogue, "Adult Film") == []
        assert (await import_movies(catalogue, _File(path, adult=True))).added == 1

    run(test)
