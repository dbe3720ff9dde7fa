"""Limits on open connections, in total and per network; a new connection replaces the one that is idle longest."""

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
"""A process raises its limit of open files up to this number, within its hard limit."""
RESERVED_DESCRIPTORS: Final = 256
"""File descriptors reserved for other uses: database, Redis, movie source, files. At most half of all descriptors."""
DEFAULT_CAPACITY: Final = 1024
"""Connections on a system that does not report a limit of open files."""
MAX_EVICTION_TRIES: Final = 64
"""Connections that are tried when one must be closed, longest idle first. Busy ones move to the end of the list."""


class Connection(Protocol):
    """An open connection."""

    def evict(self) -> bool:
        """Close the connection unless it is busy with a completely received request; returns whether it was closed."""
        ...


class Connections:
    """The open connections of a process, longest idle first.

    When a network or the process has reached its limit, a new connection closes the longest idle one, so that idle
    connections and incomplete requests can't lock out others. If all are busy, the new connection is closed.
    """

    def __init__(self, total: int, per_network: int, proxies: Sequence[str] = ()) -> None:
        """`per_network` applies to one IPv4 address or IPv6 /64, and is at most three quarters of `total`. Connections
        of `proxies` (addresses or networks) carry many clients, so only `total` applies to them."""
        self.closed = 0
        """Number of connections closed by a limit since startup."""
        self._total = total
        self._per_network = min(per_network, max(1, total * 3 // 4))
        self._proxies = tuple(ipaddress.ip_network(proxy) for proxy in proxies)
        self._all: OrderedDict[Connection, str | None] = OrderedDict()
        self._by_network: dict[str, OrderedDict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection, address: str) -> bool:
        """Add a new connection; returns False if it must be closed."""
        network = None if self._is_proxy(address) else network_of(address)
        peers = () if network is None else self._by_network.get(network, ())
        if (len(peers) >= self._per_network and not self._evict_one(peers)) or (
            len(self._all) >= self._total and not self._evict_one(self._all)
        ):
            self.closed += 1
            return False
        self._all[connection] = network
        if network is not None:
            self._by_network.setdefault(network, OrderedDict())[connection] = None
        return True

    def mark_active(self, connection: Connection) -> None:
        """Move the connection to the end of the list, because it received data."""
        if connection in self._all:
            self._all.move_to_end(connection)
            network = self._all[connection]
            if network is not None:
                self._by_network[network].move_to_end(connection)

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection."""
        network = self._all.pop(connection, None)
        if network is not None:
            peers = self._by_network[network]
            peers.pop(connection, None)
            if not peers:
                del self._by_network[network]

    def _evict_one(self, candidates: Iterable[Connection]) -> bool:
        for connection in list(itertools.islice(candidates, MAX_EVICTION_TRIES)):
            if connection.evict():
                self.remove(connection)
                self.closed += 1
                return True
            self.mark_active(connection)
        return False

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:  # from a dual-stack socket
            peer = peer.ipv4_mapped
        return any(peer in proxy for proxy in self._proxies)


def capacity() -> int:
    """The number of connections that this process can hold; raises its limit of open files as far as allowed."""
    if resource is None:
        return DEFAULT_CAPACITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < target:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            soft = target
    descriptors = MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MAX_DESCRIPTORS)
    return descriptors - min(RESERVED_DESCRIPTORS, descriptors // 2)
