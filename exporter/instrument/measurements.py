"""The samples of metric families as records with a time, and as JSON. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from prometheus_client import Metric


class MetricType(StrEnum):
    """The type of a metric, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Measurement(NamedTuple):
    """One sample: a line of `/metrics`, with the time at which it was read (Unix seconds).

    A histogram has the samples `_bucket` (label `le`), `_count` and `_sum`; a summary those with the label `quantile`,
    `_count` and `_sum`.
    """

    name: str
    metric_type: MetricType
    value: float
    labels: Mapping[str, str]
    timestamp: float
    description: str

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON, which has no NaN or infinity: those are text, as in Prometheus' own API."""
        return {**self._asdict(), "value": self.value if math.isfinite(self.value) else _spelled(self.value)}


def measurements(families: Iterable[Metric], timestamp: float) -> Iterator[Measurement]:
    """Yield the samples of counters, gauges, histograms and summaries, without `_created`."""
    for family in families:
        metric_type, created = MetricType(family.type), f"{family.name}_created"
        for sample in family.samples:
            if sample.name != created:
                yield Measurement(
                    sample.name, metric_type, float(sample.value), sample.labels, timestamp, family.documentation
                )


def json_text(found: Iterable[Measurement]) -> str:
    """Return an array of objects."""
    return json.dumps([each.as_dict() for each in found], allow_nan=False)


def _spelled(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
