"""The suites of recommenders and of the store of their models."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

from movie_core.accounts.keyring import Keyring
from movie_core.discovery.ratings import NewRating, Rating
from movie_core.discovery.recommendations import (
    MAX_REASONS,
    MAX_RECOMMENDED,
    ReasonKind,
    Recommendation,
    Tier,
)
from movie_core.memory.database import MemoryDatabase
from movie_core.memory.movies import MemoryMovieCatalogue
from movie_core.memory.outbox import MemoryOutbox
from movie_core.memory.rating_store import MemoryRatingStore
from movie_core.memory.session_store import MemorySessionStore
from movie_core.memory.user_repo import MemoryUserRepo
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, RatingStore, Recommender
from movie_core.search.movies import Movie
from movie_core.testing.account_fixtures import UNLIMITED, AccountStores, create_user
from movie_core.testing.shared import NOW, ODD_STRINGS, clause

_FILMS = tuple(
    Movie(
        id=f"{camp}{number}",
        title=f"{genre} {number}",
        year=1960 + number,
        genres=(genre,),
        popularity=float(100 - number) if camp != "n" else None,
    )
    for camp, genre in (("w", "Western"), ("m", "Musical"), ("n", "Newsreel"))
    for number in range(12)
)
"""Twelve that one half of the audience likes, twelve that the other half likes, and twelve that nobody has rated."""


def _rating(movie_id: str, rating: float, *, day: int = 1) -> Rating:
    movie = next(film for film in _FILMS if film.id == movie_id)
    return Rating(movie.id, movie.title, movie.year, rating, NOW - timedelta(days=100 - day))


class _Audience:
    """Twelve users with ratings, and where they are kept."""

    def __init__(self) -> None:
        keys = Keyring(["a secret of the suites, 32 bytes or more"])
        database = MemoryDatabase(UNLIMITED, keys)
        self.ratings = MemoryRatingStore(database)
        self.movies = MemoryMovieCatalogue(_FILMS)
        self._accounts = AccountStores(
            MemoryUserRepo(database), MemorySessionStore(database), MemoryOutbox(database), keys
        )
        self.users: list[str] = []

    async def arrive(self) -> None:
        for number in range(12):
            user, _ = await create_user(self._accounts, f"u{number}@example.com", f"User {number}")
            self.users.append(user.id)
            liked, other = ("w", "m") if number % 2 else ("m", "w")
            rows = [(f"{liked}{place}", 9.0 if place % 2 else 8.0) for place in range(12) if (place + number) % 4]
            rows += [(f"{other}{place}", 3.0) for place in range(12) if (place + number) % 5 == 0]
            await self.rate(user.id, *rows)

    async def rate(self, user_id: str, *rows: tuple[str, float]) -> None:
        given = [_rating(movie_id, rating, day=place) for place, (movie_id, rating) in enumerate(rows)]
        fresh = [NewRating(one.movie_id, one.title, one.year, one.rating, one.rated_at) for one in given]
        await self.ratings.put(user_id, fresh, NOW)


async def _whole(recommender: Recommender, history: Sequence[Rating], limit: int = 100) -> list[Recommendation]:
    """Every recommendation, by pages of that size."""
    found: list[Recommendation] = []
    offset: int | None = 0
    while offset is not None:
        page = await recommender.recommend(history, Window(offset, limit), NOW)
        found += page.items
        offset = Window(offset, limit).next_offset(page.total)
    return found


def _camps(items: Sequence[Recommendation]) -> str:
    return "".join(item.movie_id[0] for item in items)


class RecommenderContract:
    """What every `Recommender` keeps; the numbers are the clauses of `movie_core.ports`."""

    def open(self, ratings: RatingStore, movies: MovieCatalogue) -> AbstractAsyncContextManager[Recommender]:
        """The recommender under test, without a model, over these stores."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_a_model_reports_its_training_data(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            assert await recommender.model() is None
            steps: list[tuple[str, float]] = []
            made = await recommender.train(lambda step, part: steps.append((step, part)))
            count = len([one async for batch in audience.ratings.iter_all() for one in batch])
            assert (made.ratings, made.users, made.movies) == (count, 12, len(_FILMS))
            assert await recommender.model() == made
            await asyncio.sleep(0)
            assert steps
            assert all(step and 0 <= part <= 1 for step, part in steps)

    @clause
    async def test_1_training_without_data_succeeds(self) -> None:
        for films in ((), _FILMS):
            audience = _Audience()
            await audience.movies.load(films, replace=True)
            async with self.open(audience.ratings, audience.movies) as recommender:
                made = await recommender.train()
                assert (made.ratings, made.users, made.movies) == (0, 0, len(films))
                assert len(await _whole(recommender, [])) == len(films)
                assert len(await _whole(recommender, [_rating("w0", 9.0)])) == max(0, len(films) - 1)

    @clause
    async def test_1_ratings_of_deleted_movies_are_ignored(self) -> None:
        audience = _Audience()
        await audience.arrive()
        await audience.movies.load([film for film in _FILMS if film.id != "w3"], replace=True)
        async with self.open(audience.ratings, audience.movies) as recommender:
            await recommender.train()
            found = await _whole(recommender, [_rating("w3", 9.0), _rating("w4", 9.0)])
            assert "w3" not in {one.movie_id for one in found}
            assert await recommender.affinities([_rating("w3", 9.0)], ["w3"], NOW) == {}

    @clause
    async def test_3_a_model_is_outdated_once_ratings_or_movies_have_changed(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            assert await recommender.is_outdated()
            await recommender.train()
            assert not await recommender.is_outdated()
            await audience.ratings.remove(audience.users[0], "m1")
            assert await recommender.is_outdated()
            await recommender.train()
            assert not await recommender.is_outdated()
            await audience.movies.load([Movie(id="new", title="New")])
            assert await recommender.is_outdated()

    @clause
    async def test_4_pages_are_consistent_without_duplicates_or_rated_movies(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            for _ in range(2):  # before the first model, and after
                for history in ([], [_rating("w0", 9.0), _rating("m5", 2.0)]):
                    whole = await _whole(recommender, history)
                    ids = [one.movie_id for one in whole]
                    assert len(ids) == len(set(ids)) == len(_FILMS) - len(history)
                    assert not {one.movie_id for one in history} & set(ids)
                    assert [one.score for one in whole] == sorted((one.score for one in whole), reverse=True)
                    for limit in (1, 7):
                        assert [one.movie_id for one in await _whole(recommender, history, limit)] == ids
                    later = await recommender.recommend(history, Window(0, 100), NOW + timedelta(seconds=59))
                    assert list(later.items) == whole
                    past = await recommender.recommend(history, Window(5000, 10), NOW)
                    assert (past.total, past.items) == (len(whole), ())
                await recommender.train()

    @clause
    async def test_4_the_length_of_the_list_is_limited(self) -> None:
        audience = _Audience()
        await audience.movies.load([Movie(id=f"x{number:04}", title=f"X {number}") for number in range(600)])
        async with self.open(audience.ratings, audience.movies) as recommender:
            for _ in range(2):
                assert len(await _whole(recommender, [])) == MAX_RECOMMENDED
                assert len(await _whole(recommender, [_rating("w0", 9.0)])) == MAX_RECOMMENDED
                await recommender.train()

    @clause
    async def test_5_a_new_rating_takes_effect_immediately(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            await recommender.train()
            likes = [_rating(f"w{number}", 9.0, day=number) for number in range(4)]
            assert _camps((await _whole(recommender, likes))[:6]) == "wwwwww"
            turned = [replace(one, rating=1.0) for one in likes]
            turned += [_rating(f"m{number}", 9.0, day=number + 4) for number in range(4)]
            assert _camps((await _whole(recommender, turned))[:6]) == "mmmmmm"
            first = (await _whole(recommender, likes))[0].movie_id
            rest = [one.movie_id for one in await _whole(recommender, [*likes, _rating(first, 9.0, day=50)])]
            assert first not in rest
            assert len(rest) == len(_FILMS) - 5

    @clause
    async def test_5_popular_movies_are_recommended_without_a_history_or_a_model(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            for history in ([], [_rating("w0", 9.0)]):
                found = await recommender.recommend(history, Window(0, 4), NOW)
                assert found.tier is Tier.POPULAR
                assert {one.movie_id for one in found.items} <= {"w0", "m0", "w1", "m1", "w2", "m2"}
            await recommender.train()
            found = await recommender.recommend([], Window(0, 24), NOW)
            assert found.tier is Tier.POPULAR
            assert "n" not in _camps(found.items)
            assert not any(one.reasons for one in found.items)
            assert (await recommender.recommend([_rating("w0", 9.0)], Window(), NOW)).tier is Tier.PERSONAL

    @clause
    async def test_6_without_a_reason_the_score_would_be_lower(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            await recommender.train()
            history = [_rating(f"w{number}", 9.5 - number, day=number) for number in range(8)]
            history += [_rating(f"m{number}", 2.0 + 3 * number, day=20 + number) for number in range(3)]
            shown = (await _whole(recommender, history))[:20]
            assert any(one.reasons for one in shown)
            for one in shown:
                assert len(one.reasons) <= MAX_REASONS
                for reason in one.reasons:
                    assert reason.kind is ReasonKind.BECAUSE_YOU_RATED
                    left = [rating for rating in history if rating.movie_id != reason.movie_id]
                    assert len(left) == len(history) - 1
                    assert reason.title in {rating.title for rating in history}
                    without = {found.movie_id: found.score for found in await _whole(recommender, left)}
                    assert without[one.movie_id] < one.score, (one, reason)

    @clause
    async def test_7_affinities_rank_liked_movies_above_disliked_ones(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            history = [_rating(f"w{number}", 9.0, day=number) for number in range(4)]
            ids = [film.id for film in _FILMS]
            assert await recommender.affinities(history, ids, NOW) == {}
            await recommender.train()
            taste = await recommender.affinities(history, [*ids, *ODD_STRINGS], NOW)
            assert set(taste) == set(ids)
            western, musical = ([taste[one] for one in ids if one[0] == camp] for camp in "wm")
            assert min(western) > max(musical)
            assert await recommender.affinities(history, [], NOW) == {}
            assert set(await recommender.affinities([], ids, NOW)) == set(ids)

    @clause
    async def test_8_similar_movies_are_liked_by_the_same_users(self) -> None:
        audience = _Audience()
        await audience.arrive()
        async with self.open(audience.ratings, audience.movies) as recommender:
            movie = next(film for film in _FILMS if film.id == "w5")
            before = await recommender.similar(movie, Window())
            assert (before.total, before.items) == (0, ())
            await recommender.train()
            whole = await recommender.similar(movie, Window(0, 100))
            ids = [one.movie_id for one in whole.items]
            assert len(ids) == len(set(ids)) == whole.total
            assert "w5" not in ids
            assert _camps(whole.items[:6]) == "wwwwww"
            assert all(reason.movie_id == "w5" for one in whole.items for reason in one.reasons)
            assert whole.items[0].reasons
            parts = [(await recommender.similar(movie, Window(offset, 4))).items for offset in (0, 4)]
            assert [one.movie_id for part in parts for one in part] == ids[:8]
            await recommender.similar(Movie(id="x" * 1000, title="X", genres=("Western",), year=1965), Window())
