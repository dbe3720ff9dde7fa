"""What moves to the ids of a new edition of the bundled films."""

from dataclasses import replace

from movie_adapters.wiring.preparation import load_edition
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
