"""What moves to the ids of a new edition of the bundled films, and databases whose host is unknown."""

import socket
from dataclasses import replace

import pytest

from movie_adapters.settings.settings import SettingError, Settings
from movie_adapters.wiring.preparation import check_database_host, load_edition, prepare_schema
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


async def test_ratings_move_to_the_ids_of_a_new_edition() -> None:
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
    await catalogue.load(old, edition="first")
    new_ratings = [NewRating(movie.id, movie.title, movie.year, 5.0 + at) for at, movie in enumerate(old)]
    await deployment.ratings.put(user.id, new_ratings, NOW)
    for _ in range(2):
        await load_edition(catalogue, deployment.ratings, lambda: FILMS, "second", {"dropped": "slate-1992"})
        assert await catalogue.edition() == "second"
        stored = {movie.id for movie in await catalogue.most_popular(10)}
        assert stored == {*(film.id for film in FILMS), "mine"}
        rated = {rating.movie_id: rating.rating for rating in await deployment.ratings.history(user.id)}
        assert rated == {"tt0000001": 5.0, "granite-1991": 6.0, "slate-1992": 7.0, "mine": 9.0}


async def test_the_first_edition_is_loaded_as_it_is() -> None:
    catalogue = MemoryMovieCatalogue()
    await load_edition(catalogue, memory.deployment().ratings, lambda: FILMS, "first", {"dropped": "slate-1992"})
    assert (await catalogue.edition(), await catalogue.count()) == ("first", 3)


def test_a_database_host_that_cannot_be_resolved_is_an_invalid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    environ = {"MOVIE_DATABASE_URL": "postgresql+asyncpg://u:canary@db.invalid/movies"}
    settings = Settings.load(environ, dotenv=None)
    with pytest.raises(SettingError, match=r"MOVIE_DATABASE_URL: the host db\.invalid cannot be resolved") as caught:
        check_database_host(settings)
    assert "canary" not in str(caught.value)
    check_database_host(Settings.load({}, dotenv=None))


async def test_a_migration_reports_the_host_as_an_invalid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    settings = Settings.load({"MOVIE_DATABASE_URL": "postgresql+asyncpg://u@db.invalid/movies"}, dotenv=None)
    with pytest.raises(SettingError, match=r"the host db\.invalid cannot be resolved"):
        await prepare_schema(settings)
