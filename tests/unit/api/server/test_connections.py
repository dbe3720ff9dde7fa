"""Eviction of connections at the limits, without sockets."""

from dataclasses import dataclass

import pytest

from movie_api.server.connections import MAX_EVICTION_TRIES, Connections, capacity


@dataclass(eq=False)
class FakeConnection:
    """A connection that is idle, or busy with a request."""

    is_busy: bool = False
    is_evicted: bool = False

    def evict(self) -> bool:
        self.is_evicted = not self.is_busy
        return self.is_evicted


def add_connections(
    connections: Connections, count: int, address: str = "192.0.2.1", *, is_busy: bool = False
) -> list[FakeConnection]:
    added = [FakeConnection(is_busy) for _ in range(count)]
    assert all(connections.add(one, address) for one in added)
    return added


def test_the_longest_idle_connection_of_a_network_is_evicted() -> None:
    connections = Connections(100, 3)
    first, second, third = add_connections(connections, 3)
    connections.mark_active(first)
    (new,) = add_connections(connections, 1)
    assert [one.is_evicted for one in (first, second, third, new)] == [False, True, False, False]
    assert (len(connections), connections.closed) == (3, 1)


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "", True),
    ],
)
def test_a_network_is_an_ipv4_address_or_an_ipv6_64(one: str, other: str, *, are_one: bool) -> None:
    connections = Connections(100, 2)
    (first,) = add_connections(connections, 1, one)
    add_connections(connections, 1, other)
    add_connections(connections, 1, other)
    assert first.is_evicted is are_one


def test_a_busy_connection_is_not_evicted() -> None:
    connections = Connections(100, 2)
    busy, idle = *add_connections(connections, 1, is_busy=True), *add_connections(connections, 1)
    add_connections(connections, 1, is_busy=True)
    assert (busy.is_evicted, idle.is_evicted) == (False, True)
    assert not connections.add(FakeConnection(), "192.0.2.1")
    assert connections.add(FakeConnection(), "192.0.2.2")


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "::1"])
def test_only_the_total_limit_applies_to_proxies(address: str) -> None:
    connections = Connections(20, 5, ["10.0.0.0/8", "::1/128"])
    first = add_connections(connections, 20, address)[0]
    assert not first.is_evicted
    add_connections(connections, 1)
    assert first.is_evicted
    assert len(connections) == 20


def test_one_network_gets_at_most_three_quarters_of_all_connections() -> None:
    connections = Connections(8, 512)
    add_connections(connections, 100, is_busy=False)
    assert len(connections) == 6


def test_a_closed_connection_frees_its_place() -> None:
    connections = Connections(4, 512)
    added = add_connections(connections, 3, is_busy=True)
    for one in added:
        connections.remove(one)
        connections.remove(one)
        connections.mark_active(one)
    assert len(connections) == 0
    add_connections(connections, 3, is_busy=True)


def test_eviction_tries_are_limited_and_busy_connections_are_tried_last() -> None:
    connections = Connections(1000, 500)
    add_connections(connections, MAX_EVICTION_TRIES, is_busy=True)
    idle = add_connections(connections, 500 - MAX_EVICTION_TRIES)
    assert not connections.add(FakeConnection(), "192.0.2.1")
    assert not any(one.is_evicted for one in idle)
    assert connections.add(FakeConnection(), "192.0.2.1")
    assert idle[0].is_evicted


def test_file_descriptors_are_reserved_for_other_uses() -> None:
    import resource

    total = capacity()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < total <= soft - 64
