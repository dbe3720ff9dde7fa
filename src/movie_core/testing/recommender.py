"""Contract of the `Recommender` port."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

from movie_core.discovery.ratings import NewRating, Rating
from movie_core.discovery.recommendations import MAX_REASONS, MAX_RECOMMENDED, ReasonKind, Recommendation, Tier
from movie_core.discovery.training_ratings import TrainingRating
from movie_core.memory import deployment
from movie_core.paging import Window
from movie_core.ports import MovieCatalogue, RatingStore, Recommender, TrainingRatingStore
from movie_core.search.movies import Movie
from movie_core.testing.account_fixtures import UNLIMITED, create_user, memory_account_stores
from movie_core.testing.shared import NOW, ODD_STRINGS, clause

_MOVIES = tuple(
    Movie(
        id=f"{group}{number}",
        title=f"{genre} {number}",
        year=1960 + number,
        genres=(genre,),
        popularity=float(100 - number) if group != "n" else None,
    )
    for group, genre in (("w", "Western"), ("m", "Musical"), ("n", "Newsreel"))
    for number in range(12)
)
"""Twelve movies liked by one half of the users, twelve liked by the other half, and twelve without ratings."""


def _rating(movie_id: str, rating: float, *, day: int = 1) -> Rating:
    movie = next(movie for movie in _MOVIES if movie.id == movie_id)
    return Rating(movie.id, movie.title, movie.year, rating, NOW - timedelta(days=100 - day))


class _Dataset:
    """The stores of a recommender; `rate_all` adds twelve users with ratings."""

    def __init__(self) -> None:
        world = deployment(_MOVIES, mail_rules=UNLIMITED)
        self.ratings, self.imported, self.movies = world.ratings, world.training_ratings, world.catalogue
        self.stores = self.ratings, self.imported, self.movies
        self._stores = memory_account_stores(world)
        self.users: list[str] = []

    async def rate_all(self) -> None:
        for number in range(12):
            user, _ = await create_user(self._stores, f"u{number}@example.com", f"User {number}")
            self.users.append(user.id)
            liked, other = ("w", "m") if number % 2 else ("m", "w")
            rows = [(f"{liked}{index}", 9.0 if index % 2 else 8.0) for index in range(12) if (index + number) % 4]
            rows += [(f"{other}{index}", 3.0) for index in range(12) if (index + number) % 5 == 0]
            await self.rate(user.id, *rows)

    async def rate(self, user_id: str, *rows: tuple[str, float]) -> None:
        ratings = [_rating(movie_id, rating, day=day) for day, (movie_id, rating) in enumerate(rows)]
        new = [
            NewRating(rating.movie_id, rating.title, rating.year, rating.rating, rating.rated_at) for rating in ratings
        ]
        await self.ratings.put(user_id, new, NOW)


async def _all_recommendations(
    recommender: Recommender, history: Sequence[Rating], limit: int = 100
) -> list[Recommendation]:
    """All recommendations, fetched in pages of `limit` items."""
    items: list[Recommendation] = []
    offset: int | None = 0
    while offset is not None:
        page = await recommender.recommend(history, Window(offset, limit), NOW)
        items += page.items
        offset = Window(offset, limit).next_offset(page.total)
    return items


def _groups(items: Sequence[Recommendation]) -> str:
    return "".join(item.movie_id[0] for item in items)


class RecommenderContract:
    """Contract of every `Recommender`. The numbers in test names are the clauses of the port."""

    def open(
        self, ratings: RatingStore, imported: TrainingRatingStore, movies: MovieCatalogue
    ) -> AbstractAsyncContextManager[Recommender]:
        """The recommender under test, without a model, over these stores."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_a_model_reports_its_training_data(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            assert await recommender.model() is None
            steps: list[tuple[str, float]] = []
            model = await recommender.train(lambda step, part: steps.append((step, part)))
            count = len([item async for batch in dataset.ratings.iter_all() for item in batch])
            assert (model.ratings, model.users, model.movies) == (count, 12, len(_MOVIES))
            assert await recommender.model() == model
            assert steps
            assert all(step and 0 <= part <= 1 for step, part in steps)

    @clause
    async def test_1_training_without_data_succeeds(self) -> None:
        for movies in ((), _MOVIES):
            dataset = _Dataset()
            await dataset.movies.load(movies, replace=True)
            async with self.open(*dataset.stores) as recommender:
                model = await recommender.train()
                assert (model.ratings, model.users, model.movies) == (0, 0, len(movies))
                assert len(await _all_recommendations(recommender, [])) == len(movies)
                assert len(await _all_recommendations(recommender, [_rating("w0", 9.0)])) == max(0, len(movies) - 1)

    @clause
    async def test_1_a_model_is_trained_on_imported_ratings_too(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        count = len([item async for batch in dataset.ratings.iter_all() for item in batch])
        imported = [
            TrainingRating(user, movie_id, 9.0 if (movie_id == "m11") == bool(user % 2) else 2.0, int(NOW.timestamp()))
            for user in range(30)
            for movie_id in ("n1", "w11", "m11", "gone")
        ]
        history, others = [_rating("n1", 9.5)], ("w11", "m11")
        async with self.open(*dataset.stores) as recommender:
            await recommender.train()
            before = await recommender.affinities(history, others)
            await dataset.imported.replace([imported])
            model = await recommender.train()
            assert (model.ratings, model.users, model.movies) == (count + len(imported), 12 + 30, len(_MOVIES))
            after = await recommender.affinities(history, others)
            assert before["w11"] == before["m11"] < after["w11"]
            assert after["m11"] < after["w11"]
            of_users = await recommender.affinities([_rating("m4", 9.0)], ("m5", "w5"))
            assert of_users["w5"] < of_users["m5"]

    @clause
    async def test_1_ratings_of_deleted_movies_are_ignored(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        await dataset.movies.load([movie for movie in _MOVIES if movie.id != "w3"], replace=True)
        async with self.open(*dataset.stores) as recommender:
            await recommender.train()
            found = await _all_recommendations(recommender, [_rating("w3", 9.0), _rating("w4", 9.0)])
            assert "w3" not in {item.movie_id for item in found}
            assert await recommender.affinities([_rating("w3", 9.0)], ["w3"]) == {}

    @clause
    async def test_3_a_model_is_outdated_once_ratings_or_movies_have_changed(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            assert await recommender.is_outdated()
            await recommender.train()
            assert not await recommender.is_outdated()
            await dataset.ratings.remove(dataset.users[0], "m1")
            assert await recommender.is_outdated()
            await recommender.train()
            assert not await recommender.is_outdated()
            await dataset.imported.replace([[TrainingRating(1, "m1", 9.0, 0)]])
            assert await recommender.is_outdated()
            await recommender.train()
            assert not await recommender.is_outdated()
            await dataset.movies.load([Movie(id="new", title="New")])
            assert await recommender.is_outdated()

    @clause
    async def test_4_pages_are_consistent_without_duplicates_or_rated_movies(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            for _ in range(2):  # without a model, then with one
                for history in ([], [_rating("w0", 9.0), _rating("m5", 2.0)]):
                    expected = await _all_recommendations(recommender, history)
                    ids = [item.movie_id for item in expected]
                    assert len(ids) == len(set(ids)) == len(_MOVIES) - len(history)
                    assert not {item.movie_id for item in history} & set(ids)
                    assert [item.score for item in expected] == sorted((item.score for item in expected), reverse=True)
                    for limit in (1, 7):
                        assert [
                            item.movie_id for item in await _all_recommendations(recommender, history, limit)
                        ] == ids
                    later_page = await recommender.recommend(history, Window(0, 100), NOW + timedelta(seconds=59))
                    assert list(later_page.items) == expected
                    past = await recommender.recommend(history, Window(5000, 10), NOW)
                    assert (past.total, past.items) == (len(expected), ())
                await recommender.train()

    @clause
    async def test_4_the_length_of_the_list_is_limited(self) -> None:
        dataset = _Dataset()
        await dataset.movies.load([Movie(id=f"x{number:04}", title=f"X {number}") for number in range(600)])
        async with self.open(*dataset.stores) as recommender:
            for _ in range(2):
                assert len(await _all_recommendations(recommender, [])) == MAX_RECOMMENDED
                assert len(await _all_recommendations(recommender, [_rating("w0", 9.0)])) == MAX_RECOMMENDED
                await recommender.train()

    @clause
    async def test_5_a_new_rating_takes_effect_immediately(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            await recommender.train()
            likes = [_rating(f"w{number}", 9.0, day=number) for number in range(4)]
            assert _groups((await _all_recommendations(recommender, likes))[:6]) == "wwwwww"
            changed = [replace(item, rating=1.0) for item in likes]
            changed += [_rating(f"m{number}", 9.0, day=number + 4) for number in range(4)]
            assert _groups((await _all_recommendations(recommender, changed))[:6]) == "mmmmmm"
            first = (await _all_recommendations(recommender, likes))[0].movie_id
            rest = [
                item.movie_id for item in await _all_recommendations(recommender, [*likes, _rating(first, 9.0, day=50)])
            ]
            assert first not in rest
            assert len(rest) == len(_MOVIES) - 5

    @clause
    async def test_5_popular_movies_are_recommended_without_a_history_or_a_model(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            found = await recommender.recommend([], Window(0, 4), NOW)
            assert found.tier is Tier.POPULAR
            assert {item.movie_id for item in found.items} <= {"w0", "m0", "w1", "m1", "w2", "m2"}
            await recommender.train()
            found = await recommender.recommend([], Window(0, 24), NOW)
            assert found.tier is Tier.POPULAR
            assert "n" not in _groups(found.items)
            assert not any(item.reasons for item in found.items)
            assert (await recommender.recommend([_rating("w0", 9.0)], Window(), NOW)).tier is Tier.PERSONAL

    @clause
    async def test_5_before_the_first_model_recommendations_are_of_similar_content(self) -> None:
        dataset = _Dataset()
        async with self.open(*dataset.stores) as recommender:
            for group in "wm":
                found = await recommender.recommend([_rating(f"{group}5", 9.0)], Window(0, 5), NOW)
                assert (found.tier, _groups(found.items)) == (Tier.PERSONAL, 5 * group)
            await dataset.movies.load((), replace=True)

    @clause
    async def test_6_without_a_reason_the_score_would_be_lower(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            await recommender.train()
            history = [_rating(f"w{number}", 9.5 - number, day=number) for number in range(8)]
            history += [_rating(f"m{number}", 2.0 + 3 * number, day=20 + number) for number in range(3)]
            recommended = (await _all_recommendations(recommender, history))[:20]
            assert any(item.reasons for item in recommended)
            for item in recommended:
                assert len(item.reasons) <= MAX_REASONS
                for reason in item.reasons:
                    assert reason.kind is ReasonKind.BECAUSE_YOU_RATED
                    left = [rating for rating in history if rating.movie_id != reason.movie_id]
                    assert len(left) == len(history) - 1
                    assert reason.title in {rating.title for rating in history}
                    without = {found.movie_id: found.score for found in await _all_recommendations(recommender, left)}
                    assert without[item.movie_id] < item.score, (item, reason)

    @clause
    async def test_7_affinities_rank_liked_movies_above_disliked_ones(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            history = [_rating(f"w{number}", 9.0, day=number) for number in range(4)]
            ids = [movie.id for movie in _MOVIES]
            for _ in range(2):  # by content, then with a model
                affinities = await recommender.affinities(history, [*ids, *ODD_STRINGS])
                assert set(affinities) == set(ids)
                western, musical = (
                    [affinities[movie_id] for movie_id in ids if movie_id[0] == group] for group in "wm"
                )
                assert min(western) > max(musical)
                await recommender.train()
            assert await recommender.affinities(history, []) == {}
            assert set(await recommender.affinities([], ids)) == set(ids)

    @clause
    async def test_8_similar_movies_are_liked_by_the_same_users(self) -> None:
        dataset = _Dataset()
        await dataset.rate_all()
        async with self.open(*dataset.stores) as recommender:
            movie = next(movie for movie in _MOVIES if movie.id == "w5")
            before = await recommender.similar(movie, Window(0, 5))
            assert _groups(before.items) == "wwwww"
            assert "w5" not in {item.movie_id for item in before.items}
            assert {reason.kind for item in before.items for reason in item.reasons} == {ReasonKind.ALIKE}
            await recommender.train()
            expected = await recommender.similar(movie, Window(0, 100))
            ids = [item.movie_id for item in expected.items]
            assert len(ids) == len(set(ids)) == expected.total
            assert "w5" not in ids
            assert _groups(expected.items[:6]) == "wwwwww"
            assert all(reason.movie_id == "w5" for item in expected.items for reason in item.reasons)
            assert expected.items[0].reasons
            pages = [(await recommender.similar(movie, Window(offset, 4))).items for offset in (0, 4)]
            assert [item.movie_id for page in pages for item in page] == ids[:8]
            await recommender.similar(Movie(id="x" * 1000, title="X", genres=("Western",), year=1965), Window())
