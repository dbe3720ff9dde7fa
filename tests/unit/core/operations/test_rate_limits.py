import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.virtual_time import settle

from movie_core.errors import RateLimited
from movie_core.memory import MemoryRateLimiter
from movie_core.operations import rate_limits as limits
from movie_core.operations.rate_limits import (
    SINGLE_FACTOR_MULTIPLIER,
    HitWindow,
    LeasedLimit,
    LoginAttempt,
    PermitWindow,
    RateLimits,
    UserLimit,
    network_of,
    networks_of,
    widest_network_of,
)
from movie_core.quotas import Permits, Quota, Rate, free_at

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "amount", "seconds"),
    [("1/second", 1, 1), ("10/minute", 10, 60), ("3/hour", 3, 3600), ("9999999/day", 9_999_999, 86400)],
)
def test_a_rate_is_parsed_and_formatted_alike(text: str, amount: int, seconds: int) -> None:
    assert Rate.parse(text) == Rate(amount, seconds)
    assert str(Rate.parse(text)) == text


def test_off_means_no_rate() -> None:
    assert Rate.parse("off") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0/minute",
        "-1/minute",
        "10",
        "10/week",
        "10/minutes",
        "1.5/hour",
        "10 /minute",
        "10/minute\n",
        "OFF",
        "١/day",
        "10000000/day",
    ],
)
def test_an_invalid_rate_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="number per second"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("testclient", "unknown"),
        ("192.0.2.300", "unknown"),
    ],
)
def test_a_client_counts_as_its_network(client: str, network: str) -> None:
    assert network_of(client) == network


@pytest.mark.parametrize(
    ("client", "networks"),
    [
        ("192.0.2.7", ("192.0.2.7", "192.0.2.0/24")),
        ("::ffff:192.0.2.7", ("192.0.2.7", "192.0.2.0/24")),
        ("2001:db8:1:203:3:4:5:6", ("2001:db8:1:203::/64", "2001:db8:1:200::/56", "2001:db8:1::/48")),
        ("testclient", ("unknown",)),
    ],
)
def test_a_client_counts_as_wider_networks_too(client: str, networks: tuple[str, ...]) -> None:
    assert networks_of(client) == networks
    assert widest_network_of(networks[0]) == networks[-1]


# --- sliding windows


times = st.lists(st.integers(0, 7200).map(lambda seconds: NOW - timedelta(seconds=seconds)), max_size=30)
rates = st.builds(Rate, st.integers(1, 5), st.sampled_from((1, 60, 3600)))


def counted(at: datetime, rate: Rate, earlier: list[datetime]) -> int:
    return sum(at - timedelta(seconds=rate.seconds) < one <= at for one in earlier)


@given(rates, times)
def test_a_hit_is_allowed_as_soon_as_the_window_has_room(rate: Rate, earlier: list[datetime]) -> None:
    free = free_at(NOW, rate, earlier)
    assert free >= NOW
    assert counted(free, rate, earlier) < rate.amount
    assert free == NOW or counted(free - timedelta(microseconds=1), rate, earlier) >= rate.amount


@given(rates, st.lists(st.integers(0, 100), max_size=30))
def test_waiting_until_free_at_never_exceeds_the_rate(rate: Rate, gaps: list[int]) -> None:
    now, done = NOW, list[datetime]()
    for gap in gaps:
        now = free_at(now + timedelta(seconds=gap), rate, done)
        done.append(now)
        assert counted(now, rate, done) <= rate.amount


@given(times)
def test_without_a_rate_every_hit_is_allowed(earlier: list[datetime]) -> None:
    assert free_at(NOW, None, earlier) == NOW


# --- limits of logins, registrations and emails


class Recording(MemoryRateLimiter):
    """A limiter that records its calls and rejects keys with a prefix."""

    def __init__(self, refused: str | None = None) -> None:
        super().__init__()
        self.refused = refused
        self.hits: list[tuple[str, str, Rate]] = []
        self.refunded: list[tuple[str, str, Rate]] = []

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        self.hits.append((name, key, rate))
        is_allowed = self.refused is None or not key.startswith(self.refused)
        return is_allowed, Quota(name, rate, int(is_allowed), 1.0)

    async def refund(self, name: str, key: str, rate: Rate) -> None:
        self.refunded.append((name, key, rate))


