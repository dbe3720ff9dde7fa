"""Contract of the `Analytics` port."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime

from movie_core.accounts.keyring import new_id
from movie_core.discovery.analytics import CLICK_WINDOW, MAX_QUERIES, Clicks, Cohort, Days, Funnel, QueryCount, Summary
from movie_core.discovery.events import Event, EventKind
from movie_core.memory.database import MemoryDatabase
from movie_core.memory.event_store import MemoryEventStore
from movie_core.ports import Analytics
from movie_core.testing.account_fixtures import UNLIMITED
from movie_core.testing.event_fixtures import (
    MIDNIGHT,
    MOMENT,
    TODAY,
    EventStores,
    EventStoresContract,
    click_event,
    new_user,
    rating_event,
    search_event,
    view_event,
)
from movie_core.testing.shared import DAY, MINUTE, NOW, clause


class AnalyticsContract(EventStoresContract):
    """Contract of every `Analytics`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_a_summary_counts_whole_days(self) -> None:
        async with self.open() as stores:
            ada, eve, bob = [await new_user(stores, name) for name in ("ada", "eve", "bob")]
            events = [
                search_event(ada.id, "q", MIDNIGHT, times=3),
                search_event(None, "q", NOW, found=False, times=2),
                click_event(ada.id, "q", NOW),
                rating_event(eve.id, MIDNIGHT + DAY - MOMENT),
                view_event(bob.id, "1", NOW),
                search_event(bob.id, "q", MIDNIGHT - MOMENT),
                search_event(bob.id, "q", MIDNIGHT + DAY),
            ]
            await stores.events.append(events, NOW)
            assert await stores.analytics.summary(Days(TODAY, TODAY)) == Summary(5, 2, 1, 1, 2)
            assert await stores.analytics.summary(Days(TODAY - DAY, TODAY + DAY)) == Summary(7, 3, 1, 1, 2)
            assert await stores.analytics.summary(Days(date(2020, 1, 1), date(2020, 1, 1))) == Summary(0, 0, 0, 0, 0)

    @clause
    async def test_2_queries_are_ordered_by_frequency_then_text(self) -> None:
        async with self.open() as stores:
            ada, eve = await new_user(stores, "ada"), await new_user(stores, "eve")
            events = [
                *(search_event(user_id, "ärger", NOW) for user_id in (ada.id, ada.id, eve.id)),
                *(search_event(None, query, NOW, found=False) for query in ("b", "B", "a", "é", "💡")),
                search_event(ada.id, "b", NOW),
                search_event(ada.id, "", NOW, times=9),
            ]
            await stores.events.append(events, NOW)
            days = Days(TODAY, TODAY)
            assert list(await stores.analytics.top_searches(days)) == [
                QueryCount("ärger", 3, 2),
                QueryCount("b", 2, 1),
                *(QueryCount(query, 1, 0) for query in ("B", "a", "é", "💡")),
            ]
            assert [row.query for row in await stores.analytics.top_searches(days, zero_results=True)] == [
                *("B", "a", "b", "é", "💡")
            ]

    @clause
    async def test_2_the_number_of_queries_is_limited(self) -> None:
        async with self.open() as stores:
            await stores.events.append([search_event(None, f"q{n:03}", NOW) for n in range(MAX_QUERIES + 5)], NOW)
            queries = await stores.analytics.top_searches(Days(TODAY, TODAY))
            assert [row.query for row in queries] == [f"q{n:03}" for n in range(MAX_QUERIES)]

    @clause
    async def test_3_a_click_belongs_to_a_recent_search_with_the_same_user_and_query(self) -> None:
        async with self.open() as stores:
            ada, eve = await new_user(stores, "ada"), await new_user(stores, "eve")
            events = [
                search_event(ada.id, "in time", NOW, times=2),
                click_event(ada.id, "in time", NOW + CLICK_WINDOW, position=4),
                search_event(ada.id, "late", NOW),
                click_event(ada.id, "late", NOW + CLICK_WINDOW + MOMENT, position=1),
                search_event(ada.id, "another's", NOW),
                click_event(eve.id, "another's", NOW, position=1),
                search_event(ada.id, "before", NOW),
                click_event(ada.id, "before", NOW - MOMENT),
                search_event(ada.id, "other", NOW),
                click_event(ada.id, None, NOW),
                search_event(None, "nobody's", NOW),
                search_event(ada.id, "over midnight", MIDNIGHT + DAY - MOMENT),
                click_event(ada.id, "over midnight", MIDNIGHT + DAY),
            ]
            await stores.events.append(events, NOW)
            expected = Clicks(searches=8, clicks=5, click_through_rate=3 / 8, mean_position=2.0)
            assert await stores.analytics.clicks(Days(TODAY, TODAY)) == expected
            await stores.events.purge(TODAY + DAY)
            assert await stores.analytics.clicks(Days(TODAY, TODAY)) == expected
            assert await stores.analytics.clicks(Days(TODAY + DAY, TODAY + DAY)) == Clicks(0, 1, 0.0, None)

    @clause
    async def test_4_each_step_of_the_funnel_follows_the_previous_one(self) -> None:
        async with self.open() as stores:
            names = ("all", "same moment", "rated first", "clicked first", "clicked twice", "days apart", "only rated")
            users = [await new_user(stores, name.replace(" ", ""), NOW - 30 * DAY) for name in names]
            whole, same, rated_first, clicked_first, twice, apart, only = (user.id for user in users)
            events = [
                *(
                    search_event(whole, "q", NOW),
                    click_event(whole, "x", NOW + MINUTE),
                    rating_event(whole, NOW + 2 * MINUTE),
                ),
                *(search_event(same, "q", NOW), click_event(same, None, NOW), rating_event(same, NOW)),
                *(
                    rating_event(rated_first, NOW),
                    search_event(rated_first, "q", NOW),
                    click_event(rated_first, "q", NOW + MINUTE),
                ),
                *(click_event(clicked_first, "q", NOW - MINUTE), search_event(clicked_first, "q", NOW)),
                rating_event(clicked_first, NOW + MINUTE),
                *(click_event(twice, "q", NOW - MINUTE), search_event(twice, "q", NOW), click_event(twice, "q", NOW)),
                *(click_event(apart, "q", NOW - 3 * DAY), search_event(apart, "q", NOW - 2 * DAY)),
                *(click_event(apart, "q", NOW - DAY), rating_event(apart, NOW)),
                rating_event(only, NOW),
                search_event(None, "q", NOW),
            ]
            await stores.events.append(events, NOW)
            for _ in range(2):
                assert await stores.analytics.funnel(Days(TODAY - 3 * DAY, TODAY)) == Funnel(6, 5, 3)
                assert await stores.analytics.funnel(Days(TODAY, TODAY)) == Funnel(5, 4, 2)
                assert await stores.analytics.funnel(Days(TODAY - 3 * DAY, TODAY - DAY)) == Funnel(1, 1, 0)
                await stores.events.purge(TODAY - DAY)

    @clause
    async def test_5_cohorts_are_grouped_by_iso_week_of_registration(self) -> None:
        async with self.open() as stores:
            sunday = datetime(2026, 11, 1, 23, 59, tzinfo=UTC)  # the last day of 2026-W44
            ada, eve, bob = [await new_user(stores, name, sunday) for name in ("ada", "eve", "bob")]
            late = await new_user(stores, "late", sunday + 10 * DAY)
            await new_user(stores, "before", sunday - DAY)
            await stores.accounts.data.erase(bob.address.key, NOW)
            events = [
                *(search_event(ada.id, "q", sunday + n * MINUTE) for n in range(3)),
                *(search_event(eve.id, "q", sunday + 8 * DAY), click_event(eve.id, "q", sunday)),
                *(search_event(late.id, "", sunday + 10 * DAY), search_event(late.id, "q", sunday + 21 * DAY)),
            ]
            await stores.events.append(events, NOW)
            first = sunday.date()
            assert list(await stores.analytics.retention(Days(first, first + 20 * DAY))) == [
                Cohort("2026-W44", 2, (1, 1, 1, 0)),
                Cohort("2026-W46", 1, (1, 0)),
            ]
            assert list(await stores.analytics.retention(Days(first, first))) == [Cohort("2026-W44", 2, (1,))]
            assert list(await stores.analytics.retention(Days(first + DAY, first + DAY))) == []

    @clause
    async def test_every_report_equals_a_full_scan_of_all_events_also_after_a_purge(self) -> None:
        for seed in range(3):
            async with self.open() as stores:
                await _compare_all(stores, random.Random(seed))


