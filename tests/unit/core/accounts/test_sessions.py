"""Whether the reuse of a refresh token is a repeated request or a theft."""

from datetime import UTC, datetime, timedelta

import pytest

from movie_core.accounts.sessions import GRACE, Reuse, classify_reuse

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "is_unused", "expected"),
    [
        (timedelta(0), True, Reuse.REPEAT),
        (GRACE, True, Reuse.REPEAT),
        (GRACE + timedelta(milliseconds=1), True, Reuse.THEFT),
        (timedelta(seconds=1), False, Reuse.THEFT),
    ],
)
def test_a_used_refresh_token_is_a_repeat_or_a_theft(after: timedelta, is_unused: bool, expected: Reuse) -> None:
    assert classify_reuse(NOW + after, NOW, successor_is_unused=is_unused) is expected
