"""Connections whose calls never wait, and keep the interpreter; likewise watching them.

Python's own calls give it up even where they return at once. A thread that computes then takes it, and has to be made
to pause before the call returns: half a millisecond beside a loop that reads at full rate, and a request has a dozen of
these calls. So a thread of the server would serve hundreds of requests a second where it has time for thousands.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from platform import machine

# What is copied at a time: some tens of microseconds.
_RECEIVED_MAX, _SENT_MAX = 64 * 1024, 256 * 1024
# sockaddr_storage: an address of any family. So many are remembered as texts.
_ADDRESS_BYTES, _ADDRESSES_KEPT = 128, 1024
_ADDRESSES: dict[int, slice] = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
_ACCEPTED = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
# `struct epoll_event`, which has no gap on one kind of processor: events and descriptor.
_EVENT = struct.Struct("=Ii4x" if machine() == "x86_64" else "=I4xi4x")
_EVENTS_MAX = 1024

# EPOLL_CTL_ADD and EPOLL_CTL_DEL of sys/epoll.h.
_ADD, _DELETE = 1, 2

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.accept4.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
_libc.epoll_wait.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.epoll_ctl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
_libc.recv.restype = _libc.send.restype = ctypes.c_ssize_t


class _Buffers(threading.local):
    """What the calls of one thread fill; to create these takes as long as the calls."""

    def __init__(self) -> None:
        self.received = ctypes.create_string_buffer(_RECEIVED_MAX)
        self.address = ctypes.create_string_buffer(_ADDRESS_BYTES)
        self.events = ctypes.create_string_buffer(_EVENTS_MAX * _EVENT.size)


_buffers = _Buffers()


class PromptSocket(socket.socket):
    """A connection that never blocks. See the methods of the same names, whose errors these raise."""

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what has arrived, up to `bufsize` bytes and 64 KiB."""
        buffer, size = _buffers.received, min(bufsize, _RECEIVED_MAX)
        return ctypes.string_at(buffer, _checked(_libc.recv(self.fileno(), buffer, size, flags | _FLAGS)))

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


def watch(epoll: select.epoll, watched: socket.socket, events: int) -> None:
    """Register a socket."""
    event = _EVENT.pack(events & 0xFFFFFFFF, watched.fileno())
    _checked(_libc.epoll_ctl(epoll.fileno(), _ADD, watched.fileno(), event))


def unwatch(epoll: select.epoll, watched: socket.socket) -> None:
    """Unregister a socket."""
    _checked(_libc.epoll_ctl(epoll.fileno(), _DELETE, watched.fileno(), None))


def ready(epoll: select.epoll, limit: int = _EVENTS_MAX) -> dict[int, int]:
    """Return the events that there are now, by descriptor; of at most `limit` descriptors, and 1024."""
    events = _buffers.events
    number = _checked(_libc.epoll_wait(epoll.fileno(), events, min(limit, _EVENTS_MAX), 0))
    found = _EVENT.iter_unpack(memoryview(events)[: number * _EVENT.size])
    return {descriptor: happened for happened, descriptor in found}


def accept_some(listener: socket.socket, limit: int) -> Iterator[tuple[PromptSocket, str]]:
    """Yield connections that have arrived, `limit` at most; raise OSError without descriptors or memory for one."""
    for _ in range(limit):
        try:
            yield accept(listener)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            # The client has disconnected.


def accept(listener: socket.socket) -> tuple[PromptSocket, str]:
    """Return a connection and the address of its client; the listener must be non-blocking. Raises OSError."""
    address = _buffers.address
    length = ctypes.byref(ctypes.c_uint32(_ADDRESS_BYTES))
    descriptor = _checked(_libc.accept4(listener.fileno(), address, length, _ACCEPTED))
    raw: bytes = address.raw
    family = int.from_bytes(raw[:2], sys.byteorder)
    return PromptSocket(family, socket.SOCK_STREAM, 0, descriptor), _host(family, raw[_ADDRESSES[family]])


@lru_cache(_ADDRESSES_KEPT)
def _host(family: int, address: bytes) -> str:
    return socket.inet_ntop(family, address)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
