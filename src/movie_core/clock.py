"""The time, and how it is written."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def iso_time(at: datetime) -> str:
    """As JSON has it: ISO 8601 in UTC with `Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
