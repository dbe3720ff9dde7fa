"""Trending: scores compared with brute force, and rebuilds after outages and losses of data."""

import asyncio
import contextlib
import copy
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery.trending import (
    MAX_TREND,
    REBUILD_DELAY,
    REBUILD_TIMEOUT,
    WEIGHTS,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    Trend,
    Trending,
    TrendWindow,
    log2_add,
    strongest,
    utc_day,
    weight_of,
)
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import StoreUnavailable
from movie_core.memory import MemoryTrendStore
from movie_core.ports import EventStore
from movie_core.testing import NOW, check_trends, expected_trends, make_interactions

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

strengths = st.floats(-20_000, 20_000)


def make_view(movie_id: str, at: datetime = NOW, stored_at: datetime | None = None) -> Interaction:
    return Interaction(movie_id, InteractionKind.VIEW, 1.0, at, stored_at or at)


# --- arithmetic


@given(a=strengths, b=strengths)
def test_log2_add_adds(a: float, b: float) -> None:
    high, low = max(a, b), min(a, b)
    assert log2_add(a, b) == log2_add(b, a) >= high
    expected = 1 + 2.0 ** (low - high)
    assert 2.0 ** (log2_add(a, b) - high) == pytest.approx(expected, rel=1e-11)


def test_log2_add_of_minus_infinity_changes_nothing() -> None:
    assert log2_add(-math.inf, 7.5) == log2_add(7.5, -math.inf) == 7.5
    assert log2_add(-math.inf, -math.inf) == -math.inf
    assert log2_add(0.0, 0.0) == 1.0
    assert log2_add(1e6, -1e6) == 1e6


def trends_of(totals: Totals, window: TrendWindow, now: datetime) -> list[Trend]:
    """The strongest movies of the totals, without counts."""
    return [Trend(one, window.score(s, now)) for one, s in strongest(totals.strengths[window], MAX_TREND)]


def without_counts(trends: Sequence[Trend]) -> list[Trend]:
    return [Trend(trend.movie_id, trend.score) for trend in trends]


@pytest.mark.parametrize("window", TrendWindow)
@pytest.mark.parametrize("seed", range(3))
def test_scores_over_hundreds_of_half_lives_equal_brute_force(window: TrendWindow, seed: int) -> None:
    age = 900 * timedelta(seconds=window.half_life)
    interactions = make_interactions(5_000, NOW, age=age, movies=1000, seed=seed)
    totals = Totals(NOW)
    totals.add(interactions)
    for now in (NOW, NOW + 40 * timedelta(seconds=window.half_life)):
        expected = without_counts(expected_trends(interactions, window, now))
        error = check_trends(trends_of(totals, window, now), expected)
        assert error < 1e-10


@pytest.mark.parametrize("window", TrendWindow)
def test_merged_shards_equal_one_store(window: TrendWindow) -> None:
    interactions = make_interactions(5_000, NOW, age=900 * timedelta(seconds=window.half_life))
    chance, merged = random.Random(3), Totals(NOW)
    shards = [Totals(NOW) for _ in range(7)]
    for interaction in interactions:
        chance.choice(shards).add([interaction])
    for shard in shards:
        for movie_id, strength in shard.strengths[window].items():
            known = merged.strengths[window].get(movie_id, -math.inf)
            merged.strengths[window][movie_id] = log2_add(known, strength)
    check_trends(trends_of(merged, window, NOW), without_counts(expected_trends(interactions, window, NOW)))


interactions_of_one = st.lists(
    st.tuples(st.integers(0, 400 * 21_600 * 10**6), st.sampled_from(sorted(set(WEIGHTS.values())))), min_size=1
)


