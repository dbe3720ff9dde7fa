"""Trends, read from a store and rebuilt where it has lost them."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from movie_core.clock import utc_now
from movie_core.discovery.trending import (
    FILL,
    FRESH,
    LANDMARK,
    LEAD,
    MAX_TREND,
    PORTION,
    SETTLE,
    Epoch,
    Interaction,
    Totals,
    Trending,
    TrendWindow,
    _log,
)
from movie_core.errors import StoreUnavailable
from movie_core.ports import EventStore, TrendStore


class TrendingService:
    """What trends, over a store that may be away, and may lose everything: then it is filled again from the events.

    A deed counts just once: by when it was kept it belongs either to what is added or to what fills the store, however
    many processes add and heal at once, as long as their clocks differ by less than `LEAD`. Deeds of a process that is
    killed after it has kept them, and before it has added them, count from the next filling on.
    """

    def __init__(self, store: "TrendStore", events: "EventStore", clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._last: dict[TrendWindow, Trending] = {}
        self._doubt: datetime | None = None
        """What was kept up to then may have been added or not; None where all was."""
        self._newest = LANDMARK
        """The latest `kept_at` that was added."""
        self._rebuilding = asyncio.Lock()

    async def add(self, interactions: Sequence[Interaction]) -> None:
        """Never raises: what can't be added is added when the store is filled again."""
        newest = max((interaction.kept_at for interaction in interactions), default=LANDMARK)
        if self._doubt is not None:
            self._doubt = max(self._doubt, newest)
            return
        try:
            await self._store.add(interactions)
        except StoreUnavailable as away:
            self._doubt = newest
            _log.warning("trends are brought up to date when their store is back: %s", away.detail)
        except asyncio.CancelledError:
            self._doubt = newest
            raise
        else:
            self._newest = max(self._newest, newest)

    async def rebuild(self) -> None:
        """Fill the store where it is empty or in doubt, in several calls: something must call this every few seconds.
        Raises `StoreUnavailable` where a store is away."""
        if self._rebuilding.locked():
            return
        async with self._rebuilding:
            newest, now = self._newest, self._clock()
            epoch = await self._store.epoch()
            if epoch is None or self._is_lost(epoch, newest, now):
                await self._begin(None if epoch is None else epoch.since)
            elif not epoch.is_claimed and now >= epoch.since + SETTLE:
                await self._fill(epoch.since, now)

    def _is_lost(self, epoch: Epoch, newest: datetime, now: datetime) -> bool:
        """Whether nobody fills it any more, or something that was added may not be in it: also where the store has
        gone back to an earlier state."""
        if self._doubt is not None and self._doubt < epoch.since:
            self._doubt = None  # what was kept before a life comes from the events
        is_older = newest >= epoch.since and (epoch.newest is None or epoch.newest < newest)
        is_left = not epoch.is_filled and now >= epoch.since + SETTLE + FILL
        return self._doubt is not None or is_older or is_left

    async def _begin(self, instead_of: datetime | None) -> None:
        doubt, since = self._doubt, self._clock() + LEAD
        if await self._store.start_epoch(since, instead_of):
            self._newest = LANDMARK
            if self._doubt == doubt:
                self._doubt = None

    async def _fill(self, since: datetime, now: datetime) -> None:
        try:
            if await self._store.claim_rebuild(since):
                await self._store.finish_rebuild(await self._totals(since, now), since)
        except BaseException:
            self._doubt = since  # it may be claimed by us, and filled half
            raise

    async def _totals(self, since: datetime, now: datetime) -> Totals:
        """What was kept before."""
        totals = Totals(now)
        async for interactions in self._events.interactions():
            for start in range(0, len(interactions), PORTION):
                totals.add(
                    interaction for interaction in interactions[start : start + PORTION] if interaction.kept_at < since
                )
                await asyncio.sleep(0)
        return totals

    async def top(self, window: TrendWindow, limit: int) -> Trending:
        """At most `limit` movies, of at most `MAX_TREND`; raises `StoreUnavailable` where the store is away and has
        never told any."""
        now, last = self._clock(), self._last.get(window)
        if last is not None and timedelta() < now - last.as_of < FRESH:
            return Trending(window, last.items[:limit], last.as_of)
        try:
            items = await self._store.top(window, MAX_TREND, now)
        except StoreUnavailable:
            if last is None:
                raise
            items = None
        if items is None:
            return Trending(window, last.items[:limit] if last else (), last.as_of if last else now, is_stale=True)
        self._last[window] = Trending(window, tuple(items), now)
        return Trending(window, tuple(items[:limit]), now)
