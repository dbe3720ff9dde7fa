"""Analytics: which days are asked for."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.analytics import DEFAULT_DAYS, MAX_DAYS, Days
from movie_core.errors import InvalidParameter

TODAY = date(2026, 11, 24)


def test_without_days_the_last_30_are_meant_today_included() -> None:
    assert Days.parse(None, None, TODAY) == Days(date(2026, 10, 26), TODAY)
    assert (TODAY - date(2026, 10, 26)).days + 1 == DEFAULT_DAYS


def test_one_end_that_is_left_out_follows_from_the_other_or_is_today() -> None:
    assert Days.parse("2026-11-20", None, TODAY) == Days(date(2026, 11, 20), TODAY)
    assert Days.parse(None, "2026-11-20", TODAY) == Days(date(2026, 10, 22), date(2026, 11, 20))


def test_both_days_are_included() -> None:
    assert Days.parse("2026-11-20", "2026-11-20", TODAY) == Days(date(2026, 11, 20), date(2026, 11, 20))


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-11-31", "2026-1-1", "20261101", "2026-W44-7", "2026-W44", "2026-11-01T00:00"),
        *("2026-11-01 ", "２026-11-01", "1969-12-31", "9000-01-01", "0001-01-01", "9999-12-31", "\x00", "\ud800"),
    ],
)
@pytest.mark.parametrize("name", ["from", "to"])
def test_what_is_no_day_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Days.parse(*((text, None) if name == "from" else (None, text)), TODAY)
    assert caught.value.field == name


def test_the_earlier_day_comes_first_and_there_are_not_too_many() -> None:
    longest = Days.parse("2025-11-24", "2026-11-24", TODAY)
    assert (longest.last - longest.first).days + 1 == MAX_DAYS
    for first, last in (("2026-11-02", "2026-11-01"), ("2025-11-23", "2026-11-24"), ("1970-01-01", "8999-12-31")):
        with pytest.raises(InvalidParameter) as caught:
            Days.parse(first, last, TODAY)
        assert caught.value.field == "from"


@given(st.dates(date(1970, 1, 1), date(8998, 1, 1)), st.integers(0, MAX_DAYS - 1))
def test_any_two_days_that_are_not_too_far_apart_are_taken(first: date, more: int) -> None:
    last = first + timedelta(days=more)
    assert Days.parse(first.isoformat(), last.isoformat(), TODAY) == Days(first, last)
