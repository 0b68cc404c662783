"""The order in which TLS clients that have sent something are served. Pure: time is an argument.

Clients of which something is rare come first, see `flows`, such as the only one of a network, or one whose first
message differs from that of a flood. Of these, those come first that answer in the handshake, which is the smaller part
of it, or send the request after it. Those that begin and those that go on sending little by little take turns. Of
either kind, every other one is the newest, and the others are the oldest that have not waited long: in a burst, which
ends, the oldest are served in time, and in a flood, which does not, the newest are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from operator import attrgetter
from typing import Protocol, TypeVar

from exporter.web.flows import Flow, FlowCounts

# Half of what a health check waits for.
RECENT_SECONDS = 0.5
# The first one, those that end the handshake, which a certificate may need two of, and the request.
MESSAGES_EXPECTED = 4


class Client(Protocol):
    """A client whose first message came at `since`, as one of increasing `number`; `messages` of it were read."""

    flow: Flow
    number: int
    since: float
    messages: int


C = TypeVar("C", bound=Client)


def in_order(ready: Iterable[C], connections: FlowCounts, now: float) -> Iterator[C]:
    """Yield the clients that have sent something; `connections` are all that are open."""
    by_magnitude: dict[int, list[C]] = {}
    for client in sorted(ready, key=attrgetter("number"), reverse=True):
        by_magnitude.setdefault(connections.magnitude(client.flow), []).append(client)
    for magnitude in sorted(by_magnitude):
        yield from _of_equals(by_magnitude[magnitude], now)


def _of_equals(newest_first: list[C], now: float) -> Iterator[C]:
    yield from (client for client in newest_first if 0 < client.messages < MESSAGES_EXPECTED)
    beginning = [client for client in newest_first if not client.messages]
    dripping = [client for client in newest_first if client.messages >= MESSAGES_EXPECTED]
    yield from _in_turn(_from_both_ends(beginning, now), _from_both_ends(dripping, now))


def _from_both_ends(newest_first: list[C], now: float) -> Iterator[C]:
    """Yield the newest and the oldest recent one in turn, then the others, the newest first."""
    recent = [client for client in newest_first if now - client.since <= RECENT_SECONDS]
    seen: set[int] = set()
    for client in _in_turn(newest_first, reversed(recent)):
        if client.number not in seen:
            seen.add(client.number)
            yield client


def _in_turn(*some: Iterable[C]) -> Iterator[C]:
    for clients in zip_longest(*some):
        yield from (client for client in clients if client is not None)
