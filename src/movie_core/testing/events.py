"""The suites of the ports about what users did, and what it comes to."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from movie_core.accounts.keyring import new_id
from movie_core.accounts.users import User
from movie_core.discovery.analytics import (
    CLICK_WINDOW,
    KEPT,
    MAX_QUERIES,
    Clicks,
    Cohort,
    Days,
    Funnel,
    QueryCount,
    SourceDay,
    Summary,
)
from movie_core.discovery.event_recorder import BATCH
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.trending import Interaction, InteractionKind
from movie_core.memory import MemoryDatabase, MemoryEventStore
from movie_core.ports import Analytics, EventStore
from movie_core.testing.accounts import UNLIMITED, Stores, join
from movie_core.testing.shared import NOW, ODD_STRINGS, clause

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_TODAY = NOW.date()
_MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class EventStores:
    """The events and analytics of one movie source, and the accounts whose they are, over one database."""

    accounts: Stores
    events: EventStore
    analytics: Analytics


class EventStoresContract:
    """What the two suites share: how to open both."""

    def open(self) -> AbstractAsyncContextManager[EventStores]:
        """Stores over one empty database."""
        raise NotImplementedError


async def _user(stores: EventStores, name: str = "ada", at: datetime = NOW - 30 * _DAY) -> User:
    user, _ = await join(stores.accounts, f"{name}@example.com", name, at=at)
    return user


async def _interactions(store: EventStore) -> list[Interaction]:
    found = [interaction async for batch in store.interactions() for interaction in batch]
    return sorted(found, key=lambda interaction: (interaction.at, interaction.movie_id, interaction.kind))


def _interaction(movie_id: str, kind: InteractionKind, weight: float, at: datetime) -> Interaction:
    return Interaction(movie_id, kind, weight, at, kept_at=NOW)


def _search(who: str | None, query: str, at: datetime, *, found: bool = True, times: int = 1) -> Event:
    return Event(EventKind.SEARCH, at, who, query=query, found=found, times=times)


def _click(
    who: str | None, query: str | None, at: datetime, *, movie_id: str = "1", position: int | None = None
) -> Event:
    return Event(EventKind.CLICK, at, who, movie_id, query, position)


def _rating(who: str, at: datetime, rating: float = 7.0, movie_id: str = "1") -> Event:
    return Event(EventKind.RATING, at, who, movie_id, rating=rating)


def _view(who: str | None, movie_id: str, at: datetime) -> Event:
    return Event(EventKind.VIEW, at, who, movie_id)


class EventStoreContract(EventStoresContract):
    """What every `EventStore` keeps; the numbers are the clauses of `movie_core.ports`."""

    @clause
    async def test_1_an_export_has_ones_own_events_and_nobody_elses(self) -> None:
        async with self.open() as stores:
            ada, eve = await _user(stores, "ada"), await _user(stores, "eve")
            events = (
                _click(ada.id, "amber river", NOW + _MINUTE, movie_id="100", position=3),
                _search(ada.id, "amber river", NOW, times=2),
                _search(eve.id, "eves secret", NOW),
                _search(None, "nobodys secret", NOW),
            )
            await stores.events.append(events, NOW)
            export = await stores.events.export(ada.id)
            assert "secret" not in json.dumps(export)
            told = [{name: value for name, value in one.items() if name != "source"} for one in export["events"]]
            assert told == [events[1].told(), events[0].told()]
            for odd in ("nobody", *ODD_STRINGS):
                assert not any((await stores.events.export(odd)).values())

    @clause
    async def test_2_nothing_of_who_is_erased_is_there_or_counts(self) -> None:
        async with self.open() as stores:
            ada, eve = await _user(stores, "ada"), await _user(stores, "eve")
            for who in (ada.id, eve.id):
                for day in range(3):
                    at = NOW - day * _DAY
                    await stores.events.append([_search(who, "q", at), _click(who, "q", at), _rating(who, at)], NOW)
            await stores.events.purge(_TODAY - _DAY)
            await stores.events.erase(ada.id)
            for odd in ODD_STRINGS:
                await stores.events.erase(odd)
            assert not any((await stores.events.export(ada.id)).values())
            assert len((await stores.events.export(eve.id))["events"]) == 6
            assert len(await _interactions(stores.events)) == 4
            days = Days(_TODAY - 9 * _DAY, _TODAY)
            assert await stores.analytics.summary(days) == Summary(3, 1, 3, 3, 0)
            assert await stores.analytics.funnel(days) == Funnel(1, 1, 1)

    @clause
    async def test_2_events_go_with_the_account(self) -> None:
        async with self.open() as stores:
            ada = await _user(stores)
            for at in (NOW, NOW - _DAY):
                await stores.events.append([_search(ada.id, "q", at), _view(ada.id, "1", at)], NOW)
            await stores.events.purge(_TODAY)
            await stores.accounts.users.erase(ada.address.key, NOW)
            assert not any((await stores.events.export(ada.id)).values())
            assert await _interactions(stores.events) == []
            assert await stores.analytics.summary(Days(_TODAY - _DAY, _TODAY)) == Summary(0, 0, 0, 0, 0)

    @clause
    async def test_3_only_events_of_active_users_who_record_them_are_kept(self) -> None:
        async with self.open() as stores:
            names = ("ada", "gone", "inactive", "silent")
            ada, gone, inactive, silent = [await _user(stores, name) for name in names]
            await stores.accounts.users.erase(gone.address.key, NOW)
            await stores.accounts.users.set_active(inactive.address.key, False, NOW)
            await stores.accounts.users.change_profile(silent.id, record_events=False)
            everyone = [ada.id, gone.id, inactive.id, silent.id, "nobody"]
            interactions = await stores.events.append(
                [*(_view(who, "1", NOW) for who in everyone), *(_search(who, "q", NOW) for who in (None, *everyone))],
                NOW,
            )
            assert interactions == [_interaction("1", InteractionKind.VIEW, 1.0, NOW)]
            days = Days(_TODAY, _TODAY)
            assert await stores.analytics.summary(days) == Summary(2, 1, 0, 0, 0)
            for who in everyone[1:]:
                assert not any((await stores.events.export(who)).values())

    @clause
    async def test_3_users_who_go_meanwhile_take_nothing_with_them(self) -> None:
        async with self.open() as stores:
            stays = await _user(stores, "stays")
            going = [await _user(stores, f"user{n}") for n in range(8)]

            async def record(number: int) -> None:
                who = [one.id for one in going]
                random.Random(number).shuffle(who)
                events = [_view(one, str(n), NOW) for one in (*who, stays.id) for n in range(20)]
                await stores.events.append(events, NOW)

            await asyncio.gather(
                *(record(number) for number in range(8)),
                *(stores.accounts.users.erase(one.address.key, NOW) for one in going),
            )
            assert len(await _interactions(stores.events)) == 20
            assert len((await stores.events.export(stays.id))["events"]) == 8 * 20

    @clause
    async def test_3_any_strings_can_be_kept(self) -> None:
        async with self.open() as stores:
            ada = await _user(stores)
            events = [_click(ada.id, odd, NOW, movie_id=odd) for odd in ODD_STRINGS]
            await stores.events.append([*events, *(_search(odd, odd, NOW) for odd in ODD_STRINGS)], NOW)
            assert (await stores.analytics.summary(Days(_TODAY, _TODAY))).clicks == len(ODD_STRINGS)
            json.dumps(await stores.events.export(ada.id))

    @clause
    async def test_3_no_events_are_fine(self) -> None:
        async with self.open() as stores:
            assert list(await stores.events.append([], NOW)) == []
            assert await _interactions(stores.events) == []

    @clause
    async def test_4_the_first_of_a_user_movie_kind_and_day_counts(self) -> None:
        async with self.open() as stores:
            ada, eve = await _user(stores, "ada"), await _user(stores, "eve")
            late = _MIDNIGHT - _MOMENT
            first = [
                _rating(ada.id, NOW, 8.0, "9"),
                _rating(ada.id, NOW - _MINUTE, 3.0, "9"),
                _view(ada.id, "2", NOW),
                _view(ada.id, "2", NOW + _MINUTE),
                _view(eve.id, "2", NOW + _MINUTE),
                _view(ada.id, "1", _MIDNIGHT),
                _view(ada.id, "1", late),
                _click(ada.id, None, NOW, movie_id="2"),
                _view(None, "2", NOW),
                Event(EventKind.IMPRESSION, NOW, ada.id, "2"),
                _search(ada.id, "q", NOW),
            ]
            counted = [
                _interaction("9", InteractionKind.RATING, 4.0, NOW),
                _interaction("2", InteractionKind.VIEW, 1.0, NOW),
                _interaction("2", InteractionKind.VIEW, 1.0, NOW + _MINUTE),
                _interaction("1", InteractionKind.VIEW, 1.0, _MIDNIGHT),
                _interaction("1", InteractionKind.VIEW, 1.0, late),
                _interaction("2", InteractionKind.CLICK, 1.0, NOW),
            ]
            assert list(await stores.events.append(first, NOW)) == counted
            again = [*first, _rating(eve.id, NOW, 7.5, "9"), _view(ada.id, "2", NOW - 6 * _DAY)]
            more = [
                _interaction("9", InteractionKind.RATING, 2.0, NOW),
                _interaction("2", InteractionKind.VIEW, 1.0, NOW - 6 * _DAY),
            ]
            assert list(await stores.events.append(again, NOW)) == more
            assert Counter(await _interactions(stores.events)) == Counter(counted + more)

    @clause
    async def test_4_however_many_append_at_once_each_counts_once(self) -> None:
        async with self.open() as stores:
            users = [await _user(stores, f"user{n}") for n in range(3)]

            async def record(number: int) -> Sequence[Interaction]:
                events = [_view(one.id, str(n), NOW) for one in users for n in range(40)]
                random.Random(number).shuffle(events)
                return await stores.events.append(events, NOW)

            counted = [
                interaction
                for interactions in await asyncio.gather(*map(record, range(10)))
                for interaction in interactions
            ]
            assert len(counted) == 3 * 40
            assert Counter(interaction.movie_id for interaction in counted) == {str(n): 3 for n in range(40)}
            assert Counter(await _interactions(stores.events)) == Counter(counted)

    @clause
    async def test_5_figures_of_a_day_add_up(self) -> None:
        async with self.open() as stores:
            yesterday = _TODAY - _DAY
            await stores.events.count(_TODAY, {"attempts": 5, "failures": 2})
            await asyncio.gather(*(stores.events.count(_TODAY, {"attempts": 1, "live": 2}) for _ in range(5)))
            await stores.events.count(yesterday, {"fresh": 1, "stale": 2, "fallback": 3})
            told = await stores.analytics.source(Days(yesterday, _TODAY))
            assert list(told) == [
                SourceDay(yesterday, fresh=1, stale=2, fallback=3),
                SourceDay(_TODAY, attempts=10, failures=2, live=10),
            ]
            assert list(await stores.analytics.source(Days(_TODAY + _DAY, _TODAY + _DAY))) == []

    @clause
    async def test_6_every_deed_is_told_once_in_batches(self) -> None:
        async with self.open() as stores:
            ada, eve = await _user(stores, "ada"), await _user(stores, "eve")
            counted: list[Interaction] = []
            for who in (ada, eve):
                for start in range(0, 3_000, 1_000):
                    events = [_view(who.id, str(n), NOW - n % 3 * _DAY) for n in range(start, start + 1_000)]
                    counted += await stores.events.append(events, NOW)
            sizes = [len(batch) async for batch in stores.events.interactions()]
            assert sum(sizes) == len(counted) == 6_000
            assert Counter(await _interactions(stores.events)) == Counter(counted)

    @clause
    async def test_7_events_and_deeds_of_the_days_before_are_removed(self) -> None:
        async with self.open() as stores:
            ada = await _user(stores)
            kept = [_view(ada.id, "1", _MIDNIGHT), _search(ada.id, "q", _MIDNIGHT)]
            old = [_view(ada.id, "1", _MIDNIGHT - _MOMENT), _search(ada.id, "q", _MIDNIGHT - 5 * _DAY)]
            await stores.events.append([*kept, *old, _search(None, "q", _MIDNIGHT - _MOMENT)], NOW)
            assert await stores.events.purge(_TODAY) == 3
            assert await stores.events.purge(_TODAY) == 0
            assert await stores.events.purge(_TODAY - 9 * _DAY) == 0
            assert len((await stores.events.export(ada.id))["events"]) == 2
            assert await _interactions(stores.events) == [_interaction("1", InteractionKind.VIEW, 1.0, _MIDNIGHT)]

    @clause
    async def test_7_what_comes_for_a_purged_day_is_not_kept(self) -> None:
        async with self.open() as stores:
            ada = await _user(stores)
            events = [_view(ada.id, "1", _MIDNIGHT - _MOMENT), _click(ada.id, "q", _MIDNIGHT - _MOMENT)]
            assert len(await stores.events.append(events, NOW)) == 2
            await stores.events.purge(_TODAY)
            assert list(await stores.events.append([*events, _view(ada.id, "1", _MIDNIGHT)], NOW)) == [
                _interaction("1", InteractionKind.VIEW, 1.0, _MIDNIGHT)
            ]
            days = Days(_TODAY - _DAY, _TODAY - _DAY)
            assert (await stores.analytics.summary(days)).clicks == 1

    @clause
    async def test_7_many_events_of_a_day_are_purged_whole(self) -> None:
        async with self.open() as stores:
            users = [await _user(stores, f"user{n}") for n in range(3)]
            at = NOW - 2 * _DAY
            for who in (None, *(user.id for user in users)):
                await stores.events.append([_search(who, f"q{n % 7}", at + n * _MOMENT) for n in range(BATCH)], NOW)
            days = Days(at.date(), at.date())
            before = await stores.analytics.summary(days), await stores.analytics.top_searches(days)
            assert await stores.events.purge(_TODAY) == 4 * BATCH
            assert (await stores.analytics.summary(days), await stores.analytics.top_searches(days)) == before

    @clause
    async def test_7_what_days_come_to_ends_too(self) -> None:
        async with self.open() as stores:
            ada = await _user(stores)
            old = _MIDNIGHT - KEPT
            for at in (old, old - _MOMENT):
                await stores.events.append([_search(ada.id, "q", at), _search(None, "q", at)], NOW)
                await stores.events.count(at.date(), {"live": 1})
            await stores.events.purge(_TODAY)
            assert not (await stores.events.export(ada.id))["events"]
            days = Days(old.date() - _DAY, old.date())
            assert (await stores.analytics.summary(days)).searches == 2
            assert await stores.analytics.top_searches(days) == [QueryCount("q", 2, 1)]
            assert await stores.analytics.source(days) == [SourceDay(old.date(), live=1)]


class AnalyticsContract(EventStoresContract):
    """What every `Analytics` keeps; the numbers are the clauses of `movie_core.ports`."""

    @clause
    async def test_1_a_summary_counts_whole_days(self) -> None:
        async with self.open() as stores:
            ada, eve, bob = [await _user(stores, name) for name in ("ada", "eve", "bob")]
            events = [
                _search(ada.id, "q", _MIDNIGHT, times=3),
                _search(None, "q", NOW, found=False, times=2),
                _click(ada.id, "q", NOW),
                _rating(eve.id, _MIDNIGHT + _DAY - _MOMENT),
                _view(bob.id, "1", NOW),
                _search(bob.id, "q", _MIDNIGHT - _MOMENT),
                _search(bob.id, "q", _MIDNIGHT + _DAY),
            ]
            await stores.events.append(events, NOW)
            assert await stores.analytics.summary(Days(_TODAY, _TODAY)) == Summary(5, 2, 1, 1, 2)
            assert await stores.analytics.summary(Days(_TODAY - _DAY, _TODAY + _DAY)) == Summary(7, 3, 1, 1, 2)
            assert await stores.analytics.summary(Days(date(2020, 1, 1), date(2020, 1, 1))) == Summary(0, 0, 0, 0, 0)

    @clause
    async def test_2_the_most_frequent_queries_come_first_and_then_by_query(self) -> None:
        async with self.open() as stores:
            ada, eve = await _user(stores, "ada"), await _user(stores, "eve")
            events = [
                *(_search(who, "ärger", NOW) for who in (ada.id, ada.id, eve.id)),
                *(_search(None, query, NOW, found=False) for query in ("b", "B", "a", "é", "💡")),
                _search(ada.id, "b", NOW),
                _search(ada.id, "", NOW, times=9),
            ]
            await stores.events.append(events, NOW)
            days = Days(_TODAY, _TODAY)
            assert list(await stores.analytics.top_searches(days)) == [
                QueryCount("ärger", 3, 2),
                QueryCount("b", 2, 1),
                *(QueryCount(query, 1, 0) for query in ("B", "a", "é", "💡")),
            ]
            assert [one.query for one in await stores.analytics.top_searches(days, zero_results=True)] == [
                *("B", "a", "b", "é", "💡")
            ]

    @clause
    async def test_2_there_are_no_more_queries_than_a_list_has(self) -> None:
        async with self.open() as stores:
            await stores.events.append([_search(None, f"q{n:03}", NOW) for n in range(MAX_QUERIES + 5)], NOW)
            told = await stores.analytics.top_searches(Days(_TODAY, _TODAY))
            assert [one.query for one in told] == [f"q{n:03}" for n in range(MAX_QUERIES)]

    @clause
    async def test_3_a_click_belongs_to_a_search_of_its_user_and_query_shortly_before(self) -> None:
        async with self.open() as stores:
            ada, eve = await _user(stores, "ada"), await _user(stores, "eve")
            events = [
                _search(ada.id, "in time", NOW, times=2),
                _click(ada.id, "in time", NOW + CLICK_WINDOW, position=4),
                _search(ada.id, "late", NOW),
                _click(ada.id, "late", NOW + CLICK_WINDOW + _MOMENT, position=1),
                _search(ada.id, "another's", NOW),
                _click(eve.id, "another's", NOW, position=1),
                _search(ada.id, "before", NOW),
                _click(ada.id, "before", NOW - _MOMENT),
                _search(ada.id, "other", NOW),
                _click(ada.id, None, NOW),
                _search(None, "nobody's", NOW),
                _search(ada.id, "over midnight", _MIDNIGHT + _DAY - _MOMENT),
                _click(ada.id, "over midnight", _MIDNIGHT + _DAY),
            ]
            await stores.events.append(events, NOW)
            told = Clicks(searches=8, clicks=5, click_through_rate=3 / 8, mean_position=2.0)
            assert await stores.analytics.clicks(Days(_TODAY, _TODAY)) == told
            await stores.events.purge(_TODAY + _DAY)
            assert await stores.analytics.clicks(Days(_TODAY, _TODAY)) == told
            assert await stores.analytics.clicks(Days(_TODAY + _DAY, _TODAY + _DAY)) == Clicks(0, 1, 0.0, None)

    @clause
    async def test_4_each_step_of_the_funnel_comes_after_the_one_before(self) -> None:
        async with self.open() as stores:
            names = ("all", "same moment", "rated first", "clicked first", "clicked twice", "days apart", "only rated")
            users = [await _user(stores, name.replace(" ", ""), NOW - 30 * _DAY) for name in names]
            whole, same, rated_first, clicked_first, twice, apart, only = (user.id for user in users)
            events = [
                *(_search(whole, "q", NOW), _click(whole, "x", NOW + _MINUTE), _rating(whole, NOW + 2 * _MINUTE)),
                *(_search(same, "q", NOW), _click(same, None, NOW), _rating(same, NOW)),
                *(_rating(rated_first, NOW), _search(rated_first, "q", NOW), _click(rated_first, "q", NOW + _MINUTE)),
                *(_click(clicked_first, "q", NOW - _MINUTE), _search(clicked_first, "q", NOW)),
                _rating(clicked_first, NOW + _MINUTE),
                *(_click(twice, "q", NOW - _MINUTE), _search(twice, "q", NOW), _click(twice, "q", NOW)),
                *(_click(apart, "q", NOW - 3 * _DAY), _search(apart, "q", NOW - 2 * _DAY)),
                *(_click(apart, "q", NOW - _DAY), _rating(apart, NOW)),
                _rating(only, NOW),
                _search(None, "q", NOW),
            ]
            await stores.events.append(events, NOW)
            for _ in range(2):
                assert await stores.analytics.funnel(Days(_TODAY - 3 * _DAY, _TODAY)) == Funnel(6, 5, 3)
                assert await stores.analytics.funnel(Days(_TODAY, _TODAY)) == Funnel(5, 4, 2)
                assert await stores.analytics.funnel(Days(_TODAY - 3 * _DAY, _TODAY - _DAY)) == Funnel(1, 1, 0)
                await stores.events.purge(_TODAY - _DAY)

    @clause
    async def test_5_cohorts_are_told_by_the_iso_week_in_which_accounts_began(self) -> None:
        async with self.open() as stores:
            sunday = datetime(2026, 11, 1, 23, 59, tzinfo=UTC)  # the last day of 2026-W44
            ada, eve, bob = [await _user(stores, name, sunday) for name in ("ada", "eve", "bob")]
            late = await _user(stores, "late", sunday + 10 * _DAY)
            await _user(stores, "before", sunday - _DAY)
            await stores.accounts.users.erase(bob.address.key, NOW)
            events = [
                *(_search(ada.id, "q", sunday + n * _MINUTE) for n in range(3)),
                *(_search(eve.id, "q", sunday + 8 * _DAY), _click(eve.id, "q", sunday)),
                *(_search(late.id, "", sunday + 10 * _DAY), _search(late.id, "q", sunday + 21 * _DAY)),
            ]
            await stores.events.append(events, NOW)
            first = sunday.date()
            assert list(await stores.analytics.retention(Days(first, first + 20 * _DAY))) == [
                Cohort("2026-W44", 2, (1, 1, 1, 0)),
                Cohort("2026-W46", 1, (1, 0)),
            ]
            assert list(await stores.analytics.retention(Days(first, first))) == [Cohort("2026-W44", 2, (1,))]
            assert list(await stores.analytics.retention(Days(first + _DAY, first + _DAY))) == []

    @clause
    async def test_every_answer_is_the_one_that_counting_all_events_gives_also_after_a_purge(self) -> None:
        for seed in range(3):
            async with self.open() as stores:
                await _compare_all(stores, random.Random(seed))


async def _compare_all(stores: EventStores, chance: random.Random) -> None:
    start = datetime(2026, 10, 28, tzinfo=UTC)  # a Wednesday
    span = 26
    users = [await _user(stores, f"user{n}", start + n * 2 * _DAY) for n in range(9)]
    gone, inactive, silent, erased = users[5:]
    await stores.accounts.users.erase(gone.address.key, NOW)
    await stores.accounts.users.set_active(inactive.address.key, False, NOW)
    await stores.accounts.users.change_profile(silent.id, record_events=False)
    database = MemoryDatabase(UNLIMITED, stores.accounts.keys)
    database.accounts = {
        user.id: user for one in users if (user := await stores.accounts.users.find(one.id)) is not None
    }
    brute = MemoryEventStore(database)

    async def append(first: datetime, last: datetime, count: int) -> None:
        events = [
            _random_event(chance, [*(user.id for user in users), None, new_id()], first, last) for _ in range(count)
        ]
        for at in range(0, count, 100):
            part = events[at : at + 100]
            assert list(await stores.events.append(part, NOW)) == list(await brute.append(part, NOW))

    for day in range(0, span, 3):
        figures = {"attempts": chance.randrange(9), "stale": chance.randrange(9)}
        for store in (stores.events, brute):
            await store.count((start + day * _DAY).date(), figures)
    await append(start, start + span * _DAY, 700)
    days = [start.date() + n * _DAY for n in range(span)]
    ranges = [Days(days[0], days[-1]), Days(days[0] - 9 * _DAY, days[0] - _DAY), Days(days[0] - _DAY, days[-1] + _DAY)]
    ranges += [Days(day, day) for day in days[8:16]]
    ranges += [Days(*sorted(chance.choices(days, k=2))) for _ in range(8)]
    await _compare(stores.analytics, brute, ranges)
    for before in (days[6], days[14]):
        assert await stores.events.purge(before) == await brute.purge(before)
        await _compare(stores.analytics, brute, ranges, before)
        # Not right after midnight: a click there belongs to a search of the day before, which has been counted.
        later = datetime(before.year, before.month, before.day, 1, tzinfo=UTC)
        await append(start, datetime(before.year, before.month, before.day, tzinfo=UTC) - _MOMENT, 100)
        await append(later, start + span * _DAY, 100)
        await _compare(stores.analytics, brute, ranges, before)
    for store in (stores.events, brute):
        await store.erase(erased.id)
    await _compare(stores.analytics, brute, [one for one in ranges if one.first >= days[14]], days[14])
    for one in ranges:
        assert await stores.analytics.summary(one) == await brute.summary(one), one
        assert await stores.analytics.clicks(one) == await brute.clicks(one), one


def _random_event(chance: random.Random, users: Sequence[str | None], first: datetime, last: datetime) -> Event:
    """Of few queries and movies, often around midnight or at the very same time as another."""
    at = first + chance.random() * (last - first)
    midnight = datetime(at.year, at.month, at.day, tzinfo=UTC)
    near = midnight + chance.randrange(-8, 9) * 10 * _MINUTE
    if chance.random() < 0.7 and first <= near <= last:
        at = near
    who, kind = chance.choice(users), chance.choice([*EventKind, EventKind.SEARCH, EventKind.CLICK])
    query = chance.choice(["", "river", "amber", "Amber", "ärger"])
    times = chance.choice((1, 1, 1, 2, 5))
    if kind is EventKind.SEARCH or who is None:
        return _search(who, query, at, found=chance.random() < 0.7, times=times)
    movie_id = str(chance.randrange(5))
    if kind is EventKind.RATING:
        return _rating(who, at, chance.randrange(1, 21) / 2, movie_id)
    position = chance.choice((None, chance.randrange(1, 50)))
    return Event(kind, at, who, movie_id, chance.choice((None, query)), position, times=times)


async def _compare(told: Analytics, brute: Analytics, ranges: Sequence[Days], purged_before: date = date.min) -> None:
    for days in ranges:
        assert await told.summary(days) == await brute.summary(days), days
        assert await told.clicks(days) == await brute.clicks(days), days
        assert await told.funnel(days) == await brute.funnel(days), days
        assert list(await told.retention(days)) == list(await brute.retention(days)), days
        assert list(await told.source(days)) == list(await brute.source(days)), days
        for zero_results in (False, True):
            found = await told.top_searches(days, zero_results=zero_results)
            exact = await brute.top_searches(days, zero_results=zero_results)
            assert [(one.query, one.count) for one in found] == [(one.query, one.count) for one in exact], days
            if days.first >= purged_before or days.first == days.last:
                assert list(found) == list(exact), days
            assert all(one.users >= other.users for one, other in zip(found, exact, strict=True)), days
