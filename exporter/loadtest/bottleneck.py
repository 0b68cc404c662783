"""Names what limits a run, from figures of the broker's answers, the network, and the sidecar's loop. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from exporter.loadtest.http.bottleneck import http_bottleneck, http_figures
from exporter.loadtest.http.figures import HttpFigures
from exporter.loadtest.results import Bottleneck, Distribution, GeneratorCost
from exporter.loadtest.sidecar_figures import SidecarFigures

LOAD_TEST = "the load test itself"
LOOP = "processor of the sidecar's loop"
WAITING = "sidecar's loop, which waits for something"
MACHINE = "processors of the machine"
BACKLOG = "backlog of events"
BROKER = "broker"
NETWORK = "network"
REDIS = "Redis"
NONE = "none"

# A loop that spends so much of its time on records has none left for more.
_BUSY_RATIO = 0.85
_IDLE_RATIO = 0.5
_COMPUTING_CORES = 0.6
# A process that wants a processor gets at least so much of one, however many others want it.
_STARVED_CORES = 0.1
_MACHINE_FULL = 0.95
_FULL_RATIO = 0.9
_SLOW_MS = 100.0
_CONNECT_MS = 20.0
_SHARE = 0.5
# Where the wait for a commit grows from nothing, its mean is half of what it is at the end.
_LONG_SHARE = 0.25
# Of messages a second: so many wait in a sidecar that keeps up, until the next commit.
_WAITING_SECONDS = 0.75


class Evidence(NamedTuple):
    """Figures of the part of a run that is looked at.

    In milliseconds: `answers_ms` are round trips of requests to brokers, `queued_ms` what requests waited for the
    socket, `throttled_ms` what brokers asked to wait, `connects_ms` how long TCP connections took. `machine_ratio` is
    the share of the processors of the load test's machine that was used, `waiting` the messages at the end that were
    acknowledged and had no event, `connections` those of operations on Redis of which a rate did not hold, `http` what
    was seen of an HTTP server.
    `is_broken`: the part is a step of a stress test whose rate did not hold.
    """

    per_second: float
    answers_ms: Sequence[float] = ()
    queued_ms: Sequence[float] = ()
    throttled_ms: Sequence[float] = ()
    connects_ms: Sequence[float] = ()
    figures: Sequence[SidecarFigures] = ()
    latency: Distribution | None = None
    generator: GeneratorCost | None = None
    machine_ratio: float | None = None
    waiting: int = 0
    connections: int = 0
    http: HttpFigures | None = None
    is_broken: bool = False


class _Loop(NamedTuple):
    """Shares of the time of a sidecar's loop, cores of its process, and what waits for it."""

    decode: float
    analyze: float
    publish: float
    cores: float
    backlog: float
    backlog_ratio: float
    delivery_ms: float

    @property
    def busy(self) -> float:
        return self.decode + self.analyze + self.publish


def bottleneck(evidence: Evidence) -> Bottleneck:
    """Return what limits, with the figures that show it; its name is `NONE` where nothing is at its limit."""
    loop = _loop(evidence.figures)
    # What comes first explains what comes later: a broker that is slow fills the backlog, and not the other way round.
    for name, lines in (
        (LOAD_TEST, _load_test(evidence)),
        (BROKER, _throttled(evidence)),
        (_kind(loop, evidence), _busy(loop, evidence)),
        (NETWORK, _network(evidence)),
        (BROKER, _broker(evidence)),
        (MACHINE, _crowded(loop, evidence)),
        (BACKLOG, _backlog(loop, evidence)),
        (NETWORK, _starved(loop, evidence)),
    ):
        if found := list(lines):
            return Bottleneck(name=name, evidence=(*found, *_shares(loop, evidence)))
    if (server := _http(evidence)) is not None:
        return server
    if evidence.is_broken and _is_full(evidence):
        return Bottleneck(name=MACHINE, evidence=(*_machine(evidence), *_calm(evidence, loop)))
    if evidence.connections:
        return Bottleneck(name=REDIS, evidence=tuple(_operations(evidence)))
    return Bottleneck(name=NONE, evidence=tuple(_calm(evidence, loop)))


def _http(evidence: Evidence) -> Bottleneck | None:
    if evidence.http is None:
        return None
    return http_bottleneck(evidence.http, _connect(evidence), evidence.machine_ratio, is_broken=evidence.is_broken)


def _connect(evidence: Evidence) -> float | None:
    """Return what a TCP connection to the server takes, if that was measured and not one to a broker."""
    return _high(evidence.connects_ms) if evidence.connects_ms and not evidence.answers_ms else None


def _loop(figures: Sequence[SidecarFigures]) -> _Loop | None:
    if len(figures) < 2 or figures[-1].at <= figures[0].at:
        return None
    first, last = figures[0], figures[-1]
    turned = last.turned_seconds - first.turned_seconds
    if turned <= 0:
        return None
    deliveries = last.deliveries - first.deliveries
    return _Loop(
        (last.decode_seconds - first.decode_seconds) / turned,
        (last.analyze_seconds - first.analyze_seconds) / turned,
        (last.publish_seconds - first.publish_seconds) / turned,
        (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at),
        max(each.backlog for each in figures),
        max(each.backlog / each.backlog_limit if each.backlog_limit else 0.0 for each in figures),
        1000 * (last.delivery_seconds - first.delivery_seconds) / deliveries if deliveries > 0 else 0.0,
    )


def _load_test(evidence: Evidence) -> Iterable[str]:
    return evidence.generator.evidence if evidence.generator is not None and evidence.generator.is_limit else ()


def _throttled(evidence: Evidence) -> Iterator[str]:
    if (longest := max(evidence.throttled_ms, default=0.0)) > 0:
        yield f"brokers asked producers to wait, up to {longest:.0f} ms: a quota"


