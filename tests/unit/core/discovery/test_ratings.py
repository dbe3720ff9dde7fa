"""The scale of ratings, what becomes of a new one, and how a movie of a file is found among ours."""

import math
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.ratings import (
    MovieIdentity,
    MovieIndex,
    NewRating,
    Rating,
    RatingChange,
    apply_rating,
    check_rating,
    normalise_title,
    title_spellings,
)
from movie_core.errors import InvalidRating
from movie_core.search.movies import Movie
from movie_core.testing import NOW


@given(st.integers(1, 20))
def test_halves_from_a_half_to_ten_are_ratings(halves: int) -> None:
    assert check_rating(halves / 2) == halves / 2


@pytest.mark.parametrize("rating", [0, -0.5, 0.25, 10.5, 9.999, 1e308, math.inf, -math.inf, math.nan])
def test_nothing_else_is_a_rating(rating: float) -> None:
    with pytest.raises(InvalidRating) as caught:
        check_rating(rating)
    assert caught.value.field == "rating"


def test_a_new_rating_is_put_among_a_users_own() -> None:
    own: dict[str, Rating] = {}
    new = NewRating("1", "One", 1990, 7.0)
    first = Rating("1", "One", 1990, 7.0, NOW)
    assert apply_rating(own, new, NOW) == RatingChange(first, is_change=True)
    assert apply_rating(own, new, NOW + timedelta(1)) == RatingChange(first, is_change=False)
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    dated = apply_rating(own, NewRating("1", "Renamed", None, 7.0, east - timedelta(1)), NOW)
    assert dated == RatingChange(Rating("1", "Renamed", None, 7.0, NOW - timedelta(1)), is_change=False)
    assert dated.rating.rated_at.utcoffset() == timedelta(0)
    assert apply_rating(own, NewRating("1", "One", 1990, 2.0), NOW).is_change
    assert own == {"1": Rating("1", "One", 1990, 2.0, NOW)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Matrix", "Matrix, The"),
        ("the matrix", "MATRIX,THE "),
        ("L'avventura", "Avventura, L\u2019"),
        ("Amélie", "AMELIE"),
        ("Spider-Man: No Way Home", "Spider Man - No Way Home!"),
        ("Schindler's List", "Schindler\u2019s List"),
        ("Fast & Furious", "Fast and Furious"),
        ("Straße", "STRASSE"),
        ("\ufb01re", "Fire"),
        ("WALL·E", "Wall-E"),
        (" ??? ", "? ? ?"),
    ],
)
def test_spellings_of_one_title_have_one_key(one: str, other: str) -> None:
    assert normalise_title(one) == normalise_title(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("The Matrix", "Matrix"), ("Alien", "Aliens"), ("Me, Myself and I", "I Me, Myself"), ("!", "!!"), ("8", "8½")],
)
def test_other_titles_have_other_keys(one: str, other: str) -> None:
    assert normalise_title(one) != normalise_title(other)


def test_a_title_is_spelled_with_its_article_in_front_and_behind() -> None:
    for title in ("The Matrix", "Matrix, The"):
        assert title_spellings(title) == ("The Matrix", "Matrix, The")
    assert title_spellings("L'avventura") == ("L'avventura", "avventura, L'")
    for title in ("Theremin", "The", "Heat", "", "Yes, Then"):
        assert title_spellings(title) == (title,)


@given(st.text("aéÉzZ7 '-,!", max_size=12))
def test_case_makes_no_difference_to_a_key(title: str) -> None:
    assert normalise_title(title) == normalise_title(title.swapcase())
    assert " " not in normalise_title(title)


def test_a_movie_added_twice_is_still_the_only_one() -> None:
    movie = Movie(id="1", title="Heat", original_title="Heat", alt_titles=("Heat", "HEAT"), year=1995, imdb_id="tt1")
    known = MovieIndex([movie])
    known.add(movie)
    for identity in (MovieIdentity(movie_id="1"), MovieIdentity(imdb_id="tt1"), MovieIdentity(title="heat", year=1996)):
        assert known.find(identity) == movie
    assert known.by_id(MovieIdentity(title="Heat")) == []
