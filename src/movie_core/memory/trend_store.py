"""The `TrendStore` port in memory."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from movie_core.discovery.trending import (
    MAX_TREND_MOVIES,
    Epoch,
    Interaction,
    InteractionKind,
    Totals,
    Trend,
    TrendWindow,
    log2_add,
    strongest,
)


class MemoryTrendStore:
    """A `TrendStore` for one process."""

    def __init__(self, max_movies: int = MAX_TREND_MOVIES) -> None:
        """Each window stores at most `2 * max_movies` movies, and then deletes all but the `max_movies` strongest."""
        self._max_movies = max_movies
        self._epoch: Epoch | None = None
        self._strengths: dict[TrendWindow, dict[str, float]] = {}
        self._counts: dict[TrendWindow, dict[int, dict[tuple[str, InteractionKind], int]]] = {}

    async def epoch(self) -> Epoch | None:
        return self._epoch

    async def start_epoch(self, since: datetime, expected: datetime | None) -> bool:
        if (None if self._epoch is None else self._epoch.since) != expected:
            return False
        self._epoch = Epoch(since)
        self._strengths = {window: {} for window in TrendWindow}
        self._counts = {window: {} for window in TrendWindow}
        return True

    async def claim_rebuild(self, since: datetime) -> bool:
        if self._epoch is None or self._epoch.since != since or self._epoch.is_claimed:
            return False
        self._epoch = replace(self._epoch, is_claimed=True)
        return True

    async def finish_rebuild(self, totals: Totals, since: datetime) -> bool:
        if self._epoch is None or self._epoch.since != since or not self._epoch.is_claimed or self._epoch.is_filled:
            return False
        self._merge(totals)
        self._epoch = replace(self._epoch, is_filled=True)
        return True

    async def add(self, interactions: Sequence[Interaction]) -> None:
        if self._epoch is None:
            return
        since = self._epoch.since
        current = [interaction for interaction in interactions if interaction.stored_at >= since]
        if current:
            totals = Totals(max(interaction.stored_at for interaction in current))
            totals.add(current)
            self._merge(totals)
            self._epoch = replace(self._epoch, newest=max(totals.now, self._epoch.newest or totals.now))

    async def top(self, window: TrendWindow, limit: int, now: datetime) -> Sequence[Trend] | None:
        if self._epoch is None or not self._epoch.is_filled:
            return None
        return [
            Trend(movie_id, window.score(strength, now), self._counts_of(window, movie_id, now))
            for movie_id, strength in strongest(self._strengths[window], limit)
        ]

    def _counts_of(self, window: TrendWindow, movie_id: str, now: datetime) -> Mapping[InteractionKind, int]:
        last = window.bucket(now)
        buckets = [self._counts[window].get(bucket, {}) for bucket in range(last - window.buckets + 1, last + 1)]
        sums = {kind: sum(bucket.get((movie_id, kind), 0) for bucket in buckets) for kind in InteractionKind}
        return {kind: count for kind, count in sums.items() if count}

    def _merge(self, totals: Totals) -> None:
        for window, strengths in self._strengths.items():
            for movie_id, strength in totals.strengths[window].items():
                strengths[movie_id] = log2_add(strengths.get(movie_id, -math.inf), strength)
            if len(strengths) > 2 * self._max_movies:
                self._strengths[window] = dict(strongest(strengths, self._max_movies))
            counts = self._counts[window]
            for (bucket, movie_id, kind), count in totals.counts[window].items():
                counted = counts.setdefault(bucket, {})
                counted[movie_id, kind] = counted.get((movie_id, kind), 0) + count
            for bucket in [number for number in counts if number <= max(counts) - 2 * window.buckets]:
                del counts[bucket]
