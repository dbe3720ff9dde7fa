"""Events of clients, and the event recorder."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.virtual_time import settle

from movie_core.discovery.event_recorder import BATCH, EventRecorder
from movie_core.discovery.events import CLIENT_EVENT_KINDS, MAX_POSITION, Event, EventKind, check_event
from movie_core.discovery.trending import Interaction, InteractionKind
from movie_core.errors import Busy, InvalidEvent, StoreUnavailable
from movie_core.provenance import CacheStatus
from movie_core.testing import NOW

MINUTE = timedelta(minutes=1)


class Store:
    """Stores events in a list; unavailable when a test sets it."""

    def __init__(self) -> None:
        self.stored: list[Event] = []
        self.batches: list[int] = []
        self.counted: list[tuple[date, dict[str, int]]] = []
        self.is_unavailable = False
        self.batches_until_unavailable: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        await self.gate.wait()
        if self.is_unavailable or self.batches_until_unavailable == 0:
            raise StoreUnavailable("no database")
        if self.batches_until_unavailable is not None:
            self.batches_until_unavailable -= 1
        self.stored += events
        self.batches.append(len(events))
        return [Interaction(e.movie_id, InteractionKind.VIEW, 1.0, e.at, now) for e in events if e.movie_id is not None]

    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        if self.is_unavailable:
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


# --- events of clients


def client_event(
    kind: str = "click", query: str | None = None, position: int | None = None, at: datetime | None = None
) -> Event:
    return check_event(kind, "u", "7", query, position, at, NOW)


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENT_KINDS))
def test_clients_send_impressions_clicks_and_views(kind: str) -> None:
    assert client_event(kind) == Event(EventKind(kind), NOW, "u", "7")


@pytest.mark.parametrize("kind", ["search", "rating", "", "CLICK", "like", "\ud800"])
def test_kinds_recorded_by_the_service_are_rejected_from_clients(kind: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        client_event(kind)
    assert caught.value.field == "type"


@pytest.mark.parametrize(
    ("position", "is_valid"), [(1, True), (MAX_POSITION, True), (0, False), (MAX_POSITION + 1, False)]
)
def test_a_position_out_of_bounds_is_rejected(position: int, is_valid: bool) -> None:
    if is_valid:
        assert client_event(position=position).position == position
    else:
        with pytest.raises(InvalidEvent) as caught:
            client_event(position=position)
        assert caught.value.field == "position"


def test_the_query_of_an_event_is_normalised() -> None:
    assert client_event(query="  the\u00a0 matrix ").query == "the matrix"
    assert client_event(query="").query == ""
    assert client_event().query is None


@pytest.mark.parametrize("query", ["a\x00b", "a" * 201, "\ud800"])
def test_an_invalid_query_is_rejected(query: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        client_event(query=query)
    assert caught.value.field == "query"


def test_a_future_time_becomes_now_and_a_past_time_is_unchanged() -> None:
    assert client_event(at=NOW + MINUTE).at == NOW
    assert client_event(at=NOW - MINUTE).at == NOW - MINUTE
    west = timezone(timedelta(hours=-8))
    assert client_event(at=(NOW + MINUTE).astimezone(west)).at == NOW
    assert client_event(at=(NOW - MINUTE).astimezone(west)).at == NOW - MINUTE
    assert client_event(at=datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))).at < NOW


def test_a_time_without_utc_offset_is_rejected() -> None:
    with pytest.raises(InvalidEvent) as caught:
        client_event(at=NOW.replace(tzinfo=None))
    assert caught.value.field == "at"


def test_an_exported_event_is_in_utc() -> None:
    event = Event(EventKind.CLICK, NOW.astimezone(timezone(timedelta(hours=2))), "u", "7", position=3)
    exported = event.exported("catalogue")
    assert (exported.at, exported.at.utcoffset()) == (NOW, timedelta(0))
    assert (exported.type, exported.movie_id, exported.position) == (EventKind.CLICK, "7", 3)


# --- the recorder


async def test_a_flush_writes_events_and_adds_interactions_to_trends() -> None:
    store, trends = Store(), TrendingService()
    recorder = recorder_of(store, trends)
    recorder.record_client_events(views(2))
    recorder.record_rating("u", "9", 7.5)
    assert store.stored == []
    await recorder.flush()
    assert store.stored == [*views(2), Event(EventKind.RATING, NOW, "u", "9", rating=7.5)]
    assert [interaction.movie_id for interaction in trends.added] == ["0", "1", "9"]
    await recorder.flush()
    assert len(store.stored) == len(trends.added) == 3


async def test_equal_events_within_the_deduplication_interval_are_one_event() -> None:
    store = Store()
    recorder = recorder_of(store)
    click = Event(EventKind.CLICK, NOW, "u", "7", query="river", position=1)
    for seconds in (5, 6, 14, 15, 24, 30):
        recorder.record_client_events([replace(click, at=NOW + timedelta(seconds=seconds))] * 100)
    others = [
        replace(click, kind=EventKind.VIEW),
        replace(click, user_id="v"),
        replace(click, movie_id="8"),
        replace(click, query="rivers"),
        replace(click, position=2),
    ]
    recorder.record_client_events(others)
    await recorder.flush()
    assert [event.at - NOW for event in store.stored if event == replace(click, at=event.at)] == [
        timedelta(seconds=seconds) for seconds in (5, 15, 30)
    ]
    assert len(store.stored) == 3 + len(others)


async def test_the_memory_of_the_deduplication_is_bounded() -> None:
    recorder = recorder_of(Store(), max_recent=10)
    recorder.record_client_events(views(100))
    assert len(recorder._recent) == 10
    recorder.record_client_events(views(1, 99))
    assert recorder.pending == 100


async def test_equal_searches_between_two_flushes_are_one_event() -> None:
    store = Store()
    recorder = recorder_of(store)
    for _ in range(3):
        recorder.record_search("u", "river", CacheStatus.FRESH)
    recorder.record_search("u", "river", CacheStatus.FRESH, found=False)
    recorder.record_search(None, "river", CacheStatus.LIVE)
    await recorder.flush()
    recorder.record_search("u", "river", CacheStatus.FRESH)
    await recorder.flush()
    assert [(event.user_id, event.found, event.times) for event in store.stored] == [
        ("u", True, 3),
        ("u", False, 1),
        (None, True, 1),
        ("u", True, 1),
    ]


async def test_equal_searches_before_and_after_a_click_are_two_events() -> None:
    store, now = Store(), NOW
    recorder = EventRecorder(store, clock=lambda: now)  # type: ignore[arg-type]
    recorder.record_search("u", "river", CacheStatus.LIVE)
    recorder.record_search("v", "river", CacheStatus.LIVE)
    recorder.record_client_events([Event(EventKind.CLICK, now, "u", "7", query="river", position=1)])
    now += timedelta(milliseconds=100)
    recorder.record_search("u", "river", CacheStatus.LIVE)
    recorder.record_search("v", "river", CacheStatus.LIVE)
    await recorder.flush()
    found = [(event.kind, event.user_id, event.at - NOW, event.times) for event in store.stored]
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


async def test_a_later_page_is_no_search_event_but_counts_for_the_day() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.record_search("u", "river", CacheStatus.STALE, is_first=False)
    recorder.record_search("u", "river", CacheStatus.LIVE)
    await recorder.flush()
    assert len(store.stored) == 1
    assert store.counted == [(NOW.date(), {"stale": 1, "live": 1})]


async def test_calls_of_the_source_are_counted_between_flushes() -> None:
    store, made = Store(), [(3, 1)]
    recorder = recorder_of(store, calls=lambda: made[-1])
    await recorder.flush()
    await recorder.flush()
    made.append((8, 1))
    store.is_unavailable = True
    recorder.record_search("u", "q", CacheStatus.LIVE)
    await recorder.flush()
    made.append((9, 3))
    store.is_unavailable = False
    recorder.record_search("u", "q", CacheStatus.LIVE)
    await recorder.flush()
    assert [counts for _, counts in store.counted] == [
        {"attempts": 3, "failures": 1},
        {"attempts": 6, "failures": 2, "live": 2},
    ]


async def test_counts_that_cannot_be_written_are_written_later() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.record_search("u", "q", CacheStatus.LIVE)
    store.is_unavailable = True
    await recorder.flush()
    recorder.record_search("u", "q", CacheStatus.LIVE)
    store.is_unavailable = False
    await recorder.flush()
    assert [counts for _, counts in store.counted] == [{"live": 2}]
    assert [event.times for event in store.stored] == [1, 1]


async def test_events_that_cannot_be_written_are_written_once_later(caplog: pytest.LogCaptureFixture) -> None:
    store, trends = Store(), TrendingService()
    recorder = recorder_of(store, trends)
    recorder.record_client_events(views(2 * BATCH + 5))
    store.batches_until_unavailable = 1
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await recorder.flush()
    assert store.batches == [BATCH]
    assert len(caplog.records) == 1, "an outage is logged once"
    recorder.record_client_events(views(1, 2 * BATCH + 5))
    store.batches_until_unavailable = None
    await recorder.flush()
    assert store.stored == views(2 * BATCH + 6)
    assert len(trends.added) == 2 * BATCH + 6


async def test_a_full_buffer_rejects_client_events_and_drops_others() -> None:
    store = Store()
    recorder = recorder_of(store, max_pending=10)
    recorder.record_client_events(views(7))
    recorder.record_search("u", "q", CacheStatus.LIVE)
    with pytest.raises(Busy) as caught:
        recorder.record_client_events(views(3, 7))
    assert caught.value.retry_after
    assert recorder.dropped == 3
    recorder.record_client_events(views(2, 7))
    recorder.record_rating("u", "1", 5.0)
    recorder.record_search("u", "another", CacheStatus.LIVE)
    recorder.record_search("u", "q", CacheStatus.LIVE)  # an equal search needs no space
    assert recorder.dropped == 5
    await recorder.flush()
    assert [event.movie_id for event in store.stored] == [*map(str, range(9)), None]
    assert store.stored[-1].times == 2
    assert store.counted == [(NOW.date(), {"live": 3})], "searches are counted nevertheless"
    recorder.record_client_events(views(10))


async def test_events_recorded_during_a_flush_are_left_to_the_next() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.record_client_events(views(1))
    store.gate.clear()
    flush = asyncio.create_task(recorder.flush())
    await settle()
    recorder.record_client_events(views(1, 1))
    store.gate.set()
    await flush
    assert store.stored == views(1)
    await recorder.flush()
    assert store.stored == views(2)


async def test_concurrent_flushes_write_nothing_twice() -> None:
    store = Store()
    recorder = recorder_of(store)
    recorder.record_client_events(views(3 * BATCH))
    await asyncio.gather(*(recorder.flush() for _ in range(5)))
    assert store.stored == views(3 * BATCH)


async def test_a_cancelled_flush_loses_and_duplicates_nothing() -> None:
    store, trends = Store(), TrendingService()
    recorder = recorder_of(store, trends)
    recorder.record_client_events(views(BATCH + 1))
    recorder.record_search("u", "q", CacheStatus.LIVE)
    store.gate.clear()
    flush = asyncio.create_task(recorder.flush())
    await settle()
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    store.gate.set()
    await recorder.flush()
    assert Counter(store.stored).most_common(1)[0][1] == 1
    assert len(store.stored) == BATCH + 2
    assert len(trends.added) == BATCH + 1
    assert store.counted == [(NOW.date(), {"live": 1})]


async def test_a_disabled_recorder_accepts_everything_and_stores_nothing() -> None:
    recorder = recorder_of(None, max_pending=10)
    recorder.record_search("u", "q", CacheStatus.LIVE)
    recorder.record_rating("u", "1", 5.0)
    recorder.record_client_events(views(100))
    await recorder.flush()
    assert recorder.dropped == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30))
async def test_every_event_is_written_once_in_order_despite_failures(steps: list[tuple[int, bool]]) -> None:
    store = Store()
    recorder = recorder_of(store)
    given = 0
    for count, is_unavailable in steps:
        recorder.record_client_events(views(count, given))
        given += count
        store.is_unavailable = is_unavailable
        await recorder.flush()
    store.is_unavailable = False
    await recorder.flush()
    assert store.stored == views(given)
