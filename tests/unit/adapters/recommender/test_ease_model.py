"""The EASE model against brute force: predictions, folding in, popularity, reasons, and serialisation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from movie_adapters.recommender.ease_model import (
    COLUMN_POWER,
    LAMBDA,
    POPULARITY_PRIOR,
    RECENCY_HALF_LIFE,
    EaseModel,
    RatingColumns,
    best,
    rating_columns,
)
from movie_core.discovery.recommendations import ReasonKind
from movie_core.search.movies import Movie

MADE = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
DAY = 86400.0
FILMS = [
    Movie(id=f"{n:02}", title=f"Film {n}", year=1970 + n, genres=("Drama",) if n % 2 else ("Comedy", "War"))
    for n in range(40)
]


def audience(users: int = 60, seed: int = 1, films: int = 40) -> RatingColumns:
    """Two groups of users, each of which likes every second film; some films have few ratings."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        for movie in rng.choice(films, 14, replace=False, p=_weights(films)):
            rating = rng.integers(14, 21) / 2 if movie % 2 == user % 2 else rng.integers(1, 13) / 2
            rows.append((user, movie, rating, MADE.timestamp() - rng.integers(0, 1000) * DAY))
    users_, movies, ratings, times = zip(*rows, strict=True)
    return RatingColumns(np.array(users_), np.array(movies), np.array(ratings, np.float32), np.array(times, float))


def _weights(films: int) -> NDArray[np.float64]:
    falling = 1 / np.arange(1, films + 1)
    return np.asarray(falling / falling.sum())


def likes(data: RatingColumns) -> NDArray[np.int64]:
    return np.bincount(data.movies[data.ratings >= 8], minlength=40)


