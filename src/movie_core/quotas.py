"""Rates, and what is left of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,6})/(second|minute|hour|day)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` in any `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate | None":
        """`10/minute`; `off` is None. Raises `ValueError`."""
        if text == "off":
            return None
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("must be a number per second, minute, hour or day, such as 10/minute, or off")
        return cls(int(match[1]), _SECONDS[match[2]])

    def times(self, factor: int) -> "Rate":
        """So many times as often."""
        return Rate(self.amount * factor, self.seconds)

    def __str__(self) -> str:
        unit = next(name for name, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.amount}/{unit}"


@dataclass(frozen=True, slots=True)
class Quota:
    """Where somebody stands with a limit."""

    name: str
    rate: Rate
    remaining: int
    reset: float
    """Seconds until the oldest of what counts is forgotten; until the next try is allowed, when none remains."""


@dataclass(frozen=True, slots=True)
class Permits:
    """Taken ahead: the right to do something `count` times."""

    id: str
    count: int


def free_at(now: datetime, rate: Rate | None, earlier: Sequence[datetime]) -> datetime:
    """When one more is allowed, after those at `earlier`: `now` at the soonest."""
    if rate is None:
        return now
    window = timedelta(seconds=rate.seconds)
    counting = sorted(at for at in earlier if at > now - window)
    return now if len(counting) < rate.amount else counting[-rate.amount] + window
