"""The client's address behind trusted proxies."""

import ipaddress
import re
from collections.abc import Sequence

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOP = re.compile(r"\[(?P<bracketed>[^\]]*)\](?::[0-9]{1,5})?|(?P<v4>[0-9.]+):[0-9]{1,5}|(?P<bare>[^\[\]]*)")


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is trusted."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Takes addresses or networks."""
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def client_of(self, peer: str, forwarded: bytes) -> str:
        """The address of the client of a connection from `peer` with this value of `X-Forwarded-For`.

        Each proxy appends the address of its own client, so entries are read from the last to the first, while the
        address found so far is a trusted proxy. An entry without a valid address ends the search, and the last valid
        address counts as the client; empty entries are skipped.
        """
        client = peer
        if not self._networks:
            return client
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            text = hop.strip()
            if not text:
                continue
            address = parse_hop(text)
            if address is None or not self._is_proxy(client):
                break
            client = str(address)
        return client

    def _is_proxy(self, client: str) -> bool:
        address = _address(client)
        return address is not None and any(address in network for network in self._networks)


def parse_hop(text: str) -> IPAddress | None:
    """The address of one entry of `X-Forwarded-For`, such as `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`,
    `[2001:db8::1]` or `[2001:db8::1]:4711`; None if it is malformed."""
    match = _HOP.fullmatch(text)
    return None if match is None else _address(match["bracketed"] or match["v4"] or match["bare"] or "")


def _address(text: str) -> IPAddress | None:
    """None if the text is not an IP address. IPv4-mapped IPv6 addresses become IPv4, so that both forms are equal."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
