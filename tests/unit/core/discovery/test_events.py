"""Events: what clients may tell, and how what happens is recorded beside the request."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.discovery import event_recorder
from movie_core.discovery.event_recorder import BATCH, EventRecorder
from movie_core.discovery.events import MAX_POSITION, TOLD, Event, EventKind, check_event
from movie_core.discovery.trending import Interaction, InteractionKind
from movie_core.errors import Busy, InvalidEvent, StoreUnavailable
from movie_core.provenance import CacheStatus
from movie_core.testing import NOW

MINUTE = timedelta(minutes=1)


class Store:
    """Keeps events in a list; away where a test says so."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.batches: list[int] = []
        self.counted: list[tuple[date, dict[str, int]]] = []
        self.is_away = False
        self.batches_until_away: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        await self.gate.wait()
        if self.is_away or self.batches_until_away == 0:
            raise StoreUnavailable("no database")
        if self.batches_until_away is not None:
            self.batches_until_away -= 1
        self.kept += events
        self.batches.append(len(events))
        return [Interaction(e.movie_id, InteractionKind.VIEW, 1.0, e.at, now) for e in events if e.movie_id is not None]

    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        if self.is_away:
            raise StoreUnavailable("no database")
        self.counted.append((day, dict(counts)))


class TrendingService:
    def __init__(self) -> None:
        self.added: list[Interaction] = []

    async def add(self, interactions: Sequence[Interaction]) -> None:
        self.added += interactions


def recorder_of(store: Store | None, trends: TrendingService | None = None, **options: object) -> EventRecorder:
    return EventRecorder(store, trends, clock=lambda: NOW, **options)  # type: ignore[arg-type]


def views(count: int, start: int = 0) -> list[Event]:
    return [Event(EventKind.VIEW, NOW, "u", str(number)) for number in range(start, start + count)]


# --- what a client tells


def told(
    kind: str = "click", query: str | None = None, position: int | None = None, at: datetime | None = None
) -> Event:
    return check_event(kind, "u", "7", query, position, at, NOW)


@pytest.mark.parametrize("kind", sorted(TOLD))
def test_clients_tell_impressions_clicks_and_views(kind: str) -> None:
    assert told(kind) == Event(EventKind(kind), NOW, "u", "7")


@pytest.mark.parametrize("kind", ["search", "rating", "", "CLICK", "like", "\ud800"])
def test_what_is_recorded_by_itself_is_not_told_by_clients(kind: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        told(kind)
    assert caught.value.field == "type"


@pytest.mark.parametrize(
    ("position", "is_good"), [(1, True), (MAX_POSITION, True), (0, False), (MAX_POSITION + 1, False)]
)
def test_a_position_is_one_that_a_result_can_have(position: int, is_good: bool) -> None:
    if is_good:
        assert told(position=position).position == position
    else:
        with pytest.raises(InvalidEvent) as caught:
            told(position=position)
        assert caught.value.field == "position"


def test_a_query_is_made_normal() -> None:
    assert told(query="  the\u00a0 matrix ").query == "the matrix"
    assert told(query="").query == ""
    assert told().query is None


@pytest.mark.parametrize("query", ["a\x00b", "a" * 201, "\ud800"])
def test_a_query_that_no_search_takes_makes_no_event(query: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        told(query=query)
    assert caught.value.field == "query"


def test_a_time_to_come_becomes_now_and_an_earlier_one_stays() -> None:
    assert told(at=NOW + MINUTE).at == NOW
    assert told(at=NOW - MINUTE).at == NOW - MINUTE
    west = timezone(timedelta(hours=-8))
    assert told(at=(NOW + MINUTE).astimezone(west)).at == NOW
    assert told(at=(NOW - MINUTE).astimezone(west)).at == NOW - MINUTE
    assert told(at=datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))).at < NOW


def test_a_time_without_offset_is_refused() -> None:
    with pytest.raises(InvalidEvent) as caught:
        told(at=NOW.replace(tzinfo=None))
    assert caught.value.field == "at"


def test_an_event_is_told_to_its_user_in_utc_and_without_what_it_lacks() -> None:
    event = Event(EventKind.CLICK, NOW.astimezone(timezone(timedelta(hours=2))), "u", "7", position=3)
    assert event.told() == {
        "type": "click",
        "at": "2026-11-24T09:00:00Z",
        "movie_id": "7",
        "position": 3,
        "times": 1,
    }