LOGIN, REGISTER = Rate(10, 60), Rate(20, 60)
ADA = "ada@example.com"
V4 = networks_of("192.0.2.7")
V6 = networks_of("2001:db8:1:203::1")


def of_accounts(hits: list[tuple[str, str, Rate]]) -> list[tuple[str, str, Rate]]:
    """Hits that are not of a network alone."""
    return [hit for hit in hits if not hit[1].startswith("network:")]


def limits_over(limiter: MemoryRateLimiter) -> RateLimits:
    return RateLimits(limiter, login=LOGIN, register=REGISTER)


async def is_admitted(limits: RateLimits, networks: tuple[str, ...], known: Iterable[str] = ()) -> bool:
    """Whether a login with a wrong password is allowed."""
    try:
        await limits.login(ADA, networks, frozenset(known))
    except RateLimited:
        return False
    return True


async def test_a_login_counts_for_its_account_from_each_network_and_from_all() -> None:
    limiter = Recording()
    attempt = await limits_over(limiter).login(ADA, V6)
    assert attempt.quota == Quota("login", LOGIN, 1, 1.0)
    user = of_accounts(limiter.hits)[0][1].partition(":")[0]
    assert [(key, rate.amount) for _, key, rate in of_accounts(limiter.hits)] == [
        (f"{user}:2001:db8:1:203::/64", 10),
        (f"{user}:2001:db8:1:200::/56", 20),
        (f"{user}:2001:db8:1::/48", 40),
        (f"account:{user}", 10 * SINGLE_FACTOR_MULTIPLIER),
    ]


async def test_a_password_to_check_counts_for_its_networks_whatever_the_account() -> None:
    limiter = Recording()
    await limits_over(limiter).login_work(V6)
    assert len(limiter.hits) == 1, "whose networks are known has not been looked up yet"
    await limits_over(limiter).login(ADA, V6)
    assert [
        (key.removeprefix("network:"), rate.amount) for _, key, rate in limiter.hits if key.startswith("network:")
    ] == [
        ("2001:db8:1:203::/64", 100),
        ("2001:db8:1:200::/56", 200),
        ("2001:db8:1::/48", 400),
    ]
    with pytest.raises(RateLimited):
        await limits_over(Recording("network:2001:db8:1:203::/64")).login_work(V6)
    limits = limits_over(Recording("network:2001:db8:1::/48"))
    with pytest.raises(RateLimited):
        await limits.login(ADA, V6)
    await limits.login(ADA, V6, ["2001:db8:1:203::/64"])  # neighbours cannot use up the limit of a known network


@pytest.mark.parametrize(
    ("known", "counted"),
    [
        ("2001:db8:1:203::/64", 1),
        ("2001:db8:1:2ff::/64", 2),
        ("2001:db8:1:300::/64", 3),
        ("2001:db8:2:203::/64", 4),
        ("192.0.2.7", 4),
    ],
)
async def test_a_known_network_is_the_widest_that_counts(known: str, counted: int) -> None:
    limiter = Recording()
    await limits_over(limiter).login(ADA, V6, [known])
    assert len(of_accounts(limiter.hits)) == counted
    assert len(limiter.hits) - counted == min(counted, 3) - 1


async def test_only_failures_count_for_an_account() -> None:
    limits = limits_over(MemoryRateLimiter())
    for _ in range(50):
        await limits.succeeded(await limits.login(ADA, V4))
    assert [await is_admitted(limits, V4) for _ in range(11)] == [True] * 10 + [False]


async def test_a_rejected_login_is_refunded() -> None:
    limiter = Recording("account:")
    with pytest.raises(RateLimited) as caught:
        await limits_over(limiter).login(ADA, V4)
    assert caught.value.quota.rate == LOGIN.multiplied(SINGLE_FACTOR_MULTIPLIER)
    assert limiter.refunded == limiter.hits[:-1]
    limiter = Recording("")
    with pytest.raises(RateLimited) as caught:
        await limits_over(limiter).login(ADA, V4)
    assert caught.value.quota.rate == LOGIN
    assert len(limiter.hits) == 1


async def test_a_48_guesses_no_more_than_40_times_and_locks_nobody_out() -> None:
    limits = limits_over(MemoryRateLimiter())
    strangers = [networks_of(f"2001:db8:bad:{n:x}::1") for n in range(500)]
    assert sum([await is_admitted(limits, one) for one in strangers]) == 4 * LOGIN.amount
    assert await is_admitted(limits, V4)
    assert await is_admitted(limits, networks_of("2001:db8:bad:ffff::1"), ["2001:db8:bad:ffff::/64"])


