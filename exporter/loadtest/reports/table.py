"""All figures of a run as CSV: one in each line, with what it is of, for spreadsheets and programs. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exporter.loadtest.reports.differences import Difference
from exporter.loadtest.results import Distribution, Interval, Run, TargetResult

COLUMNS = ("kind", "target", "part", "at_seconds", "figure", "unit", "value")
_LATENCIES = ("mean", "p50", "p75", "p90", "p95", "p99", "p99_9", "max")
# Spreadsheets take a text that begins so for a formula; some take the characters of double width, too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Value = float | int | str | None


class Row(NamedTuple):
    """A line; None stays empty."""

    kind: str
    target: str
    part: str
    at_seconds: float | None
    figure: str
    unit: str
    value: Value


def table(run: Run, differences: Iterable[Difference]) -> str:
    """Return the file."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row] for row in _rows(run, differences) if row.value is not None)
    return out.getvalue()


def _cell(value: Value) -> Value:
    if isinstance(value, str):
        line = " ".join(value.split()) if not value.isprintable() else value
        return f"'{line}" if line.startswith(_FORMULA) else line
    return round(value, 6) if isinstance(value, float) else value


def _rows(run: Run, differences: Iterable[Difference]) -> Iterator[Row]:
    for check in run.checks:
        text = f"{check.outcome}: {check.measured}, wanted {check.wanted}"
        yield Row("check", check.target, "", None, check.name, "", text)
    for target in run.targets:
        yield from _target(target)
    for sample in run.samples:
        yield from _resources("machine", sample.at, sample.machine)
        for name, process in sample.processes.items():
            yield from _resources(name, sample.at, process)
    for one in differences:
        yield Row("comparison", one.target, "", None, f"{one.figure.name} change", "ratio", one.change)
        yield Row("comparison", one.target, "", None, f"{one.figure.name} verdict", "", str(one.verdict))


def _target(target: TargetResult) -> Iterator[Row]:
    counts = ("seconds", "sent", "answered", "failed", "unanswered", "lost", "repeated", "events_missing")
    for name in (*counts, "events_repeated", "connections", "bytes_sent", "bytes_received", "per_second"):
        yield Row("summary", target.name, "", None, name, target.unit, getattr(target, name))
    yield from _latencies(target.name, "", target.latency)
    for place, latency in target.end_to_end.items():
        yield from _latencies(target.name, f"end to end: {place}", latency)
    for part in target.parts:
        yield Row("part", target.name, part.name, None, "answered", target.unit, part.answered)
        yield from _latencies(target.name, part.name, part.latency)
        yield from (Row("error", target.name, part.name, None, kind, "", n) for kind, n in part.errors.items())
    yield from (Row("error", target.name, "", None, kind, "", number) for kind, number in target.errors.items())
    for interval in target.timeline:
        yield from _interval(target, interval)


def _latencies(target: str, part: str, latency: Distribution | None) -> Iterator[Row]:
    if latency is not None:
        yield from (Row("latency", target, part, None, name, "ms", getattr(latency, name)) for name in _LATENCIES)


def _interval(target: TargetResult, interval: Interval) -> Iterator[Row]:
    yield Row("second", target.name, "", interval.at, "answered", target.unit, interval.count)
    yield Row("second", target.name, "", interval.at, "errors", target.unit, interval.errors)
    for name in ("mean", "p50", "p95", "p99", "max"):
        yield Row("second", target.name, "", interval.at, name, "ms", getattr(interval, name))


def _resources(name: str, at: float, figures: object) -> Iterator[Row]:
    for figure in getattr(figures, "__struct_fields__", ()):
        unit = "cores" if figure.endswith("cores") else "bytes/s" if figure.endswith("per_second") else "bytes"
        yield Row("resource", name, "", at, figure, unit, getattr(figures, figure))
