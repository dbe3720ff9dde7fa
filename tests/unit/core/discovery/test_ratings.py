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
    exported,
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


HEAT = Movie(id="1", title="Heat", original_title="Hitze", year=1995, imdb_id="tt1", tmdb_id="949")
ALIEN = Movie(id="2", title="Alien", year=1979, imdb_id="tt2", tmdb_id="348")


def test_a_movie_is_found_by_the_first_id_that_is_known() -> None:
    index = MovieIndex([HEAT, ALIEN])
    for identity, movie in (
        (MovieIdentity(movie_id="1", imdb_id="tt2", tmdb_id="348", title="Alien"), HEAT),
        (MovieIdentity(movie_id="9", imdb_id="tt2", tmdb_id="949", title="Heat", year=1995), ALIEN),
        (MovieIdentity(imdb_id="tt9", tmdb_id="949", title="Alien"), HEAT),
        (MovieIdentity(imdb_id="tt9", tmdb_id="9", title="alien"), ALIEN),
        (MovieIdentity(title="HITZE", year=1995), HEAT),
    ):
        assert index.find(identity) == movie
    assert index.find(MovieIdentity(movie_id="9")) is None
    assert index.find(MovieIdentity()) is None
    assert MovieIndex().find(MovieIdentity(title="Heat")) is None


def test_movies_without_external_ids_are_not_found_by_empty_ones() -> None:
    index = MovieIndex([Movie(id="1", title="One", imdb_id="", tmdb_id=""), Movie(id="2", title="Two")])
    assert index.by_id(MovieIdentity(imdb_id="", tmdb_id="")) == []


def test_an_id_that_two_movies_share_identifies_neither() -> None:
    index = MovieIndex([HEAT, Movie(id="3", title="Other", imdb_id="tt1")])
    assert index.by_id(MovieIdentity(imdb_id="tt1")) == [HEAT, Movie(id="3", title="Other", imdb_id="tt1")]
    assert index.find(MovieIdentity(imdb_id="tt1")) is None


@pytest.mark.parametrize(
    ("year", "is_found"), [(1995, True), (1994, True), (1996, True), (1993, False), (1997, False), (None, True)]
)
def test_a_title_matches_within_a_year(year: int | None, is_found: bool) -> None:
    assert MovieIndex([HEAT]).find(MovieIdentity(title="Heat", year=year)) == (HEAT if is_found else None)


def test_of_equal_titles_the_exact_year_decides() -> None:
    remake = Movie(id="3", title="Heat", year=1996)
    undated = Movie(id="4", title="Heat")
    assert MovieIndex([HEAT, remake]).find(MovieIdentity(title="Heat", year=1996)) == remake
    assert MovieIndex([HEAT, remake]).find(MovieIdentity(title="Heat", year=1997)) == remake
    assert MovieIndex([HEAT, remake]).find(MovieIdentity(title="Heat")) is None
    assert MovieIndex([HEAT, undated]).find(MovieIdentity(title="Heat", year=1995)) == HEAT
    assert MovieIndex([HEAT, undated]).find(MovieIdentity(title="Heat", year=1950)) == undated
    assert MovieIndex([undated]).find(MovieIdentity(title="Heat")) == undated


def test_a_stored_rating_is_replaced_only_by_another_value_or_time() -> None:
    own = {"1": Rating("1", "Old title", 1990, 7.0, NOW)}
    assert not apply_rating(own, NewRating("1", "New title", 1991, 7.0), NOW + timedelta(1)).is_change
    assert own["1"].title == "Old title"
    changed = apply_rating(own, NewRating("1", "New title", 1991, 8.0), NOW + timedelta(1))
    assert changed == RatingChange(Rating("1", "New title", 1991, 8.0, NOW + timedelta(1)), is_change=True)
    assert own == {"1": changed.rating}


def test_an_exported_rating_has_its_source_and_a_time_in_utc() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    shown = exported("catalogue", Rating("1", "One", 1990, 7.5, east))
    assert (shown.source, shown.movie_id, shown.title, shown.year, shown.rating) == ("catalogue", "1", "One", 1990, 7.5)
    assert (shown.rated_at, shown.rated_at.utcoffset()) == (NOW, timedelta(0))
