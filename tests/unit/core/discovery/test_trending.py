"""Trending: its arithmetic against brute force, and a store that is away, in doubt, or has lost everything."""

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
from tests.support.skipping_loop import SkippingLoop

from movie_core.discovery.trending import (
    FILL,
    MAX_TREND,
    SETTLE,
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


def a_view(movie_id: str, at: datetime = NOW, kept_at: datetime | None = None) -> Interaction:
    return Interaction(movie_id, InteractionKind.VIEW, 1.0, at, kept_at or at)


# --- arithmetic


@given(a=strengths, b=strengths)
def test_adding_in_logarithms_is_adding(a: float, b: float) -> None:
    high, low = max(a, b), min(a, b)
    assert log2_add(a, b) == log2_add(b, a) >= high
    expected = 1 + 2.0 ** (low - high)
    assert 2.0 ** (log2_add(a, b) - high) == pytest.approx(expected, rel=1e-11)


def test_adding_nothing_changes_nothing() -> None:
    assert log2_add(-math.inf, 7.5) == log2_add(7.5, -math.inf) == 7.5
    assert log2_add(-math.inf, -math.inf) == -math.inf
    assert log2_add(0.0, 0.0) == 1.0
    assert log2_add(1e6, -1e6) == 1e6


def trends_of(totals: Totals, window: TrendWindow, now: datetime) -> list[Trend]:
    """The best by the totals, with no counts."""
    return [Trend(one, window.score(s, now)) for one, s in strongest(totals.strengths[window], MAX_TREND)]


def without_counts(trends: Sequence[Trend]) -> list[Trend]:
    return [Trend(trend.movie_id, trend.score) for trend in trends]


@pytest.mark.parametrize("window", TrendWindow)
@pytest.mark.parametrize("seed", range(3))
def test_scores_over_hundreds_of_half_lives_are_those_of_brute_force(window: TrendWindow, seed: int) -> None:
    age = 900 * timedelta(seconds=window.half_life)
    interactions = make_interactions(20_000, NOW, age=age, movies=1000, seed=seed)
    totals = Totals(NOW)
    totals.add(interactions)
    for now in (NOW, NOW + 40 * timedelta(seconds=window.half_life)):
        expected = without_counts(expected_trends(interactions, window, now))
        error = check_trends(trends_of(totals, window, now), expected)
        assert error < 1e-10


@pytest.mark.parametrize("window", TrendWindow)
def test_shards_that_are_merged_give_what_one_gives(window: TrendWindow) -> None:
    interactions = make_interactions(20_000, NOW, age=900 * timedelta(seconds=window.half_life))
    chance, merged = random.Random(3), Totals(NOW)
    shards = [Totals(NOW) for _ in range(7)]
    for interaction in interactions:
        chance.choice(shards).add([interaction])
    for shard in shards:
        for movie_id, strength in shard.strengths[window].items():
            known = merged.strengths[window].get(movie_id, -math.inf)
            merged.strengths[window][movie_id] = log2_add(known, strength)
    check_trends(trends_of(merged, window, NOW), without_counts(expected_trends(interactions, window, NOW)))


deeds_of_one = st.lists(
    st.tuples(st.integers(0, 400 * 21_600 * 10**6), st.sampled_from(sorted(set(WEIGHTS.values())))), min_size=1
)


@given(told=deeds_of_one, order=st.randoms(use_true_random=False), window=st.sampled_from(TrendWindow))
def test_a_score_is_the_sum_of_what_is_left_of_each_deed_in_any_order(
    told: list[tuple[int, float]], order: random.Random, window: TrendWindow
) -> None:
    interactions = [
        Interaction("1", InteractionKind.VIEW, w, NOW - timedelta(microseconds=age), NOW) for age, w in told
    ]
    order.shuffle(interactions)
    totals = Totals(NOW)
    totals.add(interactions)
    (trend,) = trends_of(totals, window, NOW)
    expected = sum(Fraction(w * 2.0 ** (-age / 1e6 / window.half_life)) for age, w in told)
    assert abs(Fraction(trend.score) - expected) <= expected / 10**9


def test_many_deeds_of_one_movie_add_up_without_loss() -> None:
    interactions = [a_view("1", NOW - timedelta(milliseconds=7 * number)) for number in range(50_000)]
    totals = Totals(NOW)
    totals.add(interactions)
    for window in TrendWindow:
        check_trends(trends_of(totals, window, NOW), without_counts(expected_trends(interactions, window, NOW)))


@pytest.mark.parametrize("year", [1970, 2026, 2126, 9999])
def test_any_time_has_a_score(year: int) -> None:
    now = datetime(year, 6, 1, tzinfo=UTC)
    for window in TrendWindow:
        half_life = timedelta(seconds=window.half_life)
        assert window.score(window.strength(a_view("1", now)), now) == pytest.approx(1, rel=1e-9)
        assert window.score(window.strength(a_view("1", now - half_life)), now) == pytest.approx(0.5, rel=1e-9)
    assert TrendWindow.DAY.score(-math.inf, now) == 0


def test_half_lives_and_weights_are_as_promised() -> None:
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


def test_totals_come_in_parts_of_bounded_size_and_only_of_the_strongest() -> None:
    totals = Totals(NOW)
    totals.add(a_view(str(number), NOW - number * SECOND) for number in range(100))
    parts = list(totals.parts(30, 60))
    assert [len(part.strengths) for part in parts] == [30, 30, 30, 30]
    assert [part.is_last for part in parts] == [False, False, False, True]
    told = [(window, movie_id) for part in parts for window, movie_id, _ in part.strengths]
    assert told == [(window, str(number)) for window in TrendWindow for number in range(60)]
    assert {(window, movie) for part in parts for window, _, movie, _, _ in part.counts} == set(told)
    (nothing,) = Totals(NOW).parts(30, 60)
    assert (nothing.strengths, nothing.counts, nothing.is_last) == ([], [], True)


# --- a store that is away now and then


class Events:
    """Of an `EventStore`, what trends need. What is kept is there after `delay()` seconds."""

    def __init__(self, clock: Callable[[], datetime] = lambda: NOW, delay: Callable[[], float] = lambda: 0.0) -> None:
        self.kept: list[Interaction] = []
        self.is_away = False
        self._clock = clock
        self._delay = delay

    async def append(self, *movie_ids: str) -> list[Interaction]:
        interactions = [a_view(movie_id, self._clock()) for movie_id in movie_ids]
        await asyncio.sleep(self._delay())
        self.kept += interactions
        return interactions

    async def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        kept = tuple(self.kept)
        for start in range(0, len(kept), 5):
            if self.is_away:
                raise StoreUnavailable("made away")
            yield kept[start : start + 5]
            await asyncio.sleep(0)


def process(store: MemoryTrendStore, events: Events, clock: Callable[[], datetime]) -> TrendingService:
    """Of one of several processes."""
    return TrendingService(store, cast("EventStore", events), clock)


class ShakyTrends(MemoryTrendStore):
    """It may be away, with what was asked for done or not, and is slow where told so."""

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__()
        self.is_away = False
        self.is_doing = False
        """Whether it does what it is asked for, though it is away."""
        self.calls = 0
        self._chance = chance

    def lose_everything(self) -> None:
        MemoryTrendStore.__init__(self)

    async def _shaky(self, call: Callable[[], Awaitable[object]]) -> None:
        self.calls += 1
        if self._chance is not None:
            await asyncio.sleep(0.3 * self._chance.random())
        if self.is_away:
            if self.is_doing:
                await call()
            raise StoreUnavailable("made away")

    async def epoch(self) -> Epoch | None:
        await self._shaky(super().epoch)
        return await super().epoch()

    async def start_epoch(self, since: datetime, instead_of: datetime | None) -> bool:
        await self._shaky(lambda: MemoryTrendStore.start_epoch(self, since, instead_of))
        return await super().start_epoch(since, instead_of)

    async def claim_rebuild(self, since: datetime) -> bool:
        await self._shaky(lambda: MemoryTrendStore.claim_rebuild(self, since))
        return await super().claim_rebuild(since)

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        await self._shaky(lambda: MemoryTrendStore.finish_rebuild(self, totals, since))
        return await super().finish_rebuild(totals, since)

    async def add(self, interactions: Sequence[Interaction]) -> None:
        await self._shaky(lambda: MemoryTrendStore.add(self, interactions))
        await super().add(interactions)

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        await self._shaky(lambda: MemoryTrendStore.top(self, window, limit, now))
        return await super().top(window, limit, now)


class Scene:
    """Processes that share a store and events, at a time of our making."""

    def __init__(self, processes: int = 1) -> None:
        self.now = NOW
        self.store = ShakyTrends()
        self.events = Events(lambda: self.now)
        self.trends = [process(self.store, self.events, lambda: self.now) for _ in range(processes)]

    async def do(self, *movie_ids: str, by: int = 0) -> None:
        await self.trends[by].add(await self.events.append(*movie_ids))

    async def rebuild(self, *, looks: int = 3) -> None:
        for _ in range(looks):
            for trends in self.trends:
                await trends.rebuild()
            self.now += 5 * SECOND

    async def check(self) -> None:
        """Everything that was kept is there, once."""
        for trends in self.trends:
            for window in TrendWindow:
                found = await trends.top(window, 100)
                assert not found.is_stale
                check_trends(found.items, expected_trends(self.events.kept, window, self.now))


async def test_a_new_store_is_filled_from_the_events() -> None:
    scene = Scene()
    await scene.events.append("1", "2", "1", "3", "4", "5")
    assert (await scene.trends[0].top(TrendWindow.DAY, 10)).is_stale
    await scene.rebuild()
    await scene.check()
    calls = scene.store.calls
    await scene.rebuild(looks=1)
    assert scene.store.calls == calls + 1


async def test_what_comes_while_a_store_is_filled_counts_once() -> None:
    scene = Scene(2)
    await scene.do("1")
    late = await scene.events.append("2")
    for step in range(120):
        await scene.do("1", str(step), by=step % 2)
        if step % 50 == 0:
            await scene.trends[step % 2].rebuild()
        scene.now += SECOND / 10
    await scene.trends[0].add(late)
    await scene.check()


async def test_a_store_that_is_away_raises_nothing_and_is_brought_up_to_date_later() -> None:
    scene = Scene()
    await scene.rebuild()
    await scene.do("1")
    scene.store.is_away = True
    await scene.do("2")
    with pytest.raises(StoreUnavailable):
        await scene.trends[0].rebuild()
    scene.now += SECOND
    calls = scene.store.calls
    await scene.do("3")
    assert scene.store.calls == calls
    scene.store.is_away = False
    await scene.rebuild()
    await scene.check()


async def test_what_may_have_been_added_or_not_counts_once() -> None:
    scene = Scene(2)
    await scene.rebuild()
    scene.store.is_away = scene.store.is_doing = True
    await scene.do("1")
    scene.now += SECOND
    scene.store.is_away = False
    await scene.do("2", by=1)
    await scene.rebuild()
    await scene.check()


async def test_a_store_that_lost_everything_is_filled_again_and_the_last_good_list_told_meanwhile() -> None:
    scene = Scene(2)
    await scene.rebuild()
    await scene.do("1", "2", "1")
    good, at = await scene.trends[0].top(TrendWindow.DAY, 10), scene.now
    scene.store.lose_everything()
    scene.now += 3 * SECOND
    stale = await scene.trends[0].top(TrendWindow.DAY, 1)
    assert (stale.items, stale.as_of, stale.is_stale) == (good.items[:1], at, True)
    nothing = await scene.trends[1].top(TrendWindow.DAY, 10)
    assert (nothing.items, nothing.as_of, nothing.is_stale) == ((), scene.now, True)
    await scene.do("3")
    await scene.rebuild()
    await scene.check()


async def test_a_store_that_is_away_has_the_last_good_list_told_with_its_age() -> None:
    scene = Scene()
    await scene.rebuild()
    await scene.do("1", "2", "1")
    good, at = await scene.trends[0].top(TrendWindow.DAY, 10), scene.now
    assert [trend.movie_id for trend in good.items] == ["1", "2"]
    scene.store.is_away = True
    scene.now += HOUR
    for limit in (1, 10):
        stale = await scene.trends[0].top(TrendWindow.DAY, limit)
        assert (stale.items, stale.as_of, stale.is_stale) == (good.items[:limit], at, True)
    with pytest.raises(StoreUnavailable):
        await scene.trends[0].top(TrendWindow.WEEK, 10)
    scene.store.is_away = False
    assert not (await scene.trends[0].top(TrendWindow.DAY, 10)).is_stale


async def test_a_store_that_has_gone_back_to_an_earlier_state_is_filled_again() -> None:
    scene = Scene()
    await scene.rebuild()
    await scene.do("1")
    scene.now += SECOND
    earlier = copy.deepcopy(scene.store.__dict__)
    await scene.do("2")
    scene.store.__dict__.update(earlier)
    await scene.rebuild()
    await scene.check()


async def test_a_life_that_was_filled_half_is_begun_anew() -> None:
    scene = Scene()
    await scene.do("1")
    await scene.rebuild(looks=1)
    scene.store.is_away = scene.store.is_doing = True
    with pytest.raises(StoreUnavailable):
        await scene.trends[0]._fill(NOW + SECOND, scene.now)
    scene.store.is_away = False
    await scene.rebuild()
    await scene.check()


async def test_a_begin_that_nobody_confirmed_is_seen_later() -> None:
    scene = Scene()
    await scene.do("1")
    begin, scene.store.is_doing = scene.store.start_epoch, True

    async def begin_and_fall_silent(since: datetime, instead_of: datetime | None) -> bool:
        scene.store.is_away = True
        return await begin(since, instead_of)

    scene.store.start_epoch = begin_and_fall_silent  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await scene.trends[0].rebuild()
    scene.store.start_epoch, scene.store.is_away = begin, False  # type: ignore[method-assign]
    scene.now += 5 * SECOND
    await scene.rebuild(looks=1)
    await scene.check()


async def test_events_that_are_away_cost_another_life() -> None:
    scene = Scene()
    await scene.events.append("1", "2")
    await scene.rebuild(looks=1)
    scene.events.is_away = True
    with pytest.raises(StoreUnavailable):
        await scene.rebuild(looks=1)
    scene.events.is_away = False
    scene.now += 5 * SECOND
    await scene.rebuild()
    await scene.check()


async def test_whoever_comes_first_fills_a_life_and_another_begins_anew_where_that_one_was_killed() -> None:
    scene = Scene(2)
    await scene.events.append("1")
    killed, other = scene.trends
    await killed.rebuild()
    scene.trends = [other]
    await scene.rebuild()
    await scene.check()
    scene.store.lose_everything()
    await scene.rebuild(looks=1)
    epoch = await scene.store.epoch()
    assert epoch is not None
    assert await scene.store.claim_rebuild(epoch.since)  # by one who is killed then
    await scene.rebuild(looks=10)
    assert (await scene.trends[0].top(TrendWindow.DAY, 10)).is_stale
    scene.now = epoch.since + SETTLE + FILL
    await scene.rebuild()
    await scene.check()


async def test_a_process_heals_once_at_a_time() -> None:
    scene = Scene()
    await scene.events.append(*(str(number) for number in range(30)))
    await scene.rebuild(looks=1)
    await asyncio.gather(*(scene.trends[0].rebuild() for _ in range(5)))
    await scene.check()


async def test_an_add_or_a_fill_that_is_cancelled_is_in_doubt() -> None:
    scene = Scene()

    async def cancelled(call: Coroutine[object, object, object]) -> None:
        add, fill = scene.store.add, scene.store.finish_rebuild

        hangs = asyncio.Event()

        async def hang(*_: object) -> bool:
            hangs.set()
            return await asyncio.sleep(3600, result=True)

        scene.store.add = scene.store.finish_rebuild = hang  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(call)
        await hangs.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        scene.store.add, scene.store.finish_rebuild = add, fill  # type: ignore[method-assign]

    await scene.do("1")
    await scene.rebuild(looks=1)
    await cancelled(scene.trends[0]._fill(NOW + SECOND, scene.now))
    first = await scene.store.epoch()
    await scene.rebuild()
    second = await scene.store.epoch()
    assert first is not None
    assert second is not None
    assert first.since < second.since
    await cancelled(scene.trends[0].add(await scene.events.append("2")))
    scene.now += SECOND
    await scene.rebuild()
    await scene.check()


async def test_a_clock_that_was_ahead_for_a_while_costs_one_filling() -> None:
    scene = Scene()
    await scene.rebuild()
    scene.now += HOUR
    await scene.do("1")
    scene.store.is_away = True
    await scene.do("2")
    scene.now -= HOUR - SECOND
    scene.store.is_away = False
    scene.events.kept = [a_view(interaction.movie_id, scene.now) for interaction in scene.events.kept]
    await scene.rebuild()
    epoch = await scene.store.epoch()
    assert epoch is not None
    assert epoch.is_filled
    await scene.rebuild()
    assert await scene.store.epoch() == epoch
    await scene.check()


async def test_the_store_is_asked_once_a_second() -> None:
    scene = Scene()
    await scene.rebuild()
    await scene.do("1", "2")
    calls = scene.store.calls
    answers: list[Trending] = []
    for _ in range(20):
        answers.append(await scene.trends[0].top(TrendWindow.DAY, 1 + len(answers) % 2))
        scene.now += SECOND / 10
    assert scene.store.calls == calls + 2
    assert [len(answer.items) for answer in answers[:4]] == [1, 2, 1, 2]
    assert scene.now - answers[-1].as_of <= 1.1 * SECOND
    assert not any(answer.is_stale for answer in answers)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_each_deed_counts_once_in_the_end(seed: int) -> None:
    """Processes keep, add and heal with delays of seconds, while the store is away, in doubt, or loses everything, and
    processes are replaced."""
    chance = random.Random(seed)

    async def live() -> None:
        loop = asyncio.get_running_loop()

        def clock() -> datetime:
            return NOW + timedelta(seconds=loop.time())

        store, events = ShakyTrends(chance), Events(clock, lambda: 2.9 * chance.random() ** 8)
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
                    store.lose_everything()
                case 1:
                    start_epoch()
                case _:
                    store.is_away, store.is_doing = True, chance.random() < 0.5
                    await asyncio.sleep(8 * chance.random())
                    store.is_away = False
        await asyncio.gather(*running)
        assert len(events.kept) > 300
        for trends in processes:
            for window in TrendWindow:
                found = await trends.top(window, 100)
                assert not found.is_stale
                check_trends(found.items, expected_trends(events.kept, window, found.as_of))

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(live())
