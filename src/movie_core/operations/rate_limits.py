"""Rate limits: sliding windows, permits leased in advance, and the limits of logins, registrations and searches."""

import contextlib
import functools
import hashlib
import ipaddress
import math
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from movie_core.errors import RateLimited
from movie_core.ports import RateLimiter
from movie_core.quotas import Permits, Quota, Rate
from movie_core.single_flight import SingleFlight

SINGLE_FACTOR_MULTIPLIER = 10
"""Factor of the limit per user alone, or per network alone, relative to the limit of both together."""
LEASE_DIVISOR = 20
"""A process leases at most a 20th of a limit, for at most a 20th of its window."""
MAX_LEASE_SECONDS = 5.0
"""The longest validity of leased permits, however long the window."""
REJECTION_SECONDS = 1.0
"""How long a process rejects from memory before it checks whether other processes have returned permits."""
MAX_KEYS = 20_000
"""Keys per limit for which a process holds permits, at about 400 bytes each. The least recently renewed ones are
dropped first."""
SLOTS = 60
"""Number of slots of a window in which leased permits are counted: permits used in one slot expire together, so that
the memory of a key is bounded whatever its limit."""


@functools.lru_cache(4096)
def networks_of(client: str) -> tuple[str, ...]:
    """Return the networks for which an address counts, narrowest first: /32 and /24 of IPv4, /64, /56 and /48 of IPv6.

    Anything else is the network `unknown`. The addresses that one subscriber can choose share at least one network.
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return ("unknown",)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return tuple(str(ipaddress.ip_network((address, length), strict=False)) for length in (64, 56, 48))
        address = address.ipv4_mapped
    return str(address), str(ipaddress.ip_network((address, 24), strict=False))


def network_of(client: str) -> str:
    """Return the narrowest of `networks_of`."""
    return networks_of(client)[0]


def widest_network_of(network: str) -> str:
    """Return the widest of `networks_of` for a narrowest network."""
    return networks_of(network.partition("/")[0])[-1]


class HitWindow:
    """The sliding window of one key, exact for every hit. Times are seconds of any one clock.

    A `PermitWindow` cannot replace it: with its slots, hits would expire up to a sixtieth of the window late; without
    them, the cost of each hit would be proportional to the limit.
    """

    __slots__ = ("_hits", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._hits: list[float] = []

    def __len__(self) -> int:
        return len(self._hits)

    def is_over(self, now: float) -> bool:
        """Whether all hits have expired."""
        return not self._hits or self._hits[-1] <= now - self._rate.seconds

    def hit(self, now: float) -> tuple[bool, int, float]:
        """As `RateLimiter.hit`: returns whether it is allowed, how many remain, and the quota's reset."""
        hits = self._hits
        del hits[: bisect_right(hits, now - self._rate.seconds)]
        is_allowed = len(hits) < self._rate.amount
        if is_allowed:
            hits.append(now)
        # In this order, rounding cannot make the reset of a hit at this moment longer than the window.
        return is_allowed, self._rate.amount - len(hits), self._rate.seconds - (now - hits[0])

    def refund(self) -> None:
        """Remove the newest hit."""
        if self._hits:
            self._hits.pop()


