"""Limits of clients, and the reasons for closing their connections. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

# Descriptors for the clients of Kafka, which open some for each broker, for Redis and for files.
DESCRIPTORS_KEPT = 128
CONNECTIONS_MIN = 8
# Sessions of TLS in handshakes, and as many of requests that wait.
SESSIONS_MAX = 2048
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
    or kept for the next request. The former cost 5 kB each, nearly all of it in the kernel, and their clients come
    again at once where they are closed, so that accepting thousands of them delays all others. Messages of streams
    are `tick_seconds` apart, or more with very many feeds.
    """

    incoming: int = 8192
    waiting: int = 8192
    active: int = 256
    request_seconds: float = 10.0
    response_seconds: float = 30.0
    idle_seconds: float = 15.0
    # Streams without an end, which are active connections as well.
    streams: int = 32
    tick_seconds: float = 1.0
    # Memory of large responses that are being sent; one that is larger than this is sent alone.
    bodies_bytes: int = 64 * 1024 * 1024

    def with_tls(self) -> ClientLimits:
        """Return these limits for connections that have a session, of 50 kB."""
        return self._replace(incoming=min(self.incoming, SESSIONS_MAX), waiting=min(self.waiting, SESSIONS_MAX))

    def within(self, descriptors: int) -> ClientLimits:
        """Return these limits, reduced in proportion if `descriptors` would not suffice for the rest of the process."""
        share = (descriptors - DESCRIPTORS_KEPT) / (self.incoming + self.waiting + self.active)
        if share >= 1:
            return self
        incoming, waiting, active = (max(CONNECTIONS_MIN, int(number * share)) for number in self[:3])
        streams = min(self.streams, active // STREAMS_SHARE)
        return self._replace(incoming=incoming, waiting=waiting, active=active, streams=streams)
