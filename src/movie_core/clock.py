"""The current time and its JSON format."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Returns the current time, with a time zone. A named type, so that it can be injected."""

    def __call__(self) -> datetime: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


def iso_time(at: datetime) -> str:
    """Formats a time for JSON: ISO 8601 in UTC with `Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
