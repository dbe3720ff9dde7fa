"""The scale of ratings, storing a rating, and the index that matches imported rows with movies."""

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
)
from movie_core.errors import InvalidRating
from movie_core.search.movies import Movie
from movie_core.testing import NOW


@given(st.integers(1, 20))
def test_multiples_of_a_half_up_to_ten_are_valid_ratings(halves: int) -> None:
    assert check_rating(halves / 2) == halves / 2


@pytest.mark.parametrize("rating", [0, -0.5, 0.25, 10.5, 9.999, 1e308, math.inf, -math.inf, math.nan])
def test_other_values_are_rejected(rating: float) -> None:
    with pytest.raises(InvalidRating) as caught:
        check_rating(rating)
    assert caught.value.field == "rating"


def test_a_new_rating_is_added_to_the_users_ratings() -> None:
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


def test_adding_a_movie_twice_has_no_effect() -> None:
    movie = Movie(id="1", title="Heat", original_title="Heat", alt_titles=("Heat", "HEAT"), year=1995, imdb_id="tt1")
    index = MovieIndex([movie])
    index.add(movie)
    for identity in (MovieIdentity(movie_id="1"), MovieIdentity(imdb_id="tt1"), MovieIdentity(title="heat", year=1996)):
        assert index.find(identity) == movie
    assert index.by_id(MovieIdentity(title="Heat")) == []


@pytest.mark.parametrize("title", ["Strada, La", "la strada", "STRADA,LA", "Lunga Strada, La"])
def test_a_title_matches_with_its_article_at_either_end(title: str) -> None:
    movie = Movie(id="1", title="La Strada", alt_titles=("La lunga strada",), year=1954)
    assert MovieIndex([movie]).find(MovieIdentity(title=title, year=1954)) == movie
    assert MovieIndex([movie]).find(MovieIdentity(title="Strada", year=1954)) is None
