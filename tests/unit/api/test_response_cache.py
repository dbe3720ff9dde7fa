"""The headers of a rendered page, and what the response cache stores for how long and within how many bytes."""

import dataclasses
from typing import Any, cast

import pytest

from movie_api.response_cache import (
    ENTRY_OVERHEAD,
    MICRO_TTL,
    CachedResponse,
    RenderedPage,
    ResponseCache,
    SearchRequest,
    matches_etag,
)
from movie_core.paging import Window
from movie_core.provenance import CacheStatus
from movie_core.search.movies import MovieQuery, Order

NOW = 1_700_000_000.25
REQUEST = SearchRequest(MovieQuery("river"), Window(10, 10))
FRESH = RenderedPage(b"{}", "<x>", 'W/"1"', CacheStatus.FRESH, NOW - 20.75, NOW + 30)
LIVE = dataclasses.replace(FRESH, state=CacheStatus.LIVE)
STALE = dataclasses.replace(FRESH, state=CacheStatus.STALE, fresh_until=NOW - 12.5)
FALLBACK = dataclasses.replace(FRESH, state=CacheStatus.FALLBACK, fresh_until=None)
ACCESS, RECORDER = cast(Any, object()), cast(Any, object())


def stored(page: RenderedPage, *, max_bytes: int = 100_000) -> ResponseCache:
    cache = ResponseCache(max_bytes)
    cache.put(b"query=river", REQUEST, page, NOW, ACCESS, RECORDER)
    return cache


def size_of(query_string: bytes, page: RenderedPage = FRESH) -> int:
    return len(query_string) + len(page.body) + len(page.link) + ENTRY_OVERHEAD


# --- requests


@pytest.mark.parametrize(
    ("request_", "is_personal"),
    [
        (SearchRequest(MovieQuery("x"), Window()), False),
        (SearchRequest(MovieQuery("x", order=Order.YEAR), Window()), False),
        (SearchRequest(MovieQuery("x", order=Order.PERSONAL), Window()), True),
        (SearchRequest(MovieQuery("x"), Window(), exclude_rated=True), True),
        (SearchRequest(MovieQuery("x", order=Order.PERSONAL), Window(), exclude_rated=True), True),
    ],
)
def test_a_search_is_personal_by_its_order_or_because_it_excludes_rated_movies(
    request_: SearchRequest, is_personal: bool
) -> None:
    assert request_.is_personal == is_personal


def test_links_repeat_the_parameters_of_the_search() -> None:
    query = MovieQuery("x", order=Order.YEAR)
    assert SearchRequest(query, Window()).parameters() == query.parameters()
    assert SearchRequest(query, Window(), exclude_rated=True).parameters() == (
        *query.parameters(),
        ("exclude", "rated"),
    )


# --- headers


def test_a_fresh_response_states_its_age_and_its_remaining_time_in_whole_seconds() -> None:
    headers = FRESH.headers(NOW)
    assert (headers["age"], headers["cache-status"]) == ("20", "movies; hit; ttl=30")
    assert (headers["link"], headers["etag"], headers["cache-control"]) == ("<x>", 'W/"1"', "private")
    later = FRESH.headers(NOW + 29.5)
    assert (later["age"], later["cache-status"]) == ("50", "movies; hit; ttl=0")


def test_a_fresh_response_never_states_a_negative_time() -> None:
    assert FRESH.headers(NOW + 40)["cache-status"] == "movies; hit; ttl=0"
    assert FRESH.headers(NOW - 100)["age"] == "0"


def test_a_stale_response_states_for_how_long_it_has_been_stale() -> None:
    assert STALE.headers(NOW)["cache-status"] == "movies; hit; ttl=-13"
    assert STALE.headers(NOW)["age"] == "20"


@pytest.mark.parametrize("seconds", [-13.0, -12.5, -12.0])
def test_a_stale_response_does_not_appear_fresh_because_clocks_differ(seconds: float) -> None:
    assert STALE.headers(NOW + seconds)["cache-status"] == "movies; hit; ttl=-1"


def test_a_response_that_is_not_from_the_cache_has_no_age() -> None:
    for page, status in ((LIVE, "movies; fwd=miss"), (FALLBACK, "movies; fwd=miss; detail=fallback")):
        headers = page.headers(NOW)
        assert headers["cache-status"] == status
        assert "age" not in headers
    assert dataclasses.replace(FRESH, fresh_until=None).headers(NOW)["cache-status"] == "movies; fwd=miss"