def _network(evidence: Evidence) -> Iterator[str]:
    answer, connect, queued = map(_high, (evidence.answers_ms, evidence.connects_ms, evidence.queued_ms))
    if connect >= _CONNECT_MS and connect >= _SHARE * min(answer, 1000.0):
        yield f"a TCP connection, which takes one round trip and none of the broker's time, takes {connect:.0f} ms"
        yield f"requests to the broker take {answer:.0f} ms"
    elif queued >= _SLOW_MS and queued >= _SHARE * answer:
        yield f"requests wait {queued:.0f} ms for the socket before they are sent, and {answer:.0f} ms for the answer"


def _broker(evidence: Evidence) -> Iterator[str]:
    answer, connect = _high(evidence.answers_ms), _high(evidence.connects_ms)
    if answer >= _SLOW_MS:
        yield f"the broker takes {answer:.0f} ms to answer a request (p99 of a second, the slowest tenth of seconds)"
        if evidence.connects_ms:
            yield f"a TCP connection to it takes {connect:.1f} ms, so the network is not the cause"


def _backlog(loop: _Loop | None, evidence: Evidence) -> list[str]:
    if loop is None:
        return []
    is_full = loop.backlog_ratio >= _FULL_RATIO
    if not is_full and not _is_uncommitted(loop, evidence):
        return []
    what = "at which reading pauses" if is_full else "for want of commits"
    full = f"the backlog of events that are not committed reached {loop.backlog_ratio:.0%} of its limit, {what}"
    return [
        full,
        f"an event is committed {loop.delivery_ms:,.0f} ms after the analysis of its batch",
        _waiting(evidence),
    ]


def _is_uncommitted(loop: _Loop, evidence: Evidence) -> bool:
    """Return whether most of what waits has no commit, and has waited for it for long: that is no burst at the end."""
    long_ms = _LONG_SHARE * 1000 * evidence.waiting / max(1.0, evidence.per_second)
    return _is_late(loop, evidence) and loop.backlog > _SHARE * evidence.waiting and loop.delivery_ms >= long_ms


def _crowded(loop: _Loop | None, evidence: Evidence) -> list[str]:
    """Return that all wait for a processor of this machine, of which a sidecar that has time left gets some late."""
    if loop is None or not _is_full(evidence) or not _is_late(loop, evidence):
        return []
    return [_waiting(evidence)]


def _busy(loop: _Loop | None, evidence: Evidence) -> list[str]:
    if loop is None or loop.busy < _BUSY_RATIO:
        return []
    return [f"the loop spends {loop.busy:.0%} of its time on records", _waiting(evidence)]


def _kind(loop: _Loop | None, evidence: Evidence) -> str:
    """Return what a busy loop lacks: it computes, waits within its work, or gets no processor."""
    if loop is None or loop.cores >= _COMPUTING_CORES:
        return LOOP
    return MACHINE if _is_full(evidence) and loop.cores >= _STARVED_CORES else WAITING


def _is_full(evidence: Evidence) -> bool:
    return (evidence.machine_ratio or 0.0) >= _MACHINE_FULL


def _starved(loop: _Loop | None, evidence: Evidence) -> list[str]:
    if loop is None or not _is_late(loop, evidence):
        return []
    idle = f"the loop waits for records for {1 - loop.busy:.0%} of its time although some wait, not in its backlog"
    return [idle, "so the way from the broker to the sidecar is slow: its bandwidth, or a quota", _waiting(evidence)]


def _is_late(loop: _Loop, evidence: Evidence) -> bool:
    """Return whether messages wait although the loop has time for them."""
    return loop.busy <= _IDLE_RATIO and evidence.waiting > _WAITING_SECONDS * evidence.per_second


def _waiting(evidence: Evidence) -> str:
    return f"messages at the end of sending that wait for their event: {evidence.waiting:,}"


def _shares(loop: _Loop | None, evidence: Evidence) -> Iterator[str]:
    if loop is None:
        return
    yield f"of the loop's time: decode {loop.decode:.0%}, analyze {loop.analyze:.0%}, publish {loop.publish:.0%}"
    yield f"the sidecar uses {loop.cores:.2f} cores"
    yield from _machine(evidence)


def _operations(evidence: Evidence) -> Iterator[str]:
    yield f"operations wait for the answers to those before them, on {evidence.connections} connections (--users)"
    yield from _machine(evidence)


def _machine(evidence: Evidence) -> Iterator[str]:
    if evidence.machine_ratio is not None:
        yield f"{evidence.machine_ratio:.0%} of the processors of the load test's machine are used"


def _calm(evidence: Evidence, loop: _Loop | None) -> Iterator[str]:
    """Yield how near to their limits things were."""
    if evidence.answers_ms:
        yield f"the broker answers within {_high(evidence.answers_ms):.0f} ms"
    if evidence.connects_ms and evidence.answers_ms:
        yield f"a TCP connection to it takes {_high(evidence.connects_ms):.1f} ms"
    if evidence.http is not None:
        yield from http_figures(evidence.http, _connect(evidence), evidence.machine_ratio)
    if loop is not None:
        yield f"the sidecar's loop spends {loop.busy:.0%} of its time on records"
        yield f"its backlog reached {loop.backlog_ratio:.0%} of its limit"
    if evidence.generator is not None:
        yield f"the load test uses {evidence.generator.cpu_cores:.2f} cores"


def _high(values: Sequence[float]) -> float:
    """Return what nine tenths of the values are below."""
    ordered = sorted(values)
    return ordered[int(0.9 * (len(ordered) - 1))] if ordered else 0.0