@given(aged=interactions_of_one, order=st.randoms(use_true_random=False), window=st.sampled_from(TrendWindow))
def test_a_score_is_the_sum_of_decayed_weights_in_any_order(
    aged: list[tuple[int, float]], order: random.Random, window: TrendWindow
) -> None:
    interactions = [
        Interaction("1", InteractionKind.VIEW, w, NOW - timedelta(microseconds=age), NOW) for age, w in aged
    ]
    order.shuffle(interactions)
    totals = Totals(NOW)
    totals.add(interactions)
    (trend,) = trends_of(totals, window, NOW)
    expected = sum(Fraction(w * 2.0 ** (-age / 1e6 / window.half_life)) for age, w in aged)
    assert abs(Fraction(trend.score) - expected) <= expected / 10**9


def test_many_interactions_of_one_movie_add_up_without_loss_of_precision() -> None:
    interactions = [make_view("1", NOW - timedelta(milliseconds=7 * number)) for number in range(20_000)]
    totals = Totals(NOW)
    totals.add(interactions)
    for window in TrendWindow:
        check_trends(trends_of(totals, window, NOW), without_counts(expected_trends(interactions, window, NOW)))


@pytest.mark.parametrize("year", [1970, 2026, 2126, 9999])
def test_any_time_has_a_score(year: int) -> None:
    now = datetime(year, 6, 1, tzinfo=UTC)
    for window in TrendWindow:
        half_life = timedelta(seconds=window.half_life)
        assert window.score(window.strength(make_view("1", now)), now) == pytest.approx(1, rel=1e-9)
        assert window.score(window.strength(make_view("1", now - half_life)), now) == pytest.approx(0.5, rel=1e-9)
    assert TrendWindow.DAY.score(-math.inf, now) == 0


def test_half_lives_and_weights_are_as_documented() -> None:
    assert [(window.half_life, window.bucket_seconds, window.buckets) for window in TrendWindow] == [
        (21_600, 3600, 24),
        (172_800, 86_400, 7),
    ]
    given = [
        (InteractionKind.VIEW, None),
        (InteractionKind.CLICK, None),
        (InteractionKind.RATING, 7.5),
        (InteractionKind.RATING, 8.0),
    ]
    assert [weight_of(kind, rating) for kind, rating in given] == [1, 1, 2, 4]


def test_a_day_is_utc() -> None:
    east = datetime(2026, 11, 25, 1, 0, tzinfo=UTC).astimezone(tz=None)
    assert utc_day(east) == datetime(2026, 11, 25, tzinfo=UTC).date()
    assert TrendWindow.WEEK.bucket(NOW) == (NOW - datetime(1970, 1, 1, tzinfo=UTC)).days


def test_totals_are_split_into_batches_of_the_strongest_movies() -> None:
    totals = Totals(NOW)
    totals.add(make_view(str(number), NOW - number * SECOND) for number in range(100))
    batches = list(totals.batches(30, 60))
    assert [len(batch.strengths) for batch in batches] == [30, 30, 30, 30]
    assert [batch.is_last for batch in batches] == [False, False, False, True]
    movies = [(window, movie_id) for batch in batches for window, movie_id, _ in batch.strengths]
    assert movies == [(window, str(number)) for window in TrendWindow for number in range(60)]
    assert {(window, movie) for batch in batches for window, _, movie, _, _ in batch.counts} == set(movies)
    (nothing,) = Totals(NOW).batches(30, 60)
    assert (nothing.strengths, nothing.counts, nothing.is_last) == ([], [], True)


def test_the_counts_of_a_trend_cover_the_current_bucket_and_those_before_it() -> None:
    for window in TrendWindow:
        bucket = timedelta(seconds=window.bucket_seconds)
        start = datetime.fromtimestamp(window.bucket(NOW) * window.bucket_seconds, UTC)
        totals = Totals(NOW)
        oldest = start - (window.buckets - 1) * bucket
        totals.add([make_view("1", at) for at in (NOW, start, start - SECOND / 10, oldest, oldest - SECOND / 10)])
        numbers = {number: count for (number, _, _), count in totals.counts[window].items()}
        now = window.bucket(NOW)
        assert numbers == {now: 2, now - 1: 1, now - window.buckets + 1: 1}


