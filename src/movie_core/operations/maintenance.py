"""What has to be done from time to time: remove what has outlived its use, and learn from new ratings."""

from collections.abc import Callable
from datetime import datetime, timedelta

from movie_core.clock import utc_now
from movie_core.discovery.trending import utc_day
from movie_core.operations import audit
from movie_core.ports import AuditLog, EventStore, Recommender, UserRepo


class Maintenance:
    """Any number of processes may do it, also at once. Raises `StoreUnavailable` when a store is away."""

    def __init__(
        self,
        users: UserRepo,
        events: EventStore,
        recommender: Recommender,
        audit_log: AuditLog,
        *,
        events_keep: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Events stay for `events_keep`, and until the end of that day."""
        self._users = users
        self._events = events
        self._recommender = recommender
        self._audit_log = audit_log
        self._events_keep = events_keep
        self._clock = clock

    async def purge(self) -> int:
        """How many things were removed."""
        now = self._clock()
        removed = await self._users.purge(now) + await self._events.purge(utc_day(now - self._events_keep))
        return removed + await self._audit_log.purge(now - audit.KEEP)

    async def is_training_due(self) -> bool:
        """Whether ratings or movies have changed since the present model was made."""
        return await self._recommender.is_outdated()

    async def train(self) -> bool:
        """Make a new model where that is due; whether it did."""
        if not await self.is_training_due():
            return False
        await self._recommender.train()
        return True
