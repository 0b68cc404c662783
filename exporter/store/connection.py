"""Connections to Redis with limits on the time and the bytes of an operation.

The driver's time-outs hold for one read each, so a byte now and then lasts for ever; and it reads what is announced.
"""

from __future__ import annotations

import time
from typing import Any

import redis

OPERATION_SECONDS = 5.0
# Since something was last sent: a page of names has some 100 KB. An empty list takes 4 bytes here and 64 in memory.
REPLY_BYTES = 8_000_000
# Reading all symbols takes its time for less.
OPERATION_BYTES = 128_000_000


class Allowance:
    """What is left to an operation. It belongs to a client: the operations of one client follow each other."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin an operation."""
        self._deadline = time.monotonic() + OPERATION_SECONDS
        self._bytes = OPERATION_BYTES
        self.asked()

    def asked(self) -> None:
        """Begin a reply."""
        self._reply_bytes = REPLY_BYTES

    def check(self) -> None:
        """Raise `TimeoutError` when the time is over."""
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"an operation took longer than {OPERATION_SECONDS:g} s")

    def count(self, received: int) -> None:
        """Count bytes of a reply; raise `InvalidResponse` when there are too many."""
        self._bytes -= received
        self._reply_bytes -= received
        if min(self._bytes, self._reply_bytes) < 0:
            raise redis.exceptions.InvalidResponse("the answer is too large")


class _Socket:
    """A socket whose user keeps to an allowance."""

    def __init__(self, sock: Any, allowance: Allowance) -> None:
        self._sock = sock
        self._allowance = allowance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """See socket."""
        self._allowance.check()
        data: bytes = self._sock.recv(size)
        self._allowance.count(len(data))
        return data

    def recv_into(self, *args: Any) -> int:
        """See socket; hiredis, where it is installed, calls this."""
        self._allowance.check()
        size: int = self._sock.recv_into(*args)
        self._allowance.count(size)
        return size

    def sendall(self, data: bytes) -> None:
        """See socket."""
        self._allowance.check()
        self._allowance.asked()
        self._sock.sendall(data)


def limited(client: redis.Redis) -> Allowance:
    """Have all connections of a client that was not used yet keep to one allowance; return it."""
    pool: Any = client.connection_pool
    made, allowance = pool.connection_class, Allowance()

    def connect(connection: Any) -> _Socket:
        return _Socket(made._connect(connection), allowance)

    pool.connection_class = type(made.__name__, (made,), {"_connect": connect})
    return allowance