# --- the recorder


async def test_what_happens_is_written_by_the_next_flush_and_trends_learn_of_it() -> None:
    store, trends = Store(), TrendingService()
    recorder = recorder_of(store, trends)
    recorder.take(views(2))
    recorder.rated("u", "9", 7.5)
    assert store.kept == []
    await recorder.flush()
    assert store.kept == [*views(2), Event(EventKind.RATING, NOW, "u", "9", rating=7.5)]
    assert [interaction.movie_id for interaction in trends.added] == ["0", "1", "9"]
    await recorder.flush()
    assert len(store.kept) == len(trends.added) == 3


async def test_the_same_told_again_within_a_moment_is_one_event() -> None:
    store = Store()
    recorder = recorder_of(store)
    click = Event(EventKind.CLICK, NOW, "u", "7", query="river", position=1)
    for seconds in (5, 6, 14, 15, 24, 30):
        recorder.take([replace(click, at=NOW + timedelta(seconds=seconds))] * 100)
    others = [
        replace(click, kind=EventKind.VIEW),
        replace(click, user_id="v"),
        replace(click, movie_id="8"),
        replace(click, query="rivers"),
        replace(click, position=2),
    ]
    recorder.take(others)
    await recorder.flush()
    assert [event.at - NOW for event in store.kept if event == replace(click, at=event.at)] == [
        timedelta(seconds=seconds) for seconds in (5, 15, 30)
    ]
    assert len(store.kept) == 3 + len(others)


async def test_what_is_remembered_of_told_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_recorder, "MAX_TOLD", 10)
    recorder = recorder_of(Store())
    recorder.take(views(100))
    assert len(recorder._told) == 10
    recorder.take(views(1, 99))
    assert recorder.waiting == 100


async def test_searches_of_the_same_moment_are_one_event() -> None:
    store = Store()
    recorder = recorder_of(store)
    for _ in range(3):
        recorder.search("u", "river", CacheStatus.FRESH)
    recorder.search("u", "river", CacheStatus.FRESH, found=False)
    recorder.search(None, "river", CacheStatus.LIVE)
    await recorder.flush()
    recorder.search("u", "river", CacheStatus.FRESH)
    await recorder.flush()
    assert [(event.user_id, event.found, event.times) for event in store.kept] == [
        ("u", True, 3),
        ("u", False, 1),
        (None, True, 1),
        ("u", True, 1),
    ]


async def test_the_same_search_before_and_after_its_click_are_two() -> None:
    store, now = Store(), NOW
    recorder = EventRecorder(store, clock=lambda: now)  # type: ignore[arg-type]
    recorder.search("u", "river", CacheStatus.LIVE)
    recorder.search("v", "river", CacheStatus.LIVE)
    recorder.take([Event(EventKind.CLICK, now, "u", "7", query="river", position=1)])
    now += timedelta(milliseconds=100)
    recorder.search("u", "river", CacheStatus.LIVE)
    recorder.search("v", "river", CacheStatus.LIVE)
    await recorder.flush()
    found = [(event.kind, event.user_id, event.at - NOW, event.times) for event in store.kept]
    later = timedelta(milliseconds=100)
    assert sorted(found, key=str) == sorted(
        [
            (EventKind.SEARCH, "u", timedelta(0), 1),
            (EventKind.CLICK, "u", timedelta(0), 1),
            (EventKind.SEARCH, "v", timedelta(0), 2),
            (EventKind.SEARCH, "u", later, 1),
        ],
        key=str,
    )


async def test_a_later_page_is_no_search_but_counts_for_the_day() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.search("u", "river", CacheStatus.STALE, is_first=False)
    recorder.search("u", "river", CacheStatus.LIVE)
    await recorder.flush()
    assert len(store.kept) == 1
    assert store.counted == [(NOW.date(), {"stale": 1, "live": 1})]


