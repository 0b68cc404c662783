"""The text of errors of Redis."""

from __future__ import annotations

from redis import exceptions

from exporter.runtime.foreign_text import printable

A_CLUSTER = "this is a node of a Redis Cluster, set redis.cluster to true"
# The client of a cluster follows these.
_ELSEWHERE = (exceptions.AskError, exceptions.ClusterCrossSlotError)  # MOVED is an AskError, too


def error_text(error: Exception) -> str:
    """Return the text of an error with its code, on one line."""
    code = getattr(error, "status_code", None)
    text = printable(f"{code} {error}" if code not in (None, "ERR") else str(error))
    if isinstance(error, _ELSEWHERE):
        return f"{A_CLUSTER} ({text})"
    return text
