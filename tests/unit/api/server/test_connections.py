"""Which connection goes when there are too many, without sockets."""

from dataclasses import dataclass

import pytest

from movie_api.server.connections import LOOKED_AT, Connections, capacity


@dataclass(eq=False)
class SearchRequest:
    """A connection that can go, or is answering a request."""

    is_busy: bool = False
    has_gone: bool = False

    def give_way(self) -> bool:
        self.has_gone = not self.is_busy
        return self.has_gone


def filled(
    connections: Connections, count: int, address: str = "192.0.2.1", *, is_busy: bool = False
) -> list[SearchRequest]:
    made = [SearchRequest(is_busy) for _ in range(count)]
    assert all(connections.add(one, address) for one in made)
    return made


def test_beyond_a_networks_share_the_longest_silent_goes() -> None:
    connections = Connections(100, 3)
    first, second, third = filled(connections, 3)
    connections.heard(first)
    (newcomer,) = filled(connections, 1)
    assert [one.has_gone for one in (first, second, third, newcomer)] == [False, True, False, False]
    assert (len(connections), connections.ended) == (3, 1)


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
    (first,) = filled(connections, 1, one)
    filled(connections, 1, other)
    filled(connections, 1, other)
    assert first.has_gone is are_one


def test_a_request_being_answered_is_not_cut_off_and_the_newcomer_goes_instead() -> None:
    connections = Connections(100, 2)
    busy, idle = *filled(connections, 1, is_busy=True), *filled(connections, 1)
    filled(connections, 1, is_busy=True)
    assert (busy.has_gone, idle.has_gone) == (False, True)
    assert not connections.add(SearchRequest(), "192.0.2.1")
    assert connections.add(SearchRequest(), "192.0.2.2")


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "::1"])
def test_the_total_holds_for_proxies_too_and_a_networks_share_does_not(address: str) -> None:
    connections = Connections(20, 5, ["10.0.0.0/8", "::1/128"])
    first = filled(connections, 20, address)[0]
    assert not first.has_gone
    filled(connections, 1)
    assert first.has_gone
    assert len(connections) == 20


def test_one_network_never_gets_all_there_is() -> None:
    connections = Connections(8, 512)
    filled(connections, 100, is_busy=False)
    assert len(connections) == 6


def test_what_is_closed_makes_room() -> None:
    connections = Connections(4, 512)
    made = filled(connections, 3, is_busy=True)
    for one in made:
        connections.remove(one)
        connections.remove(one)
        connections.heard(one)
    assert len(connections) == 0
    filled(connections, 3, is_busy=True)


def test_only_some_are_tried_at_a_time_and_busy_ones_last_the_next_time() -> None:
    connections = Connections(1000, 500)
    filled(connections, LOOKED_AT, is_busy=True)
    idle = filled(connections, 500 - LOOKED_AT)
    assert not connections.add(SearchRequest(), "192.0.2.1")
    assert not any(one.has_gone for one in idle)
    assert connections.add(SearchRequest(), "192.0.2.1")
    assert idle[0].has_gone


def test_a_process_keeps_descriptors_for_everything_else() -> None:
    import resource

    total = capacity()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < total <= soft - 64