class PermitWindow:
    """The sliding window of one key whose permits are leased in advance. Times are seconds of any one clock."""

    __slots__ = ("_counts", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        # By the id of a lease that may be returned, or by slot: the latest time of use, and the number of permits.
        self._counts: dict[str | int, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def is_over(self, now: float) -> bool:
        """Whether all permits have expired."""
        return all(used_until <= now - self._rate.seconds for used_until, _ in self._counts.values())

    def take(
        self, now: float, permits_id: str, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, int, float, Permits]:
        """As `RateLimiter.lease`: returns whether one is allowed, how many remain, the quota's reset, and permits."""
        is_crowded = len(self._counts) > 2 * SLOTS  # with leases that were not returned in time
        counts, self._counts = self._counts, {}
        for key, (used_until, count) in counts.items():
            if returned is not None and key == returned.id:
                self._count(None, min(used_until, now), count - returned.count, now)
            else:
                is_open = isinstance(key, str) and not (is_crowded and used_until <= now)
                self._count(key if is_open else None, used_until, count, now)
        free = self._rate.amount - sum(count for _, count in self._counts.values())
        is_allowed = free > 0
        permits = Permits(permits_id, max(0, min(prefetch, free - 1)))
        if is_allowed:
            self._count(None, now, 1, now)
            self._count(permits_id, now + seconds, permits.count, now)
        oldest = min(used_until for used_until, _ in self._counts.values())
        # In this order, rounding cannot make the reset longer than the window.
        return is_allowed, free - is_allowed - permits.count, self._rate.seconds - (now - oldest), permits

    def _count(self, key: str | int | None, used_until: float, count: int, now: float) -> None:
        """Add permits under this key, or without one in their slot; expired ones are dropped."""
        if count <= 0 or used_until <= now - self._rate.seconds:
            return
        if key is None:
            key = int(used_until * SLOTS // self._rate.seconds)
        other_until, other_count = self._counts.get(key, (used_until, 0))
        self._counts[key] = max(used_until, other_until), count + other_count


class LeasedLimit:
    """A rate limit that seldom calls its `RateLimiter`: the process leases permits in advance and counts in memory.

    A lease begins with one permit. The number doubles while all permits are used in time, up to a `LEASE_DIVISOR`th of
    the limit, and falls back to the number used. Repeated rejections do not call the limiter either.
    """

    def __init__(
        self,
        limiter: "RateLimiter",
        name: str,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_keys: int = MAX_KEYS,
    ) -> None:
        """`clock` returns seconds and is never set back. Of more than `max_keys` keys, the least recently renewed one
        is dropped, with its permits."""
        self._limiter = limiter
        self._name = name
        self._rate = rate
        self._clock = clock
        self._max_keys = max_keys
        self._max_permits = max(1, rate.amount // LEASE_DIVISOR)
        self._seconds = min(rate.seconds / LEASE_DIVISOR, MAX_LEASE_SECONDS)
        self._leases: OrderedDict[str, _HeldLease] = OrderedDict()
        self._calls: SingleFlight[Quota] = SingleFlight()

    def spend(self, key: str) -> Quota | None:
        """Count one from memory; None where `hit` has to call the limiter. Raises `RateLimited`."""
        lease = self._leases.get(key)
        if lease is None:
            return None
        now = self._clock()
        if lease.unused and now < lease.until:
            lease.unused -= 1
            return Quota(self._name, self._rate, lease.remaining + lease.unused, max(0.0, lease.free_at - now))
        if now < lease.rejected_until:
            raise self._rejection(lease.free_at - now)
        return None

    async def hit(self, key: str) -> Quota:
        """Count one; raises `RateLimited`. Concurrent callers call the limiter one after the other, until the permits
        suffice for all of them.
        """
        while (quota := self.spend(key)) is None:
            if key not in self._calls:
                return await self._calls.join(key, lambda: self._renew(key))
            with contextlib.suppress(RateLimited):  # of the caller that started the call
                await self._calls.join(key, lambda: self._renew(key))
        return quota

    async def _renew(self, key: str) -> Quota:
        """Count one, and lease permits for the next ones."""
        lease = self._leases.setdefault(key, _HeldLease())
        self._leases.move_to_end(key)
        if len(self._leases) > self._max_keys:
            self._leases.popitem(last=False)
        # The time before the call, so that no permit is used later than the limiter assumes.
        started_at = self._clock()
        used = lease.taken - lease.unused
        target = 2 * used if not lease.unused and started_at < lease.until else used
        is_allowed, quota, permits = await self._limiter.lease(
            self._name,
            key,
            self._rate,
            prefetch=max(1, min(target, self._max_permits)) - 1,
            seconds=self._seconds,
            # Unused permits have expired, otherwise `spend` would have used one.
            returned=Permits(lease.permits_id, lease.unused) if lease.permits_id else None,
        )
        lease.permits_id, lease.unused, lease.taken = permits.id, permits.count, is_allowed + permits.count
        lease.remaining = quota.remaining
        lease.until = started_at + self._seconds
        lease.free_at = started_at + quota.reset
        if not is_allowed:
            lease.rejected_until = min(lease.free_at, started_at + REJECTION_SECONDS)
            raise self._rejection(quota.reset)
        return Quota(self._name, self._rate, quota.remaining + permits.count, quota.reset)

    def _rejection(self, reset: float) -> RateLimited:
        return RateLimited("too many requests; retry later", quota=Quota(self._name, self._rate, 0, reset))


@dataclass(slots=True)
class _HeldLease:
    """The permits that a process holds for one key. Times are those of its own clock."""

    permits_id: str = ""
    taken: int = 0
    """Permits of the last call, including the one for its caller."""
    unused: int = 0
    until: float = -math.inf
    """When unused permits expire."""
    remaining: int = 0
    """The quota left in addition to `unused`."""
    free_at: float = -math.inf
    """When the oldest counted permit expires."""
    rejected_until: float = -math.inf


class UserLimit:
    """A limit per user, and `SINGLE_FACTOR_MULTIPLIER` times that per network.

    Permits of both are leased, so few requests call the limiter.
    """

    def __init__(self, limiter: "RateLimiter", name: str, rate: Rate) -> None:
        self._users = LeasedLimit(limiter, name, rate)
        self._networks = LeasedLimit(limiter, name, rate.multiplied(SINGLE_FACTOR_MULTIPLIER))

    async def hit(self, user_id: str, networks: Sequence[str]) -> Quota:
        """Count one; raises `RateLimited`. Returns the quota of the user."""
        quota = await self._users.hit(f"user:{user_id}")
        await self._networks.hit(f"network:{networks[0]}")
        return quota


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A login attempt, counted before its password is checked."""

    quota: Quota | None
    """The quota of the user and the narrowest network together; None without a limit."""
    counted: tuple[tuple[str, Rate], ...] = ()
    """Keys of this user that were counted, with their rates; `succeeded` refunds them."""


class RateLimits:
    """All rate limits of the service, over any `RateLimiter`; None means no limit.

    Keys contain hashes of email addresses, not the addresses. A client counts for several networks (see `networks_of`),
    and each wider one has twice the rate. So a client with many addresses may do little more than a client with one.
    """

    def __init__(
        self,
        limiter: "RateLimiter",
        *,
        login: Rate | None,
        register: Rate | None,
        search: Rate | None = None,
        suggest: Rate | None = None,
        events: Rate | None = None,
        writes: Rate | None = None,
        imports: Rate | None = None,
        exports: Rate | None = None,
    ) -> None:
        self._limiter = limiter
        self._login = login
        self._register = register
        self.search = None if search is None else LeasedLimit(limiter, "search", search)
        self.suggest = None if suggest is None else LeasedLimit(limiter, "suggest", suggest)
        self.events = None if events is None else UserLimit(limiter, "events", events)
        self.writes = None if writes is None else UserLimit(limiter, "writes", writes)
        self.imports = None if imports is None else UserLimit(limiter, "imports", imports)
        self.exports = None if exports is None else UserLimit(limiter, "exports", exports)

    async def login_work(self, networks: Sequence[str]) -> None:
        """Count a password check for the narrowest network, regardless of the user; raises `RateLimited`."""
        if self._login is not None:
            await self._count("login", f"network:{networks[0]}", self._login.multiplied(SINGLE_FACTOR_MULTIPLIER))

    async def login(
        self, address_key: str, networks: Sequence[str], known: Collection[str] = frozenset()
    ) -> LoginAttempt:
        """Count a login for the wider networks, and for its user from each of its networks and from all.

        Raises `RateLimited`; then nothing is counted for the user. `known` are the narrowest networks from which this
        user has logged in before. The narrowest network of the client that contains one of them is the last that is
        counted: wider ones, and the user as a whole, are skipped, so that strangers cannot use up the limit. Call
        `succeeded` after a correct password.
        """
        if self._login is None:
            return LoginAttempt(None)
        user = _hash(address_key)
        known_networks = {wider for network in known for wider in networks_of(network.partition("/")[0])}
        network_counts, user_counts = [], []
        for factor, network in _with_factors(networks):
            network_counts.append((f"network:{network}", self._login.multiplied(SINGLE_FACTOR_MULTIPLIER * factor)))
            user_counts.append((f"{user}:{network}", self._login.multiplied(factor)))
            if network in known_networks:
                break
        else:
            user_counts.append((f"account:{user}", self._login.multiplied(SINGLE_FACTOR_MULTIPLIER)))
        quota, counted = None, list[tuple[str, Rate]]()
        try:
            for key, rate in user_counts:
                current = await self._count("login", key, rate)
                quota = quota or current
                counted.append((key, rate))
            for key, rate in network_counts[1:]:
                await self._count("login", key, rate)
        except RateLimited:
            await self._refund("login", counted)
            raise
        return LoginAttempt(quota, tuple(counted))

    async def succeeded(self, attempt: LoginAttempt) -> None:
        """Refund the counts of the user: only failed logins count for a user."""
        await self._refund("login", attempt.counted)

    async def register(self, networks: Sequence[str]) -> Quota | None:
        """Count a registration; raises `RateLimited`."""
        return await self._count_networks("register", networks, self._register)

    async def mail(self, networks: Sequence[str]) -> Quota | None:
        """Count a request for an email; raises `RateLimited`. The rate is that of registrations, counted separately."""
        return await self._count_networks("mail", networks, self._register)

    async def link(self, uid: str, networks: Sequence[str]) -> Quota | None:
        """Count a use of an emailed link, which may hash a password; raises `RateLimited`."""
        if self._login is None:
            return None
        quota = await self._count_networks("link", networks, self._login.multiplied(SINGLE_FACTOR_MULTIPLIER))
        await self._count("link", f"uid:{_hash(uid)}", self._login.multiplied(SINGLE_FACTOR_MULTIPLIER))
        return quota

    async def refresh_work(self, networks: Sequence[str]) -> Quota | None:
        """Count a token refresh for its network, which many users may share; raises `RateLimited`."""
        rate = (
            None if self._login is None else self._login.multiplied(SINGLE_FACTOR_MULTIPLIER * SINGLE_FACTOR_MULTIPLIER)
        )
        return await self._count_networks("refresh", networks, rate)

    async def refresh(self, user_id: str) -> None:
        """Count a token refresh for its user; raises `RateLimited`."""
        if self._login is not None:
            await self._count("refresh", f"user:{user_id}", self._login.multiplied(SINGLE_FACTOR_MULTIPLIER))

    async def _count_networks(self, name: str, networks: Sequence[str], rate: Rate | None) -> Quota | None:
        """Return the quota of the narrowest network."""
        quota = None
        if rate is not None:
            for factor, network in _with_factors(networks):
                current = await self._count(name, f"network:{network}", rate.multiplied(factor))
                quota = quota or current
        return quota

    async def _count(self, name: str, key: str, rate: Rate) -> Quota:
        is_allowed, quota = await self._limiter.hit(name, key, rate)
        if not is_allowed:
            raise RateLimited("too many attempts; retry later", quota=quota)
        return quota

    async def _refund(self, name: str, counted: Sequence[tuple[str, Rate]]) -> None:
        for key, rate in counted:
            await self._limiter.refund(name, key, rate)


def _with_factors(networks: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Return each network with the factor of its rate, narrowest first."""
    return ((1 << position, network) for position, network in enumerate(networks))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
