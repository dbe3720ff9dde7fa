"""The event recorder: buffers events in memory and writes them in batches."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from movie_core.clock import Clock, utc_now
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.trending import utc_day
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import Busy, StoreUnavailable
from movie_core.outage_log import OutageLog
from movie_core.ports import EventStore
from movie_core.provenance import CacheStatus

MAX_PENDING = 60_000
"""Maximum number of buffered events, about 300 bytes each."""
BATCH = 2_000
"""Events per write."""
DEDUPLICATION_SECONDS = 10
"""Equal events of a client within this interval count once, such as a double click or a repeated request."""
MAX_RECENT = 50_000
"""Recent events of clients that are stored for deduplication, about 300 bytes each."""
_log = logging.getLogger(__name__)


def _deduplication_key(event: Event) -> tuple[object, ...]:
    """Equal for events that differ in their time only."""
    return event.kind, event.user_id, event.movie_id, event.query, event.position


class EventRecorder:
    """Buffers events; `flush`, which must be called periodically, writes them to the store.

    With `store=None` it records nothing: the operator has disabled events.
    """

    def __init__(
        self,
        store: EventStore | None,
        trends: TrendingService | None = None,
        *,
        calls: Callable[[], tuple[int, int]] = lambda: (0, 0),
        clock: Clock = utc_now,
        max_pending: int = MAX_PENDING,
        max_recent: int = MAX_RECENT,
    ) -> None:
        """`calls` returns how many calls of the movie source this process has made so far, and how many of them
        failed. `max_pending` and `max_recent` are numbers of events."""
        self._store = store
        self._trends = trends
        self._calls = calls
        self._written_calls = (0, 0)
        self._written_statuses: Counter[str] = Counter()
        self._clock = clock
        self._max_pending = max_pending
        self._max_recent = max_recent
        self._pending: deque[Event] = deque()
        self._recent: dict[tuple[object, ...], datetime] = {}
        """Time of the last equal event of a client, oldest first."""
        # Number of equal searches, and time of the first one.
        self._searches: dict[tuple[str | None, str, bool], tuple[int, datetime]] = {}
        self._flushing = asyncio.Lock()
        self._flushes: set[asyncio.Task[None]] = set()
        self._outage = OutageLog(
            _log,
            unavailable="database unavailable, events stay buffered: %s",
            recovered="database available again, events are written",
        )
        self.searches_by_status: Counter[str] = Counter()
        """Searches by cache status, counted even if events are disabled."""
        self.dropped = 0
        """Number of events dropped or rejected because the buffer was full."""

    @property
    def pending(self) -> int:
        """Number of buffered events."""
        return len(self._pending) + len(self._searches)

    def record_search(
        self, user_id: str | None, query: str, state: CacheStatus, *, is_first: bool = True, found: bool = True
    ) -> None:
        """Records a served search. Only updates counters, as the cached search middleware calls it on its fast path."""
        self.searches_by_status[state] += 1
        if is_first and self._store is not None:
            key = (user_id, query, found)
            pending = self._searches.get(key)
            if pending is not None:
                self._searches[key] = pending[0] + 1, pending[1]
            elif self._has_room(1):
                self._searches[key] = 1, self._clock()

    def record_rating(self, user_id: str, movie_id: str, rating: float, at: datetime | None = None) -> None:
        """Records a new or changed rating, given now or at a time within `MAX_AGE`."""
        if self._has_room(1):
            self._pending.append(Event(EventKind.RATING, at or self._clock(), user_id, movie_id, rating=rating))

    def record_client_events(self, events: Sequence[Event]) -> None:
        """Records all events sent by a client or, if it raises `Busy`, none. Skips duplicates (see
        `DEDUPLICATION_SECONDS`)."""
        if self._store is None:
            return
        new, latest = [], dict[tuple[object, ...], datetime]()
        for event in events:
            key = _deduplication_key(event)
            last = latest.get(key) or self._recent.get(key)
            if last is None or abs(event.at - last).total_seconds() >= DEDUPLICATION_SECONDS:
                new.append(event)
                latest[key] = event.at
        if not self._has_room(len(new)):
            raise Busy("the event buffer is full; send the events again later", retry_after=2.0)
        for key, at in latest.items():
            self._recent.pop(key, None)
            self._recent[key] = at
        while len(self._recent) > self._max_recent:
            del self._recent[next(iter(self._recent))]
        for event in new:
            if event.kind is EventKind.CLICK and event.query is not None:
                # A later search for the same query is a separate event, as this click does not follow it.
                self._finish_search((event.user_id, event.query, True))
        self._pending.extend(new)

    def _finish_search(self, key: tuple[str | None, str, bool]) -> None:
        """Turns the equal searches counted so far into one event."""
        if (pending := self._searches.pop(key, None)) is not None:
            user_id, query, found = key
            times, at = pending
            self._pending.append(Event(EventKind.SEARCH, at, user_id, query=query, found=found, times=times))

    def _has_room(self, count: int) -> bool:
        if self._store is None:
            return False
        has_room = self.pending + count <= self._max_pending
        self.dropped += 0 if has_room else count
        return has_room

    async def flush(self) -> None:
        """Writes the buffered events; events that cannot be written stay buffered. A cancelled flush continues in the
        background, as it would be unknown whether an aborted batch was written."""
        if self._store is not None:
            flush = asyncio.create_task(self._flush(self._store))
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)
            await asyncio.shield(flush)

    async def _flush(self, store: EventStore) -> None:
        async with self._flushing:
            self._finish_searches()
            remaining = len(self._pending)  # later events wait for the next flush; otherwise this one might never end
            try:
                while remaining > 0:
                    batch = list(islice(self._pending, min(BATCH, remaining)))
                    interactions = await store.append(batch, self._clock())
                    for _ in batch:
                        self._pending.popleft()
                    remaining -= len(batch)
                    if self._trends is not None and interactions:
                        await self._trends.add(interactions)
                await self._write_counts(store)
            except StoreUnavailable as error:
                self._outage.failed(error.detail)
            else:
                self._outage.recovered()

    def _finish_searches(self) -> None:
        """Turns searches into events; those of one flush interval, user, query and outcome are merged."""
        for key in list(self._searches):
            self._finish_search(key)

    async def _write_counts(self, store: EventStore) -> None:
        (attempts, failures), statuses = self._calls(), self.searches_by_status.copy()
        counts = (statuses - self._written_statuses) + Counter(
            attempts=attempts - self._written_calls[0], failures=failures - self._written_calls[1]
        )
        if counts:
            await store.count(utc_day(self._clock()), counts)
            self._written_calls, self._written_statuses = (attempts, failures), statuses
