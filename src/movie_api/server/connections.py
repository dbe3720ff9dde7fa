"""Limits on open connections, in total and per network; a new one replaces the one that has been idle longest."""

import contextlib
import ipaddress
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from movie_core.operations.rate_limits import network_of

try:
    import resource
except ImportError:  # pragma: no cover  (Windows has no such limits)
    resource = None  # type: ignore[assignment]

MAX_DESCRIPTORS: Final = 65_536
"""How far a process raises its own limit of open files, where its hard limit allows."""
RESERVE: Final = 256
"""Descriptors kept for everything else: database, Redis, the third party, files; half of all, where there are few."""
WITHOUT_LIMIT: Final = 1024
"""Connections where the system tells no limit."""
LOOKED_AT: Final = 64
"""How many of the longest idle connections are tried when room is needed; those that are busy come last next time."""


class Connection(Protocol):
    """What is asked of a connection."""

    def give_way(self) -> bool:
        """End it, unless a request that was received in full is being answered."""
        ...


class Connections:
    """The open connections of a process, the one that has been idle longest first.

    When a network, or the process, has reached its limit, a new connection closes the one that has been idle longest,
    so that idle connections and half-sent requests can't keep others out. If all are busy, the new one is closed.
    """

    def __init__(self, total: int, per_network: int, proxies: Sequence[str] = ()) -> None:
        """`per_network` is for one IPv4 address or IPv6 /64, and at most three quarters of `total`. The connections of
        `proxies` (addresses or networks) speak for many clients: only `total` counts for them."""
        self.ended = 0
        """How many were closed to make room or turned away, so far."""
        self._total = total
        self._per_network = min(per_network, max(1, total * 3 // 4))
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in proxies)
        self._all: OrderedDict[Connection, str | None] = OrderedDict()
        self._of: dict[str, OrderedDict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection, address: str) -> bool:
        """Whether it may stay."""
        network = None if self._is_proxy(address) else network_of(address)
        peers = () if network is None else self._of.get(network, ())
        if (len(peers) >= self._per_network and not self._make_room(peers)) or (
            len(self._all) >= self._total and not self._make_room(self._all)
        ):
            self.ended += 1
            return False
        self._all[connection] = network
        if network is not None:
            self._of.setdefault(network, OrderedDict())[connection] = None
        return True

    def heard(self, connection: Connection) -> None:
        """Data arrived: the connection moves to the end of the list."""
        if connection in self._all:
            self._all.move_to_end(connection)
            network = self._all[connection]
            if network is not None:
                self._of[network].move_to_end(connection)

    def remove(self, connection: Connection) -> None:
        """It is closed."""
        network = self._all.pop(connection, None)
        if network is not None:
            peers = self._of[network]
            peers.pop(connection, None)
            if not peers:
                del self._of[network]

    def _make_room(self, among: Iterable[Connection]) -> bool:
        for connection in list(itertools.islice(among, LOOKED_AT)):
            if connection.give_way():
                self.remove(connection)
                self.ended += 1
                return True
            self.heard(connection)
        return False

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:  # of a socket for both versions
            peer = peer.ipv4_mapped
        return any(peer in proxy for proxy in self._proxies)


def capacity() -> int:
    """How many connections this process can hold; raises its limit of open files as far as it may."""
    if resource is None:
        return WITHOUT_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    descriptors = MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MAX_DESCRIPTORS)
    return descriptors - min(RESERVE, descriptors // 2)
