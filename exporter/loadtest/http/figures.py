"""What shows how busy an HTTP server and the connections to it are. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Reading(NamedTuple):
    """Sums since the start, at a time of `time.monotonic`; `cpu_seconds` is None where a server does not show it."""

    at: float
    cpu_seconds: float | None = None
    served: int = 0
    served_ms: float = 0.0
    transfer_ms: float = 0.0
    failed: int = 0


class HttpFigures(NamedTuple):
    """Means of a part of a run.

    `served_ms` is from sending a request to the end of its answer, `transfer_ms` that from the head of the answer on,
    `usual_ms` the least `served_ms` of all parts, None of the only one. `busy_connections` are those of `connections`
    that wait for an answer, `cores` what the process of the server uses, and `own_cores` that without what it used
    before the run; None where it does not show it. `failed` is how many of a second's requests have an error.
    """

    connections: int
    per_second: float
    failed_per_second: float
    served_ms: float
    transfer_ms: float
    busy_connections: float
    usual_ms: float | None = None
    cores: float | None = None
    own_cores: float | None = None


def figures(before: Reading, after: Reading, idle_cores: float | None, connections: int) -> HttpFigures:
    """Return the figures of the time between two readings."""
    seconds = max(1e-9, after.at - before.at)
    served, served_ms = after.served - before.served, after.served_ms - before.served_ms
    used = cores(before, after)
    return HttpFigures(
        connections,
        served / seconds,
        (after.failed - before.failed) / seconds,
        served_ms / max(1, served),
        (after.transfer_ms - before.transfer_ms) / max(1, served),
        served_ms / 1000 / seconds,
        cores=used,
        own_cores=None if used is None else max(0.0, used - (idle_cores or 0.0)),
    )


def cores(before: Reading, after: Reading) -> float | None:
    """Return what the server used between two readings; None if it does not show that, or was started again."""
    if before.cpu_seconds is None or after.cpu_seconds is None or after.cpu_seconds < before.cpu_seconds:
        return None
    return (after.cpu_seconds - before.cpu_seconds) / max(1e-9, after.at - before.at)
