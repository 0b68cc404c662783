"""Connections to Redis with limits on the time and the bytes of an operation.

The time-outs of the driver apply to each read, so a slow reply never ends, and it reads any announced length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

OPERATION_SECONDS = 5.0
# Limit of a reply: a page of names has some 100 KB. An empty list takes 4 bytes here and 64 in memory.
REPLY_BYTES = 8_000_000
# Limit of an operation: reading all symbols reaches its time limit before.
OPERATION_BYTES = 128_000_000


class OperationBudget:
    """Time and bytes left to the current operation of one client, whose operations follow each other."""

    def __init__(self) -> None:
        self.start_operation()

    def start_operation(self) -> None:
        """Start an operation with the full time and bytes."""
        self._deadline = time.monotonic() + OPERATION_SECONDS
        self._bytes = OPERATION_BYTES
        self.start_reply()

    def start_reply(self) -> None:
        """Start a reply with its full bytes."""
        self._reply_bytes = REPLY_BYTES

    def check_time(self) -> None:
        """Raise `TimeoutError` after the deadline."""
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"the operation took longer than {OPERATION_SECONDS:g} s")

    def count_bytes(self, received: int) -> None:
        """Count bytes of a reply; raise `InvalidResponse` when there are too many."""
        self._bytes -= received
        self._reply_bytes -= received
        if min(self._bytes, self._reply_bytes) < 0:
            raise redis.exceptions.InvalidResponse("the reply is too large")


class _Socket:
    """A socket with a budget."""

    def __init__(self, sock: Any, budget: OperationBudget) -> None:
        self._sock = sock
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """See socket."""
        self._budget.check_time()
        data: bytes = self._sock.recv(size)
        self._budget.count_bytes(len(data))
        return data

    def recv_into(self, *args: Any) -> int:
        """See socket; hiredis, if installed, calls this."""
        self._budget.check_time()
        size: int = self._sock.recv_into(*args)
        self._budget.count_bytes(size)
        return size

    def sendall(self, data: bytes) -> None:
        """See socket."""
        self._budget.check_time()
        self._budget.start_reply()
        self._sock.sendall(data)


def limited(
    kind: type[Any], budget: OperationBudget | None, wrap: Callable[[Any, Any], Any] | None = None
) -> type[Any]:
    """Return a class of connections with a budget, if any; `wrap` encrypts their sockets in place of the driver."""
    changed: dict[str, Any] = {} if wrap is None else {"_wrap_socket_with_ssl": wrap}
    if budget is not None:
        changed["_connect"] = lambda connection: _Socket(kind._connect(connection), budget)
    return type(kind.__name__, (kind,), changed)
