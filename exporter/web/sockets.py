"""Operations on sockets: listening, and the bytes in the kernel's send buffer."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
from asyncio.trsock import TransportSocket

from exporter.config.addresses import authority, is_every_interface

# Connections that may wait to be accepted while the acceptor is busy.
BACKLOG = 4096
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
NO_LINGER = struct.pack("ii", 1, 0)


class ListenError(OSError):
    """The address cannot be listened on: it is in use, not an address of this machine, or not permitted."""


def unacknowledged(connection: TransportSocket) -> int:
    """Return how many sent bytes the client has not acknowledged."""
    (size,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    return int(size)


def discard_unread(connection: TransportSocket) -> None:
    """Make the kernel discard unread bytes when the connection is closed, instead of keeping them for minutes."""
    if unacknowledged(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise ListenError, which names the address.

    An empty host and the unspecified address of IPv6 mean all interfaces, by IPv6 and IPv4, or by IPv4 on a machine
    without IPv6. If a name has several addresses, an IPv4 address is preferred.
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
    # The address includes its zone, if any.
    return socket.create_server(address, family=family, backlog=BACKLOG)
