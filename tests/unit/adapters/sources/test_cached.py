"""The cache around a source that counts its calls, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.virtual_time import takes

from movie_adapters.sources.cached import DEADLINE_MARGIN, POLL_INTERVAL, CachedMovieSource
from movie_core.errors import MovieNotFound, SourceUnavailable, StoreUnavailable
from movie_core.memory import MemoryCacheStore, MemoryMovieCatalogue
from movie_core.paging import MAX_OFFSET, Window
from movie_core.provenance import CacheStatus
from movie_core.search.caching import BLOCK_SIZES, CacheEntry, CacheInvalidation, CachePolicy, Lease, blocks_of
from movie_core.search.movies import FoundMovie, Movie, MoviePage, MovieQuery
from movie_core.testing import SAMPLE, MovieSourceContract

pytestmark = pytest.mark.usefixtures("no_task_left")

T = TypeVar("T")
EPOCH = 1_700_000_000.0
DAY = 86_400.0
MANY = tuple(Movie(id=f"{n:04}", title=f"River {n:04}") for n in range(500))
RIVER = MovieQuery("river")


def now() -> float:
    return EPOCH + asyncio.get_running_loop().time()


class Counted(MemoryMovieCatalogue):
    """Returns at most `most` movies per call after `seconds`, and counts calls; the next `faults` calls fail."""

    def __init__(self, movies: Sequence[Movie] = MANY, *, seconds: float = 0.5, most: int = 100) -> None:
        super().__init__(movies, source="third_party")
        self.seconds, self.most = seconds, most
        self.faults = 0.0
        self.calls: list[Window] = []
        self.version = 0

    async def search(self, query: MovieQuery, window: Window) -> MoviePage:
        self.calls.append(window)
        await asyncio.sleep(self.seconds)
        if self.faults:
            self.faults -= 1
            raise SourceUnavailable("the source is failing")
        page = await super().search(query, window)
        return MoviePage(page.total, page.items[: self.most], page.source)


class UnavailableStore(MemoryCacheStore):
    """An unavailable store."""

    async def read(self, key: str) -> CacheEntry | None:
        raise StoreUnavailable("unavailable")

    async def lease(self, key: str, seconds: float) -> Lease | None:
        raise StoreUnavailable("unavailable")

    async def write(self, key: str, entry: CacheEntry) -> bool:
        raise StoreUnavailable("unavailable")

    async def generation(self) -> str:
        raise StoreUnavailable("unavailable")


def cached(inner: MemoryMovieCatalogue, **options: Any) -> CachedMovieSource:
    options = {"memory": MemoryCacheStore(clock=now), "chance": lambda: 0.0, "clock": now, **options}
    return CachedMovieSource(inner, **options)


async def seconds_of(call: Awaitable[T]) -> tuple[T, float]:
    began = now()
    return await call, now() - began


async def test_a_result_is_cached_and_has_its_status() -> None:
    inner = Counted()
    source = cached(inner)
    first = await source.search(RIVER, Window())
    again, seconds = await seconds_of(source.search(RIVER, Window()))
    assert (first.cache_status, again.cache_status, seconds) == (CacheStatus.LIVE, CacheStatus.FRESH, 0)
    assert (again.items, again.total, again.fetched_at) == (first.items, first.total, first.fetched_at)
    assert again.fresh_until is not None
    assert (again.fresh_until - again.fetched_at).total_seconds() == pytest.approx(600)
    assert len(inner.calls) == 1


async def test_a_thousand_concurrent_searches_share_one_call() -> None:
    inner = Counted()
    source = cached(inner)
    pages = await asyncio.gather(*(source.search(RIVER, Window()) for _ in range(1000)))
    assert len(inner.calls) == 1
    assert len(set(pages)) == 1


async def test_a_fetch_continues_when_its_first_caller_is_cancelled() -> None:
    inner = Counted()
    source = cached(inner)
    first = asyncio.ensure_future(source.search(RIVER, Window()))
    await asyncio.sleep(0.1)
    others = [asyncio.ensure_future(source.search(RIVER, Window())) for _ in range(10)]
    await asyncio.sleep(0.1)
    first.cancel()
    pages = await asyncio.gather(*others)
    assert {page.total for page in pages} == {500}
    assert len(inner.calls) == 1


async def test_a_stale_entry_is_served_at_once_and_refreshed_once() -> None:
    inner = Counted()
    source = cached(inner)
    first = await source.search(RIVER, Window())
    for _ in range(3):
        await asyncio.sleep(601)
        before = len(inner.calls)
        stale = [await seconds_of(source.search(RIVER, Window())) for _ in range(20)]
        assert {(page.cache_status, seconds) for page, seconds in stale} == {(CacheStatus.STALE, 0)}
        await asyncio.sleep(1)
        fresh = await source.search(RIVER, Window())
        assert fresh.cache_status is CacheStatus.FRESH
        assert fresh.fetched_at > first.fetched_at
        assert len(inner.calls) == before + 1


async def test_stale_entries_are_served_while_the_source_is_unavailable() -> None:
    inner = Counted()
    source = cached(inner, policy=CachePolicy(fresh=600, stale=DAY))
    await source.search(RIVER, Window())
    inner.faults = float("inf")
    await asyncio.sleep(600 + DAY - 2)
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.STALE
    await asyncio.sleep(4)
    with pytest.raises(SourceUnavailable):
        await source.search(RIVER, Window())
    inner.faults = 0
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.LIVE


async def test_a_failed_refresh_is_retried_about_once_a_second() -> None:
    inner = Counted(seconds=0.01)
    source = cached(inner)
    await source.search(RIVER, Window())
    inner.faults = float("inf")
    await asyncio.sleep(700)
    for _ in range(1000):
        assert (await source.search(RIVER, Window())).cache_status is CacheStatus.STALE
        await asyncio.sleep(0.01)
    assert len(inner.calls) - 1 == 10


async def test_no_match_is_cached_for_half_a_minute_and_an_error_is_not_cached() -> None:
    inner = Counted()
    source = cached(inner)
    for _ in range(3):
        assert (await source.search(MovieQuery("zzqxj"), Window())).total == 0
    assert len(inner.calls) == 1
    await asyncio.sleep(31)
    assert (await source.search(MovieQuery("zzqxj"), Window())).cache_status is CacheStatus.LIVE
    assert len(inner.calls) == 2
    inner.faults = 2
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            await source.search(RIVER, Window())
    assert (await source.search(RIVER, Window())).total == 500


async def test_processes_share_one_fetch_and_one_refresh() -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    processes = [cached(inner, store=store) for _ in range(4)]
    pages = await asyncio.gather(*(one.search(RIVER, Window()) for one in processes for _ in range(50)))
    assert len(inner.calls) == 1
    assert len(set(pages)) == 1
    await asyncio.sleep(601)
    stale = await asyncio.gather(*(one.search(RIVER, Window()) for one in processes for _ in range(50)))
    assert {page.cache_status for page in stale} == {CacheStatus.STALE}
    await asyncio.sleep(2)
    fresh = [await one.search(RIVER, Window()) for one in processes]
    assert {page.cache_status for page in fresh} == {CacheStatus.FRESH}
    assert len(inner.calls) == 2


async def test_a_late_process_uses_the_entries_of_others() -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    await cached(inner, store=store).search(RIVER, Window())
    late = cached(inner, store=store)
    assert (await late.search(RIVER, Window())).cache_status is CacheStatus.FRESH
    await asyncio.sleep(700)
    later = cached(inner, store=store)
    assert (await later.search(RIVER, Window())).cache_status is CacheStatus.STALE
    await asyncio.sleep(1)
    assert len(inner.calls) == 2


async def test_a_process_that_dies_with_the_lease_delays_nobody_beyond_the_deadline() -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    alive = cached(inner, store=store)
    key = alive._key("search", RIVER.parameters(), 0, 50)
    assert await store.lease(key, 1.0) is not None  # by a process that dies
    pages = await asyncio.gather(*(seconds_of(alive.search(RIVER, Window())) for _ in range(100)))
    (seconds,) = {seconds for _, seconds in pages}
    assert seconds == pytest.approx(1.0 + inner.seconds, abs=POLL_INTERVAL)
    assert len(inner.calls) == 1


async def test_a_process_that_lost_the_lease_cancels_its_fetch() -> None:
    store = MemoryCacheStore(clock=now)
    slow, quick = Counted(seconds=2.5), Counted()
    loser, winner = cached(slow, store=store), cached(quick, store=store)
    losing = asyncio.ensure_future(loser.search(RIVER, Window()))
    await asyncio.sleep(0.1)
    store._leases.clear()  # as after a suspension without a heartbeat
    assert (await winner.search(RIVER, Window())).cache_status is CacheStatus.LIVE
    page, seconds = await seconds_of(losing)
    assert (page.total, seconds < 0.1) == (500, True)
    assert (len(slow.calls), len(quick.calls)) == (1, 1)


async def test_after_a_failure_the_entry_of_another_process_is_used() -> None:
    store = MemoryCacheStore(clock=now)
    failing = Counted(seconds=2.5)
    failing.faults = 1
    unlucky = cached(failing, store=UnavailableStore())
    asked = asyncio.ensure_future(unlucky.search(RIVER, Window()))
    await asyncio.sleep(0.1)
    unlucky._store = store
    await cached(Counted(), store=store).search(RIVER, Window())
    assert (await asked).cache_status is CacheStatus.FRESH


async def test_a_suspended_process_does_not_overwrite_a_newer_entry() -> None:
    store = MemoryCacheStore(clock=now)
    asleep_source, inner = Counted(MANY[:1], seconds=0.25), Counted(seconds=0.01)
    asleep = cached(asleep_source, store=store)
    sleeping = asyncio.ensure_future(asleep.search(RIVER, Window()))
    await asyncio.sleep(0.1)
    key = asleep._key("search", RIVER.parameters(), 0, 50)
    store._leases.clear()  # as after a suspension without a heartbeat
    awake = cached(inner, store=store)
    assert (await awake.search(RIVER, Window())).total == 500
    assert (await sleeping).total == 500  # it adopts the newer entry
    assert (await asleep.search(RIVER, Window())).total == 500
    stored = await store.read(key)
    assert stored is not None
    assert stored.fetched_at < EPOCH + 1


async def test_a_search_of_a_hanging_source_ends_at_the_deadline() -> None:
    source = cached(Counted(seconds=60), deadline=3.0)
    async with takes(3.0 + DEADLINE_MARGIN):
        with pytest.raises(SourceUnavailable):
            await source.search(RIVER, Window())


async def test_browsing_pages_of_ten_is_one_call_in_five_and_page_sizes_share_them() -> None:
    inner = Counted(seconds=0.0)
    source = cached(inner)
    shown = [(await source.search(RIVER, Window(offset))).items for offset in range(0, 500, 10)]
    assert [movie for page in shown for movie in page] == list(MANY)
    assert len(inner.calls) == 10
    for limit in (1, 5, 25, 50, 100):
        await source.search(RIVER, Window(100, limit))
    assert len(inner.calls) == 10


@given(st.integers(0, 140), st.integers(1, 100), st.sampled_from([50, 20]))
async def test_a_window_is_equal_to_that_of_the_source(offset: int, limit: int, block: int) -> None:
    movies = MANY[:120]
    page = await cached(Counted(movies, seconds=0.0), block_size=block).search(RIVER, Window(offset, limit))
    assert page.items == movies[offset : offset + limit]
    assert page.total == 120


@given(st.integers(0, MAX_OFFSET), st.integers(1, 100), st.sampled_from(BLOCK_SIZES))
def test_blocks_are_aligned_and_cover_the_window_without_overlapping(offset: int, limit: int, size: int) -> None:
    blocks = blocks_of(Window(offset, limit), size)
    covered = [place for block in blocks for place in range(block.offset, block.offset + block.limit)]
    assert len(covered) == len(set(covered))
    assert set(range(offset, offset + limit)) <= set(covered)
    assert all(block.offset % size == 0 for block in blocks)
    assert sum(block.limit for block in blocks) < limit + 2 * size or blocks[-1].offset == MAX_OFFSET


@pytest.mark.parametrize("most", [1, 3, 7, 20, 49])
async def test_a_source_with_small_pages_is_read_completely(most: int) -> None:
    inner = Counted(MANY[:120], seconds=0.0, most=most)
    source = cached(inner)
    shown = [(await source.search(RIVER, Window(offset))).items for offset in range(0, 120, 10)]
    assert [movie for page in shown for movie in page] == list(MANY[:120])
    again = len(inner.calls)
    await source.search(RIVER, Window(50, 50))
    assert len(inner.calls) == again


async def test_a_total_far_too_high_costs_few_calls() -> None:
    class InflatedTotal(Counted):
        async def search(self, query: MovieQuery, window: Window) -> MoviePage:
            page = await super().search(query, window)
            if not page.items:
                raise SourceUnavailable("a page without a movie")
            return MoviePage(1000, page.items, page.source)

    inner = InflatedTotal(MANY[:48], seconds=0.0)
    source = cached(inner)
    assert len((await source.search(RIVER, Window(0))).items) == 10
    assert len((await source.search(RIVER, Window(40))).items) == 8
    assert len(inner.calls) == 2
    with pytest.raises(SourceUnavailable):
        await source.search(RIVER, Window(100))
    assert len(inner.calls) == 3


async def test_a_reduced_block_size_applies_to_one_query_only() -> None:
    class InflatedTotal(Counted):
        async def search(self, query: MovieQuery, window: Window) -> MoviePage:
            page = await super().search(query, window)
            return page if query == RIVER else MoviePage(42, page.items[:1] if window.offset == 0 else (), page.source)

    inner = InflatedTotal(seconds=0.0)
    source = cached(inner)
    await source.search(RIVER, Window())
    assert len((await source.search(MovieQuery("river 0001"), Window(0, 100))).items) == 1
    assert len(inner.calls) == 3
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.FRESH
    before = len(inner.calls)
    for offset in range(0, 500, 10):
        await source.search(RIVER, Window(offset))
    assert len(inner.calls) == before + 9


async def test_a_total_that_is_one_too_high_costs_few_calls() -> None:
    class InflatedTotal(Counted):
        async def search(self, query: MovieQuery, window: Window) -> MoviePage:
            page = await super().search(query, window)
            return MoviePage(page.total + 1, page.items, page.source)

    inner = InflatedTotal(MANY[:11], seconds=0.0)
    source = cached(inner)
    for _ in range(5):
        assert [len((await source.search(RIVER, Window(offset))).items) for offset in (0, 10)] == [10, 1]
    assert len(inner.calls) == 2


async def test_no_block_past_the_end_is_fetched() -> None:
    inner = Counted(MANY[:3], seconds=0.0)
    assert len((await cached(inner, block_size=20).search(RIVER, Window(0, 100))).items) == 3
    assert len(inner.calls) == 1


async def test_a_search_with_two_calls_has_one_deadline() -> None:
    source = cached(Counted(seconds=0.5, most=20), deadline=0.6)
    async with takes(0.6 + DEADLINE_MARGIN):
        with pytest.raises(SourceUnavailable):
            await source.search(RIVER, Window(0, 100))


async def test_a_store_that_lost_its_data_does_not_flush_the_process() -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    source = cached(inner, store=store)
    await store.clear()
    await source.check_generation()
    await source.search(RIVER, Window())
    source._store = MemoryCacheStore(clock=now)
    await source.check_generation()
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.FRESH


async def test_store_entries_from_before_an_outage_are_older_than_later_ones() -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    source = cached(inner, store=store)
    await source.search(RIVER, Window())
    source._store = UnavailableStore()
    await asyncio.sleep(601)
    await source.search(RIVER, Window())
    await asyncio.sleep(1)
    since = await source.search(RIVER, Window())
    source._store = store
    await asyncio.sleep(601)
    assert (await source.search(RIVER, Window())).fetched_at == since.fetched_at
    await asyncio.sleep(1)
    assert (await source.search(RIVER, Window())).fetched_at > since.fetched_at
    assert len(inner.calls) == 3


@pytest.mark.parametrize(
    "page", [MoviePage(10**30, MANY[:1], "x"), MoviePage(1, (Movie(id="1", title="\ud800"),), "x")]
)
async def test_a_result_that_cannot_be_stored_is_a_source_failure(page: MoviePage) -> None:
    class Odd(Counted):
        async def search(self, query: MovieQuery, window: Window) -> MoviePage:
            return page

    with pytest.raises(SourceUnavailable):
        await cached(Odd()).search(RIVER, Window())


async def test_unusable_items_do_not_reduce_the_block_size() -> None:
    class Holes(Counted):
        async def search(self, query: MovieQuery, window: Window) -> MoviePage:
            page = await super().search(query, window)
            items = tuple(movie for movie in page.items if int(movie.id) % 10)
            skipped = tuple(place for place, movie in enumerate(page.items) if not int(movie.id) % 10)
            return MoviePage(page.total, items, page.source, skipped=skipped)

    inner = Holes(seconds=0.0)
    source = cached(inner)
    shown = [(await source.search(RIVER, Window(offset))).items for offset in range(0, 500, 10)]
    assert [movie for page in shown for movie in page] == [movie for movie in MANY if int(movie.id) % 10]
    assert {len(page) for page in shown} == {9}, "each page lacks its own"
    assert {call.limit for call in inner.calls} == {50}


async def test_without_its_store_each_process_caches_for_itself() -> None:
    inner = Counted()
    source = cached(inner, store=UnavailableStore())
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.LIVE
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.FRESH
    await asyncio.sleep(601)
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.STALE
    await asyncio.sleep(1)
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.FRESH
    await source.check_generation()
    assert len(inner.calls) == 2


async def test_entries_fetched_during_an_outage_of_the_store_are_replaced_by_later_ones() -> None:
    inner, memory, store = Counted(), MemoryCacheStore(clock=now), MemoryCacheStore(clock=now)
    await cached(inner, memory=memory, store=UnavailableStore()).search(RIVER, Window())
    source = cached(inner, memory=memory, store=store)
    await asyncio.sleep(601)
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.STALE
    await asyncio.sleep(1)
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.FRESH


async def test_clearing_the_store_reaches_every_process() -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    flushes: list[bool] = []
    invalidation = CacheInvalidation(lambda: flushes.append(True))
    source = cached(inner, store=store, invalidation=invalidation)
    await source.check_generation()
    await source.search(RIVER, Window())
    await source.check_generation()
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.FRESH
    await store.clear()
    await source.check_generation()
    assert flushes == [True]
    assert (await source.search(RIVER, Window())).cache_status is CacheStatus.LIVE


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x94\xa1x\x01\x00\x91\x81\xa2id\xa1\xff"])
async def test_an_unreadable_entry_is_fetched_again(value: bytes) -> None:
    inner, store = Counted(), MemoryCacheStore(clock=now)
    source = cached(inner, store=store)
    key = source._key("search", RIVER.parameters(), 0, 50)
    await store.write(key, CacheEntry(value, now(), now() + 600, now() + 700, 1))
    page = await source.search(RIVER, Window())
    assert (page.cache_status, page.total) == (CacheStatus.LIVE, 500)


async def test_all_fetched_movies_are_passed_to_keep() -> None:
    stored: list[Movie] = []
    inner = Counted()
    source = cached(inner, remember=stored.extend)
    await source.search(RIVER, Window(0, 1))
    assert stored == list(MANY[:50])
    await source.search(RIVER, Window(0, 1))
    assert len(stored) == 50


def test_only_equal_queries_share_a_cache_entry() -> None:
    source, other = cached(MemoryMovieCatalogue()), cached(MemoryMovieCatalogue(), namespace="another URL")
    asked = [
        MovieQuery(text, years=None, genre=genre)
        for text in ("", "a", "A", "a b", "ab", "query", "é", "e\u0301x")
        for genre in (None, "a", "b")
    ]
    keys = [
        one._key("search", query.parameters(), offset, 50)
        for one in (source, other)
        for query in asked
        for offset in (0, 50)
    ]
    assert len(set(keys)) == len(keys)
    assert MovieQuery("e\u0301").parameters() == MovieQuery(" é ").parameters()


@given(st.floats(0, 1), st.floats(1, 1e6))
def test_jitter_only_shortens_freshness(chance: float, fresh: float) -> None:
    entry = CachePolicy(fresh=fresh, stale=10).entry(b"", fence=1, now=0.0, chance=chance)
    assert 0.9 * fresh <= entry.fresh_until <= fresh
    assert entry.stale_until == entry.fresh_until + 10


async def test_details_and_suggestions_are_cached_too() -> None:
    class SearchRequest(Counted):
        async def get(self, movie_id: str) -> FoundMovie:
            self.calls.append(Window())
            return await super().get(movie_id)

    inner = SearchRequest()
    source = cached(inner)
    assert [(await source.get("0007")).cache_status for _ in range(3)] == [
        CacheStatus.LIVE,
        CacheStatus.FRESH,
        CacheStatus.FRESH,
    ]
    assert (await source.get("0007")).movie == MANY[7]
    for _ in range(3):
        with pytest.raises(MovieNotFound):
            await source.get("unknown")
    assert [await source.suggest("riv", 3) for _ in range(3)] == [MANY[:3]] * 3
    assert len(inner.calls) == 3  # suggestions call `search` of this source
    await asyncio.sleep(601)
    assert (await source.get("0007")).cache_status is CacheStatus.STALE


class TestContract(MovieSourceContract):
    @asynccontextmanager
    async def open(self, movies: Sequence[Movie]) -> AsyncIterator[CachedMovieSource]:
        source = CachedMovieSource(MemoryMovieCatalogue(movies), memory=MemoryCacheStore())
        yield source
        await source.close()


async def test_the_sample_is_returned_unchanged() -> None:
    source = cached(MemoryMovieCatalogue(SAMPLE))
    for _ in range(2):
        assert set((await source.search(MovieQuery(), Window(0, 100))).items) == set(SAMPLE)
