"""How much clients may have of the server, and why they may lose it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

# For clients of Kafka, which open some for each broker, Redis, files.
DESCRIPTORS_KEPT = 128
CONNECTIONS_MIN = 8


class Eviction(StrEnum):
    """Why a connection was closed before its time; a closed set."""

    CONNECTIONS = "connections"
    MEMORY = "memory"
    SLOW = "slow"


class ClientLimits(NamedTuple):
    """How much clients may have of the server.

    `connections` have not sent a whole request, `waiting` ones have, and `answered` ones are being answered or kept for
    the next request.
    """

    connections: int = 2048
    waiting: int = 2048
    answered: int = 256
    request_seconds: float = 10.0
    reply_seconds: float = 30.0
    idle_seconds: float = 15.0
    # What large answers that are on their way may hold; one that is larger than this goes out alone.
    bodies_bytes: int = 64 * 1024 * 1024

    def within(self, descriptors: int) -> ClientLimits:
        """Return these limits, or lower ones in proportion, so that others find a descriptor in this process, too."""
        share = (descriptors - DESCRIPTORS_KEPT) / (self.connections + self.waiting + self.answered)
        if share >= 1:
            return self
        numbers = (max(CONNECTIONS_MIN, int(number * share)) for number in self[:3])
        return self._replace(**dict(zip(self._fields, numbers, strict=False)))
