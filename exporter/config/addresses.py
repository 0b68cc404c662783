"""Addresses to listen on, such as `:8000`, `127.0.0.1:8000` and `[::1]:8000`: read, written, and reached."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

_IPV4_LOOPBACK, _IPV6_LOOPBACK = "127.0.0.1", "::1"
_IPV4_UNSPECIFIED = "0.0.0.0"  # noqa: S104 - compared, not listened on


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of an address, the host empty for `:8000` (all interfaces); raise ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("a port from 0 to 65535 must follow the last colon")
    if host.startswith("[") and host.endswith("]"):
        return _host(host[1:-1]), int(port)
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets")
    return _host(host), int(port)


def _host(text: str) -> str:
    if not re.fullmatch(r"[\w.:%-]*", text, re.ASCII):
        raise ValueError("the host contains a character that no host has")
    return text


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_every_interface(host: str) -> bool:
    """Return whether a host means all interfaces by IPv6 and IPv4: empty, or `::` in any spelling."""
    try:
        return not host or IPv6Address(host).is_unspecified
    except ValueError:
        return False


def local_hosts(host: str) -> tuple[str, ...]:
    """Return the hosts at which this machine reaches a socket that listens on `host`, in the order to try them.

    Loopback reaches a socket on all interfaces; which IP version it has depends on the system.
    """
    if not host:
        return _IPV4_LOOPBACK, _IPV6_LOOPBACK
    if is_every_interface(host):
        return _IPV6_LOOPBACK, _IPV4_LOOPBACK
    return (_IPV4_LOOPBACK,) if host == _IPV4_UNSPECIFIED else (host,)