async def _compare_all(stores: EventStores, rng: random.Random) -> None:
    start = datetime(2026, 10, 28, tzinfo=UTC)  # a Wednesday
    span = 26
    users = [await new_user(stores, f"user{n}", start + n * 2 * DAY) for n in range(9)]
    gone, inactive, silent, erased = users[5:]
    await stores.accounts.data.erase(gone.address.key, NOW)
    await stores.accounts.users.set_active(inactive.address.key, False, NOW)
    await stores.accounts.users.change_profile(silent.id, record_events=False)
    database = MemoryDatabase(UNLIMITED, stores.accounts.keyring)
    database.users = {
        user.id: user for known in users if (user := await stores.accounts.users.find(known.id)) is not None
    }
    full_scan = MemoryEventStore(database)

    async def append(first: datetime, last: datetime, count: int) -> None:
        events = [_random_event(rng, [*(user.id for user in users), None, new_id()], first, last) for _ in range(count)]
        for at in range(0, count, 100):
            batch = events[at : at + 100]
            assert list(await stores.events.append(batch, NOW)) == list(await full_scan.append(batch, NOW))

    for day in range(0, span, 3):
        figures = {"attempts": rng.randrange(9), "stale": rng.randrange(9)}
        for store in (stores.events, full_scan):
            await store.count((start + day * DAY).date(), figures)
    await append(start, start + span * DAY, 700)
    days = [start.date() + n * DAY for n in range(span)]
    ranges = [Days(days[0], days[-1]), Days(days[0] - 9 * DAY, days[0] - DAY), Days(days[0] - DAY, days[-1] + DAY)]
    ranges += [Days(day, day) for day in days[8:16]]
    ranges += [Days(*sorted(rng.choices(days, k=2))) for _ in range(8)]
    await _compare(stores.analytics, full_scan, ranges)
    for before in (days[6], days[14]):
        assert await stores.events.purge(before) == await full_scan.purge(before)
        await _compare(stores.analytics, full_scan, ranges, before)
        # Not right after midnight: such a click belongs to a search of the previous day, which is already aggregated.
        later = datetime(before.year, before.month, before.day, 1, tzinfo=UTC)
        await append(start, datetime(before.year, before.month, before.day, tzinfo=UTC) - MOMENT, 100)
        await append(later, start + span * DAY, 100)
        await _compare(stores.analytics, full_scan, ranges, before)
    for store in (stores.events, full_scan):
        await store.erase(erased.id)
    await _compare(
        stores.analytics, full_scan, [days_range for days_range in ranges if days_range.first >= days[14]], days[14]
    )
    for days_range in ranges:
        assert await stores.analytics.summary(days_range) == await full_scan.summary(days_range), days_range
        assert await stores.analytics.clicks(days_range) == await full_scan.clicks(days_range), days_range


