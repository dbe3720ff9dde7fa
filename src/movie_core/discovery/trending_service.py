"""The trending service: reads trends from a store and rebuilds the store from events after a loss of data."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from movie_core.clock import Clock, utc_now
from movie_core.discovery.trending import (
    CACHE_TTL,
    EPOCH_LEAD,
    LANDMARK,
    MAX_TREND,
    REBUILD_BATCH,
    REBUILD_DELAY,
    REBUILD_TIMEOUT,
    Epoch,
    Interaction,
    Totals,
    Trending,
    TrendWindow,
)
from movie_core.errors import StoreUnavailable
from movie_core.ports import EventStore, TrendStore

_log = logging.getLogger(__name__)


class TrendingService:
    """Trends over a store that may be unavailable or lose all data; then it is rebuilt from the events.

    Every interaction counts exactly once: its `stored_at` decides whether it is added by `add` or by the rebuild, with
    any number of concurrent processes, provided that their clocks differ by less than `EPOCH_LEAD`. Interactions of a
    process that is killed between storing and adding them count after the next rebuild.
    """

    def __init__(self, store: TrendStore, events: EventStore, clock: Clock = utc_now) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._cached: dict[TrendWindow, Trending] = {}
        self._uncertain_until: datetime | None = None
        """Interactions stored up to this time may or may not have been added; None if all were added."""
        self._newest = LANDMARK
        """The latest `stored_at` of the added interactions."""
        self._rebuilding = asyncio.Lock()

    async def add(self, interactions: Sequence[Interaction]) -> None:
        """Adds interactions to the store. Never raises: interactions that cannot be added are added by the next
        rebuild."""
        newest = max((interaction.stored_at for interaction in interactions), default=LANDMARK)
        if self._uncertain_until is not None:
            self._uncertain_until = max(self._uncertain_until, newest)
            return
        try:
            await self._store.add(interactions)
        except StoreUnavailable as error:
            self._uncertain_until = newest
            _log.warning("trend store unavailable, trends will be rebuilt once it is available: %s", error.detail)
        except asyncio.CancelledError:
            self._uncertain_until = newest
            raise
        else:
            self._newest = max(self._newest, newest)

    async def rebuild(self) -> None:
        """Rebuilds the store if it is empty or possibly incomplete, over several calls; must be called every few
        seconds. Raises `StoreUnavailable`."""
        if self._rebuilding.locked():
            return
        async with self._rebuilding:
            newest, now = self._newest, self._clock()
            epoch = await self._store.epoch()
            if epoch is None or self._is_lost(epoch, newest, now):
                await self._start_epoch(None if epoch is None else epoch.since)
            elif not epoch.is_claimed and now >= epoch.since + REBUILD_DELAY:
                await self._rebuild(epoch.since, now)

    def _is_lost(self, epoch: Epoch, newest: datetime, now: datetime) -> bool:
        """Returns whether the rebuild was abandoned, or an added interaction may be missing, also because the store has
        reverted to an earlier state."""
        if self._uncertain_until is not None and self._uncertain_until < epoch.since:
            self._uncertain_until = None  # interactions stored before the epoch are read from the events
        is_reverted = newest >= epoch.since and (epoch.newest is None or epoch.newest < newest)
        is_abandoned = not epoch.is_filled and now >= epoch.since + REBUILD_DELAY + REBUILD_TIMEOUT
        return self._uncertain_until is not None or is_reverted or is_abandoned

    async def _start_epoch(self, expected: datetime | None) -> None:
        uncertain_until, since = self._uncertain_until, self._clock() + EPOCH_LEAD
        if await self._store.start_epoch(since, expected):
            self._newest = LANDMARK
            if self._uncertain_until == uncertain_until:
                self._uncertain_until = None

    async def _rebuild(self, since: datetime, now: datetime) -> None:
        try:
            if await self._store.claim_rebuild(since):
                await self._store.finish_rebuild(await self._totals(since, now), since)
        except BaseException:
            self._uncertain_until = since  # this process may have claimed it, and it may be partly filled
            raise

    async def _totals(self, since: datetime, now: datetime) -> Totals:
        """Returns the totals of all interactions stored before `since`."""
        totals = Totals(now)
        async for interactions in self._events.interactions():
            for start in range(0, len(interactions), REBUILD_BATCH):
                batch = interactions[start : start + REBUILD_BATCH]
                totals.add(interaction for interaction in batch if interaction.stored_at < since)
                await asyncio.sleep(0)
        return totals

    async def top(self, window: TrendWindow, limit: int) -> Trending:
        """Returns at most `limit` of the `MAX_TREND` trends, stale ones while the store is unavailable or being
        rebuilt. Raises `StoreUnavailable` if it is unavailable and no list is cached."""
        now, cached = self._clock(), self._cached.get(window)
        if cached is not None and timedelta() < now - cached.as_of < CACHE_TTL:
            return Trending(window, cached.items[:limit], cached.as_of)
        try:
            items = await self._store.top(window, MAX_TREND, now)
        except StoreUnavailable:
            if cached is None:
                raise
            items = None
        if items is None:
            last_items = cached.items[:limit] if cached else ()
            return Trending(window, last_items, cached.as_of if cached else now, is_stale=True)
        self._cached[window] = Trending(window, tuple(items), now)
        return Trending(window, tuple(items[:limit]), now)
