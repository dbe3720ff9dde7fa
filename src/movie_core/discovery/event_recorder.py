"""Events are written in the background, in batches."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from movie_core.clock import utc_now
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.trending import utc_day
from movie_core.discovery.trending_service import TrendingService
from movie_core.errors import Busy, StoreUnavailable
from movie_core.ports import EventStore
from movie_core.provenance import CacheStatus

MAX_PENDING = 60_000
"""Events that wait in memory, at some 300 bytes each."""
BATCH = 2_000
"""Events that are written together."""
REPEAT_SECONDS = 10
"""Equal events of a client within one interval of this length count once: a double click, a repeated request."""
MAX_TOLD = 50_000
"""Events of clients that are remembered to recognise repeats, some 300 bytes each."""
_log = logging.getLogger(__name__)


def _told_key(event: Event) -> tuple[object, ...]:
    """The same for events that are equal but for their time."""
    return event.kind, event.user_id, event.movie_id, event.query, event.position


class EventRecorder:
    """Takes events and has them written by `flush`, which something must call regularly.

    Made with `store=None` it records nothing: the operator has switched events off.
    """

    def __init__(
        self,
        store: "EventStore | None",
        trends: "TrendingService | None" = None,
        *,
        calls: Callable[[], tuple[int, int]] = lambda: (0, 0),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`calls` tells how many calls of the movie source this process has made so far, and how many failed."""
        self._store = store
        self._trends = trends
        self._calls = calls
        self._told_calls = (0, 0)
        self._told_answered: Counter[str] = Counter()
        self._clock = clock
        self._pending: deque[Event] = deque()
        self._told: dict[tuple[object, ...], datetime] = {}
        """When clients last told what, the oldest first."""
        # How often, and when first.
        self._searches: dict[tuple[str | None, str, bool], tuple[int, datetime]] = {}
        self._flushing = asyncio.Lock()
        self._flushes: set[asyncio.Task[None]] = set()
        self._is_away = False
        self.answered: Counter[str] = Counter()
        """Searches by the state of their answers, also where nothing is recorded."""
        self.dropped = 0
        """Events that found memory full."""

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._pending) + len(self._searches)

    def search(
        self, user_id: str | None, query: str, state: CacheStatus, *, is_first: bool = True, found: bool = True
    ) -> None:
        """A search was answered. Counts, and nothing else: the fast lane calls it."""
        self.answered[state.value] += 1
        if is_first and self._store is not None:
            key = (user_id, query, found)
            known = self._searches.get(key)
            if known is not None:
                self._searches[key] = known[0] + 1, known[1]
            elif self._has_room(1):
                self._searches[key] = 1, self._clock()

    def rated(self, user_id: str, movie_id: str, rating: float, at: datetime | None = None) -> None:
        """A rating was given or changed, now or at a time within `MAX_AGE`."""
        if self._has_room(1):
            self._pending.append(Event(EventKind.RATING, at or self._clock(), user_id, movie_id, rating=rating))

    def take(self, events: Sequence[Event]) -> None:
        """Take all events that a client sent or, raising `Busy`, none. Repeats (see `REPEAT_SECONDS`) are skipped."""
        if self._store is None:
            return
        new, latest = [], dict[tuple[object, ...], datetime]()
        for event in events:
            key = _told_key(event)
            last = latest.get(key) or self._told.get(key)
            if last is None or abs(event.at - last).total_seconds() >= REPEAT_SECONDS:
                new.append(event)
                latest[key] = event.at
        if not self._has_room(len(new)):
            raise Busy("more events are waiting than can be kept; send them again later", retry_after=2.0)
        for key, at in latest.items():
            self._told.pop(key, None)
            self._told[key] = at
        while len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        for event in new:
            if event.kind is EventKind.CLICK and event.query is not None:
                # The same search again is another one: this click doesn't follow it.
                self._close((event.user_id, event.query, True))
        self._pending.extend(new)

    def _close(self, key: tuple[str | None, str, bool]) -> None:
        """What was searched up to now becomes an event."""
        if (known := self._searches.pop(key, None)) is not None:
            user_id, query, found = key
            times, at = known
            self._pending.append(Event(EventKind.SEARCH, at, user_id, query=query, found=found, times=times))

    def _has_room(self, count: int) -> bool:
        if self._store is None:
            return False
        has_room = self.waiting + count <= MAX_PENDING
        self.dropped += 0 if has_room else count
        return has_room

    async def flush(self) -> None:
        """Write what waits; what can't be written goes on waiting. Cancelled, it ends in its own time: whether a batch
        that was given up has been written nobody would know."""
        if self._store is not None:
            flush = asyncio.create_task(self._flush(self._store))
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)
            await asyncio.shield(flush)

    async def _flush(self, store: "EventStore") -> None:
        async with self._flushing:
            self._collect()
            waiting = len(self._pending)  # no more than these, or a flush under load would never come to its end
            try:
                while waiting > 0:
                    batch = list(islice(self._pending, min(BATCH, waiting)))
                    interactions = await store.append(batch, self._clock())
                    for _ in batch:
                        self._pending.popleft()
                    waiting -= len(batch)
                    if self._trends is not None and interactions:
                        await self._trends.add(interactions)
                await self._count(store)
            except StoreUnavailable as away:
                if not self._is_away:
                    _log.warning("events wait for the database: %s", away.detail)
                self._is_away = True
            else:
                self._is_away = False

    def _collect(self) -> None:
        """Searches become events; those of the same moment, user and query are one."""
        for key in list(self._searches):
            self._close(key)

    async def _count(self, store: "EventStore") -> None:
        (attempts, failures), answered = self._calls(), self.answered.copy()
        counts = (answered - self._told_answered) + Counter(
            attempts=attempts - self._told_calls[0], failures=failures - self._told_calls[1]
        )
        if counts:
            await store.count(utc_day(self._clock()), counts)
            self._told_calls, self._told_answered = (attempts, failures), answered
