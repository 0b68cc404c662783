"""What the load test itself took, and whether it was the limit. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from exporter.loadtest.results import Distribution, GeneratorCost, ProcessSample, Sample, TargetResult

# An interpreter uses one core at most.
BUSY_CORES = 0.9
_BUSY_RATIO = 0.5
_MACHINE_FULL = 0.95
# Of the mean latency: lag is part of it.
_LAG_RATIO = 0.5
_LAG_MS = 20.0
_SENT_RATIO = 0.95


def generator_cost(
    samples: Sequence[Sample], own: Collection[str], lag: Distribution | None, targets: Sequence[TargetResult]
) -> GeneratorCost:
    """Return the cost of the processes that are named in `own`, and what shows that they were the limit."""
    seconds = [[each for name, each in sample.processes.items() if name in own] for sample in samples]
    cores = [sum(each.cpu_cores for each in processes) for processes in seconds]
    evidence = (*_lag(lag, targets), *_busy(samples, seconds), *_behind(targets, lag))
    return GeneratorCost(
        cpu_cores=sum(cores) / len(cores) if cores else 0.0,
        cpu_cores_max=max(cores, default=0.0),
        memory_bytes=max((sum(each.memory_bytes for each in processes) for processes in seconds), default=0),
        lag=lag,
        is_limit=bool(evidence),
        evidence=evidence,
    )


def _lag(lag: Distribution | None, targets: Sequence[TargetResult]) -> Iterator[str]:
    latencies = [target.latency for target in targets if target.latency is not None]
    answered = sum(each.count for each in latencies)
    if lag is None or not answered or lag.p99 < _LAG_MS:
        return
    mean = sum(each.mean * each.count for each in latencies) / answered
    if lag.mean > _LAG_RATIO * mean:
        yield f"requests were sent {lag.mean:.1f} ms late (mean; p99 {lag.p99:.0f} ms), of {mean:.1f} ms of latency"


def _busy(samples: Sequence[Sample], seconds: Sequence[Sequence[ProcessSample]]) -> Iterator[str]:
    busiest = [max((each.cpu_cores for each in processes), default=0.0) for processes in seconds]
    busy = sum(cores >= BUSY_CORES for cores in busiest)
    if busy and busy >= _BUSY_RATIO * len(busiest):
        yield f"a process of the load test used {max(busiest):.2f} cores; an interpreter cannot use more than one"


def _behind(targets: Sequence[TargetResult], lag: Distribution | None) -> Iterator[str]:
    """Yield targets to which less was sent than was due, if that was late."""
    if lag is None or lag.p99 < _LAG_MS:
        return
    for target in targets:
        wanted, seconds = target.wanted_per_second, target.seconds
        if target.is_open and wanted and seconds and target.sent < _SENT_RATIO * wanted * seconds:
            yield f"{target.name}: {target.sent / seconds:,.0f} of {wanted:,.0f} {target.unit} a second were sent"
