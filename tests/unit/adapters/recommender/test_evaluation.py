"""The evaluation of recommendations: metrics, protocols, and invalid files."""

import math
import random
from pathlib import Path

import pytest

from movie_adapters.recommender.evaluation import (
    MIN_USERS,
    PROTOCOLS,
    TooFewRatings,
    evaluate,
    ndcg,
    recall,
)
from movie_core.errors import InvalidParameter

HEADER = "userId,movieId,rating,timestamp\n"


def test_ndcg_equals_manually_computed_values() -> None:
    first, third = 1.0, 1 / math.log2(4)
    assert ndcg([True], 1) == 1.0
    assert ndcg([True, False, True], 2) == pytest.approx((first + third) / (1 + 1 / math.log2(3)))
    assert ndcg([False, False, True], 1) == pytest.approx(0.5)
    assert ndcg([False] * 20, 3) == 0.0
    assert ndcg([False] * 10 + [True], 1) == 0.0
    ideal = sum(1 / math.log2(place + 2) for place in range(10))
    assert ndcg([True], 500) == pytest.approx(1 / ideal)
    assert ndcg([True] * 20, 500) == pytest.approx(1.0)


def test_recall_is_relative_to_twenty_positions() -> None:
    assert recall([True, False, True], 4) == 0.5
    assert recall([True] * 20, 100) == 1.0
    assert recall([False] * 19 + [True], 40) == 0.05
    assert recall([], 3) == 0.0


def two_groups(users: int = 120, movies: int = 60, rated: int = 20) -> str:
    """Half of the users like one half of the movies, and the others the other half."""
    rnd = random.Random(3)
    lines = []
    for user in range(users):
        for place, movie in enumerate(rnd.sample(range(movies), rated)):
            stars = rnd.choice((4, 4.5, 5)) if movie % 2 == user % 2 else rnd.choice((0.5, 1, 2.5))
            lines.append(f"{user},{movie},{stars},{1_000_000_000 + user * 50_000 + place * 60}\n")
    return HEADER + "".join(lines)


def written(folder: Path, text: str) -> Path:
    path = folder / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_model_beats_popularity_if_preferences_differ(tmp_path: Path) -> None:
    steps: list[tuple[str, float]] = []
    evaluation = evaluate(written(tmp_path, two_groups()), lambda step, part: steps.append((step, part)))
    assert (evaluation.ratings, evaluation.users, evaluation.movies, evaluation.skipped) == (2400, 120, 60, 0)
    rows = {(row.protocol, row.method): row for row in evaluation.rows}
    assert {protocol for protocol, _ in rows} == set(PROTOCOLS)
    for protocol, users in {"temporal": 115, "history": 24, "newuser": 23}.items():
        ours, popular = rows[protocol, "ours"], rows[protocol, "most popular"]
        assert ours.users == users
        assert 0 <= popular.ndcg <= ours.ndcg <= 1
        assert 0 <= ours.recall <= 1
        assert 0 < ours.coverage <= 1
        assert 0 < ours.p50_ms <= ours.p99_ms
    assert rows["temporal", "ours"].ndcg > 1.3 * rows["temporal", "most popular"].ndcg
    assert rows["newuser", "item-kNN, cosine"].ndcg > 1.3 * rows["newuser", "most popular"].ndcg
    parts = [part for _, part in steps]
    assert parts == sorted(parts)
    assert (parts[0], parts[-1]) == (0.0, 1.0)


def test_results_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    text = two_groups(users=60)
    lines = text.splitlines(keepends=True)[1:]
    random.Random(1).shuffle(lines)

    def figures(text: str) -> list[tuple[str, str, float, float, float]]:
        rows = evaluate(written(tmp_path, text)).rows
        return [(row.protocol, row.method, row.ndcg, row.recall, row.coverage) for row in rows]

    assert figures(text) == figures(HEADER + "".join(lines))


def test_many_users_are_sampled(tmp_path: Path) -> None:
    rows = evaluate(written(tmp_path, two_groups()), max_users=30).rows
    assert {row.protocol: row.users for row in rows} == {"temporal": 30, "history": 24, "newuser": 23}


def test_too_few_ratings_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TooFewRatings, match=f"users with 10 ratings or more: 49, needed: {MIN_USERS}"):
        evaluate(written(tmp_path, two_groups(users=49)))
    with pytest.raises(TooFewRatings, match="more: 0,"):
        evaluate(written(tmp_path, two_groups(rated=9)))
    with pytest.raises(TooFewRatings, match="more: 0,"):
        evaluate(written(tmp_path, HEADER))


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "userId;movieId;rating;timestamp\n"])
def test_a_file_without_the_columns_is_rejected(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidParameter, match="must have the columns"):
        evaluate(written(tmp_path, text))


def test_an_unreadable_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="cannot be read"):
        evaluate(tmp_path / "nothing.csv")
    (tmp_path / "ratings.csv").write_bytes(HEADER.encode() + b"\xff\xfe,1,2,3\n")
    with pytest.raises(InvalidParameter, match="cannot be read"):
        evaluate(tmp_path / "ratings.csv")


def test_invalid_rows_are_counted(tmp_path: Path) -> None:
    bad = "1,2,x,5\n1,2,7,5\n1,2,nan,5\n,2,3,5\n1,2,3,1e300\n1\n"
    assert evaluate(written(tmp_path, two_groups() + bad)).skipped == 6


def test_years_and_genres_are_read_from_movies_csv(tmp_path: Path) -> None:
    path = written(tmp_path, two_groups())
    without = {row.protocol: row for row in evaluate(path).rows if row.method == "ours"}
    # The requests are of 2001, when half of the films is not released yet.
    rows = [
        f'{n},"Film, no. {n} ({1990 if n < 30 else 2010})",{"Drama" if n % 2 else "Comedy|War"}\n' for n in range(60)
    ]
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "".join(rows), encoding="utf-8")
    with_years = {row.protocol: row for row in evaluate(path).rows if row.method == "ours"}
    for protocol in PROTOCOLS:
        assert with_years[protocol].coverage <= 0.5 < without[protocol].coverage