def test_interactions_are_counted_by_kind() -> None:
    totals = Totals(NOW)
    totals.add(Interaction("1", kind, 1.0, NOW, NOW) for kind in (*InteractionKind, InteractionKind.CLICK))
    assert totals.counts[TrendWindow.DAY] == {
        (TrendWindow.DAY.bucket(NOW), "1", kind): 2 if kind is InteractionKind.CLICK else 1 for kind in InteractionKind
    }


def test_batches_have_all_counts_even_if_there_are_more_of_them_than_of_strengths() -> None:
    totals = Totals(NOW)
    totals.add(make_view("1", NOW - number * HOUR) for number in range(24))
    batches = list(totals.batches(10, 60))
    # Two windows with one strength each; 24 hours, and the two days in which they are.
    assert [(len(batch.strengths), len(batch.counts), batch.is_last) for batch in batches] == [
        (2, 10, False),
        (0, 10, False),
        (0, 6, True),
    ]
    assert sum(count for batch in batches for window, *_, count in batch.counts if window is TrendWindow.DAY) == 24


def test_the_strongest_come_first_and_equal_ones_by_id() -> None:
    assert strongest({"b": 1.0, "a": 1.0, "c": 2.0, "d": 0.5}, 3) == [("c", 2.0), ("a", 1.0), ("b", 1.0)]
    assert strongest({}, 3) == []


def test_only_ratings_count_as_liked() -> None:
    assert weight_of(InteractionKind.CLICK, 9.0) == weight_of(InteractionKind.CLICK)
    assert weight_of(InteractionKind.RATING) == weight_of(InteractionKind.RATING, 1.0)


# --- an unreliable store


READ_SECONDS = 0.001
"""Time to read a batch of events."""


class Events:
    """The part of an `EventStore` that trends use. Events are stored after `delay()` seconds."""

    def __init__(self, clock: Callable[[], datetime] = lambda: NOW, delay: Callable[[], float] = lambda: 0.0) -> None:
        self.stored: list[Interaction] = []
        self.is_unavailable = False
        self._clock = clock
        self._delay = delay

    async def append(self, *movie_ids: str) -> list[Interaction]:
        interactions = [make_view(movie_id, self._clock()) for movie_id in movie_ids]
        await asyncio.sleep(self._delay())
        self.stored += interactions
        return interactions

    async def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        stored = tuple(self.stored)
        for start in range(0, len(stored), 5):
            if self.is_unavailable:
                raise StoreUnavailable("unavailable")
            yield stored[start : start + 5]
            await asyncio.sleep(READ_SECONDS)


def process(store: MemoryTrendStore, events: Events, clock: Callable[[], datetime]) -> TrendingService:
    """The trending service of one of several processes."""
    return TrendingService(store, cast("EventStore", events), clock)


class UnreliableTrendStore(MemoryTrendStore):
    """A store that can be unavailable, with or without applying calls, and slow."""

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__()
        self.is_unavailable = False
        self.applies_calls = False
        """Whether it applies calls although it is unavailable."""
        self.calls = 0
        self._chance = chance

    def lose_all_data(self) -> None:
        MemoryTrendStore.__init__(self)

    async def _unreliable(self, call: Callable[[], Awaitable[object]]) -> None:
        self.calls += 1
        if self._chance is not None:
            await asyncio.sleep(0.3 * self._chance.random())
        if self.is_unavailable:
            if self.applies_calls:
                await call()
            raise StoreUnavailable("unavailable")

    async def epoch(self) -> Epoch | None:
        await self._unreliable(super().epoch)
        return await super().epoch()

    async def start_epoch(self, since: datetime, expected: datetime | None) -> bool:
        await self._unreliable(lambda: MemoryTrendStore.start_epoch(self, since, expected))
        return await super().start_epoch(since, expected)

    async def claim_rebuild(self, since: datetime) -> bool:
        await self._unreliable(lambda: MemoryTrendStore.claim_rebuild(self, since))
        return await super().claim_rebuild(since)

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        await self._unreliable(lambda: MemoryTrendStore.finish_rebuild(self, totals, since))
        return await super().finish_rebuild(totals, since)

    async def add(self, interactions: Sequence[Interaction]) -> None:
        await self._unreliable(lambda: MemoryTrendStore.add(self, interactions))
        await super().add(interactions)

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        await self._unreliable(lambda: MemoryTrendStore.top(self, window, limit, now))
        return await super().top(window, limit, now)


