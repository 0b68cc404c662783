"""What is asked of the kernel: a socket that listens, and what becomes of bytes that nobody reads."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
from asyncio.trsock import TransportSocket

from exporter.config.addresses import authority, is_every_interface

# Of connections that wait to be accepted, while the acceptor does something else.
BACKLOG = 4096
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
AT_ONCE = struct.pack("ii", 1, 0)


class ListenError(OSError):
    """The address cannot be listened on: it is in use, not ours, or not allowed."""


def unacknowledged(connection: TransportSocket) -> int:
    """Return how many bytes the kernel keeps for the other end."""
    (size,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(size)


def give_up(connection: TransportSocket) -> None:
    """Let the kernel forget what the other end has not read once the connection is closed; it would for minutes not."""
    if unacknowledged(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ListenError names the address.

    An empty host and the unspecified address of IPv6 are all interfaces, by IPv6 and IPv4; by IPv4 where the machine
    has no IPv6. Of a name with several addresses, it is one of IPv4.
    """
    try:
        return _everywhere(port) if is_every_interface(host) else _at(host, port)
    except OSError as error:
        raise ListenError(f"cannot listen on {authority(host, port)}: {error.strerror or error}") from error


def _everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in NO_IPV6:
                raise
    return socket.create_server(("", port), backlog=BACKLOG)


def _at(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    # Of an address with a zone, the zone is a part.
    return socket.create_server(address, family=family, backlog=BACKLOG)
