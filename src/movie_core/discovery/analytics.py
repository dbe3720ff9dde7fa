"""Analytics reports over whole UTC days.

Only searches for the first page count as searches, with or without results. `users` counts authenticated users;
searches without a token count as searches, but not as users.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from movie_core.errors import InvalidParameter

DEFAULT_DAYS = 30
MAX_DAYS = 366
MAX_QUERIES = 100
"""Maximum length of the list of the most frequent queries."""
FIGURES_RETENTION = timedelta(days=731)
"""Time for which the figures of a day remain available after its events were deleted."""
CLICK_WINDOW = timedelta(minutes=30)
"""Maximum time between a search and a click of the same user for the same query."""


@dataclass(frozen=True, slots=True)
class Days:
    """A range of whole UTC days, both inclusive."""

    first: date
    last: date

    @classmethod
    def parse(cls, first: str | None, last: str | None, today: date) -> "Days":
        """Parses dates such as `2026-11-01`; the default is the last `DEFAULT_DAYS`. Raises `InvalidParameter`."""
        end = today if last is None else _parse_day(last, "to")
        begin = end - timedelta(days=DEFAULT_DAYS - 1) if first is None else _parse_day(first, "from")
        if not begin <= end < begin + timedelta(days=MAX_DAYS):
            raise InvalidParameter(
                f"from and to must span 1 to {MAX_DAYS} days, and from must not be after to", field="from"
            )
        return cls(begin, end)


def _parse_day(text: str, name: str) -> date:
    try:
        day = date.fromisoformat(text)
        if date(1970, 1, 1) <= day < date(9000, 1, 1) and day.isoformat() == text:  # not 20261101, not 2026-W44-7
            return day
    except ValueError:
        pass
    raise InvalidParameter(f"{name} must be a date such as 2026-11-01", field=name)


@dataclass(frozen=True, slots=True)
class Summary:
    """Totals of all users."""

    searches: int
    users: int
    """Users who searched, clicked or rated."""
    ratings: int
    clicks: int
    zero_result_searches: int


@dataclass(frozen=True, slots=True)
class QueryCount:
    """How often a query was searched."""

    query: str
    count: int
    users: int
    """Distinct users; for days whose events were deleted, the sum of the distinct users per day."""


@dataclass(frozen=True, slots=True)
class Clicks:
    """Clicks on search results."""

    searches: int
    clicks: int
    click_through_rate: float
    """Share of searches, 0 to 1, that the same user followed by a click for the same query within `CLICK_WINDOW`; 0
    without searches."""
    mean_position: float | None
    """Mean of the clicks with a position; 1 is the first result of the first page. None without any."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """A conversion funnel of users. Each step counts users of the step before: those with a search in these days, of
    them those with a click at or after their first search, of them those with a rating at or after that click."""

    searched: int
    clicked: int
    rated: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """A cohort of users, by the ISO week of their activation."""

    cohort: str
    """Such as `2026-W47`."""
    size: int
    returned: tuple[int, ...]
    """Number of them who searched in that week, in the following week, and so on up to the last day."""


@dataclass(frozen=True, slots=True)
class SourceDay:
    """Calls of the movie source on a day, and searches by cache status."""

    day: date
    attempts: int = 0
    """Calls of the source, retries included."""
    failures: int = 0
    """Calls without a usable response."""
    live: int = 0
    fresh: int = 0
    stale: int = 0
    fallback: int = 0
