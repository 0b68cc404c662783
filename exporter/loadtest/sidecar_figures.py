"""What a page of metrics of a sidecar shows of the sidecar itself: batches, loop, backlog. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exporter.instrument.samples import samples

BATCHES = "marketdata_batches_total"
_PROCESSING, _DELIVERY = "marketdata_processing_seconds", "marketdata_event_delivery_seconds"
_SUMS = {
    "process_cpu_seconds_total": "cpu_seconds",
    "marketdata_event_backlog": "backlog",
    "marketdata_event_backlog_limit": "backlog_limit",
    f"{_DELIVERY}_sum": "delivery_seconds",
    f"{_DELIVERY}_count": "deliveries",
    **{f"{_PROCESSING}_sum {stage}": f"{stage}_seconds" for stage in ("poll", "decode", "analyze", "publish")},
}
FAMILIES = (BATCHES, _PROCESSING, _DELIVERY, *(name for name in _SUMS if "_seconds_" not in name or "cpu" in name))


class SidecarFigures(NamedTuple):
    """Figures of a sidecar, `at` seconds after the start of a run; those in seconds are since the sidecar's start."""

    at: float
    cpu_seconds: float = 0.0
    poll_seconds: float = 0.0
    decode_seconds: float = 0.0
    analyze_seconds: float = 0.0
    publish_seconds: float = 0.0
    backlog: float = 0.0
    backlog_limit: float = 0.0
    delivery_seconds: float = 0.0
    deliveries: float = 0.0

    @property
    def turned_seconds(self) -> float:
        """Time of the turns of the loop, waiting included."""
        return self.poll_seconds + self.decode_seconds + self.analyze_seconds + self.publish_seconds


class Page(NamedTuple):
    """What one page of metrics has: batches by exchange of a region, and figures by name."""

    batches: Mapping[str, int]
    figures: Mapping[str, float]


def read_page(text: str, region: str) -> Page:
    """Return what a page has; raise `ValueError` for other text."""
    batches: dict[str, int] = {}
    figures: dict[str, float] = {}
    for sample in samples("\n".join(_kept(text, region)) + "\n"):
        if sample.name == BATCHES:
            exchange = sample.labels["exchange"]
            batches[exchange] = batches.get(exchange, 0) + int(sample.value)
        elif name := _SUMS.get(" ".join([sample.name, *filter(None, [sample.labels.get("stage")])])):
            figures[name] = figures.get(name, 0.0) + sample.value
    return Page(batches, figures)


def _kept(text: str, region: str) -> Iterable[str]:
    """Yield the lines that are read: most of a page are those of other feeds, and buckets."""
    own = f'region="{region}"'
    for line in text.splitlines():
        if "_bucket{" not in line and (not line.startswith(BATCHES + "{") or own in line):
            yield line
