"""How often somebody may do something: moving windows, permits taken ahead of their use, and which limits there are."""

import contextlib
import functools
import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from movie_core.errors import RateLimited
from movie_core.ports import RateLimiter
from movie_core.quotas import Permits, Quota, Rate
from movie_core.single_flight import SingleFlight

SINGLE_FACTOR_MULTIPLIER = 10
"""Factor of the limit of an account alone, or of a network alone, to the limit of both together."""
LEASE_DIVISOR = 20
"""A process takes at most this part of a limit ahead, and for at most this part of its window."""
PERMIT_SECONDS = 5.0
"""How long permits taken ahead are good at most, however long the window."""
ASK_AGAIN = 1.0
"""Seconds between looks whether others have given permits back, where none remain."""
MAX_HELD = 20_000
"""Keys of a limit that a process holds permits of, at about 400 bytes each. Beyond, those that were renewed longest ago
are given up."""
SLOTS = 60
"""Into how many parts a window is divided where permits are counted: what was done in one part is forgotten together,
so that a key's memory is bounded whatever its limit."""


@functools.lru_cache(4096)
def networks_of(client: str) -> tuple[str, ...]:
    """The networks that a client's address counts for, the narrowest first: /32 and /24 of IPv4, /64, /56 and /48 of
    IPv6. Anything else is the network `unknown`. Addresses among which a subscriber can choose share at least one.
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
    """The narrowest of `networks_of`."""
    return networks_of(client)[0]


def widest_network_of(network: str) -> str:
    """The widest of `networks_of`, for the narrowest."""
    return networks_of(network.partition("/")[0])[-1]


class PermitWindow:
    """The moving window of one key whose permits are taken ahead of their use. Times are seconds of any one clock."""

    __slots__ = ("_counts", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        # By the id of permits that may come back, or by the slot that they fell into: until when they may have been
        # used, and how many.
        self._counts: dict[str | int, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def is_over(self, now: float) -> bool:
        """Whether nothing counts any more."""
        return all(till <= now - self._rate.seconds for till, _ in self._counts.values())

    def take(
        self, now: float, permits_id: str, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, int, float, Permits]:
        """As `RateLimiter.lease`: whether one is allowed, how many remain, the quota's reset, and what was taken."""
        is_crowded = len(self._counts) > 2 * SLOTS  # by permits that nobody gave back in time
        before, self._counts = self._counts, {}
        for key, (till, count) in before.items():
            if returned is not None and key == returned.id:
                self._count(None, min(till, now), count - returned.count, now)
            else:
                is_open = isinstance(key, str) and not (is_crowded and till <= now)
                self._count(key if is_open else None, till, count, now)
        free = self._rate.amount - sum(count for _, count in self._counts.values())
        is_allowed = free > 0
        taken = Permits(permits_id, max(0, min(prefetch, free - 1)))
        if is_allowed:
            self._count(None, now, 1, now)
            self._count(permits_id, now + seconds, taken.count, now)
        oldest = min(till for till, _ in self._counts.values())
        # In this order, or rounding could make it more than the window.
        return is_allowed, free - is_allowed - taken.count, self._rate.seconds - (now - oldest), taken

    def _count(self, key: str | int | None, till: float, count: int, now: float) -> None:
        """Keep it under this key; without one in the slot that it fell into."""
        if count <= 0 or till <= now - self._rate.seconds:
            return
        if key is None:
            key = int(till * SLOTS // self._rate.seconds)
        other_till, others = self._counts.get(key, (till, 0))
        self._counts[key] = max(till, other_till), count + others


class LeasedLimit:
    """A limit that hardly ever asks its limiter: the process takes permits ahead, and counts them in memory.

    It begins with one, doubles that while what it took is used up in time, up to a `LEASE_DIVISOR`th of the limit, and falls
    back to what was used. Whoever is to be refused is refused from memory too.
    """

    def __init__(
        self, limiter: "RateLimiter", name: str, rate: Rate, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` counts seconds, and is never set back."""
        self._limiter = limiter
        self._name = name
        self._rate = rate
        self._clock = clock
        self._most = max(1, rate.amount // LEASE_DIVISOR)
        self._seconds = min(rate.seconds / LEASE_DIVISOR, PERMIT_SECONDS)
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._calls: SingleFlight[Quota] = SingleFlight()

    def spend(self, key: str) -> Quota | None:
        """Count one, where that can be done at once; None where the limiter must be asked, by `hit`. Raises
        `RateLimited`.
        """
        held = self._held.get(key)
        if held is None:
            return None
        now = self._clock()
        if held.unspent and now < held.until:
            held.unspent -= 1
            return Quota(self._name, self._rate, held.remaining + held.unspent, max(0.0, held.free_at - now))
        if now < held.refused_until:
            raise self._refusal(held.free_at - now)
        return None

    async def hit(self, key: str) -> Quota:
        """Count one; raises `RateLimited`. Many at once ask the limiter one after the other, until there is enough for
        all of them.
        """
        while (quota := self.spend(key)) is None:
            if key not in self._calls:
                return await self._calls.join(key, lambda: self._renew(key))
            with contextlib.suppress(RateLimited):  # another's, who may have been told so
                await self._calls.join(key, lambda: self._renew(key))
        return quota

    async def _renew(self, key: str) -> Quota:
        """Count one, and take permits for the next ones."""
        held = self._held.setdefault(key, _Held())
        self._held.move_to_end(key)
        if len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        # From before the call, so that no permit is used later than the limiter counts it.
        began = self._clock()
        spent = held.taken - held.unspent
        wanted = 2 * spent if not held.unspent and began < held.until else spent
        is_allowed, quota, permits = await self._limiter.lease(
            self._name,
            key,
            self._rate,
            prefetch=max(1, min(wanted, self._most)) - 1,
            seconds=self._seconds,
            # What is left is void by now, or there would be no call.
            returned=Permits(held.permits_id, held.unspent) if held.permits_id else None,
        )
        held.permits_id, held.unspent, held.taken = permits.id, permits.count, is_allowed + permits.count
        held.remaining = quota.remaining
        held.until = began + self._seconds
        held.free_at = began + quota.reset
        if not is_allowed:
            held.refused_until = min(held.free_at, began + ASK_AGAIN)
            raise self._refusal(quota.reset)
        return Quota(self._name, self._rate, quota.remaining + permits.count, quota.reset)

    def _refusal(self, reset: float) -> RateLimited:
        return RateLimited("too many requests; wait a little", quota=Quota(self._name, self._rate, 0, reset))


@dataclass(slots=True)
class _Held:
    """What a process holds of one key. Times are of its own clock."""

    permits_id: str = ""
    taken: int = 0
    """Of the last call, with the one that was for its caller."""
    unspent: int = 0
    until: float = -math.inf
    """When what is unspent is void."""
    remaining: int = 0
    """Beyond what is unspent."""
    free_at: float = -math.inf
    """When the oldest of what counts is forgotten."""
    refused_until: float = -math.inf


class UserLimit:
    """A limit per user, and `SINGLE_FACTOR_MULTIPLIER` times that per network. Both are leased, so few calls ask the limiter."""

    def __init__(self, limiter: "RateLimiter", name: str, rate: Rate) -> None:
        self._users = LeasedLimit(limiter, name, rate)
        self._networks = LeasedLimit(limiter, name, rate.times(SINGLE_FACTOR_MULTIPLIER))

    async def hit(self, user_id: str, networks: Sequence[str]) -> Quota:
        """Count one; raises `RateLimited`. Returns the quota of the user."""
        quota = await self._users.hit(f"user:{user_id}")
        await self._networks.hit(f"network:{networks[0]}")
        return quota


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A login that was counted before its password is checked."""

    quota: Quota | None
    """Of the account and the narrowest network together; None without a limit."""
    counted: tuple[tuple[str, Rate], ...] = ()
    """Keys of this account that were counted, with their rates; `succeeded` takes them back."""


class RateLimits:
    """The limits there are, over any `RateLimiter`; None is no limit. Keys hold hashes of mail addresses, not them.

    A client counts for several networks (see `networks_of`), and each wider one has twice the rate. So a client that
    can choose among many addresses gets little more than a client that has one.
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
        """Count a password to be checked for the narrowest network, whatever the account; raises `RateLimited`."""
        if self._login is not None:
            await self._count("login", f"network:{networks[0]}", self._login.times(SINGLE_FACTOR_MULTIPLIER))

    async def login(
        self, address_key: str, networks: Sequence[str], known: Collection[str] = frozenset()
    ) -> LoginAttempt:
        """Count a login for the wider networks, and for its account from each of its networks and from all; raises
        `RateLimited`, and then nothing is counted for the account.

        `known` are the narrowest networks from which this account has logged in before. The narrowest network of the
        client that contains one of them is the last to be counted: wider ones, and the account as a whole, are skipped,
        so that others can't use up the limit. Call `succeeded` when the password was right.
        """
        if self._login is None:
            return LoginAttempt(None)
        account = _hashed(address_key)
        known_networks = {network for one in known for network in networks_of(one.partition("/")[0])}
        wider, wanted = [], []
        for factor, network in _widening(networks):
            wider.append((f"network:{network}", self._login.times(SINGLE_FACTOR_MULTIPLIER * factor)))
            wanted.append((f"{account}:{network}", self._login.times(factor)))
            if network in known_networks:
                break
        else:
            wanted.append((f"account:{account}", self._login.times(SINGLE_FACTOR_MULTIPLIER)))
        quota, counted = None, list[tuple[str, Rate]]()
        try:
            for key, rate in wanted:
                now = await self._count("login", key, rate)
                quota = quota or now
                counted.append((key, rate))
            for key, rate in wider[1:]:
                await self._count("login", key, rate)
        except RateLimited:
            await self._refund("login", counted)
            raise
        return LoginAttempt(quota, tuple(counted))

    async def succeeded(self, attempt: LoginAttempt) -> None:
        """The password was right: only failures count for an account."""
        await self._refund("login", attempt.counted)

    async def register(self, networks: Sequence[str]) -> Quota | None:
        """Count a registration; raises `RateLimited`."""
        return await self._count_networks("register", networks, self._register)

    async def mail(self, networks: Sequence[str]) -> Quota | None:
        """Count a request for mail to some address; raises `RateLimited`. As often as registrations, beside them."""
        return await self._count_networks("mail", networks, self._register)

    async def link(self, uid: str, networks: Sequence[str]) -> Quota | None:
        """Count a use of a mailed link, whose password may have to be hashed; raises `RateLimited`."""
        if self._login is None:
            return None
        quota = await self._count_networks("link", networks, self._login.times(SINGLE_FACTOR_MULTIPLIER))
        await self._count("link", f"uid:{_hashed(uid)}", self._login.times(SINGLE_FACTOR_MULTIPLIER))
        return quota

    async def refresh_work(self, networks: Sequence[str]) -> Quota | None:
        """Count a refresh for its network, which many users may share; raises `RateLimited`."""
        rate = None if self._login is None else self._login.times(SINGLE_FACTOR_MULTIPLIER * SINGLE_FACTOR_MULTIPLIER)
        return await self._count_networks("refresh", networks, rate)

    async def refresh(self, user_id: str) -> None:
        """Count a refresh for its user; raises `RateLimited`."""
        if self._login is not None:
            await self._count("refresh", f"user:{user_id}", self._login.times(SINGLE_FACTOR_MULTIPLIER))

    async def _count_networks(self, name: str, networks: Sequence[str], rate: Rate | None) -> Quota | None:
        """Returns the quota of the narrowest network."""
        quota = None
        if rate is not None:
            for factor, network in _widening(networks):
                now = await self._count(name, f"network:{network}", rate.times(factor))
                quota = quota or now
        return quota

    async def _count(self, name: str, key: str, rate: Rate) -> Quota:
        is_allowed, quota = await self._limiter.hit(name, key, rate)
        if not is_allowed:
            raise RateLimited("too many tries; wait a little", quota=quota)
        return quota

    async def _refund(self, name: str, counted: Sequence[tuple[str, Rate]]) -> None:
        for key, rate in counted:
            await self._limiter.refund(name, key, rate)


def _widening(networks: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Each network with the factor of its rate, the narrowest first."""
    return ((1 << place, network) for place, network in enumerate(networks))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
