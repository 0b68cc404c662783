"""Limits of clients, and the reasons for closing their connections. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

# Descriptors for the clients of Kafka, which open some for each broker, for Redis and for files.
DESCRIPTORS_KEPT = 128
CONNECTIONS_MIN = 8
# At most one in so many active connections is a stream, so that enough are left for scrapes.
STREAMS_SHARE = 4


class Eviction(StrEnum):
    """Reasons for which the server closes connections; a closed set."""

    CONNECTIONS = "connections"
    MEMORY = "memory"
    SLOW = "slow"


class ClientLimits(NamedTuple):
    """Limits of the number, time and memory of connections.

    `incoming` connections have not sent a complete request, `waiting` ones have, and `active` ones are being answered
    or kept for the next request. Messages of streams are `tick_seconds` apart, or more with very many feeds.
    """

    incoming: int = 2048
    waiting: int = 2048
    active: int = 256
    request_seconds: float = 10.0
    response_seconds: float = 30.0
    idle_seconds: float = 15.0
    # Streams without an end, which are active connections as well.
    streams: int = 32
    tick_seconds: float = 1.0
    # Memory of large responses that are being sent; one that is larger than this is sent alone.
    bodies_bytes: int = 64 * 1024 * 1024

    def within(self, descriptors: int) -> ClientLimits:
        """Return these limits, reduced in proportion if `descriptors` would not suffice for the rest of the process."""
        share = (descriptors - DESCRIPTORS_KEPT) / (self.incoming + self.waiting + self.active)
        if share >= 1:
            return self
        incoming, waiting, active = (max(CONNECTIONS_MIN, int(number * share)) for number in self[:3])
        streams = min(self.streams, active // STREAMS_SHARE)
        return self._replace(incoming=incoming, waiting=waiting, active=active, streams=streams)
