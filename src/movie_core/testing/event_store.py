"""Contract of the `EventStore` port."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from movie_core.discovery.analytics import FIGURES_RETENTION, Days, Funnel, QueryCount, SourceDay, Summary
from movie_core.discovery.event_recorder import BATCH
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.trending import Interaction, InteractionKind
from movie_core.testing.event_fixtures import (
    MIDNIGHT,
    MOMENT,
    TODAY,
    EventStoresContract,
    all_interactions,
    click_event,
    make_interaction,
    new_user,
    rating_event,
    search_event,
    view_event,
)
from movie_core.testing.rating_store import is_empty
from movie_core.testing.shared import DAY, MINUTE, NOW, ODD_STRINGS, clause


class EventStoreContract(EventStoresContract):
    """Contract of every `EventStore`. The numbers in test names are the clauses of the port."""

    @clause
    async def test_1_an_export_has_only_the_events_of_the_user(self) -> None:
        async with self.open() as stores:
            ada, eve = await new_user(stores, "ada"), await new_user(stores, "eve")
            events = (
                click_event(ada.id, "amber river", NOW + MINUTE, movie_id="100", position=3),
                search_event(ada.id, "amber river", NOW, times=2),
                search_event(eve.id, "eves secret", NOW),
                search_event(None, "nobodys secret", NOW),
            )
            await stores.events.append(events, NOW)
            export = await stores.events.export(ada.id)
            assert [replace(event, source="") for event in export.events] == [
                events[1].exported(""),
                events[0].exported(""),
            ]
            for odd in ("nobody", *ODD_STRINGS):
                assert is_empty(await stores.events.export(odd))

    @clause
    async def test_2_events_of_an_erased_user_are_deleted_and_not_counted(self) -> None:
        async with self.open() as stores:
            ada, eve = await new_user(stores, "ada"), await new_user(stores, "eve")
            for user_id in (ada.id, eve.id):
                for day in range(3):
                    at = NOW - day * DAY
                    await stores.events.append(
                        [search_event(user_id, "q", at), click_event(user_id, "q", at), rating_event(user_id, at)], NOW
                    )
            await stores.events.purge(TODAY - DAY)
            await stores.events.erase(ada.id)
            for odd in ODD_STRINGS:
                await stores.events.erase(odd)
            assert is_empty(await stores.events.export(ada.id))
            assert len((await stores.events.export(eve.id)).events) == 6
            assert len(await all_interactions(stores.events)) == 4
            days = Days(TODAY - 9 * DAY, TODAY)
            assert await stores.analytics.summary(days) == Summary(3, 1, 3, 3, 0)
            assert await stores.analytics.funnel(days) == Funnel(1, 1, 1)

    @clause
    async def test_2_events_are_deleted_with_the_user(self) -> None:
        async with self.open() as stores:
            ada = await new_user(stores)
            for at in (NOW, NOW - DAY):
                await stores.events.append([search_event(ada.id, "q", at), view_event(ada.id, "1", at)], NOW)
            await stores.events.purge(TODAY)
            await stores.accounts.data.erase(ada.address.key, NOW)
            assert is_empty(await stores.events.export(ada.id))
            assert await all_interactions(stores.events) == []
            assert await stores.analytics.summary(Days(TODAY - DAY, TODAY)) == Summary(0, 0, 0, 0, 0)

    @clause
    async def test_3_only_events_of_active_users_with_recording_enabled_are_stored(self) -> None:
        async with self.open() as stores:
            names = ("ada", "gone", "inactive", "silent")
            ada, gone, inactive, silent = [await new_user(stores, name) for name in names]
            await stores.accounts.data.erase(gone.address.key, NOW)
            await stores.accounts.users.set_active(inactive.address.key, False, NOW)
            await stores.accounts.users.change_profile(silent.id, record_events=False)
            all_ids = [ada.id, gone.id, inactive.id, silent.id, "nobody"]
            interactions = await stores.events.append(
                [
                    *(view_event(user_id, "1", NOW) for user_id in all_ids),
                    *(search_event(user_id, "q", NOW) for user_id in (None, *all_ids)),
                ],
                NOW,
            )
            assert interactions == [make_interaction("1", InteractionKind.VIEW, 1.0, NOW)]
            days = Days(TODAY, TODAY)
            assert await stores.analytics.summary(days) == Summary(2, 1, 0, 0, 0)
            for user_id in all_ids[1:]:
                assert is_empty(await stores.events.export(user_id))

    @clause
    async def test_3_users_deleted_concurrently_do_not_affect_other_events(self) -> None:
        async with self.open() as stores:
            stays = await new_user(stores, "stays")
            going = [await new_user(stores, f"user{n}") for n in range(8)]

            async def record(number: int) -> None:
                user_ids = [user.id for user in going]
                random.Random(number).shuffle(user_ids)
                events = [view_event(user_id, str(n), NOW) for user_id in (*user_ids, stays.id) for n in range(20)]
                await stores.events.append(events, NOW)

            await asyncio.gather(
                *(record(number) for number in range(8)),
                *(stores.accounts.data.erase(user.address.key, NOW) for user in going),
            )
            assert len(await all_interactions(stores.events)) == 20
            assert len((await stores.events.export(stays.id)).events) == 8 * 20

    @clause
    async def test_3_arbitrary_strings_are_stored(self) -> None:
        async with self.open() as stores:
            ada = await new_user(stores)
            events = [click_event(ada.id, odd, NOW, movie_id=odd) for odd in ODD_STRINGS]
            await stores.events.append([*events, *(search_event(odd, odd, NOW) for odd in ODD_STRINGS)], NOW)
            assert (await stores.analytics.summary(Days(TODAY, TODAY))).clicks == len(ODD_STRINGS)
            assert not is_empty(await stores.events.export(ada.id))

    @clause
    async def test_3_an_empty_batch_is_accepted(self) -> None:
        async with self.open() as stores:
            assert list(await stores.events.append([], NOW)) == []
            assert await all_interactions(stores.events) == []

    @clause
    async def test_4_the_first_interaction_of_a_user_movie_kind_and_day_counts(self) -> None:
        async with self.open() as stores:
            ada, eve = await new_user(stores, "ada"), await new_user(stores, "eve")
            late = MIDNIGHT - MOMENT
            first = [
                rating_event(ada.id, NOW, 8.0, "9"),
                rating_event(ada.id, NOW - MINUTE, 3.0, "9"),
                view_event(ada.id, "2", NOW),
                view_event(ada.id, "2", NOW + MINUTE),
                view_event(eve.id, "2", NOW + MINUTE),
                view_event(ada.id, "1", MIDNIGHT),
                view_event(ada.id, "1", late),
                click_event(ada.id, None, NOW, movie_id="2"),
                view_event(None, "2", NOW),
                Event(EventKind.IMPRESSION, NOW, ada.id, "2"),
                search_event(ada.id, "q", NOW),
            ]
            counted = [
                make_interaction("9", InteractionKind.RATING, 4.0, NOW),
                make_interaction("2", InteractionKind.VIEW, 1.0, NOW),
                make_interaction("2", InteractionKind.VIEW, 1.0, NOW + MINUTE),
                make_interaction("1", InteractionKind.VIEW, 1.0, MIDNIGHT),
                make_interaction("1", InteractionKind.VIEW, 1.0, late),
                make_interaction("2", InteractionKind.CLICK, 1.0, NOW),
            ]
            assert list(await stores.events.append(first, NOW)) == counted
            again = [*first, rating_event(eve.id, NOW, 7.5, "9"), view_event(ada.id, "2", NOW - 6 * DAY)]
            more = [
                make_interaction("9", InteractionKind.RATING, 2.0, NOW),
                make_interaction("2", InteractionKind.VIEW, 1.0, NOW - 6 * DAY),
            ]
            assert list(await stores.events.append(again, NOW)) == more
            assert Counter(await all_interactions(stores.events)) == Counter(counted + more)

    @clause
    async def test_4_concurrent_appends_count_each_interaction_once(self) -> None:
        async with self.open() as stores:
            users = [await new_user(stores, f"user{n}") for n in range(3)]

            async def record(number: int) -> Sequence[Interaction]:
                events = [view_event(user_id.id, str(n), NOW) for user_id in users for n in range(40)]
                random.Random(number).shuffle(events)
                return await stores.events.append(events, NOW)

            counted = [
                interaction
                for interactions in await asyncio.gather(*map(record, range(10)))
                for interaction in interactions
            ]
            assert len(counted) == 3 * 40
            assert Counter(interaction.movie_id for interaction in counted) == {str(n): 3 for n in range(40)}
            assert Counter(await all_interactions(stores.events)) == Counter(counted)

    @clause
    async def test_5_daily_counts_are_summed(self) -> None:
        async with self.open() as stores:
            yesterday = TODAY - DAY
            await stores.events.count(TODAY, {"attempts": 5, "failures": 2})
            await asyncio.gather(*(stores.events.count(TODAY, {"attempts": 1, "live": 2}) for _ in range(5)))
            await stores.events.count(yesterday, {"fresh": 1, "stale": 2, "fallback": 3})
            source_days = await stores.analytics.source(Days(yesterday, TODAY))
            assert list(source_days) == [
                SourceDay(yesterday, fresh=1, stale=2, fallback=3),
                SourceDay(TODAY, attempts=10, failures=2, live=10),
            ]
            assert list(await stores.analytics.source(Days(TODAY + DAY, TODAY + DAY))) == []

    @clause
    async def test_6_every_interaction_is_returned_once_in_batches(self) -> None:
        async with self.open() as stores:
            ada, eve = await new_user(stores, "ada"), await new_user(stores, "eve")
            counted: list[Interaction] = []
            for user_id in (ada, eve):
                for start in range(0, 3_000, 1_000):
                    events = [view_event(user_id.id, str(n), NOW - n % 3 * DAY) for n in range(start, start + 1_000)]
                    counted += await stores.events.append(events, NOW)
            sizes = [len(batch) async for batch in stores.events.interactions()]
            assert sum(sizes) == len(counted) == 6_000
            assert Counter(await all_interactions(stores.events)) == Counter(counted)

    @clause
    async def test_7_a_purge_deletes_events_and_interactions_of_earlier_days(self) -> None:
        async with self.open() as stores:
            ada = await new_user(stores)
            recent = [view_event(ada.id, "1", MIDNIGHT), search_event(ada.id, "q", MIDNIGHT)]
            old = [view_event(ada.id, "1", MIDNIGHT - MOMENT), search_event(ada.id, "q", MIDNIGHT - 5 * DAY)]
            await stores.events.append([*recent, *old, search_event(None, "q", MIDNIGHT - MOMENT)], NOW)
            assert await stores.events.purge(TODAY) == 3
            assert await stores.events.purge(TODAY) == 0
            assert await stores.events.purge(TODAY - 9 * DAY) == 0
            assert len((await stores.events.export(ada.id)).events) == 2
            assert await all_interactions(stores.events) == [make_interaction("1", InteractionKind.VIEW, 1.0, MIDNIGHT)]

    @clause
    async def test_7_events_of_a_purged_day_are_rejected(self) -> None:
        async with self.open() as stores:
            ada = await new_user(stores)
            events = [view_event(ada.id, "1", MIDNIGHT - MOMENT), click_event(ada.id, "q", MIDNIGHT - MOMENT)]
            assert len(await stores.events.append(events, NOW)) == 2
            await stores.events.purge(TODAY)
            assert list(await stores.events.append([*events, view_event(ada.id, "1", MIDNIGHT)], NOW)) == [
                make_interaction("1", InteractionKind.VIEW, 1.0, MIDNIGHT)
            ]
            days = Days(TODAY - DAY, TODAY - DAY)
            assert (await stores.analytics.summary(days)).clicks == 1

    @clause
    async def test_7_a_day_with_many_events_is_purged_completely(self) -> None:
        async with self.open() as stores:
            users = [await new_user(stores, f"user{n}") for n in range(3)]
            at = NOW - 2 * DAY
            for user_id in (None, *(user.id for user in users)):
                await stores.events.append(
                    [search_event(user_id, f"q{n % 7}", at + n * MOMENT) for n in range(BATCH)], NOW
                )
            days = Days(at.date(), at.date())
            before = await stores.analytics.summary(days), await stores.analytics.top_searches(days)
            assert await stores.events.purge(TODAY) == 4 * BATCH
            assert (await stores.analytics.summary(days), await stores.analytics.top_searches(days)) == before

    @clause
    async def test_7_daily_figures_expire_too(self) -> None:
        async with self.open() as stores:
            ada = await new_user(stores)
            old = MIDNIGHT - FIGURES_RETENTION
            for at in (old, old - MOMENT):
                await stores.events.append([search_event(ada.id, "q", at), search_event(None, "q", at)], NOW)
                await stores.events.count(at.date(), {"live": 1})
            await stores.events.purge(TODAY)
            assert not (await stores.events.export(ada.id)).events
            days = Days(old.date() - DAY, old.date())
            assert (await stores.analytics.summary(days)).searches == 2
            assert await stores.analytics.top_searches(days) == [QueryCount("q", 2, 1)]
            assert await stores.analytics.source(days) == [SourceDay(old.date(), live=1)]
