import pytest

from movie_api.middleware.proxy import TrustedProxies, parse_hop

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:ffff::/48"])


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
    ],
)
def test_an_entry_may_have_a_port(hop: str, address: str) -> None:
    assert str(parse_hop(hop)) == address


@pytest.mark.parametrize(
    "hop",
    [
        "",
        "unknown",
        "_hidden",
        "203.0.113",
        "203.0.113.7:",
        "203.0.113.7:x",
        "203.0.113.7:123456",
        "203.0.113.7:80:80",
        "[203.0.113.7",
        "203.0.113.7]",
        "[]",
        "[]:80",
        "[2001:db8::1]80",
        "[2001:db8::1]:",
        "[[2001:db8::1]]",
        ":80",
        "\u0661.2.3.4",
        "example.com:80",
    ],
)
def test_a_malformed_entry_has_no_address(hop: str) -> None:
    assert parse_hop(hop) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "203.0.113.7:4711, 10.0.0.2:443", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, [2001:db8:ffff::2]:443, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7:4711, 10.0.0.2", "203.0.113.7"),  # the first entry is the client's own
        ("10.0.0.1", "garbage, 203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, , 10.0.0.2,", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, garbage", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, garbage, 10.0.0.2:1", "10.0.0.2"),
        ("::ffff:10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("198.51.100.9", "203.0.113.7:4711", "198.51.100.9"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_client_is_the_last_address_before_the_trusted_proxies(peer: str, forwarded: str, client: str) -> None:
    assert PROXIES.client_of(peer, forwarded.encode()) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert TrustedProxies([]).client_of("10.0.0.1", b"203.0.113.7") == "10.0.0.1"
