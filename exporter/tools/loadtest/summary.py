"""What a run measured, in lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.loadtest.results import Distribution, Run, TargetResult

_PLACES = {"event": "to the committed event", "metrics": "to /metrics"}


def lines(run: Run) -> Iterator[str]:
    """Yield the lines of a run."""
    because = f": {run.ended_because}" if run.ended_because else ""
    yield f"{run.profile}, {run.seconds:.1f} s, {run.ended}{because}"
    for target in run.targets:
        yield from _target(target) if run.breaking_point is None else _steps_of(target)
    yield from (f"{name} was not tested: {reason}" for name, reason in run.skipped.items())
    yield from run.notes
    yield from _breaking_point(run)
    yield from _cost(run)
    yield from (
        f"  {check.outcome:<12} {check.target} {check.name} {check.wanted}: {check.measured}" for check in run.checks
    )


def _target(target: TargetResult) -> Iterator[str]:
    yield f"{target.name}: {target.answered:,} {target.unit} answered, {target.per_second:,.1f}/s{_errors(target)}"
    if target.latency is not None:
        yield f"  latency {_latency(target.latency)}"
    for place, latency in target.end_to_end.items():
        yield f"  {_PLACES[place]} {_latency(latency)}"
    yield from (f"  {line}" for line in (*_found(target), *target.notes))


def _steps_of(target: TargetResult) -> Iterator[str]:
    """Yield what came of all steps together, whose rates and latencies are those of none."""
    yield f"{target.name}: {target.answered:,} {target.unit} answered{_errors(target)}"
    yield from (f"  {line}" for line in (*_found(target), *target.notes))


def _errors(target: TargetResult) -> str:
    kinds = "".join(f", {count:,} {kind}" for kind, count in target.errors.items())
    return kinds or ", no errors"


def _latency(latency: Distribution) -> str:
    figures = (("mean", latency.mean), ("p95", latency.p95), ("p99", latency.p99), ("p99.9", latency.p99_9))
    return ", ".join(f"{name} {ms:,.1f}" for name, ms in (*figures, ("max", latency.max))) + " ms"


def _found(target: TargetResult) -> Iterator[str]:
    """Yield what reading back has found."""
    if target.lost is not None:
        events = "" if target.events_missing is None else f", {target.events_missing:,} events missing"
        more = "" if not target.events_repeated else f", {target.events_repeated:,} repeated"
        yield f"{target.lost:,} lost, {target.repeated or 0:,} repeated{events}{more}"


def _breaking_point(run: Run) -> Iterator[str]:
    point = run.breaking_point
    if point is None:
        return
    if point.held_per_second is not None:
        yield f"{point.held_per_second:,.0f}/s held"
    if point.broke_per_second is not None:
        last = min((step for step in point.steps if not step.held), key=lambda step: step.wanted_per_second)
        yield f"{last.wanted_per_second:,.0f}/s broke: {last.reason}"
    else:
        yield "no rate broke"


def _cost(run: Run) -> Iterator[str]:
    if run.bottleneck is not None:
        yield f"bottleneck: {run.bottleneck.name}"
        yield from (f"  {line}" for line in run.bottleneck.evidence)
    if run.generator is not None:
        lag = "" if run.generator.lag is None else f", lag p99 {run.generator.lag.p99:.1f} ms"
        yield f"the load test took {run.generator.cpu_cores:.2f} cores{lag}"
        if run.generator.is_limit:
            yield "  it was the limit: the targets may stand more"


def written(paths: Iterable[object]) -> str:
    """Return the line that names the files of a report."""
    return "report: " + " ".join(map(str, paths))