def _random_event(rng: random.Random, users: Sequence[str | None], first: datetime, last: datetime) -> Event:
    """A random event with one of few queries and movies, often near midnight or at the same time as another event."""
    at = first + rng.random() * (last - first)
    midnight = datetime(at.year, at.month, at.day, tzinfo=UTC)
    near = midnight + rng.randrange(-8, 9) * 10 * MINUTE
    if rng.random() < 0.7 and first <= near <= last:
        at = near
    user_id, kind = rng.choice(users), rng.choice([*EventKind, EventKind.SEARCH, EventKind.CLICK])
    query = rng.choice(["", "river", "amber", "Amber", "ärger"])
    times = rng.choice((1, 1, 1, 2, 5))
    if kind is EventKind.SEARCH or user_id is None:
        return search_event(user_id, query, at, found=rng.random() < 0.7, times=times)
    movie_id = str(rng.randrange(5))
    if kind is EventKind.RATING:
        return rating_event(user_id, at, rng.randrange(1, 21) / 2, movie_id)
    position = rng.choice((None, rng.randrange(1, 50)))
    return Event(kind, at, user_id, movie_id, rng.choice((None, query)), position, times=times)


async def _compare(
    analytics: Analytics, full_scan: Analytics, ranges: Sequence[Days], purged_before: date = date.min
) -> None:
    for days in ranges:
        assert await analytics.summary(days) == await full_scan.summary(days), days
        assert await analytics.clicks(days) == await full_scan.clicks(days), days
        assert await analytics.funnel(days) == await full_scan.funnel(days), days
        assert list(await analytics.retention(days)) == list(await full_scan.retention(days)), days
        assert list(await analytics.source(days)) == list(await full_scan.source(days)), days
        for zero_results in (False, True):
            found = await analytics.top_searches(days, zero_results=zero_results)
            expected = await full_scan.top_searches(days, zero_results=zero_results)
            assert [(row.query, row.count) for row in found] == [(row.query, row.count) for row in expected], days
            if days.first >= purged_before or days.first == days.last:
                assert list(found) == list(expected), days
            assert all(row.users >= other.users for row, other in zip(found, expected, strict=True)), days
