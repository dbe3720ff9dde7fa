"""Dates and times as exports and spreadsheets write them."""

import contextlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime

_NUMERIC = re.compile(r"([0-9]{1,4})([./-]) ?([0-9]{1,2})\2 ?([0-9]{1,4})\.?(?:,? (.+)|T(.+))?")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?(?: ?([AP])M| UTC|Z)?", re.IGNORECASE)
_DAY_FIRST = re.compile(r"([0-9]{1,2})\.?[ -]([A-Z]{3})[A-Z]{0,6}\.?,?[ -]([0-9]{2}|[0-9]{4})", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"([A-Z]{3})[A-Z]{0,6}\.? ([0-9]{1,2}),? ([0-9]{4})", re.IGNORECASE)
_CTIME = re.compile(r"[A-Z]{3} ([A-Z]{3}) {1,2}([0-9]{1,2}) ([0-9]{1,2}:[0-9]{2}:[0-9]{2}) ([0-9]{4})", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_AMBIGUOUS = {4: ("dmy", "mdy"), 2: ("dmy", "mdy", "ymd")}
"""The possible orders of day, month and year by the number of digits of the last part."""
_FIXED = "fixed"
"""The form leaves no choice."""
_PIVOT = 30
"""Two digits below are a year of this century, as spreadsheets read them."""


class DateColumn:
    """Reads the dates of one column: ISO 8601, with or without a time, and the forms of spreadsheets.

    `3/4/2016` may be of March or April: such dates are read only if the other dates of the column leave one reading.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` are all cells of the column."""
        self._orders = frozenset(("dmy", "mdy", "ymd", _FIXED))
        for text in dict.fromkeys(texts):
            match = _NUMERIC.fullmatch(text)
            readings = {} if match is None else _readings(match)
            if readings and _FIXED not in readings:
                self._orders &= {*readings, _FIXED}

    def read(self, text: str) -> datetime:
        """The date and time, in UTC if the text states no other zone. Raises `ValueError`."""
        with contextlib.suppress(ValueError):
            return _in_utc(datetime.fromisoformat(text.removesuffix(" UTC")))
        if (match := _NUMERIC.fullmatch(text)) is not None:
            readings = _readings(match)
            found = {reading for order, reading in readings.items() if order in self._orders}
            if len(found) != 1:
                raise ValueError("not a date, or more than one")
            return found.pop()
        if (match := _DAY_FIRST.fullmatch(text)) is not None:
            return datetime(_year(match[3]), _month(match[2]), int(match[1]), tzinfo=UTC)
        if (match := _MONTH_FIRST.fullmatch(text)) is not None:
            return datetime(int(match[3]), _month(match[1]), int(match[2]), tzinfo=UTC)
        if (match := _CTIME.fullmatch(text)) is not None:
            return datetime(int(match[4]), _month(match[1]), int(match[2]), *_hour_and_minute(match[3]), tzinfo=UTC)
        raise ValueError("not a date")


def _readings(match: re.Match[str]) -> dict[str, datetime]:
    """The valid readings by order of day, month and year."""
    first, separator, second, third, *times = match.groups()
    if len(first) == 4 and len(third) <= 2:
        orders = {_FIXED: "ymd"}
    elif len(first) > 2 or len(third) not in _AMBIGUOUS:
        orders = {}
    elif separator == ".":  # no country writes the month first, or the year with two digits first
        orders = {_FIXED: "dmy"}
    else:
        orders = {order: order for order in _AMBIGUOUS[len(third)]}
    readings = {}
    for name, order in orders.items():
        parts = dict(zip(order, (first, second, third), strict=True))
        with contextlib.suppress(ValueError):
            time = _hour_and_minute(times[0] or times[1] or "0:00")
            readings[name] = datetime(_year(parts["y"]), int(parts["m"]), int(parts["d"]), *time, tzinfo=UTC)
    return readings


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("before the year 1 in UTC") from None


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) > 2 else year + (2000 if year < _PIVOT else 1900)


def _month(name: str) -> int:
    return _MONTHS.index(name.lower()) + 1


def _hour_and_minute(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time")
    hour = int(match[1])
    if match[4] is not None:
        if not 1 <= hour <= 12:
            raise ValueError("not a time")
        hour = hour % 12 + (12 if match[4].lower() == "p" else 0)
    return hour, int(match[2])