async def test_a_48_guesses_at_many_accounts_no_more_than_400_times() -> None:
    limits, admitted = limits_over(MemoryRateLimiter()), 0
    for n in range(500):
        with contextlib.suppress(RateLimited):
            networks = networks_of(f"2001:db8:bad:{131 * n % 65_536:x}::1")
            await limits.login_work(networks)
            await limits.login(f"user{n}@example.com", networks)
            admitted += 1
    assert admitted == 4 * SINGLE_FACTOR_MULTIPLIER * LOGIN.amount


async def test_failures_from_many_networks_lock_out_new_networks_only() -> None:
    limits = limits_over(MemoryRateLimiter())
    strangers = [networks_of(f"203.{n}.113.{host}") for n in range(20) for host in range(20)]
    assert sum([await is_admitted(limits, one) for one in strangers]) == SINGLE_FACTOR_MULTIPLIER * LOGIN.amount
    assert not await is_admitted(limits, V4)
    assert [await is_admitted(limits, V4, [V4[0]]) for _ in range(11)] == [True] * 10 + [False]


async def test_keys_contain_no_address() -> None:
    limiter = Recording()
    limits = limits_over(limiter)
    for key in (ADA, "\ud800", ""):
        await limits.login(key, V4)
        await limits.link(key, V4)
    assert not any("ada" in key for _, key, _ in limiter.hits)
    assert len({key for _, key, _ in limiter.hits if "192" not in key}) == 3 + 3


@pytest.mark.parametrize(("name", "amount"), [("register", 20), ("mail", 20), ("refresh", 1000), ("link", 100)])
async def test_hits_of_a_network_count_for_wider_ones_at_twice_the_rate(name: str, amount: int) -> None:
    async def count(limiter: MemoryRateLimiter) -> Quota | None:
        limits = limits_over(limiter)
        calls = {
            "register": lambda: limits.register(V4),
            "mail": lambda: limits.mail(V4),
            "refresh": lambda: limits.refresh_work(V4),
            "link": lambda: limits.link("uid", V4),
        }
        return await calls[name]()

    limiter = Recording()
    assert await count(limiter) == Quota(name, Rate(amount, 60), 1, 1.0)
    assert [(key, rate.amount) for _, key, rate in limiter.hits if key.startswith("network:")] == [
        ("network:192.0.2.7", amount),
        ("network:192.0.2.0/24", 2 * amount),
    ]
    for refused in ("network:192.0.2.7", "network:192.0.2.0/24"):
        with pytest.raises(RateLimited):
            await count(Recording(refused))


async def test_links_and_refreshes_count_for_their_user() -> None:
    with pytest.raises(RateLimited):
        await limits_over(Recording("uid:")).link("uid", V4)
    with pytest.raises(RateLimited):
        await limits_over(Recording("user:")).refresh("ada")


async def test_a_user_limit_counts_for_users_and_for_their_network() -> None:
    limit = UserLimit(MemoryRateLimiter(), "writes", Rate(2, 60))

    async def hit(user: str) -> bool:
        try:
            await limit.hit(user, V4)
        except RateLimited:
            return False
        return True

    assert [await hit("ada") for _ in range(3)] == [True, True, False]
    assert [await hit(f"user {n}") for n in range(2 * SINGLE_FACTOR_MULTIPLIER)] == [True] * (
        2 * SINGLE_FACTOR_MULTIPLIER - 2
    ) + [False, False]


async def test_a_disabled_limit_counts_nothing() -> None:
    limiter = Recording("")
    limits = RateLimits(limiter, login=None, register=None)
    assert await limits.login(ADA, V4) == LoginAttempt(None)
    await limits.succeeded(LoginAttempt(None))
    await limits.login_work(V4)
    await limits.refresh("ada")
    for call in (limits.register(V4), limits.mail(V4), limits.refresh_work(V4), limits.link("uid", V4)):
        assert await call is None
    assert limiter.hits == []
    assert [limits.events, limits.writes, limits.imports, limits.exports] == [None] * 4


# --- leased permits