class Deployment:
    """Processes that share a store and events; tests set the time."""

    def __init__(self, processes: int = 1) -> None:
        self.now = NOW
        self.store = UnreliableTrendStore()
        self.events = Events(lambda: self.now)
        self.trends = [process(self.store, self.events, lambda: self.now) for _ in range(processes)]

    async def do(self, *movie_ids: str, by: int = 0) -> None:
        await self.trends[by].add(await self.events.append(*movie_ids))

    async def rebuild(self, *, rounds: int = 3) -> None:
        for _ in range(rounds):
            for trends in self.trends:
                await trends.rebuild()
            self.now += 5 * SECOND

    async def check(self) -> None:
        """Checks that every stored interaction counts exactly once."""
        for trends in self.trends:
            for window in TrendWindow:
                found = await trends.top(window, 100)
                assert not found.is_stale
                check_trends(found.items, expected_trends(self.events.stored, window, self.now))


async def test_a_new_store_is_rebuilt_from_the_events() -> None:
    deployment = Deployment()
    await deployment.events.append("1", "2", "1", "3", "4", "5")
    assert (await deployment.trends[0].top(TrendWindow.DAY, 10)).is_stale
    await deployment.rebuild()
    await deployment.check()
    calls = deployment.store.calls
    await deployment.rebuild(rounds=1)
    assert deployment.store.calls == calls + 1


async def test_interactions_during_a_rebuild_count_once() -> None:
    deployment = Deployment(2)
    await deployment.do("1")
    late = await deployment.events.append("2")
    for step in range(120):
        await deployment.do("1", str(step), by=step % 2)
        if step % 50 == 0:
            await deployment.trends[step % 2].rebuild()
        deployment.now += SECOND / 10
    await deployment.trends[0].add(late)
    await deployment.check()


async def test_an_unavailable_store_is_rebuilt_later_without_errors_from_add() -> None:
    deployment = Deployment()
    await deployment.rebuild()
    await deployment.do("1")
    deployment.store.is_unavailable = True
    await deployment.do("2")
    with pytest.raises(StoreUnavailable):
        await deployment.trends[0].rebuild()
    deployment.now += SECOND
    calls = deployment.store.calls
    await deployment.do("3")
    assert deployment.store.calls == calls
    deployment.store.is_unavailable = False
    await deployment.rebuild()
    await deployment.check()


async def test_interactions_that_may_have_been_added_count_once() -> None:
    deployment = Deployment(2)
    await deployment.rebuild()
    deployment.store.is_unavailable = deployment.store.applies_calls = True
    await deployment.do("1")
    deployment.now += SECOND
    deployment.store.is_unavailable = False
    await deployment.do("2", by=1)
    await deployment.rebuild()
    await deployment.check()


async def test_a_store_without_data_is_rebuilt_and_the_cached_list_is_served_meanwhile() -> None:
    deployment = Deployment(2)
    await deployment.rebuild()
    await deployment.do("1", "2", "1")
    good, at = await deployment.trends[0].top(TrendWindow.DAY, 10), deployment.now
    deployment.store.lose_all_data()
    deployment.now += 3 * SECOND
    stale = await deployment.trends[0].top(TrendWindow.DAY, 1)
    assert (stale.items, stale.as_of, stale.is_stale) == (good.items[:1], at, True)
    nothing = await deployment.trends[1].top(TrendWindow.DAY, 10)
    assert (nothing.items, nothing.as_of, nothing.is_stale) == ((), deployment.now, True)
    await deployment.do("3")
    await deployment.rebuild()
    await deployment.check()


