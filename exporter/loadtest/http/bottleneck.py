"""Names what limits an HTTP server under load, from figures of its answers, connections and processor. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.loadtest.http.figures import HttpFigures
from exporter.loadtest.results import Bottleneck

SERVER = "processor of the server"
SERVER_WAITS = "server, which waits for something"
REFUSED = "limits of the server"
CONNECTIONS = "connections of the load test"
NETWORK = "network"
MACHINE = "processors of the machine"

# An interpreter runs on one core, and a sidecar gives requests at most half of it.
_BUSY_CORES, _OWN_CORES = 0.85, 0.4
_COMPUTING_CORES = 0.6
_STARVED_CORES = 0.1
_MACHINE_FULL = 0.95
# Of the connections: the others are between two requests.
_ALL_BUSY = 0.9
# A server with time left answers as soon as ever.
_SAME_RATIO = 1.5
_CONNECT_MS = 20.0
_SHARE = 0.5
_FAILED_RATIO = 0.01


def http_bottleneck(
    found: HttpFigures, connect_ms: float | None, machine_ratio: float | None, *, is_broken: bool
) -> Bottleneck | None:
    """Return what limits the server, None if nothing does.

    `connect_ms` is how long a TCP connection takes, `machine_ratio` the share of the processors of this machine that
    is used, `is_broken` whether the figures are those of a rate that did not hold.
    """
    is_full = is_broken or found.busy_connections >= _ALL_BUSY * found.connections
    name = _name(found, connect_ms, machine_ratio, is_full=is_full)
    if name is None:
        return None
    return Bottleneck(name=name, evidence=tuple(http_figures(found, connect_ms, machine_ratio)))


def _name(found: HttpFigures, connect_ms: float | None, machine_ratio: float | None, *, is_full: bool) -> str | None:
    # A refusal costs little: the time of the others is no sign of what the server could do.
    if found.failed_per_second > _FAILED_RATIO * (found.per_second + found.failed_per_second):
        return REFUSED
    if (found.cores or 0.0) >= _BUSY_CORES or (is_full and _computes(found)):
        return SERVER
    if not is_full:
        return None
    if _is_far(found, connect_ms) or found.transfer_ms >= _SHARE * found.served_ms:
        return NETWORK
    if (machine_ratio or 0.0) >= _MACHINE_FULL and (found.cores or 0.0) >= _STARVED_CORES:
        return MACHINE
    if found.usual_ms is not None and found.served_ms <= _SAME_RATIO * found.usual_ms:
        return CONNECTIONS
    return SERVER_WAITS


def _computes(found: HttpFigures) -> bool:
    return (found.cores or 0.0) >= _COMPUTING_CORES or (found.own_cores or 0.0) >= _OWN_CORES


def _is_far(found: HttpFigures, connect_ms: float | None) -> bool:
    return connect_ms is not None and connect_ms >= _CONNECT_MS and connect_ms >= _SHARE * found.served_ms


def http_figures(found: HttpFigures, connect_ms: float | None, machine_ratio: float | None) -> Iterator[str]:
    """Yield the figures, a line each."""
    if found.failed_per_second > 0:
        yield f"{found.failed_per_second:,.1f} requests a second failed, {found.per_second:,.1f} were answered"
    if found.cores is not None:
        before = "" if found.own_cores is None else f", {found.own_cores:.2f} more than before the run"
        yield f"the server uses {found.cores:.2f} cores{before}"
    else:
        yield "the server does not show its processor time (process_cpu_seconds_total)"
    usual = "" if found.usual_ms is None else f", and {found.usual_ms:,.1f} ms at the rate at which that was least"
    yield f"a request takes {found.served_ms:,.1f} ms from its sending to the end of its answer{usual}"
    if found.transfer_ms >= _SHARE * found.served_ms:
        yield f"of that, {found.transfer_ms:,.1f} ms are from the head of the answer to its end"
    busy, connections = found.busy_connections, found.connections
    yield f"{busy:.1f} of {connections} connections (--users) wait for an answer, on average"
    if connect_ms is not None:
        yield f"a TCP connection to the server takes {connect_ms:.1f} ms"
    if machine_ratio is not None:
        yield f"{machine_ratio:.0%} of the processors of the load test's machine are used"


def with_usual(parts: Sequence[HttpFigures], index: int) -> HttpFigures:
    """Return the figures of one part, with the least time of an answer in all of them."""
    usual = min((each.served_ms for each in parts if each.per_second > 0), default=None)
    return parts[index]._replace(usual_ms=usual if len(parts) > 1 else None)
