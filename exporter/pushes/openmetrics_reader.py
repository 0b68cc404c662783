"""Reads OpenMetrics text by prometheus_client's own strict reader. Pure."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.pushes.family import PushedFamily, malformed

# Info and states are gauges in the other formats, too.
_KINDS = {"info": "gauge", "stateset": "gauge"}
_SUFFIXES = {"counter": "_total", "info": "_info"}


def read_openmetrics(text: str) -> list[PushedFamily]:
    """Return the families that have samples, without their creation times; raise Refused."""
    try:
        found = list(text_string_to_metric_families(text))
    # Some mistakes make the reader itself fail, such as a line that ends too soon.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise malformed(f"the body is no OpenMetrics text: {error}") from None
    return [family for family in map(_family, found) if family.samples]


def _family(metric: Metric) -> PushedFamily:
    if metric.type == "gaugehistogram":
        raise malformed(f"{metric.name} is a gaugehistogram, which is not supported")
    samples = [each for each in metric.samples if each.name != f"{metric.name}_created" and not each.native_histogram]
    name = metric.name + _SUFFIXES.get(metric.type, "")
    return PushedFamily(name, _KINDS.get(metric.type, metric.type), metric.documentation, samples)
