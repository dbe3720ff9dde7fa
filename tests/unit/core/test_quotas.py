"""Rates, and when they allow another hit. Parsing of rates is tested in `operations/test_rate_limits.py`."""

from datetime import UTC, datetime, timedelta

import pytest

from movie_core.quotas import Rate, free_at

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def minutes_ago(*minutes: float) -> list[datetime]:
    return [NOW - timedelta(minutes=one) for one in minutes]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1/second", timedelta(seconds=1)),
        ("1/minute", timedelta(minutes=1)),
        ("1/hour", timedelta(hours=1)),
        ("1/day", timedelta(days=1)),
    ],
)
def test_a_unit_is_the_length_of_the_window(text: str, length: timedelta) -> None:
    rate = Rate.parse(text)
    assert rate is not None
    assert timedelta(seconds=rate.seconds) == length
    assert free_at(NOW, rate, [NOW]) == NOW + length


def test_a_multiplied_rate_allows_more_in_the_same_window() -> None:
    assert str(Rate(3, 3600).multiplied(4)) == "12/hour"
    assert Rate(3, 3600).multiplied(1) == Rate(3, 3600)


def test_without_a_rate_the_next_hit_is_allowed_now() -> None:
    assert free_at(NOW, None, [NOW] * 100) == NOW


def test_the_next_hit_is_allowed_when_enough_earlier_ones_have_expired() -> None:
    rate = Rate(2, 3600)
    assert free_at(NOW, rate, []) == NOW
    assert free_at(NOW, rate, minutes_ago(10)) == NOW
    assert free_at(NOW, rate, minutes_ago(10, 40)) == NOW + timedelta(minutes=20)
    assert free_at(NOW, rate, minutes_ago(40, 10)) == NOW + timedelta(minutes=20)
    # Of three, two must expire.
    assert free_at(NOW, rate, minutes_ago(50, 40, 10)) == NOW + timedelta(minutes=20)


def test_a_hit_expires_exactly_after_the_window() -> None:
    rate = Rate(1, 3600)
    assert free_at(NOW, rate, minutes_ago(60)) == NOW
    assert free_at(NOW, rate, [NOW - timedelta(minutes=60) + timedelta(microseconds=1)]) == NOW + timedelta(
        microseconds=1
    )


def test_a_hit_in_the_future_counts_too() -> None:
    assert free_at(NOW, Rate(1, 60), [NOW + timedelta(seconds=5)]) == NOW + timedelta(seconds=65)
