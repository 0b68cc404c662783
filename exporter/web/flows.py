"""Flows: which requests may be those of one client, by their network and what they look like. Pure.

Clients with one address are not distinguished by it, but requests of a scraper look different from those of a flood. So
what is rare about a request decides when it is served, its network or its look: a flood from one address delays no
other, a flood of requests that look alike delays none that look different, wherever they come from, and to vary one of
these is of no use to a flood.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from exporter.web.counts import Counts
from exporter.web.heads import head_of

# Shapes and heads are numbers of three digits, made of hashes that differ with each process. Each digit counts for
# itself, so that a flood of requests that all differ fills all digits as well. Beside floods of 8 different heads, each
# digit of a scrape's head is one of theirs, too, in one of 600 processes; with a single digit, in one of 9.
BASE = 64
SHAPES = HEADS = BASE**3
_PATH = re.compile(rb"[^ \r\n]* [^? \r\n]*")
# In the first message of TLS, behind headers of record and message, version and random bytes: the length of a session.
_SESSION_AT = 5 + 4 + 2 + 32
_NAMES = re.compile(rb"\n([^:\r\n]*):")


# One of the values of a flow, and which one it is.
Part = tuple[int, str | int]


class Flow(NamedTuple):
    """The flow of a request: its network, its shape (path, and names of headers in their order), and its whole head.

    A flood whose requests differ in a number has one shape, and one in a scraper's shape has another head.
    """

    network: str
    shape: int = 0
    head: int = 0


def flow_of(network: str, received: bytes) -> Flow:
    """Return the flow of a request whose head was received."""
    head = head_of(received)
    path = _PATH.match(head)
    shape = hash((path and path[0], *_NAMES.findall(head)))
    return Flow(network, shape % SHAPES, hash(head) % HEADS)


def hello_flow(network: str, hello: bytes) -> Flow:
    """Return the flow of a TLS client, whose shape are the cipher suites that its first message offers."""
    begin = _SESSION_AT + 1 + int.from_bytes(hello[_SESSION_AT : _SESSION_AT + 1])
    length = int.from_bytes(hello[begin : begin + 2])
    return Flow(network, hash(hello[begin : begin + 2 + length]) % SHAPES, hash(hello) % HEADS)


def parts_of(flow: Flow) -> tuple[Part, ...]:
    """Return the parts of a flow."""
    shape, head = flow.shape, flow.head
    return (
        (0, flow.network),
        (1, shape % BASE),
        (2, shape // BASE % BASE),
        (3, shape // (BASE * BASE)),
        (4, head % BASE),
        (5, head // BASE % BASE),
        (6, head // (BASE * BASE)),
    )


class FlowCounts:
    """Number of connections of each part of flows: a network, a digit of a shape or head."""

    def __init__(self) -> None:
        self._parts = Counts[Part]()

    def add(self, flow: Flow) -> None:
        """Count a connection."""
        for part in parts_of(flow):
            self._parts.add(part)

    def remove(self, flow: Flow) -> None:
        """Remove a connection."""
        for part in parts_of(flow):
            self._parts.remove(part)

    def count(self, part: Part) -> int:
        """Return the number of connections whose flow has this part."""
        return self._parts.count(part)

    def magnitude(self, flow: Flow) -> int:
        """Return how many connections the rarest part of a flow has: 0, or one more than the power of 4 below."""
        return (self.rarest(flow).bit_length() + 1) // 2

    def rarest(self, flow: Flow) -> int:
        """Return how many connections the rarest part of a flow has."""
        return min(map(self.count, parts_of(flow)))
