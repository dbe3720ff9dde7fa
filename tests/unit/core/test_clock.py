"""The JSON format of times."""

from datetime import datetime, timedelta, timezone

from movie_core.clock import iso_time


def test_a_time_is_formatted_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert iso_time(datetime(2026, 11, 1, 14, 30, tzinfo=east)) == "2026-11-01T12:30:00Z"
