"""How often somebody may do something: moving windows, and which ones a login or a registration passes."""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from movie_core.errors import RateLimited

if TYPE_CHECKING:
    from movie_core.ports import RateLimiter

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,6})/(second|minute|hour|day)", re.ASCII)
WIDER = 10
"""How many times as often an account alone, or a network alone, may try to log in as both together."""


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


def network_of(client: str) -> str:
    """What a client's address counts as: an IPv4 address, or the /64 of an IPv6 one. Anything else is one network."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def free_at(now: datetime, rate: Rate | None, earlier: Sequence[datetime]) -> datetime:
    """When one more is allowed, after those at `earlier`: `now` at the soonest."""
    if rate is None:
        return now
    window = timedelta(seconds=rate.seconds)
    counting = sorted(at for at in earlier if at > now - window)
    return now if len(counting) < rate.amount else counting[-rate.amount] + window


class Limits:
    """The limits of login and registration over any `RateLimiter`. Keys hold hashes: no address is stored."""

    def __init__(self, limiter: "RateLimiter", *, login: Rate | None, register: Rate | None) -> None:
        self._limiter = limiter
        self._login = login
        self._register = register

    async def login(self, address_key: str, network: str) -> Quota | None:
        """Count a try to log in; raises `RateLimited`. A try that account and network together refuse counts for
        neither alone, so that nobody can lock somebody else out from one network."""
        if self._login is None:
            return None
        wide = Rate(self._login.amount * WIDER, self._login.seconds)
        account = hashlib.sha256(address_key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        quota = await self._pass("login", f"{account}:{network}", self._login)
        for key in (f"account:{account}", f"network:{network}"):
            await self._pass("login", key, wide)
        return quota

    async def register(self, network: str) -> Quota | None:
        """Count a registration; raises `RateLimited`."""
        return None if self._register is None else await self._pass("register", network, self._register)

    async def _pass(self, name: str, key: str, rate: Rate) -> Quota:
        is_allowed, quota = await self._limiter.hit(name, key, rate)
        if not is_allowed:
            raise RateLimited("too many tries; wait a little", quota=quota)
        return quota