async def test_the_cached_list_is_served_with_its_age_while_the_store_is_unavailable() -> None:
    deployment = Deployment()
    await deployment.rebuild()
    await deployment.do("1", "2", "1")
    good, at = await deployment.trends[0].top(TrendWindow.DAY, 10), deployment.now
    assert [trend.movie_id for trend in good.items] == ["1", "2"]
    deployment.store.is_unavailable = True
    deployment.now += HOUR
    for limit in (1, 10):
        stale = await deployment.trends[0].top(TrendWindow.DAY, limit)
        assert (stale.items, stale.as_of, stale.is_stale) == (good.items[:limit], at, True)
    with pytest.raises(StoreUnavailable):
        await deployment.trends[0].top(TrendWindow.WEEK, 10)
    deployment.store.is_unavailable = False
    assert not (await deployment.trends[0].top(TrendWindow.DAY, 10)).is_stale


async def test_a_store_that_reverted_to_an_earlier_state_is_rebuilt() -> None:
    deployment = Deployment()
    await deployment.rebuild()
    await deployment.do("1")
    deployment.now += SECOND
    earlier = copy.deepcopy(deployment.store.__dict__)
    await deployment.do("2")
    deployment.store.__dict__.update(earlier)
    await deployment.rebuild()
    await deployment.check()


async def test_a_partly_filled_epoch_is_replaced() -> None:
    deployment = Deployment()
    await deployment.do("1")
    await deployment.rebuild(rounds=1)
    deployment.store.is_unavailable = deployment.store.applies_calls = True
    with pytest.raises(StoreUnavailable):
        await deployment.trends[0]._rebuild(NOW + SECOND, deployment.now)
    deployment.store.is_unavailable = False
    await deployment.rebuild()
    await deployment.check()


async def test_an_unconfirmed_start_of_an_epoch_is_noticed_later() -> None:
    deployment = Deployment()
    await deployment.do("1")
    begin, deployment.store.applies_calls = deployment.store.start_epoch, True

    async def start_without_reply(since: datetime, expected: datetime | None) -> bool:
        deployment.store.is_unavailable = True
        return await begin(since, expected)

    deployment.store.start_epoch = start_without_reply  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await deployment.trends[0].rebuild()
    deployment.store.start_epoch, deployment.store.is_unavailable = begin, False  # type: ignore[method-assign]
    deployment.now += 5 * SECOND
    await deployment.rebuild(rounds=1)
    await deployment.check()


async def test_unavailable_events_require_another_epoch() -> None:
    deployment = Deployment()
    await deployment.events.append("1", "2")
    await deployment.rebuild(rounds=1)
    deployment.events.is_unavailable = True
    with pytest.raises(StoreUnavailable):
        await deployment.rebuild(rounds=1)
    deployment.events.is_unavailable = False
    deployment.now += 5 * SECOND
    await deployment.rebuild()
    await deployment.check()


async def test_one_process_rebuilds_and_another_takes_over_if_it_was_killed() -> None:
    deployment = Deployment(2)
    await deployment.events.append("1")
    killed, other = deployment.trends
    await killed.rebuild()
    deployment.trends = [other]
    await deployment.rebuild()
    await deployment.check()
    deployment.store.lose_all_data()
    await deployment.rebuild(rounds=1)
    epoch = await deployment.store.epoch()
    assert epoch is not None
    assert await deployment.store.claim_rebuild(epoch.since)  # by a process that is killed then
    await deployment.rebuild(rounds=10)
    assert (await deployment.trends[0].top(TrendWindow.DAY, 10)).is_stale
    deployment.now = epoch.since + REBUILD_DELAY + REBUILD_TIMEOUT
    await deployment.rebuild()
    await deployment.check()


async def test_a_process_runs_one_rebuild_at_a_time() -> None:
    deployment = Deployment()
    await deployment.events.append(*(str(number) for number in range(30)))
    await deployment.rebuild(rounds=1)
    await asyncio.gather(*(deployment.trends[0].rebuild() for _ in range(5)))
    await deployment.check()


