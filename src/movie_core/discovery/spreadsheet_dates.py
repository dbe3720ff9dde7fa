"""Dates and times as exports and spreadsheets write them."""

import contextlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from movie_core.text import fold

_NUMERIC = re.compile(r"([0-9]{1,4})([./-]) ?([0-9]{1,2})\2 ?([0-9]{1,4})\.?(?:,? (.+)|T(.+))?")
_TIME = re.compile(
    r"([0-9]{1,2})[:.h]([0-9]{2})(?:[:.]([0-9]{2})(?:\.[0-9]{1,9})?)?(?: ?([AP])\.?M\.?)?"
    r"(?: ?(?:UTC|GMT|Z))?(?: ?\+00:?00)?",
    re.IGNORECASE,
)
_WEEKDAY = r"(?:[^\W\d_]{2,12}\.?,? )?"
_MONTH = r"(?:de )?([^\W\d_]{3,11})\.?"
_CLOCK = r"(?:,? (?:at )?([0-9].+))?"
_DAY_FIRST = re.compile(
    rf"{_WEEKDAY}([0-9]{{1,2}})(?:st|nd|rd|th)?\.?[ -]{_MONTH},?[ -](?:de )?([0-9]{{2}}|[0-9]{{4}}){_CLOCK}",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(rf"{_WEEKDAY}{_MONTH} ([0-9]{{1,2}})(?:st|nd|rd|th)?,? ([0-9]{{4}}){_CLOCK}", re.IGNORECASE)
_CTIME = re.compile(rf"{_WEEKDAY}{_MONTH} ([0-9]{{1,2}}) ([0-9]{{1,2}}:[0-9]{{2}}:[0-9]{{2}}) ([0-9]{{4}})")
_SIGNS = str.maketrans(
    {"年": "-", "月": "-", "日": " ", "년": "-", "월": "-", "일": " ", "\u200e": None, "\u200f": None}
)
_MONTH_NAMES = (
    "January February March April May June July August September October November December",
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "januari februari maart april mei juni juli augustus september oktober november december",
    "jänner februari mars april maj juni juli augusti september oktober november desember",
    "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "jan feb mrz apr maj jun jul aug sep okt nov dec",
    "jan feb mrt apr maj jun jul aug sep okt nov dec",
)


def _months_by_name() -> dict[str, frozenset[int]]:
    months: dict[str, frozenset[int]] = {}
    for names in _MONTH_NAMES:
        for number, name in enumerate(names.split(), 1):
            folded = fold(name)
            for end in range(3, len(folded) + 1):
                months[folded[:end]] = months.get(folded[:end], frozenset()) | {number}
    return months


_MONTHS = _months_by_name()
"""The months by names and abbreviations of at least three letters, folded."""
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
            match = _NUMERIC.fullmatch(_plain(text))
            readings = {} if match is None else _readings(match)
            if readings and _FIXED not in readings:
                self._orders &= {*readings, _FIXED}

    def read(self, text: str) -> datetime:
        """The date and time, in UTC if the text states no other zone. Raises `ValueError`."""
        text = _plain(text)
        with contextlib.suppress(ValueError):
            return _in_utc(datetime.fromisoformat(text.removesuffix(" UTC").removesuffix(" GMT")))
        if (match := _NUMERIC.fullmatch(text)) is not None:
            readings = _readings(match)
            found = {reading for order, reading in readings.items() if order in self._orders}
            if len(found) != 1:
                raise ValueError("not a date, or more than one")
            return found.pop()
        if (match := _DAY_FIRST.fullmatch(text)) is not None:
            day, month, year, time = match.groups()
        elif (match := _MONTH_FIRST.fullmatch(text)) is not None:
            month, day, year, time = match.groups()
        elif (match := _CTIME.fullmatch(text)) is not None:
            month, day, time, year = match.groups()
        else:
            raise ValueError("not a date")
        return datetime(_year(year), _month(month), int(day), *_hour_and_minute(time or "0:00"), tzinfo=UTC)


def _plain(text: str) -> str:
    """The text with single blanks, without invisible characters, and with hyphens for the signs of years and months."""
    return " ".join(text.translate(_SIGNS).split())


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
    months = _MONTHS.get(fold(name), frozenset[int]())
    if len(months) != 1:
        raise ValueError("not a month, or more than one")
    return min(months)


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