ROUND_TRIP = 0.001
"""Seconds in which the limiter responds."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting(MemoryRateLimiter):
    """Records the time and prefetch of each call; calls take `latency`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.asked: list[int] = []
        self.latency = 0.0
        self.answered_at = 0.0

    async def lease(
        self, name: str, key: str, rate: Rate, *, prefetch: int, seconds: float, returned: Permits | None
    ) -> tuple[bool, Quota, Permits]:
        self.asked.append(1 + prefetch)
        await asyncio.sleep(ROUND_TRIP)
        self.clock.now += self.latency
        self.answered_at = self.clock.now
        answer = await super().lease(name, key, rate, prefetch=prefetch, seconds=seconds, returned=returned)
        self.clock.now += self.latency
        return answer


async def passes(limit: LeasedLimit, key: str = "ada") -> bool:
    try:
        await limit.hit(key)
    except RateLimited:
        return False
    return True


def leased(amount: int = 600) -> "tuple[Clock, Counting, LeasedLimit]":
    """Hits per minute."""
    clock = Clock()
    limiter = Counting(clock)
    return clock, limiter, LeasedLimit(limiter, "search", Rate(amount, 60), clock)


async def test_most_frequent_hits_are_counted_without_a_call() -> None:
    _clock, limiter, limit = leased()
    for n in range(600):
        quota = await limit.hit("ada")
        assert (quota.name, quota.rate, quota.remaining) == ("search", Rate(600, 60), 599 - n)
        assert 0 < quota.reset <= 60
    assert limiter.asked == [1, 2, 4, 8, 16, *[30] * 19]
    assert not await passes(limit)


async def test_rare_hits_lease_no_permits() -> None:
    clock, limiter, limit = leased()
    for _ in range(50):
        await limit.hit("ada")
        clock.now += 10
    assert set(limiter.asked) == {1}


async def test_after_a_burst_unused_permits_are_returned() -> None:
    clock, limiter, limit = leased()
    for _ in range(32):
        await limit.hit("ada")
    assert limiter.asked == [1, 2, 4, 8, 16, 30]
    clock.now += 10
    assert (await limit.hit("ada")).remaining == 600 - 33
    clock.now += 10
    await limit.hit("ada")
    assert limiter.asked[6:] == [1, 1]


async def test_one_search_per_second_wastes_few_permits() -> None:
    clock, limiter, limit = leased()
    for n in range(300):
        quota = await limit.hit("ada")
        assert quota.remaining >= 600 - min(n + 1, 60) - 5
        clock.now += 1
    assert len(limiter.asked) < 150
    assert max(limiter.asked) <= 4


async def test_permits_expire() -> None:
    clock, _limiter, limit = leased()
    for _ in range(2):
        await limit.hit("ada")
    assert limit.spend("ada") is not None, "taken by the second call"
    await limit.hit("ada")
    clock.now += 2.99
    assert limit.spend("ada") is not None
    clock.now += 0.02
    assert limit.spend("ada") is None


async def test_the_duration_of_the_call_shortens_the_lease() -> None:
    _clock, limiter, limit = leased()
    await limit.hit("ada")
    limiter.latency = 2.0  # seconds per call
    await limit.hit("ada")
    assert limit.spend("ada") is None


async def test_concurrent_hits_make_one_call_at_a_time() -> None:
    _clock, limiter, limit = leased()
    passed = await asyncio.gather(*(passes(limit) for _ in range(1000)))
    assert passed.count(True) == 600
    assert len(limiter.asked) <= 26


async def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    clock = Clock()
    limit = LeasedLimit(Counting(clock), "search", Rate(600, 60), clock)
    tasks = [asyncio.create_task(passes(limit)) for _ in range(3)]
    await settle()
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [True, True]


async def test_a_rejection_comes_from_memory_with_its_reset() -> None:
    clock, limiter, limit = leased(3)
    for _ in range(3):
        await limit.hit("ada")
        clock.now += 1
    assert not await passes(limit)
    calls = len(limiter.asked)
    clock.now += 0.5
    for _ in range(100):
        with pytest.raises(RateLimited) as caught:
            limit.spend("ada")
        assert caught.value.quota == Quota("search", Rate(3, 60), 0, 56.5)
    assert len(limiter.asked) == calls
    clock.now += 0.5
    assert limit.spend("ada") is None, "others may have given some back"
    assert not await passes(limit)
    clock.now += 55.9
    assert not await passes(limit)
    clock.now += 0.1
    assert await passes(limit), "never refused when some are free again"


