"""The suites of trends and of kept orders."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from movie_core.clock import utc_now
from movie_core.discovery.personal_ranking import MAX_ORDERS, ORDER_SECONDS
from movie_core.discovery.trending import (
    KEPT_MOVIES,
    WEIGHTS,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    Trend,
    TrendWindow,
)
from movie_core.ports import PersonalOrderStore, TrendStore
from movie_core.testing.accounts import Stores, join
from movie_core.testing.ratings import check_personal_data
from movie_core.testing.shared import NOW, ODD_STRINGS, clause

PRECISION = 1e-9
"""What a score may be off, as a part of it."""
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


def make_deeds(count: int, now: datetime, *, age: timedelta, movies: int = 300, seed: int = 5) -> list[Interaction]:
    """Made-up deeds of that age at most, in no order, of a few movies much more often than of others."""
    chance = random.Random(seed)

    def one() -> Interaction:
        kind, at = chance.choice(tuple(InteractionKind)), now - chance.random() * age
        weight = (
            chance.choice((WEIGHTS["rating"], WEIGHTS["liked"])) if kind is InteractionKind.RATING else WEIGHTS[kind]
        )
        return Interaction(str(min(int(chance.paretovariate(0.6)), movies)), kind, weight, at, at)

    return [one() for _ in range(count)]


def brute_force(interactions: Iterable[Interaction], window: TrendWindow, now: datetime) -> list[Trend]:
    """All trends by the definition: T is the sum of w * 2^(-age/H), counts are of whole hours or UTC days."""
    parts: dict[str, list[float]] = {}
    counts: dict[str, Counter[InteractionKind]] = {}
    size = timedelta(seconds=window.bucket_seconds)
    end = now - (now - datetime.min.replace(tzinfo=now.tzinfo)) % size + size
    for interaction in interactions:
        age = (now - interaction.at) / _SECOND
        parts.setdefault(interaction.movie_id, []).append(interaction.weight * 2.0 ** (-age / window.half_life))
        counted = counts.setdefault(interaction.movie_id, Counter())
        if end - window.buckets * size <= interaction.at < end:
            counted[interaction.kind] += 1
    trends = [Trend(movie_id, math.fsum(one), dict(counts[movie_id])) for movie_id, one in parts.items()]
    return sorted(trends, key=lambda trend: (-trend.score, trend.movie_id))


def check_trends(found: Sequence[Trend] | None, expected: Sequence[Trend], limit: int = 50) -> float:
    """That the first so many are the same within `PRECISION`; the greatest error, as a part of the score."""
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


def a_view(movie_id: str, at: datetime, kept_at: datetime | None = None) -> Interaction:
    return Interaction(movie_id, InteractionKind.VIEW, 1.0, at, kept_at or at)


async def finish_rebuild(store: TrendStore, interactions: Iterable[Interaction] = (), since: datetime = NOW) -> None:
    """Begin the first life and fill it at once."""
    assert await store.start_epoch(since, None)
    assert await store.claim_rebuild(since)
    assert await store.finish_rebuild(totals_of(interactions, NOW), since)


class TrendStoreContract:
    """What every `TrendStore` keeps; the numbers are the clauses of `movie_core.ports`."""

    interactions = 4000
    """Those that are compared with brute force."""

    def open(self, kept: int = KEPT_MOVIES) -> AbstractAsyncContextManager[TrendStore]:
        """The store under test, which has lost everything, and keeps about so many movies."""
        raise NotImplementedError

    @clause
    async def test_1_a_life_is_told_once_it_is_begun_and_once_it_is_filled(self) -> None:
        async with self.open() as store:
            assert await store.epoch() is None
            since = NOW + timedelta(microseconds=123457)
            assert await store.start_epoch(since, None)
            assert await store.epoch() == Epoch(since)
            assert await store.claim_rebuild(since)
            assert await store.epoch() == Epoch(since, is_claimed=True)
            assert await store.finish_rebuild(totals_of([a_view("1", NOW)], NOW), since)
            assert await store.epoch() == Epoch(since, is_claimed=True, is_filled=True)

    @clause
    async def test_1_a_life_tells_the_newest_that_was_added(self) -> None:
        async with self.open() as store:
            assert await store.start_epoch(NOW, None)
            await store.add([a_view("1", NOW - _HOUR)])
            assert await store.epoch() == Epoch(NOW)
            times = [NOW + _SECOND, NOW + timedelta(seconds=1, microseconds=1), NOW]
            for time, newest in zip(times, (times[0], times[1], times[1]), strict=True):
                await store.add([a_view("1", NOW, time), a_view("1", NOW, NOW - _SECOND)])
                assert await store.epoch() == Epoch(NOW, newest=newest)
            assert await store.claim_rebuild(NOW)
            assert await store.finish_rebuild(totals_of([], NOW), NOW)
            assert await store.epoch() == Epoch(NOW, is_claimed=True, is_filled=True, newest=times[1])
            assert await store.start_epoch(NOW + _HOUR, NOW)
            assert await store.epoch() == Epoch(NOW + _HOUR)

    @clause
    async def test_2_a_life_begins_only_instead_of_the_one_that_is_named(self) -> None:
        async with self.open() as store:
            assert not await store.start_epoch(NOW, NOW - _HOUR)
            assert await store.start_epoch(NOW, None)
            assert not await store.start_epoch(NOW + _HOUR, None)
            assert not await store.start_epoch(NOW + _HOUR, NOW - _HOUR)
            assert await store.epoch() == Epoch(NOW)
            assert await store.start_epoch(NOW + _HOUR, NOW)
            assert await store.epoch() == Epoch(NOW + _HOUR)

    @clause
    async def test_2_of_many_who_begin_one_does(self) -> None:
        async with self.open() as store:
            for instead_of in (None, NOW):
                times = [(instead_of or NOW - _HOUR) + (1 + number) * _HOUR for number in range(8)]
                begun = await asyncio.gather(*(store.start_epoch(time, instead_of) for time in times))
                assert sum(begun) == 1
                assert await store.epoch() == Epoch(times[begun.index(True)])
                await store.start_epoch(NOW, times[begun.index(True)])

    @clause
    async def test_2_a_new_life_has_forgotten_everything(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store, [a_view("1", NOW - _HOUR)])
            await store.add([a_view("2", NOW)])
            assert await store.start_epoch(NOW + _HOUR, NOW)
            for window in TrendWindow:
                assert await store.top(window, 10, NOW) is None
            assert await store.claim_rebuild(NOW + _HOUR)
            assert await store.finish_rebuild(totals_of([a_view("1", NOW)], NOW), NOW + _HOUR)
            for window in TrendWindow:
                check_trends(await store.top(window, 10, NOW), brute_force([a_view("1", NOW)], window, NOW))

    @clause
    async def test_3_one_claims_a_life(self) -> None:
        async with self.open() as store:
            assert not await store.claim_rebuild(NOW)
            for since, instead_of in ((NOW, None), (NOW + _HOUR, NOW)):
                assert await store.start_epoch(since, instead_of)
                assert not await store.claim_rebuild(since - _HOUR)
                assert sum(await asyncio.gather(*(store.claim_rebuild(since) for _ in range(8)))) == 1
                assert not await store.claim_rebuild(since)
            assert await store.finish_rebuild(totals_of([], NOW), NOW + _HOUR)
            assert not await store.claim_rebuild(NOW + _HOUR)

    @clause
    async def test_4_and_5_what_was_kept_before_a_life_is_filled_in_and_the_rest_added(self) -> None:
        async with self.open() as store:
            before = [a_view("1", NOW - _HOUR), a_view("2", NOW - _HOUR, NOW - _SECOND)]
            after = [a_view("1", NOW - 2 * _HOUR, NOW), a_view("3", NOW, NOW + _SECOND)]
            later = [a_view("2", NOW - _HOUR, NOW + _HOUR), a_view("4", NOW - 8 * _DAY, NOW + _HOUR)]
            await store.add(before + after)  # nobody's life: they're lost
            assert await store.start_epoch(NOW, None)
            await store.add(before + after)
            assert await store.claim_rebuild(NOW)
            assert await store.finish_rebuild(totals_of(before, NOW), NOW)
            await store.add(before + later)
            for window in TrendWindow:
                expected = brute_force(before + after + later, window, NOW + _HOUR)
                check_trends(await store.top(window, 10, NOW + _HOUR), expected)

    @clause
    async def test_4_a_life_is_filled_once_and_by_its_time(self) -> None:
        async with self.open() as store:
            totals = totals_of([a_view("1", NOW)], NOW)
            assert not await store.finish_rebuild(totals, NOW)
            assert await store.start_epoch(NOW, None)
            assert not await store.finish_rebuild(totals, NOW)
            assert await store.claim_rebuild(NOW)
            assert not await store.finish_rebuild(totals, NOW - _HOUR)
            assert await store.epoch() == Epoch(NOW, is_claimed=True)
            assert await store.finish_rebuild(totals, NOW)
            assert not await store.finish_rebuild(totals, NOW)
            check_trends(
                await store.top(TrendWindow.DAY, 10, NOW), brute_force([a_view("1", NOW)], TrendWindow.DAY, NOW)
            )

    @clause
    async def test_5_trends_are_what_brute_force_computes(self) -> None:
        async with self.open() as store:
            now = NOW + timedelta(minutes=29, microseconds=7)
            interactions = make_deeds(self.interactions, now, age=20 * _DAY)
            since = now - 2 * _DAY
            assert await store.start_epoch(since, None)
            added = [interaction for interaction in interactions if interaction.kept_at >= since]
            filled = [interaction for interaction in interactions if interaction.kept_at < since]
            third = len(added) // 3
            await asyncio.gather(*(store.add(added[n : min(n + 50, third)]) for n in range(0, third, 50)))
            assert await store.claim_rebuild(since)
            assert await store.finish_rebuild(totals_of(filled, now), since)
            await store.add(added[third : 2 * third])
            for start in range(2 * third, len(added), 10):
                await asyncio.gather(*(store.add([interaction]) for interaction in added[start : start + 10]))
            for window in TrendWindow:
                for later in (now, now + 5 * _HOUR, now + 3 * _DAY):
                    check_trends(await store.top(window, 100, later), brute_force(interactions, window, later))

    @clause
    async def test_5_many_add_to_the_same_movies_at_once(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store, since=NOW - 9 * _DAY)
            interactions = make_deeds(1000, NOW, age=2 * _DAY, movies=3)
            await asyncio.gather(*(store.add(interactions[n : n + 25]) for n in range(0, 1000, 25)))
            for window in TrendWindow:
                check_trends(await store.top(window, 10, NOW), brute_force(interactions, window, NOW))

    @clause
    async def test_5_one_batch_may_have_thousands(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store, since=NOW - 9 * _DAY)
            interactions = [
                Interaction(f"{number} {'x' * 180}", InteractionKind.CLICK, 1.0, NOW - number * _SECOND, NOW)
                for number in range(2000)
            ]
            await store.add(interactions)
            await store.add([])
            check_trends(await store.top(TrendWindow.WEEK, 100, NOW), brute_force(interactions, TrendWindow.WEEK, NOW))

    @clause
    async def test_5_any_strings_are_taken_for_ids(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store)
            await store.add([a_view(text, NOW) for text in (*ODD_STRINGS, "é")])
            await store.add([a_view(text, NOW + _SECOND) for text in ("💡", "é", "' OR 1=1 --", "%")])
            trends = await store.top(TrendWindow.DAY, 4, NOW + _SECOND)
            assert [trend.movie_id for trend in trends or ()] == ["%", "' OR 1=1 --", "é", "💡"]
            assert all(trend.counts == {InteractionKind.VIEW: 2} for trend in trends or ())

    @clause
    async def test_6_nothing_is_told_before_a_store_is_filled(self) -> None:
        async with self.open() as store:
            assert await store.top(TrendWindow.DAY, 10, NOW) is None
            assert await store.start_epoch(NOW, None)
            await store.add([a_view("1", NOW)])
            assert await store.top(TrendWindow.DAY, 10, NOW) is None
            assert await store.claim_rebuild(NOW)
            assert await store.finish_rebuild(totals_of([], NOW), NOW)
            assert [trend.movie_id for trend in await store.top(TrendWindow.DAY, 10, NOW) or ()] == ["1"]

    @clause
    async def test_6_a_store_that_is_filled_may_have_no_trend(self) -> None:
        async with self.open() as store:
            await finish_rebuild(store)
            for window in TrendWindow:
                trends = await store.top(window, 10, NOW)
                assert trends is not None
                assert not trends

    @clause
    async def test_6_equal_scores_are_in_the_order_of_ids(self) -> None:
        async with self.open() as store:
            names = ["10", "9", "B", "a", "Z", "é", "b", "_", "-"]
            await finish_rebuild(store, [a_view(name, NOW - _HOUR) for name in names[:4]])
            await store.add([a_view(name, NOW - _HOUR, NOW) for name in names[4:]])
            for limit in (1, 4, 100):
                trends = await store.top(TrendWindow.DAY, limit, NOW)
                assert [trend.movie_id for trend in trends or ()] == sorted(names)[:limit]

    @clause
    async def test_6_counts_are_of_the_buckets_that_a_window_looks_at(self) -> None:
        now = NOW.replace(hour=9, minute=59)
        ages = {
            TrendWindow.DAY: (timedelta(hours=23, minutes=58), timedelta(hours=24), 24 * _HOUR),
            TrendWindow.WEEK: (6 * _DAY + 9 * _HOUR, 6 * _DAY + 10 * _HOUR, 7 * _DAY),
        }
        for window, (within, without, span) in ages.items():
            async with self.open() as store:
                old = [a_view("1", now - within), a_view("2", now - without), a_view("1", now)]
                await finish_rebuild(store, old[:2], now)
                await store.add(old[2:])
                counts = await self._counts(store, window, now)
                assert counts == {"1": {InteractionKind.VIEW: 2}, "2": {}}
                assert await self._counts(store, window, now + span - 12 * _HOUR) == {
                    "1": {InteractionKind.VIEW: 1},
                    "2": {},
                }
                assert await self._counts(store, window, now + span + 2 * _DAY) == {"1": {}, "2": {}}

    async def _counts(
        self, store: TrendStore, window: TrendWindow, now: datetime
    ) -> dict[str, Mapping[InteractionKind, int]]:
        return {trend.movie_id: trend.counts for trend in await store.top(window, 10, now) or ()}

    @clause
    async def test_6_the_weakest_movies_give_way(self) -> None:
        async with self.open(kept=50) as store:
            interactions = [a_view(str(number), NOW - number * _SECOND, NOW) for number in range(200)]
            await finish_rebuild(store, interactions[40:])
            for turn in range(8):
                await store.add([a_view(f"{turn}-{number}", NOW - 30 * _DAY, NOW) for number in range(40)])
            await store.add(interactions[:40])
            for window in TrendWindow:
                trends = await store.top(window, 1000, NOW)
                check_trends(trends, brute_force(interactions, window, NOW), limit=50)
                assert trends is not None
                assert len(trends) <= 150


@dataclass(frozen=True, slots=True)
class OrderStores:
    """Kept orders, and the accounts of the users whose they are."""

    orders: PersonalOrderStore
    accounts: Stores


class PersonalOrderStoreContract:
    """What every `PersonalOrderStore` keeps; the numbers are the clauses of `movie_core.ports`."""

    seconds: float = ORDER_SECONDS
    """How long the adapter under test keeps an order."""

    def open(self) -> AbstractAsyncContextManager[OrderStores]:
        """The store under test, over one empty database with the accounts."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the store."""
        raise NotImplementedError

    @clause
    async def test_1_and_2_everything_kept_of_a_user_is_exported_and_erased(self) -> None:
        async with self.open() as stores:
            ada, bob = [(await join(stores.accounts, f"{name}@example.com", name))[0].id for name in ("ada", "bob")]
            for user in (ada, bob):
                for key in ("river", "\ud800 odd"):
                    await stores.orders.save(user, key, ["1", "2"])
            (river, _) = sorted((await stores.orders.export(ada))["orders"], key=lambda one: str(one["key"]))
            assert (river["key"], river["movie_ids"]) == ("river", ["1", "2"])
            assert river["kept_at"].endswith("Z")
            assert abs(datetime.fromisoformat(river["kept_at"]) - utc_now()) < 3650 * _DAY
            await check_personal_data(stores.orders, ada, bob)
            assert await stores.orders.find(ada, "river") is None
            assert await stores.orders.find(bob, "river") == ["1", "2"]

    @clause
    async def test_3_an_order_is_found_by_its_user_and_key(self) -> None:
        async with self.open() as stores:
            ada, bob = [(await join(stores.accounts, f"{name}@example.com", name))[0].id for name in ("ada", "bob")]
            assert await stores.orders.find(ada, "river") is None
            ids = [str(number) for number in range(100)]
            assert await stores.orders.save(ada, "river", ids) == ids
            assert await stores.orders.save(ada, "rivers", ids[::-1]) == ids[::-1]
            assert await stores.orders.save(ada, "none", []) == []
            assert await stores.orders.find(ada, "river") == ids
            assert await stores.orders.find(ada, "rivers") == ids[::-1]
            assert await stores.orders.find(ada, "none") == []
            assert await stores.orders.find(bob, "river") is None
            assert await stores.orders.find(ada, "River") is None

    @clause
    async def test_3_an_order_is_kept_for_its_time(self) -> None:
        async with self.open() as stores:
            ada = (await join(stores.accounts))[0].id
            await stores.orders.save(ada, "river", ["1"])
            await self.pass_time(0.6 * self.seconds)
            assert await stores.orders.save(ada, "river", ["2"]) == ["1"]
            await stores.orders.save(ada, "lake", ["3"])
            await self.pass_time(0.6 * self.seconds)
            assert await stores.orders.find(ada, "river") is None
            assert await stores.orders.find(ada, "lake") == ["3"]
            assert await stores.orders.save(ada, "river", ["4"]) == ["4"]
            assert await stores.orders.find(ada, "river") == ["4"]

    @clause
    async def test_4_the_first_of_many_who_keep_an_order_wins(self) -> None:
        async with self.open() as stores:
            ada = (await join(stores.accounts))[0].id
            for key in ("river", "lake", "sea"):
                given = [[str(number), "9"] for number in range(8)]
                kept = await asyncio.gather(*(stores.orders.save(ada, key, ids) for ids in given))
                assert kept[0] in given
                assert all(ids == kept[0] for ids in kept)
                assert await stores.orders.find(ada, key) == kept[0]
                assert await stores.orders.save(ada, key, ["other"]) == kept[0]

    @clause
    async def test_4_the_oldest_of_many_orders_give_way(self) -> None:
        async with self.open() as stores:
            ada, bob = [(await join(stores.accounts, f"{name}@example.com", name))[0].id for name in ("ada", "bob")]
            await stores.orders.save(bob, "river", ["1"])
            for number in range(MAX_ORDERS + 3):
                await self.pass_time(0.002)
                await stores.orders.save(ada, f"river {number}", [str(number)])
            found = [await stores.orders.find(ada, f"river {number}") for number in range(MAX_ORDERS + 3)]
            assert found == [None] * 3 + [[str(number)] for number in range(3, MAX_ORDERS + 3)]
            assert await stores.orders.find(bob, "river") == ["1"]
            more = await asyncio.gather(*(stores.orders.save(ada, f"lake {n}", [str(n)]) for n in range(MAX_ORDERS)))
            assert more == [[str(number)] for number in range(MAX_ORDERS)]
            assert len((await stores.orders.export(ada))["orders"]) == MAX_ORDERS

    @clause
    async def test_4_keys_and_ids_may_be_any_strings(self) -> None:
        async with self.open() as stores:
            ada = (await join(stores.accounts))[0].id
            for number, text in enumerate(ODD_STRINGS):
                await stores.orders.save(ada, text, [str(number), text])
            for number, text in enumerate(ODD_STRINGS):
                assert await stores.orders.find(ada, text) == [str(number), text]

    @clause
    async def test_4_for_who_has_no_account_an_order_need_not_be_kept(self) -> None:
        async with self.open() as stores:
            assert await stores.orders.save("0" * 32, "river", ["1"]) == ["1"]
