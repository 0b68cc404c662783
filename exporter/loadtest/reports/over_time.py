"""Throughput, latencies and resources over time, as charts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from math import log10
from typing import NamedTuple

from exporter.loadtest.reports.clean import clean
from exporter.loadtest.reports.document import Chart, Series, Tick
from exporter.loadtest.results import Distribution, Interval, Run, Sample, Step, TargetResult

# More points than pixels are no help, and make a large file.
POINTS_MAX = 150
HUES = {"http": 0, "kafka": 1, "redis": 2}
PLACES = {"event": "the committed event", "metrics": "/metrics"}
# Where percentiles are drawn: each step is half of the rest, as far as there are latencies.
_NINES = ((0.0, "min"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))
_LINES = (("p50", 2, False), ("p95", 1, False), ("p99", 0, False), ("max", 0, True))


class _Bin(NamedTuple):
    """Some seconds of a target: rates are means, latencies those of the worst second."""

    at: float
    per_second: float
    errors: float
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


def seconds_of_a_point(timeline: Sequence[Interval]) -> int:
    """Return how many seconds are drawn as one point."""
    longest = int(max((each.seconds for each in timeline), default=1.0))
    return longest * (-(-len(timeline) // POINTS_MAX) or 1)


def _bins(timeline: Sequence[Interval]) -> list[_Bin]:
    width = seconds_of_a_point(timeline)
    grouped = groupby(timeline, key=lambda each: int(each.at) // width)
    return [_bin(float(number * width), list(group)) for number, group in grouped]


def _bin(at: float, seconds: Sequence[Interval]) -> _Bin:
    quantiles = [_worst(getattr(each, name) for each in seconds) for name in ("p50", "p95", "p99", "max")]
    count, errors = sum(each.count for each in seconds), sum(each.errors for each in seconds)
    length = sum(each.seconds for each in seconds)
    return _Bin(at, count / length, errors / length, *quantiles)


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def target_charts(target: TargetResult) -> list[Chart]:
    """Return the throughput and the latencies of a target over time."""
    # What is answered after the last request is few, and no sign of a fall.
    timeline = [each for each in target.timeline if each.at + each.seconds <= target.seconds + 0.5]
    bins, width = _bins(timeline), seconds_of_a_point(timeline)
    if not bins:
        return []
    hue = HUES.get(target.name, 3)
    worst = "" if width == 1 else f" A point is the worst of {width} seconds."
    rates = [Series("answered", [(each.at, each.per_second) for each in bins], hue)]
    if target.failed:
        rates.append(Series("errors", [(each.at, each.errors) for each in bins], 4))
    if target.wanted_per_second is not None:
        ends = [(bins[0].at, target.wanted_per_second), (bins[-1].at, target.wanted_per_second)]
        rates.append(Series("wanted", ends, 5, is_dashed=True))
    latencies = [
        Series(name, [(each.at, getattr(each, name)) for each in bins], hue, shade, is_dashed)
        for name, shade, is_dashed in _LINES
    ]
    since = "from when they were due" if target.is_open else "from when they were sent"
    return [
        Chart(f"{target.name}: throughput", f"{target.unit.capitalize()} a second.", "per second", rates),
        Chart(
            f"{target.name}: response times",
            f"Of {target.unit}, {since}.{worst}",
            "ms",
            latencies,
            is_log=True,
        ),
    ]


def percentile_chart(run: Run) -> Chart | None:
    """Return the latencies of all targets by percentile: how the slowest requests fare."""
    found = [
        (name, latency, HUES.get(target.name, 3), shade)
        for target in run.targets
        for name, latency, shade in named_latencies(target)
    ]
    if not found:
        return None
    series = [Series(name, _percentiles(latency), hue, shade) for name, latency, hue, shade in found]
    most = max(latency.count for _, latency, *_ in found)
    ticks = [Tick(_nines(q), label) for q, label in _NINES if (1 - q) * most >= 1]
    text = "The slowest requests are at the right: each mark is a tenth of the requests at the mark before."
    return Chart("Response times by percentile", text, "ms", series, True, ticks, "share of requests that are faster")


def named_latencies(target: TargetResult) -> list[tuple[str, Distribution, int]]:
    """Return the latencies of a target with their names and shades: of answers, and to where messages arrive."""
    first = "acknowledged" if target.name == "kafka" else "answered"
    found = [(f"{target.name}: {first}", target.latency, 0)]
    for shade, (place, latency) in enumerate(sorted(target.end_to_end.items()), start=1):
        found.append((f"{target.name}: to {PLACES.get(place, place)}", latency, min(shade, 2)))
    return [(name, latency, shade) for name, latency, shade in found if latency is not None]


def _nines(q: float) -> float:
    """Return the place of a quantile on an axis where each nine takes as much room."""
    return -log10(max(1e-9, 1 - q))


def _percentiles(latency: Distribution) -> list[tuple[float, float | None]]:
    points: list[tuple[float, float | None]] = []
    below = 0
    for bucket in latency.buckets:
        if below < latency.count:
            points.append((_nines(below / latency.count), bucket.upper_ms))
        below += bucket.count
    end = _nines(1 - 1 / max(1, latency.count))
    return [point for point in points if point[0] < end] + [(end, latency.max)]


def steps_chart(steps: Sequence[Step]) -> Chart:
    """Return the rates of a stress test: a step that arrives below what was wanted did not hold."""
    numbered = list(enumerate(steps, start=1))
    series = [
        Series("wanted", [(number, step.wanted_per_second) for number, step in numbered], 5, is_dashed=True),
        Series("arrived", [(number, step.arrived_per_second) for number, step in numbered], 1),
    ]
    ticks = [Tick(number, f"{number}") for number, _ in numbered]
    return Chart("Rates that were tried", "By step.", "per second", series, True, ticks, "step")


Read = Callable[[Sample], dict[str, float | None]]


def resource_charts(run: Run) -> list[Chart]:
    """Return processor, memory, disk and network over time."""
    if not run.samples:
        return []
    charts = [
        _resource("Processor", "Cores in use, by the machine and by the watched processes.", "cores", run, _cpu),
        _resource("Memory of the machine", "In use.", "bytes", run, _machine_memory),
        _resource("Memory of processes", "Resident, of those that are watched.", "bytes", run, _memory),
        _resource("Disks", "Of the machine.", "bytes per second", run, _disk),
        _resource("Network", "Of the machine, loopback included.", "bytes per second", run, _network),
    ]
    return [chart for chart in charts if chart.series]


def _resource(title: str, text: str, unit: str, run: Run, read: Read) -> Chart:
    found: dict[str, list[tuple[float, float | None]]] = {}
    for sample in run.samples:
        for name, value in read(sample).items():
            found.setdefault(name, []).append((sample.at, value))
    known = {name: points for name, points in found.items() if any(y is not None for _, y in points)}
    series = [Series(clean(name), points, hue % 6) for hue, (name, points) in enumerate(known.items())]
    return Chart(title, text, unit, series)


def _cpu(sample: Sample) -> dict[str, float | None]:
    used: dict[str, float | None] = {"machine": sample.machine.cpu_cores}
    return used | {name: one.cpu_cores for name, one in sample.processes.items()}


def _machine_memory(sample: Sample) -> dict[str, float | None]:
    return {"machine": sample.machine.memory_used_bytes}


def _memory(sample: Sample) -> dict[str, float | None]:
    return {name: one.memory_bytes for name, one in sample.processes.items()}


def _disk(sample: Sample) -> dict[str, float | None]:
    machine = sample.machine
    return {"read": machine.disk_read_bytes_per_second, "written": machine.disk_written_bytes_per_second}


def _network(sample: Sample) -> dict[str, float | None]:
    machine = sample.machine
    return {
        "received": machine.network_received_bytes_per_second,
        "sent": machine.network_sent_bytes_per_second,
    }
