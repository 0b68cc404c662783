"""The result of a target with an open schedule, from what was counted at it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.loadtest.results import TargetResult
from exporter.loadtest.target import Counts
from exporter.loadtest.timeline import Timeline


def measured(
    name: str, unit: str, seconds: float, counts: Counts, errors: Mapping[str, int], timeline: Timeline, until: float,
    **more: Any,
) -> TargetResult:  # fmt: skip
    """Return the result of a target to which requests were sent for so many seconds.

    `unit` is what is counted, `until` the second of the last answer, and `more` has other fields of the result.
    """
    intervals = timeline.intervals(until)
    return TargetResult(
        name=name,
        unit=unit,
        seconds=seconds,
        sent=counts.sent,
        answered=counts.answered,
        errors=dict(errors),
        is_open=True,
        latency=counts.latency,
        timeline=intervals,
        slices=timeline.slices(),
        **more,
    )
