from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.errors import RateLimited
from movie_core.limits import WIDER, Limits, Quota, Rate, free_at, network_of

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "amount", "seconds"),
    [("1/second", 1, 1), ("10/minute", 10, 60), ("3/hour", 3, 3600), ("9999999/day", 9_999_999, 86400)],
)
def test_a_rate_is_read_and_written_alike(text: str, amount: int, seconds: int) -> None:
    assert Rate.parse(text) == Rate(amount, seconds)
    assert str(Rate.parse(text)) == text


def test_off_is_no_rate() -> None:
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
def test_anything_else_is_no_rate(text: str) -> None:
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


# --- moving windows


times = st.lists(st.integers(0, 7200).map(lambda seconds: NOW - timedelta(seconds=seconds)), max_size=30)
rates = st.builds(Rate, st.integers(1, 5), st.sampled_from((1, 60, 3600)))


def counted(at: datetime, rate: Rate, earlier: list[datetime]) -> int:
    return sum(at - timedelta(seconds=rate.seconds) < one <= at for one in earlier)


@given(rates, times)
def test_one_is_free_as_soon_as_the_window_has_room_and_no_sooner(rate: Rate, earlier: list[datetime]) -> None:
    free = free_at(NOW, rate, earlier)
    assert free >= NOW
    assert counted(free, rate, earlier) < rate.amount
    assert free == NOW or counted(free - timedelta(microseconds=1), rate, earlier) >= rate.amount


@given(rates, st.lists(st.integers(0, 100), max_size=30))
def test_who_waits_as_told_never_exceeds_the_rate_in_any_window(rate: Rate, gaps: list[int]) -> None:
    now, done = NOW, list[datetime]()
    for gap in gaps:
        now = free_at(now + timedelta(seconds=gap), rate, done)
        done.append(now)
        assert counted(now, rate, done) <= rate.amount


@given(times)
def test_without_a_rate_one_is_free_at_once(earlier: list[datetime]) -> None:
    assert free_at(NOW, None, earlier) == NOW


# --- which limits a login and a registration pass


class Recording:
    """A limiter that refuses the keys it is told to."""

    def __init__(self, refused: str | None = None) -> None:
        self.refused = refused
        self.hits: list[tuple[str, str, Rate]] = []

    async def hit(self, name: str, key: str, rate: Rate) -> tuple[bool, Quota]:
        self.hits.append((name, key, rate))
        is_allowed = self.refused is None or not key.startswith(self.refused)
        return is_allowed, Quota(name, rate, int(is_allowed), 1.0)


LOGIN, REGISTER = Rate(10, 60), Rate(20, 60)


async def test_a_login_counts_for_both_together_and_for_each_alone() -> None:
    limiter = Recording()
    quota = await Limits(limiter, login=LOGIN, register=REGISTER).login("ada@example.com", "192.0.2.7")
    assert quota == Quota("login", LOGIN, 1, 1.0)
    (_, both, narrow), (_, account, wide), (_, network, also_wide) = limiter.hits
    assert both.endswith(":192.0.2.7")
    assert account == f"account:{both.partition(':')[0]}"
    assert network == "network:192.0.2.7"
    assert narrow == LOGIN
    assert wide == also_wide == Rate(LOGIN.amount * WIDER, LOGIN.seconds)


async def test_keys_hold_no_address() -> None:
    limiter = Recording()
    limits = Limits(limiter, login=LOGIN, register=REGISTER)
    for key in ("ada@example.com", "\ud800", ""):
        await limits.login(key, "192.0.2.7")
    assert not any("ada" in key for _, key, _ in limiter.hits)
    assert len({key for _, key, _ in limiter.hits}) == 3 + 3 + 1


async def test_what_both_together_refuse_counts_for_neither_alone() -> None:
    limits = Limits(Recording(), login=LOGIN, register=REGISTER)
    await limits.login("ada@example.com", "192.0.2.7")
    limiter = Recording("")
    with pytest.raises(RateLimited) as caught:
        await Limits(limiter, login=LOGIN, register=REGISTER).login("ada@example.com", "192.0.2.7")
    assert caught.value.quota.rate == LOGIN
    assert len(limiter.hits) == 1


@pytest.mark.parametrize("refused", ["account:", "network:"])
async def test_an_account_and_a_network_are_limited_alone_too(refused: str) -> None:
    with pytest.raises(RateLimited) as caught:
        await Limits(Recording(refused), login=LOGIN, register=REGISTER).login("ada@example.com", "192.0.2.7")
    assert caught.value.quota.rate == Rate(LOGIN.amount * WIDER, LOGIN.seconds)


async def test_a_registration_counts_for_its_network() -> None:
    limiter = Recording()
    assert await Limits(limiter, login=LOGIN, register=REGISTER).register("192.0.2.7") == Quota(
        "register", REGISTER, 1, 1.0
    )
    assert limiter.hits == [("register", "192.0.2.7", REGISTER)]
    with pytest.raises(RateLimited):
        await Limits(Recording(""), login=LOGIN, register=REGISTER).register("192.0.2.7")


async def test_a_limit_that_is_off_counts_nothing() -> None:
    limiter = Recording("")
    limits = Limits(limiter, login=None, register=None)
    assert await limits.login("ada@example.com", "192.0.2.7") is None
    assert await limits.register("192.0.2.7") is None
    assert limiter.hits == []
