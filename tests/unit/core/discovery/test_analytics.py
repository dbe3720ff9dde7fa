"""Parsing of the days of an analytics report."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.analytics import DEFAULT_DAYS, MAX_DAYS, Days
from movie_core.errors import InvalidParameter

TODAY = date(2026, 11, 24)


def test_the_default_is_the_last_30_days_including_today() -> None:
    assert Days.parse(None, None, TODAY) == Days(date(2026, 10, 26), TODAY)
    assert (TODAY - date(2026, 10, 26)).days + 1 == DEFAULT_DAYS


def test_a_missing_end_of_the_range_has_a_default() -> None:
    assert Days.parse("2026-11-20", None, TODAY) == Days(date(2026, 11, 20), TODAY)
    assert Days.parse(None, "2026-11-20", TODAY) == Days(date(2026, 10, 22), date(2026, 11, 20))


def test_both_days_are_inclusive() -> None:
    assert Days.parse("2026-11-20", "2026-11-20", TODAY) == Days(date(2026, 11, 20), date(2026, 11, 20))


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-11-31", "2026-1-1", "20261101", "2026-W44-7", "2026-W44", "2026-11-01T00:00"),
        *("2026-11-01 ", "２026-11-01", "1969-12-31", "9000-01-01", "0001-01-01", "9999-12-31", "\x00", "\ud800"),
    ],
)
@pytest.mark.parametrize("name", ["from", "to"])
def test_a_malformed_day_is_rejected(name: str, text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Days.parse(*((text, None) if name == "from" else (None, text)), TODAY)
    assert caught.value.field == name


def test_a_reversed_or_too_long_range_is_rejected() -> None:
    longest = Days.parse("2025-11-24", "2026-11-24", TODAY)
    assert (longest.last - longest.first).days + 1 == MAX_DAYS
    for first, last in (("2026-11-02", "2026-11-01"), ("2025-11-23", "2026-11-24"), ("1970-01-01", "8999-12-31")):
        with pytest.raises(InvalidParameter) as caught:
            Days.parse(first, last, TODAY)
        assert caught.value.field == "from"


@given(st.dates(date(1970, 1, 1), date(8998, 1, 1)), st.integers(0, MAX_DAYS - 1))
def test_any_range_up_to_the_maximum_is_accepted(first: date, more: int) -> None:
    last = first + timedelta(days=more)
    assert Days.parse(first.isoformat(), last.isoformat(), TODAY) == Days(first, last)
