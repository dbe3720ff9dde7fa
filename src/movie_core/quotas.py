"""Rates, quotas and permits of rate limits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,6})/(second|minute|hour|day)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of `amount` in any period of `seconds`."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate | None":
        """Parse a rate such as `10/minute`; `off` is None. Raises `ValueError`."""
        if text == "off":
            return None
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("must be a number per second, minute, hour or day, such as 10/minute, or off")
        return cls(int(match[1]), _SECONDS[match[2]])

    def multiplied(self, factor: int) -> "Rate":
        """Return the rate with its amount multiplied."""
        return Rate(self.amount * factor, self.seconds)

    def __str__(self) -> str:
        unit = next(name for name, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.amount}/{unit}"


@dataclass(frozen=True, slots=True)
class Quota:
    """The state of a rate limit for one key."""

    name: str
    rate: Rate
    remaining: int
    reset: float
    """Seconds until the oldest counted hit expires; if none remains, until the next attempt is allowed."""


@dataclass(frozen=True, slots=True)
class Permits:
    """Permits leased in advance, for `count` uses."""

    id: str
    count: int


def free_at(now: datetime, rate: Rate | None, earlier: Sequence[datetime]) -> datetime:
    """Return the earliest time from `now` on at which the rate allows another hit, after hits at `earlier` times."""
    if rate is None:
        return now
    window = timedelta(seconds=rate.seconds)
    counted = sorted(at for at in earlier if at > now - window)
    return now if len(counted) < rate.amount else counted[-rate.amount] + window
