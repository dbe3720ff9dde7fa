"""Maintenance with stub stores."""

from datetime import date, datetime, timedelta

from movie_core.operations.maintenance import Maintenance
from movie_core.testing import NOW


class Users:
    async def purge(self, now: datetime) -> int:
        self.at = now
        return 3


class Events:
    async def purge(self, before: date) -> int:
        self.before = before
        return 4


class AuditLog:
    async def purge(self, before: datetime) -> int:
        self.before = before
        return 5


class Recommender:
    def __init__(self) -> None:
        self.outdated = True
        self.trained = 0

    async def is_outdated(self) -> bool:
        return self.outdated

    async def train(self) -> None:
        self.trained += 1
        self.outdated = False


def maintenance_of(
    users: Users, events: Events, recommender: Recommender, audit_log: AuditLog, keep: timedelta
) -> Maintenance:
    return Maintenance(users, events, recommender, audit_log, events_keep=keep, clock=lambda: NOW)  # type: ignore[arg-type]


async def test_users_events_and_the_audit_log_are_purged_by_their_own_retention() -> None:
    users, events, audit_log = Users(), Events(), AuditLog()
    assert await maintenance_of(users, events, Recommender(), audit_log, timedelta(days=90)).purge() == 12
    assert users.at == NOW
    assert events.before == date(2026, 8, 26)
    assert audit_log.before == NOW - timedelta(days=400)


async def test_a_model_is_trained_only_if_ratings_or_movies_have_changed() -> None:
    recommender = Recommender()
    work = maintenance_of(Users(), Events(), recommender, AuditLog(), timedelta(days=90))
    assert [await work.train(), await work.train()] == [True, False]
    assert recommender.trained == 1
