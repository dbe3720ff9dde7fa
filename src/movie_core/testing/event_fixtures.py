"""Test data and helpers for the contracts of the event store and the analytics."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from movie_core.accounts.users import User
from movie_core.discovery.events import Event, EventKind
from movie_core.discovery.trending import Interaction, InteractionKind
from movie_core.ports import Analytics, EventStore
from movie_core.testing.account_fixtures import AccountStores, create_user
from movie_core.testing.shared import DAY, NOW

TODAY = NOW.date()
MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class EventStores:
    """The event store and analytics of one movie source, and the stores of its users, over one database."""

    accounts: AccountStores
    events: EventStore
    analytics: Analytics


class EventStoresContract:
    """Base class of the contracts of `EventStore` and `Analytics`."""

    def open(self) -> AbstractAsyncContextManager[EventStores]:
        """Stores over one empty database."""
        raise NotImplementedError


async def new_user(stores: EventStores, name: str = "ada", at: datetime = NOW - 30 * DAY) -> User:
    user, _ = await create_user(stores.accounts, f"{name}@example.com", name, at=at)
    return user


async def all_interactions(store: EventStore) -> list[Interaction]:
    interactions = [interaction async for batch in store.interactions() for interaction in batch]
    return sorted(interactions, key=lambda interaction: (interaction.at, interaction.movie_id, interaction.kind))


def make_interaction(movie_id: str, kind: InteractionKind, weight: float, at: datetime) -> Interaction:
    return Interaction(movie_id, kind, weight, at, stored_at=NOW)


def search_event(user_id: str | None, query: str, at: datetime, *, found: bool = True, times: int = 1) -> Event:
    return Event(EventKind.SEARCH, at, user_id, query=query, found=found, times=times)


def click_event(
    user_id: str | None, query: str | None, at: datetime, *, movie_id: str = "1", position: int | None = None
) -> Event:
    return Event(EventKind.CLICK, at, user_id, movie_id, query, position)


def rating_event(user_id: str, at: datetime, rating: float = 7.0, movie_id: str = "1") -> Event:
    return Event(EventKind.RATING, at, user_id, movie_id, rating=rating)


def view_event(user_id: str | None, movie_id: str, at: datetime) -> Event:
    return Event(EventKind.VIEW, at, user_id, movie_id)
