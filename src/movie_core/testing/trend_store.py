"""Contract of the `TrendStore` port."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from movie_core.discovery.trending import (
    MAX_TREND_MOVIES,
    WEIGHTS,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    Trend,
    TrendWindow,
)
from movie_core.ports import TrendStore
from movie_core.testing.shared import DAY, HOUR, NOW, ODD_STRINGS, SECOND, clause

PRECISION = 1e-9
"""Greatest relative error of a score."""


def make_interactions(
    count: int, now: datetime, *, age: timedelta, movies: int = 300, seed: int = 5
) -> list[Interaction]:
    """Random interactions of at most this age, in random order; a few movies are much more frequent than others."""
    rng = random.Random(seed)

    def interaction() -> Interaction:
        kind, at = rng.choice(tuple(InteractionKind)), now - rng.random() * age
        weight = rng.choice((WEIGHTS["rating"], WEIGHTS["liked"])) if kind is InteractionKind.RATING else WEIGHTS[kind]
        return Interaction(str(min(int(rng.paretovariate(0.6)), movies)), kind, weight, at, at)

    return [interaction() for _ in range(count)]


def expected_trends(interactions: Iterable[Interaction], window: TrendWindow, now: datetime) -> list[Trend]:
    """All trends by definition: the score is the sum of w * 2^(-age/H); counts cover whole hours or UTC days."""
    terms: dict[str, list[float]] = {}
    counts: dict[str, Counter[InteractionKind]] = {}
    size = timedelta(seconds=window.bucket_seconds)
    end = now - (now - datetime.min.replace(tzinfo=now.tzinfo)) % size + size
    for interaction in interactions:
        age = (now - interaction.at) / SECOND
        terms.setdefault(interaction.movie_id, []).append(interaction.weight * 2.0 ** (-age / window.half_life))
        counted = counts.setdefault(interaction.movie_id, Counter())
        if end - window.buckets * size <= interaction.at < end:
            counted[interaction.kind] += 1
    trends = [
        Trend(movie_id, math.fsum(movie_terms), dict(counts[movie_id])) for movie_id, movie_terms in terms.items()
    ]
    return sorted(trends, key=lambda trend: (-trend.score, trend.movie_id))


def check_trends(found: Sequence[Trend] | None, expected: Sequence[Trend], limit: int = 50) -> float:
    """Assert that the first `limit` trends are equal within `PRECISION`. Returns the greatest relative error."""
    assert found is not None
    assert [trend.movie_id for trend in found[:limit]] == [trend.movie_id for trend in expected[:limit]]
    assert [trend.counts for trend in found[:limit]] == [trend.counts for trend in expected[:limit]]
    pairs = zip(found[:limit], expected[:limit], strict=True)
    error = max((abs(one.score - other.score) / other.score for one, other in pairs), default=0.0)
    assert error <= PRECISION, error
    return error


def totals_of(interactions: Iterable[Interaction], now: datetime) -> Totals:
    totals = Totals(now)
    totals.add(interactions)
    return totals


def make_view(movie_id: str, at: datetime, stored_at: datetime | None = None) -> Interaction:
    return Interaction(movie_id, InteractionKind.VIEW, 1.0, at, stored_at or at)


async def finish_rebuild(store: TrendStore, interactions: Iterable[Interaction] = (), since: datetime = NOW) -> None:
    """Start the first epoch and finish its rebuild with these interactions."""
    assert await store.start_epoch(since, None)
    assert await store.claim_rebuild(since)
    assert await store.finish_rebuild(totals_of(interactions, NOW), since)


class TrendStoreContract:
    """Contract of every `TrendStore`. The numbers in test names are the clauses of the port."""

    interactions = 4000
    """Number of interactions in the comparison with the definition."""

    def open(self, max_movies: int = MAX_TREND_MOVIES) -> AbstractAsyncContextManager[TrendStore]:
        """The store under test, empty, without an epoch; it stores about `max_movies` movies per window."""
        raise NotImplementedError

    @clause
    async def test_1_an_epoch_is_reported_once_started_and_once_filled(self) -> None:
        async with self.open() as store:
            assert await store.epoch() is None
            since = NOW + timedelta(microseconds=123457)
            assert await store.start_epoch(since, None)
            assert await store.epoch() == Epoch(since)
            assert await store.claim_rebuild(since)
            assert await store.epoch() == Epoch(since, is_claimed=True)
            assert await store.finish_rebuild(totals_of([make_view("1", NOW)], NOW), since)
            assert await store.epoch() == Epoch(since, is_claimed=True, is_filled=True)

    @clause
    async def test_1_an_epoch_reports_the_newest_interaction(self) -> None:
        async with self.open() as store:
            assert await store.start_epoch(NOW, None)
            await store.add([make_view("1", NOW - HOUR)])
            assert await store.epoch() == Epoch(NOW)
            times = [NOW + SECOND, NOW + timedelta(seconds=1, microseconds=1), NOW]
            for time, newest in zip(times, (times[0], times[1], times[1]), strict=True):
                await store.add([make_view("1", NOW, time), make_view("1", NOW, NOW - SECOND)])
                assert await store.epoch() == Epoch(NOW, newest=newest)
            assert await store.claim_rebuild(NOW)
            assert await store.finish_rebuild(totals_of([], NOW), NOW)
            assert await store.epoch() == Epoch(NOW, is_claimed=True, is_filled=True, newest=times[1])
            assert await store.start_epoch(NOW + HOUR, NOW)
            assert await store.epoch() == Epoch(NOW + HOUR)

    @clause
    async def test_2_an_epoch_starts_by_compare_and_swap(self) -> None:
        async with self.open() as store:
            assert not await store.start_epoch(NOW, NOW - HOUR)
            assert await store.start_epoch(NOW, None)
            assert not await store.start_epoch(NOW + HOUR, None)
            assert not await store.start_epoch(NOW + HOUR, NOW - HOUR)
            assert await store.epoch() == Epoch(NOW)
            assert await store.start_epoch(NOW + HOUR, NOW)
            assert await store.epoch() == Epoch(NOW + HOUR)

    @clause
    async def test_2_of_many_concurrent_starts_one_succeeds(self) -> None:
        async with self.open() as store:
            for instead_of in (None, NOW):
                times = [(instead_of or NOW - HOUR) + (1 + number) * HOUR for number in range(8)]
                started = await asyncio.gather(*(store.start_epoch(time, instead_of) for time in times))
                assert sum(started) == 1
                assert await store.epoch() == Epoch(times[started.index(True)])
                await store.start_epoch(NOW, times[started.index(True)])

    @clause
    async def test_2_a_new_epoch_starts_empty(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store, [make_view("1", NOW - HOUR)])
            await store.add([make_view("2", NOW)])
            assert await store.start_epoch(NOW + HOUR, NOW)
            for window in TrendWindow:
                assert await store.top(window, 10, NOW) is None
            assert await store.claim_rebuild(NOW + HOUR)
            assert await store.finish_rebuild(totals_of([make_view("1", NOW)], NOW), NOW + HOUR)
            for window in TrendWindow:
                check_trends(await store.top(window, 10, NOW), expected_trends([make_view("1", NOW)], window, NOW))

    @clause
    async def test_3_one_caller_claims_the_rebuild(self) -> None:
        async with self.open() as store:
            assert not await store.claim_rebuild(NOW)
            for since, instead_of in ((NOW, None), (NOW + HOUR, NOW)):
                assert await store.start_epoch(since, instead_of)
                assert not await store.claim_rebuild(since - HOUR)
                assert sum(await asyncio.gather(*(store.claim_rebuild(since) for _ in range(8)))) == 1
                assert not await store.claim_rebuild(since)
            assert await store.finish_rebuild(totals_of([], NOW), NOW + HOUR)
            assert not await store.claim_rebuild(NOW + HOUR)

    @clause
    async def test_4_and_5_interactions_before_an_epoch_are_filled_in_and_later_ones_added(self) -> None:
        async with self.open() as store:
            before = [make_view("1", NOW - HOUR), make_view("2", NOW - HOUR, NOW - SECOND)]
            after = [make_view("1", NOW - 2 * HOUR, NOW), make_view("3", NOW, NOW + SECOND)]
            later = [make_view("2", NOW - HOUR, NOW + HOUR), make_view("4", NOW - 8 * DAY, NOW + HOUR)]
            await store.add(before + after)  # ignored: there is no epoch
            assert await store.start_epoch(NOW, None)
            await store.add(before + after)
            assert await store.claim_rebuild(NOW)
            assert await store.finish_rebuild(totals_of(before, NOW), NOW)
            await store.add(before + later)
            for window in TrendWindow:
                expected = expected_trends(before + after + later, window, NOW + HOUR)
                check_trends(await store.top(window, 10, NOW + HOUR), expected)

    @clause
    async def test_4_an_epoch_is_filled_once_and_identified_by_its_start(self) -> None:
        async with self.open() as store:
            totals = totals_of([make_view("1", NOW)], NOW)
            assert not await store.finish_rebuild(totals, NOW)
            assert await store.start_epoch(NOW, None)
            assert not await store.finish_rebuild(totals, NOW)
            assert await store.claim_rebuild(NOW)
            assert not await store.finish_rebuild(totals, NOW - HOUR)
            assert await store.epoch() == Epoch(NOW, is_claimed=True)
            assert await store.finish_rebuild(totals, NOW)
            assert not await store.finish_rebuild(totals, NOW)
            check_trends(
                await store.top(TrendWindow.DAY, 10, NOW), expected_trends([make_view("1", NOW)], TrendWindow.DAY, NOW)
            )

    @clause
    async def test_5_trends_equal_their_definition(self) -> None:
        async with self.open() as store:
            now = NOW + timedelta(minutes=29, microseconds=7)
            interactions = make_interactions(self.interactions, now, age=20 * DAY)
            since = now - 2 * DAY
            assert await store.start_epoch(since, None)
            added = [interaction for interaction in interactions if interaction.stored_at >= since]
            filled = [interaction for interaction in interactions if interaction.stored_at < since]
            third = len(added) // 3
            await asyncio.gather(*(store.add(added[n : min(n + 50, third)]) for n in range(0, third, 50)))
            assert await store.claim_rebuild(since)
            assert await store.finish_rebuild(totals_of(filled, now), since)
            await store.add(added[third : 2 * third])
            for start in range(2 * third, len(added), 10):
                await asyncio.gather(*(store.add([interaction]) for interaction in added[start : start + 10]))
            for window in TrendWindow:
                for later in (now, now + 5 * HOUR, now + 3 * DAY):
                    check_trends(await store.top(window, 100, later), expected_trends(interactions, window, later))

    @clause
    async def test_5_concurrent_additions_to_the_same_movies_are_all_counted(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store, since=NOW - 9 * DAY)
            interactions = make_interactions(1000, NOW, age=2 * DAY, movies=3)
            await asyncio.gather(*(store.add(interactions[n : n + 25]) for n in range(0, 1000, 25)))
            for window in TrendWindow:
                check_trends(await store.top(window, 10, NOW), expected_trends(interactions, window, NOW))

    @clause
    async def test_5_a_batch_may_have_thousands_of_interactions(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store, since=NOW - 9 * DAY)
            interactions = [
                Interaction(f"{number} {'x' * 180}", InteractionKind.CLICK, 1.0, NOW - number * SECOND, NOW)
                for number in range(2000)
            ]
            await store.add(interactions)
            await store.add([])
            check_trends(
                await store.top(TrendWindow.WEEK, 100, NOW), expected_trends(interactions, TrendWindow.WEEK, NOW)
            )

    @clause
    async def test_5_ids_are_arbitrary_strings(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store)
            await store.add([make_view(text, NOW) for text in (*ODD_STRINGS, "é")])
            await store.add([make_view(text, NOW + SECOND) for text in ("💡", "é", "' OR 1=1 --", "%")])
            trends = await store.top(TrendWindow.DAY, 4, NOW + SECOND)
            assert [trend.movie_id for trend in trends or ()] == ["%", "' OR 1=1 --", "é", "💡"]
            assert all(trend.counts == {InteractionKind.VIEW: 2} for trend in trends or ())

    @clause
    async def test_6_an_unfilled_store_returns_no_trends(self) -> None:
        async with self.open() as store:
            assert await store.top(TrendWindow.DAY, 10, NOW) is None
            assert await store.start_epoch(NOW, None)
            await store.add([make_view("1", NOW)])
            assert await store.top(TrendWindow.DAY, 10, NOW) is None
            assert await store.claim_rebuild(NOW)
            assert await store.finish_rebuild(totals_of([], NOW), NOW)
            assert [trend.movie_id for trend in await store.top(TrendWindow.DAY, 10, NOW) or ()] == ["1"]

    @clause
    async def test_6_a_filled_store_may_have_no_trend(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store)
            for window in TrendWindow:
                trends = await store.top(window, 10, NOW)
                assert trends is not None
                assert not trends

    @clause
    async def test_6_equal_scores_are_ordered_by_id(self) -> None:
        async with self.open() as store:
            names = ["10", "9", "B", "a", "Z", "é", "b", "_", "-"]
            await finish_rebuild(store, [make_view(name, NOW - HOUR) for name in names[:4]])
            await store.add([make_view(name, NOW - HOUR, NOW) for name in names[4:]])
            for limit in (1, 4, 100):
                trends = await store.top(TrendWindow.DAY, limit, NOW)
                assert [trend.movie_id for trend in trends or ()] == sorted(names)[:limit]

    @clause
    async def test_6_counts_cover_the_buckets_of_the_window(self) -> None:
        now = NOW.replace(hour=9, minute=59)
        ages = {
            TrendWindow.DAY: (timedelta(hours=23, minutes=58), timedelta(hours=24), 24 * HOUR),
            TrendWindow.WEEK: (6 * DAY + 9 * HOUR, 6 * DAY + 10 * HOUR, 7 * DAY),
        }
        for window, (within, without, span) in ages.items():
            async with self.open() as store:
                old = [make_view("1", now - within), make_view("2", now - without), make_view("1", now)]
                await finish_rebuild(store, old[:2], now)
                await store.add(old[2:])
                counts = await self._counts(store, window, now)
                assert counts == {"1": {InteractionKind.VIEW: 2}, "2": {}}
                assert await self._counts(store, window, now + span - 12 * HOUR) == {
                    "1": {InteractionKind.VIEW: 1},
                    "2": {},
                }
                assert await self._counts(store, window, now + span + 2 * DAY) == {"1": {}, "2": {}}

    async def _counts(
        self, store: TrendStore, window: TrendWindow, now: datetime
    ) -> dict[str, Mapping[InteractionKind, int]]:
        return {trend.movie_id: trend.counts for trend in await store.top(window, 10, now) or ()}

    @clause
    async def test_6_the_weakest_movies_are_evicted(self) -> None:
        async with self.open(max_movies=50) as store:
            interactions = [make_view(str(number), NOW - number * SECOND, NOW) for number in range(200)]
            await finish_rebuild(store, interactions[40:])
            for turn in range(8):
                await store.add([make_view(f"{turn}-{number}", NOW - 30 * DAY, NOW) for number in range(40)])
            await store.add(interactions[:40])
            for window in TrendWindow:
                trends = await store.top(window, 1000, NOW)
                check_trends(trends, expected_trends(interactions, window, NOW), limit=50)
                assert trends is not None
                assert len(trends) <= 150
