"""Loading of the bundled films, and what moves to the ids of a new edition."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from movie_adapters.catalogue import bundled
from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.preparation import prepare_database
from movie_core import memory
from movie_core.discovery.ratings import NewRating
from movie_core.memory import MemoryMovieCatalogue
from movie_core.search.movies import Movie
from movie_core.testing import NOW, UNLIMITED, create_user, memory_account_stores

FILMS = (
    Movie(id="tt0000001", title="Marble", year=1990, imdb_id="tt0000001", cast=("Ann Ray",)),
    Movie(id="granite-1991", title="Granite", year=1991),
    Movie(id="slate-1992", title="Slate", year=1992),
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(bundled, "bundled_films", lambda: iter(FILMS))
    monkeypatch.setattr(bundled, "MOVED_IDS", {"dropped": "slate-1992"})
    return Settings.load({"MOVIE_DATA_DIR": str(tmp_path)}, dotenv=None)


def test_ratings_move_to_the_ids_of_a_new_edition(settings: Settings) -> None:
    async def run() -> None:
        deployment = memory.deployment(mail_rules=UNLIMITED)
        user, _ = await create_user(memory_account_stores(deployment))
        old = (
            replace(FILMS[0], id="marble-1990-ann-ray", imdb_id=None),
            replace(FILMS[1], id="granite-a"),
            FILMS[2],
            Movie(id="dropped", title="Slate, Again", year=1993),
            Movie(id="mine", title="Own", year=2000),
        )
        catalogue = MemoryMovieCatalogue()
        await catalogue.load(old, edition=f"{bundled.BUNDLED_NAME}-00000000")
        new_ratings = [NewRating(movie.id, movie.title, movie.year, 5.0 + at) for at, movie in enumerate(old)]
        await deployment.ratings.put(user.id, new_ratings, NOW)
        assert await prepare_database(settings, catalogue, deployment.ratings)
        stored = {movie.id for movie in await catalogue.most_popular(10)}
        assert stored == {*(film.id for film in FILMS), "mine"}
        rated = {rating.movie_id: rating.rating for rating in await deployment.ratings.history(user.id)}
        assert rated == {"tt0000001": 5.0, "granite-1991": 6.0, "slate-1992": 7.0, "mine": 9.0}
        assert not await prepare_database(settings, catalogue, deployment.ratings)

    asyncio.run(run())


@pytest.mark.parametrize(("edition", "is_loaded"), [(None, True), ("imported", False)])
def test_bundled_films_are_loaded_unless_others_were_imported(
    settings: Settings, edition: str | None, is_loaded: bool
) -> None:
    async def run() -> None:
        catalogue, ratings = MemoryMovieCatalogue(), memory.deployment().ratings
        await catalogue.load((), edition=edition)
        assert await prepare_database(settings, catalogue, ratings) is is_loaded
        assert await catalogue.count() == (len(FILMS) if is_loaded else 0)
        assert await catalogue.edition() == (bundled.BUNDLED_EDITION if is_loaded else "imported")

    asyncio.run(run())
