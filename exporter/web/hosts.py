"""Names and addresses of a request: which host names are allowed, and which network a client is in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Literal, NamedTuple

_AUTHORITY = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::[0-9]*)?")
# Headers that proxies set.
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP")


class Access(NamedTuple):
    """Access rules: the keys `web.allowed_hosts`, `web.config_page` and `web.enable_lifecycle`.

    A web page of another site can send requests only under a name of that site that resolves to this server (DNS
    rebinding). Addresses and `localhost` are therefore always allowed: probes and scrapes by address need no entry.
    """

    allowed_hosts: Sequence[str] | None = None
    config_page: Literal["loopback", "everyone", "off"] = "loopback"
    enable_lifecycle: bool = False

    def allows_host(self, authority: str) -> bool:
        """Return whether a request with this Host is allowed; one without Host does not come from a browser."""
        if self.allowed_hosts is None:
            return True
        host = host_name(authority)
        return not host or is_own(host) or host in self.allowed_hosts

    def shows_config(self, peer: str | None, authority: str, headers: Mapping[str, str]) -> bool:
        """Return whether a client may see the configuration: by default one on this machine that is not a proxy."""
        if self.config_page != "loopback":
            return self.config_page == "everyone"
        is_direct = not any(name in headers for name in FORWARDED)
        host = host_name(authority)
        return is_direct and is_loopback(peer) and (not host or self._is_known(host))

    def is_rebound(self, authority: str, headers: Mapping[str, str]) -> bool:
        """Return whether a browser asks under a name that is not known to be that of this server.

        It may have been made to lead here. With what changes something browsers send `Sec-Fetch-Site` or `Origin`,
        other clients neither.
        """
        is_browser = "Sec-Fetch-Site" in headers or "Origin" in headers
        return is_browser and not self._is_known(host_name(authority))

    def _is_known(self, host: str) -> bool:
        return is_own(host) or host in (self.allowed_hosts or ())


def host_name(authority: str) -> str:
    """Return the host of `host`, `host:port` or `[address]:port`, in lower case and without a final dot.

    Anything else is returned as a whole: it is neither an address nor an allowed name.
    """
    found = _AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]).lower().removesuffix(".") if found else authority


def is_own(host: str) -> bool:
    """Return whether a host is an address or `localhost`."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return host == "localhost"


def network_of(address: str) -> str:
    """Return the network of a client: its IPv4 address, or the first half of its IPv6 address (/64)."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address.partition("%")[0])
    return address if parsed.ipv4_mapped else parsed.packed[:8].hex()


def is_loopback(peer: str | None) -> bool:
    """Return whether a client is on this machine, by its address."""
    try:
        address = ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
