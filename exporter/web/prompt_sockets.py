"""Connections whose calls never wait, and keep the interpreter; likewise watching them.

Python's own calls give it up even where they return at once. A thread that computes then takes it, and has to be made
to pause before the call returns: half a millisecond beside a loop that reads at full rate, and a request has a dozen of
these calls. So a thread of the server would serve hundreds of requests a second where it has time for thousands.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import sys
from platform import machine

# What is copied at a time: some tens of microseconds.
_RECEIVED_MAX, _SENT_MAX = 64 * 1024, 256 * 1024
# sockaddr_storage: an address of any family.
_ADDRESS_BYTES = 128
_ADDRESSES = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

# EPOLL_CTL_ADD and EPOLL_CTL_DEL of sys/epoll.h.
_ADD, _DELETE = 1, 2

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.accept4.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.epoll_ctl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_libc.recv.restype = _libc.send.restype = ctypes.c_ssize_t


class PromptSocket(socket.socket):
    """A connection that never blocks. See the methods of the same names, whose errors these raise."""

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what has arrived, up to `bufsize` bytes and 64 KiB."""
        buffer = ctypes.create_string_buffer(min(bufsize, _RECEIVED_MAX))
        return ctypes.string_at(buffer, _checked(_libc.recv(self.fileno(), buffer, len(buffer), flags | _FLAGS)))

    def send(self, data: bytes | bytearray | memoryview, flags: int = 0, /) -> int:  # type: ignore[override]
        """Send what the kernel takes at once, up to 256 KiB; return the number of bytes."""
        piece = bytes(memoryview(data)[:_SENT_MAX])
        return _checked(_libc.send(self.fileno(), piece, len(piece), flags | _FLAGS))

    def shutdown(self, how: int, /) -> None:
        """Shut down one or both directions."""
        _checked(_libc.shutdown(self.fileno(), how))

    def setblocking(self, flag: bool, /) -> None:
        """Do nothing; it never blocks."""

    def close(self) -> None:
        """Close the connection."""
        if (descriptor := self.detach()) >= 0:
            _libc.close(descriptor)


class _Data(ctypes.Union):
    _fields_ = (("descriptor", ctypes.c_int), ("whole", ctypes.c_uint64))


class _Event(ctypes.Structure):
    """See `struct epoll_event`, which has no gap on one kind of processor."""

    _pack_ = 1 if machine() == "x86_64" else 8
    _fields_ = (("events", ctypes.c_uint32), ("data", _Data))


def watch(epoll: select.epoll, watched: socket.socket, events: int) -> None:
    """Register a socket."""
    event = _Event(events & 0xFFFFFFFF, _Data(descriptor=watched.fileno()))
    _checked(_libc.epoll_ctl(epoll.fileno(), _ADD, watched.fileno(), ctypes.byref(event)))


def unwatch(epoll: select.epoll, watched: socket.socket) -> None:
    """Unregister a socket."""
    _checked(_libc.epoll_ctl(epoll.fileno(), _DELETE, watched.fileno(), None))


def accept(listener: socket.socket) -> tuple[PromptSocket, str]:
    """Return a connection and the address of its client; the listener must be non-blocking. Raises OSError."""
    address = ctypes.create_string_buffer(_ADDRESS_BYTES)
    length = ctypes.byref(ctypes.c_uint32(_ADDRESS_BYTES))
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    descriptor = _checked(_libc.accept4(listener.fileno(), address, length, flags))
    return PromptSocket(listener.family, listener.type, listener.proto, descriptor), _host(address.raw)


def _host(address: bytes) -> str:
    family = int.from_bytes(address[:2], sys.byteorder)
    return socket.inet_ntop(family, address[_ADDRESSES[socket.AddressFamily(family)]])


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
