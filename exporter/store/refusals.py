"""What the errors of Redis mean: in words, and by what is done next.

What lies in the data is refused for good; that is a closed set. Everything else is refused for now, whatever its code:
the server is a replica, full, loading, short of replicas, busy, asks for another password or forbids a command.
"""

from __future__ import annotations

import re

from redis import exceptions

from exporter.runtime.foreign_text import printable
from exporter.store.keyspace import HALFWAY

NO_CLUSTER = "Redis Cluster is not supported, redis.url must name a server without cluster mode"
_CLUSTER = (
    exceptions.AskError,  # MOVED, too
    exceptions.ClusterCrossSlotError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
# A key, a fence or a count is no such thing, or has no room for more. Redis 6 and its descendants put words of their
# own before the error of a command in a script.
_FINAL = re.compile(
    rf"^(?:{HALFWAY}|INVALIDOBJ)\b|\bWRONGTYPE\b|not an integer|would overflow|user_script: ?\d+: attempt to"
)


def is_final(error: Exception) -> bool:
    """Return whether the same write will never succeed, because of what Redis already holds under our keys."""
    return isinstance(error, exceptions.ResponseError) and _FINAL.search(str(error)) is not None


def error_text(error: Exception) -> str:
    """Return what an error says, with its code, on one line."""
    code = getattr(error, "status_code", None)
    text = printable(f"{code} {error}" if code not in (None, "ERR") else str(error))
    if isinstance(error, _CLUSTER) and not isinstance(error, exceptions.MasterDownError):
        return f"{NO_CLUSTER} ({text})"
    return text
