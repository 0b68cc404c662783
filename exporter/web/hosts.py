"""Who asks: under which names, and from where. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Literal, NamedTuple

# Set by proxies for those that they speak for.
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP")


class Access(NamedTuple):
    """What the configuration says of it: the keys `web.allowed_hosts` and `web.config_page`.

    A web page of another site can only ask under a name of that site, made to lead here (DNS rebinding). So addresses
    and `localhost` are always allowed, and probes and scrapes by address need no entry.
    """

    allowed_hosts: Sequence[str] | None = None
    config_page: Literal["loopback", "everyone", "off"] = "loopback"

    def allows_host(self, authority: str) -> bool:
        """Return whether a request under this Host may be answered; one without comes from no browser."""
        if self.allowed_hosts is None:
            return True
        host = host_name(authority)
        return not host or is_own(host) or host in self.allowed_hosts

    def shows_config(self, peer: str | None, authority: str, headers: Mapping[str, str]) -> bool:
        """Return whether a client may see the configuration: by default one on this machine that asks for itself."""
        if self.config_page != "loopback":
            return self.config_page == "everyone"
        is_direct = not any(name in headers for name in FORWARDED)
        host = host_name(authority)
        return is_direct and is_loopback(peer) and (not host or is_own(host) or host in (self.allowed_hosts or ()))


def host_name(authority: str) -> str:
    """Return the host of `host`, `host:port` or `[address]:port`, in lower case; a dot at its end does not count."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0].lower().removesuffix(".")


def is_own(host: str) -> bool:
    """Return whether a host is an address, or what every machine calls itself."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return host == "localhost"


def origin(peer: str) -> str:
    """Return whose an address is taken to be: one host has all addresses of IPv6 behind the same first half."""
    if ":" not in peer:
        return peer
    address = IPv6Address(peer.partition("%")[0])
    return peer if address.ipv4_mapped else address.packed[:8].hex()


class Origins:
    """How many there are of each origin."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def of(self, origin: str) -> int:
        """Return how many there are of one."""
        return self._numbers.get(origin, 0)

    def most(self) -> str:
        """Return the one of which there are most."""
        return max(self._numbers, key=self.of)

    def add(self, origin: str) -> None:
        """Add one."""
        self._numbers[origin] = self.of(origin) + 1

    def remove(self, origin: str) -> None:
        """Take one away."""
        self._numbers[origin] -= 1
        if not self._numbers[origin]:
            del self._numbers[origin]


def is_loopback(peer: str | None) -> bool:
    """Return whether a connection comes from this machine, by the address of its other end."""
    try:
        address = ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
