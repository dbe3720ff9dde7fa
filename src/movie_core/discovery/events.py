"""Events: what users did, recorded beside the request and kept in batches.

Whoever answers a request only appends to memory; a regular `flush` writes. Memory is bounded. What doesn't fit is
counted and refused where somebody asked for it to be recorded, and counted and dropped where it records itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from movie_core.clock import iso_time
from movie_core.errors import InvalidEvent, InvalidQuery
from movie_core.paging import MAX_LIMIT, MAX_OFFSET
from movie_core.text import normalise_query

MAX_EVENTS = 100
"""Events of one request."""
MAX_AGE = timedelta(days=7)
"""How far back an event may be told."""
MAX_POSITION = MAX_OFFSET + MAX_LIMIT


class EventKind(StrEnum):
    SEARCH = "search"
    IMPRESSION = "impression"
    CLICK = "click"
    VIEW = "view"
    RATING = "rating"


TOLD = frozenset((EventKind.IMPRESSION, EventKind.CLICK, EventKind.VIEW))
"""What clients tell; the others are recorded by themselves."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that somebody did."""

    kind: EventKind
    at: datetime
    user_id: str | None
    """None for who searches without a token."""
    movie_id: str | None = None
    query: str | None = None
    """Normal, as `normalise_query` makes it."""
    position: int | None = None
    """Of the movie among all matches, from 1."""
    rating: float | None = None
    """Of a `RATING`, the new one."""
    found: bool | None = None
    """Of a `SEARCH`: whether anything matched."""
    times: int = 1
    """How often the same happened within the moment between two flushes."""

    def told(self) -> dict[str, Any]:
        """As JSON for the user whose it is, under the names that clients use; what there is none of is left out."""
        names = ("movie_id", "query", "position", "rating", "found", "times")
        values = {name: getattr(self, name) for name in names}
        told = {name: value for name, value in values.items() if value is not None}
        return {"type": self.kind.value, "at": iso_time(self.at)} | told


def check_event(
    kind: str, user_id: str, movie_id: str, query: str | None, position: int | None, at: datetime | None, now: datetime
) -> Event:
    """What a client tells. A time to come becomes now; one that is too old isn't looked for. Raises `InvalidEvent`."""
    if kind not in TOLD:
        raise InvalidEvent(f"type must be one of {', '.join(sorted(TOLD))}", field="type")
    if position is not None and not 1 <= position <= MAX_POSITION:
        raise InvalidEvent(f"position must be 1 to {MAX_POSITION}", field="position")
    if at is not None and at.tzinfo is None:
        raise InvalidEvent("at must have an offset from UTC, such as Z", field="at")
    try:
        normal = None if query is None else normalise_query(query)
    except InvalidQuery as bad:
        raise InvalidEvent(bad.detail, field="query") from None
    when = now if at is None or at > now else at
    return Event(EventKind(kind), when, user_id, movie_id, normal, position)
