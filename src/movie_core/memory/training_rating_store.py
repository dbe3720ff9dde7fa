"""The `TrainingRatingStore` port in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from movie_core.discovery.training_ratings import TrainingRating

BATCH = 1000
"""Ratings per batch of `iter_all`."""


class MemoryTrainingRatingStore:
    """A `TrainingRatingStore` for one process."""

    def __init__(self) -> None:
        self._ratings: list[TrainingRating] = []
        self._started = 0
        self._version = 0

    async def replace(self, batches: Iterable[Sequence[TrainingRating]]) -> int | None:
        self._started += 1
        number = self._started
        newest: dict[tuple[int, str], TrainingRating] = {}
        iterator = iter(batches)
        while (batch := await asyncio.to_thread(next, iterator, None)) is not None:
            for rating in batch:
                key = rating.user, rating.movie_id
                if newest.get(key, rating).rated_at <= rating.rated_at:
                    newest[key] = rating
        if number != self._started:
            return None
        self._ratings, self._version = list(newest.values()), number
        return len(newest)

    async def iter_all(self) -> AsyncIterator[Sequence[TrainingRating]]:
        ratings = self._ratings
        for start in range(0, len(ratings), BATCH):
            yield ratings[start : start + BATCH]

    async def version(self) -> str:
        return str(self._version)
