"""Caching rules: the status of entries, their lifetimes, and the blocks of a window."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window
from movie_core.provenance import CacheStatus
from movie_core.search.caching import (
    BLOCK_SIZES,
    NO_MATCH_SECONDS,
    CacheEntry,
    CacheInvalidation,
    CachePolicy,
    blocks_of,
)

NOW = 1_700_000_000.0


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


def test_by_default_a_response_is_fresh_for_ten_minutes_and_stale_for_a_day() -> None:
    entry = CachePolicy().entry(b"x", fence=1, now=NOW, chance=0.0)
    assert (entry.fresh_until - NOW, entry.stale_until - entry.fresh_until) == (600, 86_400)


@pytest.mark.parametrize(("chance", "fresh"), [(0.0, 100.0), (0.5, 95.0), (1.0, 90.0)])
def test_freshness_is_shortened_by_up_to_a_tenth(chance: float, fresh: float) -> None:
    entry = CachePolicy(fresh=100, stale=50).entry(b"x", fence=1, now=NOW, chance=chance)
    assert entry.fresh_until - NOW == pytest.approx(fresh)
    assert entry.stale_until - entry.fresh_until == pytest.approx(50)


@pytest.mark.parametrize(("fresh", "seconds"), [(600.0, 30.0), (10.0, 10.0)])
def test_an_empty_result_expires_early_and_is_never_stale(fresh: float, seconds: float) -> None:
    entry = CachePolicy(fresh=fresh).entry(b"", fence=3, now=NOW, chance=0.7, is_match=False)
    assert (entry.fetched_at, entry.fresh_until, entry.stale_until) == (NOW, NOW + seconds, NOW + seconds)
    assert entry.status(NOW + seconds) is None


@given(st.integers(0, MAX_OFFSET), st.integers(1, MAX_LIMIT), st.sampled_from(BLOCK_SIZES))
def test_blocks_cover_the_window_without_gaps_and_without_a_needless_one(offset: int, limit: int, size: int) -> None:
    blocks = blocks_of(Window(offset, limit), size)
    for before, after in pairwise(blocks):
        assert before.offset + before.limit == after.offset
    assert blocks[0].offset <= offset < blocks[0].offset + blocks[0].limit
    assert blocks[-1].offset < offset + limit <= blocks[-1].offset + blocks[-1].limit
    assert all(block.offset % size == 0 for block in blocks)


@pytest.mark.parametrize(
    ("window", "size", "blocks"),
    [
        (Window(0, 50), 50, [(0, 50)]),
        (Window(49, 2), 50, [(0, 50), (50, 50)]),
        (Window(50, 1), 50, [(50, 50)]),
        (Window(95, 100), 50, [(50, 50), (100, 50), (150, 50)]),
        (Window(7, 3), 1, [(7, 1), (8, 1), (9, 1)]),
        (Window(9_950, 50), 50, [(9_950, 50)]),
        (Window(9_990, 11), 50, [(9_950, 50), (10_000, 100)]),
        (Window(10_000, 1), 50, [(10_000, 100)]),
        (Window(9_990, 5), 30, [(9_990, 100)]),  # no whole block of 30 fits below 10,000
        (Window(9_989, 1), 30, [(9_960, 30)]),
        (Window(9_961, 1), 60, [(9_960, 100)]),
    ],
)
def test_blocks_are_aligned(window: Window, size: int, blocks: list[tuple[int, int]]) -> None:
    assert [(block.offset, block.limit) for block in blocks_of(window, size)] == blocks


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_whole_blocks_fill_every_page_up_to_the_maximum_offset(size: int) -> None:
    assert MAX_OFFSET % size == 0
    assert MAX_LIMIT % size == 0
