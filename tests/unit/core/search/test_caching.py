"""Caching rules: the status of entries, their lifetimes, and the blocks of a window."""

import pytest

from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window
from movie_core.provenance import CacheStatus
from movie_core.search.caching import NO_MATCH_SECONDS, CacheEntry, CacheInvalidation, CachePolicy, blocks_of


@pytest.mark.parametrize(
    ("now", "status"),
    [(9.9, CacheStatus.FRESH), (10.0, CacheStatus.STALE), (29.9, CacheStatus.STALE), (30.0, None)],
)
def test_an_entry_is_fresh_then_stale_then_expired(now: float, status: CacheStatus | None) -> None:
    assert CacheEntry(b"", fetched_at=0.0, fresh_until=10.0, stale_until=30.0, fence=1).status(now) is status


def test_jitter_shortens_freshness_by_at_most_a_tenth() -> None:
    policy = CachePolicy(fresh=600.0, stale=1000.0)
    longest, shortest = (policy.entry(b"x", fence=1, now=50.0, chance=chance) for chance in (0.0, 1.0))
    assert (longest.fresh_until, longest.stale_until) == (650.0, 1650.0)
    assert (shortest.fresh_until, shortest.stale_until) == (590.0, 1590.0)


@pytest.mark.parametrize(("fresh", "seconds"), [(600.0, NO_MATCH_SECONDS), (5.0, 5.0)])
def test_an_entry_without_a_match_expires_early_and_is_never_stale(fresh: float, seconds: float) -> None:
    entry = CachePolicy(fresh=fresh).entry(b"", fence=1, now=50.0, chance=0.5, is_match=False)
    assert entry.fresh_until == entry.stale_until == 50.0 + seconds


@pytest.mark.parametrize(
    ("window", "size", "blocks"),
    [
        (Window(0, 10), 50, [Window(0, 50)]),
        (Window(45, 10), 50, [Window(0, 50), Window(50, 50)]),
        (Window(20, 20), 20, [Window(20, 20)]),
        (Window(MAX_OFFSET, 10), 50, [Window(MAX_OFFSET, MAX_LIMIT)]),
        (Window(MAX_OFFSET - 5, 10), 50, [Window(MAX_OFFSET - 50, 50), Window(MAX_OFFSET, MAX_LIMIT)]),
    ],
)
def test_aligned_blocks_cover_a_window(window: Window, size: int, blocks: list[Window]) -> None:
    assert blocks_of(window, size) == blocks


def test_a_flush_notifies_every_subscriber() -> None:
    notified: list[str] = []
    CacheInvalidation(lambda: notified.append("one"), lambda: notified.append("other")).publish()
    assert notified == ["one", "other"]
