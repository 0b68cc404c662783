"""Reads pages of metrics in Prometheus' text format 0.0.4, which `exposition` writes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def samples(text: str) -> Iterator[Sample]:
    """Yield the samples in their order; raise `ValueError` for text of another format."""
    for family in text_string_to_metric_families(text):
        yield from family.samples
