"""The scale of ratings, and storing a rating."""

import math
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.ratings import (
    NewRating,
    Rating,
    RatingChange,
    apply_rating,
    check_rating,
    exported,
)
from movie_core.errors import InvalidRating
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


def test_a_stored_rating_is_replaced_only_by_another_value_or_time() -> None:
    own = {"1": Rating("1", "Old title", 1990, 7.0, NOW)}
    assert not apply_rating(own, NewRating("1", "New title", 1991, 7.0), NOW + timedelta(1)).is_change
    assert own["1"].title == "Old title"
    changed = apply_rating(own, NewRating("1", "New title", 1991, 8.0), NOW + timedelta(1))
    assert changed == RatingChange(Rating("1", "New title", 1991, 8.0, NOW + timedelta(1)), is_change=True)
    assert own == {"1": changed.rating}


def test_a_newer_stored_rating_stays_if_it_is_to_be_kept() -> None:
    newer, day = Rating("1", "One", 1990, 7.0, NOW), timedelta(1)
    own = {"1": newer}
    assert apply_rating(own, NewRating("1", "One", 1990, 2.0, NOW - day), NOW, keep_newer=True) == RatingChange(
        newer, is_change=False
    )
    assert apply_rating(own, NewRating("1", "One", 1990, 2.0), NOW - day, keep_newer=True).rating == newer
    assert own == {"1": newer}
    for rating, at in ((3.0, NOW), (4.0, NOW + day), (5.0, None)):
        new = NewRating("1", "One", 1990, rating, at)
        assert apply_rating(own, new, NOW + 2 * day, keep_newer=True).is_change
        assert own["1"].rating == rating
    assert apply_rating(own, NewRating("1", "One", 1990, 6.0, NOW - day), NOW).is_change


def test_an_exported_rating_has_its_source_and_a_time_in_utc() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    shown = exported("catalogue", Rating("1", "One", 1990, 7.5, east))
    assert (shown.source, shown.movie_id, shown.title, shown.year, shown.rating) == ("catalogue", "1", "One", 1990, 7.5)
    assert (shown.rated_at, shown.rated_at.utcoffset()) == (NOW, timedelta(0))