async def test_permits_returned_by_another_process_are_used_within_a_second() -> None:
    clock = Clock()
    limiter = Counting(clock)
    one, other = (LeasedLimit(limiter, "search", Rate(600, 60), clock) for _ in range(2))
    for _ in range(32):
        await one.hit("ada")  # has 29 left
    while await passes(other):
        pass
    clock.now += 3
    assert not await passes(other)
    assert await passes(one)
    clock.now += 1
    assert [await passes(other) for _ in range(29)] == [True] * 28 + [False]


async def test_keys_beyond_the_maximum_are_dropped() -> None:
    clock = Clock()
    limit = LeasedLimit(Counting(clock), "search", Rate(600, 60), clock, max_keys=100)
    for n in range(1000):
        await limit.hit(str(n))
    assert len(limit._leases) == 100
    assert len(limit._calls._tasks) == 0


def test_permits_of_one_slot_expire_with_the_last_of_them() -> None:
    window = PermitWindow(Rate(2, 60))
    for now in (60.1, 60.9):
        assert window.take(now, "", prefetch=0, seconds=3, returned=None)[0]
    assert len(window) == 1
    assert not window.take(120.8, "", prefetch=0, seconds=3, returned=None)[0]
    assert window.take(120.9, "", prefetch=0, seconds=3, returned=None)[:2] == (True, 1)


moves = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(st.just(0), st.integers(1, 60), st.integers(930, 1010)).map(lambda thousandths: thousandths / 1000),
        st.one_of(st.just(1), st.integers(1, 60)).map(lambda hundredths: hundredths / 100),
    ),
    min_size=1,
    max_size=20,
)


# One process uses its permits late, another takes the rest; then both return when the first may have expired.
@example(200, 60, [(0, 0.0, 0.08), (1, 0.0, 1.0), (0, 0.045, 0.07), (1, 0.96, 1.0)], 0.0)
@given(st.sampled_from((1, 3, 45, 100, 200)), st.sampled_from((1, 60)), moves, st.sampled_from((0.0, 0.001, 0.02)))
async def test_in_no_window_more_pass_in_all_processes_than_the_rate(
    amount: int, seconds: int, moves: list[tuple[int, float, float]], latency: float
) -> None:
    """Process, pause in windows and burst in limits of each step."""
    clock, rate = Clock(), Rate(amount, seconds)
    limiter = Counting(clock)
    limiter.latency = latency * seconds
    processes = [LeasedLimit(limiter, "search", rate, clock) for _ in range(3)]
    passed = deque[float]()
    for process, gap, burst in moves:
        clock.now += gap * seconds
        for _ in range(math.ceil(burst * amount)):
            calls = len(limiter.asked)
            quota = None
            with contextlib.suppress(RateLimited):
                quota = await processes[process].hit("ada")
            if quota is None:
                continue
            assert 0 <= quota.remaining < amount
            # A hit counted by a call happens when the limiter gets the call.
            now = clock.now if len(limiter.asked) == calls else limiter.answered_at
            while passed and passed[0] <= now - seconds:
                passed.popleft()
            passed.append(now)
            assert len(passed) <= amount
    window = limiter._leases["search", "ada", rate]
    assert len(window) <= 3 * limits.SLOTS


@given(
    st.sampled_from((Rate(600, 60), Rate(1200, 60), Rate(10, 60), Rate(40, 60), Rate(100, 1), Rate(30, 3600))),
    st.floats(0, 1),
)
async def test_a_steady_client_below_the_limit_is_never_rejected(rate: Rate, start: float) -> None:
    clock = Clock()
    clock.now += start * rate.seconds
    limit = LeasedLimit(Counting(clock), "search", rate, clock)
    for n in range(3 * rate.amount):
        assert await passes(limit), n
        clock.now += rate.seconds / rate.amount / 0.9


def test_a_refund_without_a_hit_changes_nothing() -> None:
    window = HitWindow(Rate(1, 60))
    window.refund()
    assert [window.hit(0.0)[0] for _ in range(2)] == [True, False]


def test_the_reset_of_a_window_is_the_time_until_its_oldest_hit_expires() -> None:
    window = HitWindow(Rate(2, 60))
    assert [window.hit(now) for now in (100.0, 110.0, 130.0)] == [(True, 1, 60.0), (True, 0, 50.0), (False, 0, 30.0)]