async def test_calls_of_the_source_are_counted_from_one_flush_to_the_next() -> None:
    store, made = Store(), [(3, 1)]
    recorder = recorder_of(store, calls=lambda: made[-1])
    await recorder.flush()
    await recorder.flush()
    made.append((8, 1))
    store.is_away = True
    recorder.search("u", "q", CacheStatus.LIVE)
    await recorder.flush()
    made.append((9, 3))
    store.is_away = False
    recorder.search("u", "q", CacheStatus.LIVE)
    await recorder.flush()
    assert [counts for _, counts in store.counted] == [
        {"attempts": 3, "failures": 1},
        {"attempts": 6, "failures": 2, "live": 2},
    ]


async def test_figures_wait_where_they_alone_can_not_be_written() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.search("u", "q", CacheStatus.LIVE)
    store.is_away = True
    await recorder.flush()
    recorder.search("u", "q", CacheStatus.LIVE)
    store.is_away = False
    await recorder.flush()
    assert [counts for _, counts in store.counted] == [{"live": 2}]
    assert [event.times for event in store.kept] == [1, 1]


async def test_what_can_not_be_written_waits_and_is_written_once(caplog: pytest.LogCaptureFixture) -> None:
    store, trends = Store(), TrendingService()
    recorder = recorder_of(store, trends)
    recorder.take(views(2 * BATCH + 5))
    store.batches_until_away = 1
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await recorder.flush()
    assert store.batches == [BATCH]
    assert len(caplog.records) == 1, "an outage is told once"
    recorder.take(views(1, 2 * BATCH + 5))
    store.batches_until_away = None
    await recorder.flush()
    assert store.kept == views(2 * BATCH + 6)
    assert len(trends.added) == 2 * BATCH + 6


async def test_a_full_memory_refuses_what_is_told_and_drops_what_records_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_recorder, "MAX_PENDING", 10)
    store = Store()
    recorder = recorder_of(store)
    recorder.take(views(7))
    recorder.search("u", "q", CacheStatus.LIVE)
    with pytest.raises(Busy) as caught:
        recorder.take(views(3, 7))
    assert caught.value.retry_after
    assert recorder.dropped == 3
    recorder.take(views(2, 7))
    recorder.rated("u", "1", 5.0)
    recorder.search("u", "another", CacheStatus.LIVE)
    recorder.search("u", "q", CacheStatus.LIVE)  # one that is known needs no room
    assert recorder.dropped == 5
    await recorder.flush()
    assert [event.movie_id for event in store.kept] == [*map(str, range(9)), None]
    assert store.kept[-1].times == 2
    assert store.counted == [(NOW.date(), {"live": 3})], "answers are counted all the same"
    recorder.take(views(10))


async def test_a_flush_under_way_leaves_what_comes_meanwhile_to_the_next() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.take(views(1))
    store.gate.clear()
    flush = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    recorder.take(views(1, 1))
    store.gate.set()
    await flush
    assert store.kept == views(1)
    await recorder.flush()
    assert store.kept == views(2)


async def test_flushes_at_once_write_nothing_twice() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.take(views(3 * BATCH))
    await asyncio.gather(*(recorder.flush() for _ in range(5)))
    assert store.kept == views(3 * BATCH)


async def test_a_cancelled_flush_loses_and_doubles_nothing() -> None:
    store, trends = Store(), TrendingService()
    recorder = recorder_of(store, trends)
    recorder.take(views(BATCH + 1))
    recorder.search("u", "q", CacheStatus.LIVE)
    store.gate.clear()
    flush = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    store.gate.set()
    await recorder.flush()
    assert Counter(store.kept).most_common(1)[0][1] == 1
    assert len(store.kept) == BATCH + 2
    assert len(trends.added) == BATCH + 1
    assert store.counted == [(NOW.date(), {"live": 1})]


async def test_switched_off_it_takes_everything_and_keeps_nothing() -> None:
    recorder = recorder_of(None)
    recorder.search("u", "q", CacheStatus.LIVE)
    recorder.rated("u", "1", 5.0)
    recorder.take(views(100_000))
    await recorder.flush()
    assert recorder.dropped == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30))
def test_whatever_fails_in_between_every_event_is_written_once_and_in_order(steps: list[tuple[int, bool]]) -> None:
    async def run() -> None:
        store = Store()
        recorder = recorder_of(store)
        given = 0
        for count, is_away in steps:
            recorder.take(views(count, given))
            given += count
            store.is_away = is_away
            await recorder.flush()
        store.is_away = False
        await recorder.flush()
        assert store.kept == views(given)

    asyncio.run(run())
