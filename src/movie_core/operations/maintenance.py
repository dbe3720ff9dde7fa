"""Periodic maintenance: deletes expired data and retrains the recommender."""

from datetime import timedelta

from movie_core.clock import Clock, utc_now
from movie_core.discovery.trending import utc_day
from movie_core.operations import audit
from movie_core.ports import AccountDataRepo, AuditLog, EventStore, Recommender


class Maintenance:
    """Maintenance tasks, safe to run in any number of processes concurrently. They raise `StoreUnavailable`."""

    def __init__(
        self,
        accounts: AccountDataRepo,
        events: EventStore,
        recommender: Recommender,
        audit_log: AuditLog,
        *,
        events_keep: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        """`events_keep` is the retention of events, rounded up to whole UTC days."""
        self._accounts = accounts
        self._events = events
        self._recommender = recommender
        self._audit_log = audit_log
        self._events_keep = events_keep
        self._clock = clock

    async def purge(self) -> int:
        """Deletes expired data of users, events and the audit log; returns the number of deleted records."""
        now = self._clock()
        removed = await self._accounts.purge(now) + await self._events.purge(utc_day(now - self._events_keep))
        return removed + await self._audit_log.purge(now - audit.RETENTION)

    async def is_training_due(self) -> bool:
        """Returns whether ratings or movies have changed since the current model was trained."""
        return await self._recommender.is_outdated()

    async def train(self) -> bool:
        """Trains a new model if that is due; returns whether it did."""
        if not await self.is_training_due():
            return False
        await self._recommender.train()
        return True
