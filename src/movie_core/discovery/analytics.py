"""What everyone did, in numbers: whole UTC days, and what is counted over them.

A search is one for the first page, answered with matches or with none. `users` are those who are known; searches
without a token count as searches of nobody.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from movie_core.errors import InvalidParameter

DEFAULT_DAYS = 30
MAX_DAYS = 366
MAX_QUERIES = 100
"""Queries that a list of the most frequent ones has."""
KEPT = timedelta(days=731)
"""How long what a day comes to is told after its events are gone."""
CLICK_WINDOW = timedelta(minutes=30)
"""A click belongs to a search of the same user for the same query up to this long before it."""


@dataclass(frozen=True, slots=True)
class Days:
    """Whole UTC days, both included."""

    first: date
    last: date

    @classmethod
    def parse(cls, first: str | None, last: str | None, today: date) -> "Days":
        """`2026-11-01` each; the last `DEFAULT_DAYS` where left out. Raises `InvalidParameter`."""
        end = today if last is None else _day(last, "to")
        begin = end - timedelta(days=DEFAULT_DAYS - 1) if first is None else _day(first, "from")
        if not begin <= end < begin + timedelta(days=MAX_DAYS):
            raise InvalidParameter(f"from and to must span 1 to {MAX_DAYS} days, the earlier one first", field="from")
        return cls(begin, end)


def _day(text: str, name: str) -> date:
    try:
        day = date.fromisoformat(text)
        if date(1970, 1, 1) <= day < date(9000, 1, 1) and day.isoformat() == text:  # not 20261101, not 2026-W44-7
            return day
    except ValueError:
        pass
    raise InvalidParameter(f"{name} must be a day such as 2026-11-01", field=name)


@dataclass(frozen=True, slots=True)
class Summary:
    searches: int
    users: int
    """Who searched, clicked or rated."""
    ratings: int
    clicks: int
    zero_result_searches: int


@dataclass(frozen=True, slots=True)
class QueryCount:
    query: str
    count: int
    users: int
    """Different users; where raw events are gone already, the sum of each day's different users."""


@dataclass(frozen=True, slots=True)
class Clicks:
    searches: int
    clicks: int
    click_through_rate: float
    """The part of the searches that the same user followed by a click for the same query within `CLICK_WINDOW`; 0
    without searches."""
    mean_position: float | None
    """Of the clicks that tell one; 1 is the first result of all pages."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """Users, each step among those of the one before and later in time: a search in these days, a click at or after the
    first of these, a rating at or after the first of those."""

    searched: int
    clicked: int
    rated: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """Users by the ISO week of their activation."""

    cohort: str
    """Such as `2026-W47`."""
    size: int
    returned: tuple[int, ...]
    """How many of them searched in that week, in the next, and so on to the last of the days asked for."""


@dataclass(frozen=True, slots=True)
class SourceDay:
    """How the movie source did on a day, and what became of the searches."""

    day: date
    attempts: int = 0
    """Calls of the source."""
    failures: int = 0
    """Those without a usable answer."""
    live: int = 0
    fresh: int = 0
    stale: int = 0
    fallback: int = 0
