"""The `RatingStore` port in memory."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from movie_core.discovery.ratings import (
    MAX_RATINGS,
    NewRating,
    Rating,
    RatingChange,
    RatingExport,
    apply_rating,
    exported,
)
from movie_core.errors import TooManyRatings, UserNotFound
from movie_core.memory.database import MemoryDatabase
from movie_core.paging import Window

BATCH = 1000
"""Ratings per batch of `iter_all`."""


class MemoryRatingStore:
    """A `RatingStore` for the users of a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase, source: str = "catalogue") -> None:
        self._database = database
        self._source = source
        self._ratings: dict[str, dict[str, Rating]] = {}
        self._changes = 0

    async def put(
        self, user_id: str, ratings: Sequence[NewRating], now: datetime, *, keep_newer: bool = False
    ) -> Sequence[RatingChange]:
        if user_id not in self._database.users:
            raise UserNotFound("no such user")
        user_ratings = dict(self._ratings_of(user_id))
        changes = [apply_rating(user_ratings, rating, now, keep_newer=keep_newer) for rating in ratings]
        if len(user_ratings) > MAX_RATINGS:
            raise TooManyRatings(f"a user can have at most {MAX_RATINGS} ratings")
        self._changes += user_ratings != self._ratings_of(user_id)
        self._ratings[user_id] = user_ratings
        return changes

    async def remove(self, user_id: str, movie_id: str) -> bool:
        is_removed = self._ratings_of(user_id).pop(movie_id, None) is not None
        self._changes += is_removed
        return is_removed

    async def get(self, user_id: str, movie_id: str) -> Rating | None:
        return self._ratings_of(user_id).get(movie_id)

    async def list_page(self, user_id: str, window: Window) -> tuple[int, Sequence[Rating]]:
        user_ratings = sorted(self._ratings_of(user_id).values(), key=lambda rating: rating.movie_id)
        user_ratings.sort(key=lambda rating: rating.rated_at, reverse=True)
        return len(user_ratings), user_ratings[window.offset : window.offset + window.limit]

    async def history(self, user_id: str) -> Sequence[Rating]:
        return sorted(self._ratings_of(user_id).values(), key=lambda rating: (rating.rated_at, rating.movie_id))

    async def iter_all(self) -> AsyncIterator[Sequence[tuple[str, Rating]]]:
        active = [user.id for user in self._database.users.values() if user.is_active]
        pairs = [(user_id, rating) for user_id in active for rating in self._ratings_of(user_id).values()]
        for start in range(0, len(pairs), BATCH):
            yield pairs[start : start + BATCH]

    async def version(self) -> str:
        return str(self._changes)

    async def move(self, movie_ids: Mapping[str, str]) -> int:
        moved = 0
        for user_ratings in self._ratings.values():
            for old_id, movie_id in movie_ids.items():
                old = user_ratings.pop(old_id, None)
                if old is not None:
                    moved += 1
                    present = user_ratings.get(movie_id)
                    if present is None or present.rated_at < old.rated_at:
                        user_ratings[movie_id] = replace(old, movie_id=movie_id)
        self._changes += moved
        return moved

    async def export(self, user_id: str) -> RatingExport:
        return RatingExport([exported(self._source, rating) for rating in await self.history(user_id)])

    async def erase(self, user_id: str) -> None:
        self._changes += bool(self._ratings.pop(user_id, None))

    def _ratings_of(self, user_id: str) -> dict[str, Rating]:
        """The ratings of a user by movie id; none for a user that was erased."""
        return self._ratings.get(user_id, {}) if user_id in self._database.users else {}