def ease(data: RatingColumns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights by inversion of the dense matrix, and column scales; zero for films without factors."""
    values = np.zeros((int(data.users.max()) + 1, 40))
    values[data.users, data.movies] = (data.ratings - 5.0) / 3
    known = likes(data) >= 3
    scales = np.where(known, np.maximum((values > 0).sum(0), 1.0) ** -COLUMN_POWER, 0)
    inverse = np.linalg.inv((values * scales).T @ (values * scales) + LAMBDA * np.eye(40))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return np.where(known[None, :], weights, 0), scales


HISTORY = [("00", 9.0), ("03", 3.0), ("02", 8.0), ("05", 6.5), ("39", 9.5)]


def test_predictions_are_proportional_to_dense_ease() -> None:
    data = audience()
    model = EaseModel.fit(FILMS, data, MADE)
    weights, scales = ease(data)
    ages = np.arange(len(HISTORY) - 1, -1, -1)
    values = np.array([(rating - 5) / 3 for _, rating in HISTORY]) * (1 + 2.0 ** (-ages / RECENCY_HALF_LIFE))
    seen = [int(movie_id) for movie_id, _ in HISTORY]
    dense = (values * scales[seen]) @ weights[seen]
    profile = model.profile(HISTORY)
    latent, _ = model._profile_vectors(profile, profile.weights())
    predictions = model._predictions(latent)[0]
    unseen = [n for n in range(40) if n not in seen and likes(data)[n] >= 3]
    ratio = predictions[unseen] / dense[unseen]
    assert np.allclose(ratio, ratio[0], rtol=1e-3)
    assert ratio[0] > 0


def test_the_score_follows_the_documented_formula() -> None:
    data = audience()
    model = EaseModel.fit(FILMS, data, MADE)
    profile = model.profile(HISTORY)
    latent, contents = model._profile_vectors(profile, profile.weights())
    prediction, content = model._predictions(latent)[0], model._content_similarities(contents)[0]
    popularity = model._popularity_at(MADE)
    f = (POPULARITY_PRIOR / (4 + POPULARITY_PRIOR)) ** 3  # one of the five ratings is below neutral
    expected = (1 - f) * (prediction - 0.05 * popularity) + 1.5 * content + 1.5 * f * popularity
    top = model.top(profile, MADE)
    assert len(top) == 35
    assert [score for _, score in top] == pytest.approx([expected[number] for number, _ in top], abs=1e-4)
    known = likes(data) >= 3
    assert np.mean(np.square(popularity)) * 40 / known.sum() == pytest.approx(1, rel=1e-4)


def test_popularity_is_halved_every_year_and_ignores_later_likes() -> None:
    year = 365 * DAY
    start = datetime(2020, 1, 6, tzinfo=UTC).timestamp()
    times = np.array([start, start + year, start + year])
    data = RatingColumns(np.arange(3), np.array([0, 1, 1]), np.full(3, 9, np.float32), times)
    model = EaseModel.fit(FILMS, data, MADE)
    assert not model._decayed_likes(start).any()
    first = model._decayed_likes(start + 8 * DAY)
    assert (first[0] > 0.97, first[1]) == (True, 0)
    later = model._decayed_likes(start + 2 * year)
    assert later[1] / later[0] == pytest.approx(4, rel=0.02)
    assert model._decayed_likes(start + 3 * year)[0] == pytest.approx(later[0] / 2)


def test_a_model_is_the_same_after_serialisation() -> None:
    data = audience()
    original = EaseModel.fit(FILMS, data, MADE)
    body = original.dump(MADE)
    loaded = EaseModel.load(body)
    for at in (MADE, MADE + timedelta(days=400)):
        before, after = (dict(model.top(model.profile(HISTORY), at)) for model in (original, loaded))
        assert before.keys() == after.keys()
        assert list(after.values()) == pytest.approx(list(before.values()), abs=0.02)
    assert loaded.dump(MADE) == body
    for invalid in (b"", body[:-1], body[:40], b"x" + body, b"movie-ease-0\n" + body[13:]):
        with pytest.raises(ValueError):
            EaseModel.load(invalid)


def test_the_model_contains_nothing_of_a_single_user() -> None:
    data = audience()
    model = EaseModel.fit(FILMS, data, MADE)
    unpopular = np.flatnonzero(likes(data) < 3)
    assert len(unpopular)
    assert not set(model._factor_movies.tolist()) & set(unpopular.tolist())
    assert model._factors.shape == (len(model._factor_movies), len(model._gains))
    loaded = EaseModel.load(model.dump(MADE))
    movies, times, _ = loaded._likes
    assert len(movies) == len(set(movies.tolist()))
    assert set(times.tolist()) == {MADE.timestamp()}


@pytest.mark.parametrize(("users", "films"), [(12, 40), (90, 40)])
def test_all_decompositions_give_the_same_scores(users: int, films: int) -> None:
    data = audience(users)
    exact = EaseModel.fit(FILMS, data, MADE, block_size=100)
    # Both sides exceed the limit: subspace iteration.
    iterated = EaseModel.fit(FILMS, data, MADE, block_size=100, max_exact_side=5)
    assert dict(_top(iterated)) == pytest.approx(dict(_top(exact)), abs=1e-3)


def _top(model: EaseModel) -> list[tuple[int, float]]:
    return model.top(model.profile(HISTORY), MADE)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 45), st.integers(1, 20)), min_size=1, max_size=40, unique_by=lambda pair: pair[0]
    ),
    st.integers(0, 3),
)
def test_the_score_is_lower_without_any_of_its_reasons(rows: list[tuple[int, int]], seed: int) -> None:
    model = _models[seed]
    history = [(f"{movie:02}", half / 2) for movie, half in rows]
    profile = model.profile(history)
    known = [pair for pair in history if pair[0] in model.index]
    top = model.top(profile, MADE)
    shown = [number for number, _ in top][:12]
    for (number, score), positions in zip(top, model.reasons(profile, MADE, shown), strict=False):
        assert len(positions) <= 3
        for position in positions:
            others = [pair for pair in known if pair != known[position]]
            assert dict(model.top(model.profile(others), MADE))[number] < score
            assert known[position][1] > 5


_models = [EaseModel.fit(FILMS, audience(seed=seed), MADE) for seed in range(4)]


def test_a_contributing_rating_is_a_reason() -> None:
    model = _models[0]
    profile = model.profile([("01", 9.0), ("03", 9.0), ("00", 2.0)])
    (number, _), *_ = model.top(profile, MADE)
    assert number % 2 == 1
    assert set(model.reasons(profile, MADE, [number])[0]) <= {0, 1}
    assert model.reasons(profile, MADE, [number])[0]
    assert model.reasons(model.profile([]), MADE, [number]) == [[]]
    assert model.reasons(profile, MADE, []) == []


def test_films_of_later_years_and_rated_films_are_excluded() -> None:
    model = _models[0]
    then = datetime(1990, 6, 1, tzinfo=UTC)
    recommended = {number for number, _ in model.top(model.profile(HISTORY), then)}
    assert recommended == set(range(21)) - {0, 2, 3, 5}


def test_similar_films_have_the_similarities_that_are_stated() -> None:
    model = _models[0]
    for movie in (FILMS[0], Movie(id="new", title="New", year=1975, genres=("Drama", "Western"))):
        for number, _, kinds in model.similar(movie):
            assert kinds
            if ReasonKind.ALIKE in kinds:
                assert set(FILMS[number].genres) & set(movie.genres)
                assert abs((FILMS[number].year or 0) - (movie.year or 0)) <= 10
    assert 0 not in {number for number, _, _ in model.similar(FILMS[0])}


def test_best_orders_by_score_then_by_index() -> None:
    scores = np.array([0.5, 2.0, 0.5 + 1e-9, -np.inf, 0.5, 1.0])
    assert best(scores, 4) == [(1, 2.0), (5, 1.0), (0, 0.5), (2, 0.5)]
    assert best(scores, 99)[-1] == (4, 0.5)
    assert best(np.full(3, -np.inf), 2) == []


def test_ratings_of_unknown_films_are_dropped() -> None:
    data = rating_columns([0, 1, 1], [0, 1, 2], [9, 8, 7], [1, 2, 3], ["02", "gone", "01"], FILMS)
    assert (data.users.tolist(), data.movies.tolist(), data.ratings.tolist()) == ([0, 1], [2, 1], [9, 7])