@pytest.mark.parametrize(
    ("if_none_match", "is_match"),
    [
        (None, False),
        ("", False),
        ("*", True),
        ('W/"1"', True),
        ('"1"', True),
        ('"2"', False),
        ('"0", W/"1" ,"2"', True),
        ('"0","2"', False),
        ("1", False),
    ],
)
def test_etags_are_compared_weakly(if_none_match: str | None, is_match: bool) -> None:
    assert matches_etag(if_none_match, 'W/"1"') == is_match
    assert matches_etag(if_none_match, '"1"') == is_match


def test_the_headers_of_a_cached_response_change_with_the_second_only() -> None:
    response = CachedResponse(REQUEST, FRESH, NOW + 30, b"q", ACCESS, RECORDER)
    first = response.headers(NOW)
    assert dict(first) == {
        **{name.encode(): value.encode() for name, value in FRESH.headers(NOW).items()},
        b"content-type": b"application/json",
        b"content-length": b"2",
    }
    assert response.headers(NOW + 0.5) is first
    later = response.headers(NOW + 1)
    assert dict(later)[b"age"] == b"21"
    assert response.headers(NOW + 1, with_body=False) == [
        header for header in later if not header[0].startswith(b"content-")
    ]
    assert response.headers(NOW - 3600) != later


# --- storage


def test_a_stored_response_keeps_what_the_search_needs() -> None:
    response = stored(FRESH).get(b"query=river", NOW)
    assert response is not None
    assert (response.request, response.page, response.access, response.recorder) == (REQUEST, FRESH, ACCESS, RECORDER)
    assert stored(FRESH).get(b"query=River", NOW) is None


def test_a_fresh_response_is_stored_until_it_becomes_stale() -> None:
    cache = stored(FRESH)
    assert cache.get(b"query=river", NOW + 29.99) is not None
    assert cache.get(b"query=river", NOW + 30) is None


@pytest.mark.parametrize("page", [STALE, FALLBACK, dataclasses.replace(LIVE, fresh_until=None)])
def test_a_response_that_may_change_at_any_time_is_stored_for_half_a_second(page: RenderedPage) -> None:
    cache = stored(page)
    assert cache.get(b"query=river", NOW + 0.49) is not None
    assert cache.get(b"query=river", NOW + 0.5) is None
    assert MICRO_TTL == 0.5


def test_a_live_response_of_a_source_with_a_cache_is_not_stored() -> None:
    assert stored(LIVE).get(b"query=river", NOW) is None


def test_a_live_response_does_not_replace_a_stored_one() -> None:
    cache = stored(FRESH)
    cache.put(b"query=river", REQUEST, LIVE, NOW, ACCESS, RECORDER)
    response = cache.get(b"query=river", NOW)
    assert response is not None
    assert response.page == FRESH


def test_the_least_recently_used_responses_are_dropped_beyond_the_maximum_size() -> None:
    cache = ResponseCache(3 * size_of(b"1"))
    for query_string in (b"1", b"2", b"3"):
        cache.put(query_string, REQUEST, FRESH, NOW, ACCESS, RECORDER)
    assert cache.get(b"1", NOW) is not None  # the least recently used is now 2
    cache.put(b"4", REQUEST, FRESH, NOW, ACCESS, RECORDER)
    assert [name for name in (b"1", b"2", b"3", b"4") if cache.get(name, NOW) is not None] == [b"1", b"3", b"4"]


def test_the_size_of_a_response_counts_its_body_link_and_query_string() -> None:
    wide = dataclasses.replace(FRESH, body=b"x" * 500, link="y" * 70)
    assert size_of(b"q" * 9, wide) == 579 + ENTRY_OVERHEAD
    assert stored(wide, max_bytes=size_of(b"query=river", wide)).get(b"query=river", NOW) is not None
    assert stored(wide, max_bytes=size_of(b"query=river", wide) - 1).get(b"query=river", NOW) is None


def test_a_replaced_response_does_not_count_any_more() -> None:
    cache = ResponseCache(2 * size_of(b"1"))
    for _ in range(5):
        cache.put(b"1", REQUEST, FRESH, NOW, ACCESS, RECORDER)
    cache.put(b"2", REQUEST, FRESH, NOW, ACCESS, RECORDER)
    assert cache.get(b"1", NOW) is not None
    assert cache.get(b"2", NOW) is not None


def test_a_cleared_cache_is_empty_and_has_its_whole_size_again() -> None:
    cache = ResponseCache(2 * size_of(b"1"))
    cache.put(b"1", REQUEST, FRESH, NOW, ACCESS, RECORDER)
    cache.clear()
    assert cache.get(b"1", NOW) is None
    for name in (b"2", b"3"):
        cache.put(name, REQUEST, FRESH, NOW, ACCESS, RECORDER)
    assert cache.get(b"2", NOW) is not None
    assert cache.get(b"3", NOW) is not None