async def test_a_cancelled_add_or_rebuild_is_repeated() -> None:
    deployment = Deployment()

    async def cancelled(call: Coroutine[object, object, object]) -> None:
        add, fill = deployment.store.add, deployment.store.finish_rebuild

        hangs = asyncio.Event()

        async def hang(*_: object) -> bool:
            hangs.set()
            return await asyncio.sleep(3600, result=True)

        deployment.store.add = deployment.store.finish_rebuild = hang  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(call)
        await hangs.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deployment.store.add, deployment.store.finish_rebuild = add, fill  # type: ignore[method-assign]

    await deployment.do("1")
    await deployment.rebuild(rounds=1)
    await cancelled(deployment.trends[0]._rebuild(NOW + SECOND, deployment.now))
    first = await deployment.store.epoch()
    await deployment.rebuild()
    second = await deployment.store.epoch()
    assert first is not None
    assert second is not None
    assert first.since < second.since
    await cancelled(deployment.trends[0].add(await deployment.events.append("2")))
    deployment.now += SECOND
    await deployment.rebuild()
    await deployment.check()


async def test_a_clock_that_was_ahead_causes_one_rebuild() -> None:
    deployment = Deployment()
    await deployment.rebuild()
    deployment.now += HOUR
    await deployment.do("1")
    deployment.store.is_unavailable = True
    await deployment.do("2")
    deployment.now -= HOUR - SECOND
    deployment.store.is_unavailable = False
    deployment.events.stored = [
        make_view(interaction.movie_id, deployment.now) for interaction in deployment.events.stored
    ]
    await deployment.rebuild()
    epoch = await deployment.store.epoch()
    assert epoch is not None
    assert epoch.is_filled
    await deployment.rebuild()
    assert await deployment.store.epoch() == epoch
    await deployment.check()


async def test_the_store_is_queried_once_per_second() -> None:
    deployment = Deployment()
    await deployment.rebuild()
    await deployment.do("1", "2")
    calls = deployment.store.calls
    results: list[Trending] = []
    for _ in range(20):
        results.append(await deployment.trends[0].top(TrendWindow.DAY, 1 + len(results) % 2))
        deployment.now += SECOND / 10
    assert deployment.store.calls == calls + 2
    assert [len(result.items) for result in results[:4]] == [1, 2, 1, 2]
    assert deployment.now - results[-1].as_of <= 1.1 * SECOND
    assert not any(result.is_stale for result in results)


@pytest.mark.parametrize("seed", range(16))
async def test_every_interaction_counts_once_in_the_end_despite_failures(seed: int) -> None:
    """Processes store, add and rebuild with delays of seconds, while the store is unavailable, applies calls without
    reply, or loses all data, and processes are replaced."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()

    def clock() -> datetime:
        return NOW + timedelta(seconds=loop.time())

    store, events = UnreliableTrendStore(chance), Events(clock, lambda: 2.9 * chance.random() ** 8)
    processes: list[TrendingService] = []
    running: set[asyncio.Task[None]] = set()

    async def work(trends: TrendingService) -> None:
        while loop.time() < 200:
            await trends.add(await events.append(*(chance.choice("abcdefgh") for _ in range(chance.randrange(4)))))
            await asyncio.sleep(chance.random())

    async def rebuild(trends: TrendingService) -> None:
        while loop.time() < 400:
            with contextlib.suppress(StoreUnavailable):
                await trends.rebuild()
            await asyncio.sleep(5 * chance.random())

    def start_epoch() -> None:
        trends = process(store, events, clock)
        processes.append(trends)
        running.update((asyncio.create_task(work(trends)), asyncio.create_task(rebuild(trends))))

    for _ in range(3):
        start_epoch()
    while loop.time() < 200:
        await asyncio.sleep(20 * chance.random())
        match chance.randrange(4):
            case 0:
                store.lose_all_data()
            case 1:
                start_epoch()
            case _:
                store.is_unavailable, store.applies_calls = True, chance.random() < 0.5
                await asyncio.sleep(8 * chance.random())
                store.is_unavailable = False
    await asyncio.gather(*running)
    assert len(events.stored) > 300
    for trends in processes:
        for window in TrendWindow:
            found = await trends.top(window, 100)
            assert not found.is_stale
            check_trends(found.items, expected_trends(events.stored, window, found.as_of))
