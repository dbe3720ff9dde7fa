"""`recommend import` on SQLite and PostgreSQL: a folder as MovieLens publishes it, and what a model learns from it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dishka import AsyncContainer
from tests.support.deployment import run_program

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.providers import create_container
from movie_core.clock import utc_now
from movie_core.discovery.ratings import Rating
from movie_core.discovery.recommendations import ReasonKind, Recommendation
from movie_core.discovery.training_ratings import TrainingRating
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, RatingStore, Recommender, TrainingRatingStore

pytestmark = pytest.mark.usefixtures("long_database_timeouts")

FILMS = range(24)
"""Numbers of the films. Those with even numbers are liked by one half of the people, the others by the other half."""
PEOPLE = range(60)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["sqlite", "postgres"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a deployment with an empty database."""
    data_dir = {"MOVIE_DATA_DIR": str(tmp_path / "var")}
    if request.param == "postgres":
        data_dir["MOVIE_DATABASE_URL"] = request.getfixturevalue("empty_database_url")
    return data_dir


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    """Runs `movie-search` in a folder, with a catalogue of films that differ in title and id only."""

    def done(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_program(arguments, tmp_path, environ, 300)

    rows = ["id,title,year,genres,imdb_id,tmdb_id"]
    rows += [f"film-{n},The {chr(65 + n)} Affair,1999,Drama,tt{n + 1:07},{n + 1000}" for n in FILMS]
    (tmp_path / "films.csv").write_text("\n".join(rows) + "\n")
    imported = done("catalogue", "import", "films.csv", "--replace")
    assert imported.returncode == 0, imported.stderr
    return done


@asynccontextmanager
async def opened(environ: dict[str, str]) -> AsyncIterator[AsyncContainer]:
    container = create_container(Settings.load(environ, dotenv=None))
    try:
        yield container
    finally:
        await container.close()


def number_of(item: Recommendation) -> int:
    return int(item.movie_id.removeprefix("film-"))


def recommended(environ: dict[str, str]) -> Sequence[Recommendation]:
    """What a user gets who has rated nothing but film 4."""

    async def recommend() -> Sequence[Recommendation]:
        async with opened(environ) as container:
            recommender: Recommender = await container.get(Recommender)
            history = [Rating("film-4", "The E Affair", 1999, 9.0, utc_now())]
            return (await recommender.recommend(history, Window(0, 10), utc_now())).items

    return asyncio.run(recommend())


def similar(environ: dict[str, str]) -> dict[int, set[ReasonKind]]:
    """The numbers of the films similar to film 4, with the reasons."""

    async def find() -> dict[int, set[ReasonKind]]:
        async with opened(environ) as container:
            movie = (await (await container.get(MovieCatalogue)).get_many(["film-4"]))["film-4"]
            items = (await (await container.get(Recommender)).similar(movie, Window(0, 30))).items
            return {number_of(item): {reason.kind for reason in item.reasons} for item in items}

    return asyncio.run(find())


def stored(environ: dict[str, str]) -> tuple[list[TrainingRating], str, str]:
    """The training ratings, their version, and that of the ratings of users."""

    async def read() -> tuple[list[TrainingRating], str, str]:
        async with opened(environ) as container:
            store, ratings = await container.get(TrainingRatingStore), await container.get(RatingStore)
            rows = [rating async for batch in store.iter_all() for rating in batch]
            return rows, await store.version(), await ratings.version()

    return asyncio.run(read())


def is_outdated(environ: dict[str, str]) -> bool:
    async def ask() -> bool:
        async with opened(environ) as container:
            recommender: Recommender = await container.get(Recommender)
            return await recommender.is_outdated()

    return asyncio.run(ask())


def movielens(folder: Path) -> Path:
    """Writes a data set of twenty years ago in the format of MovieLens. Its links have IMDb ids for one third of the
    films, TMDB ids for another, and nothing for the last, which the titles identify; one film is not in the catalogue.
    """
    folder.mkdir()
    links, movies = ["movieId,imdbId,tmdbId"], ["movieId,title,genres"]
    for n in FILMS:
        links.append(f"{n + 1},{n + 1 if n % 3 == 0 else ''},{n + 1000 if n % 3 == 1 else ''}")
        movies.append(f'{n + 1},"{chr(65 + n)} Affair, The (1999)",Drama')
    links.append("99,9999999,9999999")
    movies.append("99,Nowhere (1999),Drama")
    ratings = ["userId,movieId,rating,timestamp"]
    for person in PEOPLE:
        films = [n for n in FILMS if (n + person) % 5]
        ratings += [f"{person},{n + 1},{4.5 if n % 2 == person % 2 else 1.0},{1_100_000_000 + n}" for n in films]
        ratings.append(f"{person},99,4.0,1100000000")
    ratings += ["60,1,7.5,1100000000", "60,1,5.0,soon"]
    for name, rows in (("links", links), ("movies", movies), ("ratings", ratings)):
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder / "ratings.csv"


def test_recommendations_after_one_rating_follow_from_imported_ratings(
    run: Run, environ: dict[str, str], tmp_path: Path
) -> None:
    trained = run("recommend", "train")
    assert "trained on ratings: 0, users: 0" in trained.stdout, trained.stderr
    before = [number_of(item) % 2 for item in recommended(environ)]
    assert sum(before) > 0
    assert not is_outdated(environ)

    imported = run("recommend", "import", str(movielens(tmp_path / "ml")))
    count = sum((n + person) % 5 > 0 for n in FILMS for person in PEOPLE)
    assert (imported.returncode, imported.stderr) == (0, "")
    assert imported.stdout.splitlines() == [
        f"ratings imported: {count}, users: 60, movies: 24",
        "movies matched by imdb_id: 8, tmdb_id: 8, title_year: 8, near_year: 0",
        "rows not used: 62",
        "60: no movie matches",
        "1: the rating is not 0.5 to 5 in steps of 0.5",
        "1: the time is not one since 1970, in seconds or in ISO 8601",
    ]
    rows, _, of_users = stored(environ)
    assert of_users == "0"
    assert {row.movie_id for row in rows} == {f"film-{n}" for n in FILMS}
    assert {row.rating for row in rows} == {9.0, 2.0}
    assert utc_now().timestamp() - 3600 < max(row.rated_at for row in rows) <= utc_now().timestamp()
    assert is_outdated(environ)

    trained = run("recommend", "train")
    assert f"trained on ratings: {count}, users: 60; movies in the model: 24" in trained.stdout
    assert not is_outdated(environ)
    after = recommended(environ)
    assert [number_of(item) % 2 for item in after] == [0] * 10
    together = [n for n, kinds in similar(environ).items() if ReasonKind.LIKED_TOGETHER in kinds]
    assert sorted(together) == [n for n in FILMS if n % 2 == 0 and n != 4]


def test_an_import_replaces_the_previous_one_only_if_it_succeeds(
    run: Run, environ: dict[str, str], tmp_path: Path
) -> None:
    assert run("recommend", "import", str(movielens(tmp_path / "ml"))).returncode == 0
    by_imdb_id = tmp_path / "by-imdb-id.csv"
    by_imdb_id.write_text(
        "user,imdb_id,rating,timestamp\nann,tt0000001,9.5,2020-01-01T00:00:00Z\nbob,1,3,1500000000\n"
        "bob,tt0000001,4,1500000001\nbob,tt8888888,8,1500000001\n"
    )
    imported = run("recommend", "import", "by-imdb-id.csv")
    assert imported.stdout.splitlines() == [
        "ratings imported: 2, users: 2, movies: 1",
        "movies matched by imdb_id: 2, tmdb_id: 0, title_year: 0, near_year: 0",
        "rows not used: 1",
        "1: no movie matches",
    ], imported.stderr
    before = stored(environ)
    assert [(row.movie_id, row.rating) for row in before[0]] == [("film-0", 9.5), ("film-0", 4.0)]
    (tmp_path / "unknown.csv").write_text("user,imdb_id,rating,timestamp\nann,tt8888888,8,1500000001\n")
    (tmp_path / "stars.csv").write_text("user,imdb_id,rating,timestamp\nann,tt0000001,4.5,1500000001\n")
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,1\n")
    for file, message in (
        ("unknown.csv", "no row of the file can be used: no movie matches (1)"),
        ("stars.csv", "none is above 5"),
        ("alone/ratings.csv", "links.csv or movies.csv"),
        ("films.csv", "must be a table with the columns"),
        ("nowhere.csv", "does not exist"),
    ):
        failed = run("recommend", "import", file)
        assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1), failed.stderr
        assert failed.stderr.startswith("movie-search: ")
        assert message in failed.stderr
    assert stored(environ) == before
