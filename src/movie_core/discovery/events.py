"""Events: actions of users, recorded outside the request and written in batches.

A request only appends to a bounded buffer in memory; a periodic `flush` writes it. If the buffer is full, events sent
by clients are rejected, and events recorded by the service are dropped; both are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from movie_core.errors import InvalidEvent, InvalidQuery
from movie_core.paging import MAX_LIMIT, MAX_OFFSET
from movie_core.text import normalise_query

MAX_EVENTS = 100
"""Maximum number of events of one request."""
MAX_AGE = timedelta(days=7)
"""Maximum age of an event."""
MAX_POSITION = MAX_OFFSET + MAX_LIMIT


class EventKind(StrEnum):
    SEARCH = "search"
    IMPRESSION = "impression"
    CLICK = "click"
    VIEW = "view"
    RATING = "rating"


CLIENT_EVENT_KINDS = frozenset((EventKind.IMPRESSION, EventKind.CLICK, EventKind.VIEW))
"""Kinds that clients send; the service records the others itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """An action of a user."""

    kind: EventKind
    at: datetime
    user_id: str | None
    """None for a search without authentication."""
    movie_id: str | None = None
    query: str | None = None
    """Normalised by `normalise_query`."""
    position: int | None = None
    """Position of the movie among all matches, from 1."""
    rating: float | None = None
    """The new rating of a `RATING`."""
    found: bool | None = None
    """Whether a `SEARCH` had results."""
    times: int = 1
    """Number of equal events merged between two flushes."""

    def exported(self, source: str) -> "ExportedEvent":
        """Returns the event for the export of its user. `source` is that of the movie id."""
        return ExportedEvent(
            source=source,
            type=self.kind,
            at=self.at.astimezone(UTC),
            movie_id=self.movie_id,
            query=self.query,
            position=self.position,
            rating=self.rating,
            found=self.found,
            times=self.times,
        )


@dataclass(frozen=True, slots=True)
class ExportedEvent:
    """An event as exported to its user, under the names of the API; see `Event`."""

    source: str
    type: EventKind
    at: datetime
    movie_id: str | None
    query: str | None
    position: int | None
    rating: float | None
    found: bool | None
    times: int


@dataclass(frozen=True, slots=True)
class ExportedEventDay:
    """The figures of a day (UTC) that remain of a user's purged events."""

    source: str
    day: date
    searches: int
    zero_results: int
    clicked_searches: int
    clicks: int
    placed_clicks: int
    positions: int
    ratings: int
    first_search: datetime | None
    first_click: datetime | None
    click_after_search: datetime | None
    last_rating: datetime | None


@dataclass(frozen=True, slots=True)
class EventExport:
    """All data of a user in an `EventStore`."""

    events: Sequence[ExportedEvent]
    event_days: Sequence[ExportedEventDay] = ()


def check_event(
    kind: str, user_id: str, movie_id: str, query: str | None, position: int | None, at: datetime | None, now: datetime
) -> Event:
    """Validates an event sent by a client. A future time becomes `now`; the maximum age is not checked here. Raises
    `InvalidEvent`."""
    if kind not in CLIENT_EVENT_KINDS:
        raise InvalidEvent(f"type must be one of {', '.join(sorted(CLIENT_EVENT_KINDS))}", field="type")
    if position is not None and not 1 <= position <= MAX_POSITION:
        raise InvalidEvent(f"position must be between 1 and {MAX_POSITION}", field="position")
    if at is not None and at.tzinfo is None:
        raise InvalidEvent("at must have a UTC offset, such as Z", field="at")
    try:
        normalised = None if query is None else normalise_query(query)
    except InvalidQuery as error:
        raise InvalidEvent(error.detail, field="query") from None
    happened_at = now if at is None or at > now else at
    return Event(EventKind(kind), happened_at, user_id, movie_id, normalised, position)
