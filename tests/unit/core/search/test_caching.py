"""When cached responses are fresh, stale and expired, and the blocks in which a source is queried."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.paging import MAX_LIMIT, MAX_OFFSET, Window
from movie_core.provenance import CacheStatus
from movie_core.search.caching import BLOCK_SIZES, CacheInvalidation, CachePolicy, blocks_of

NOW = 1_700_000_000.0


def test_an_entry_is_fresh_then_stale_then_expired() -> None:
    entry = CachePolicy(fresh=60, stale=600).entry(b"x", fence=7, now=NOW, chance=0.0)
    assert (entry.value, entry.fence, entry.fetched_at) == (b"x", 7, NOW)
    assert entry.status(NOW) is CacheStatus.FRESH
    assert entry.status(NOW + 59.999) is CacheStatus.FRESH
    assert entry.status(NOW + 60) is CacheStatus.STALE
    assert entry.status(NOW + 659.999) is CacheStatus.STALE
    assert entry.status(NOW + 660) is None


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


def test_a_flush_notifies_every_subscriber() -> None:
    notified: list[str] = []
    CacheInvalidation(lambda: notified.append("responses"), lambda: notified.append("entries")).publish()
    assert notified == ["responses", "entries"]
    CacheInvalidation().publish()


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_whole_blocks_fill_every_page_up_to_the_maximum_offset(size: int) -> None:
    assert MAX_OFFSET % size == 0
    assert MAX_LIMIT % size == 0
