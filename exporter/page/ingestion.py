"""What the page shows of ingesting services, for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from typing import TYPE_CHECKING

from exporter.page.rows import REASON_MAX
from exporter.runtime.foreign_text import printable

if TYPE_CHECKING:
    from exporter.ingestion.view.source import IngestionSource
    from exporter.ingestion.view.view import IngestionView
    from exporter.ingestion_loop import IngestionLoop

# Open rounds of a source, the oldest first.
OPEN_LISTED = 10
NAME_MAX = 80


def ingestion_section(loop: IngestionLoop) -> Mapping[str, object]:
    """Return the sources, the rates with the oldest first, and the numbers of events; from any thread."""
    with loop.read_access:
        view = loop.pipeline.view
        return {
            "sources": [_source(name, view.sources[name]) for name in sorted(view.sources)] if view.has_rounds else [],
            "rates": _rates(view),
            "rate_limit_ms": view.rate_limit_ms,
            "events": dict(view.events),
            "repeated": dict(view.repeated),
            "invalidations": {printable(kind, NAME_MAX): n for kind, n in view.invalidations.numbers.items()},
        }


def _source(name: str, source: IngestionSource) -> Mapping[str, object]:
    rounds, counts, last = source.rounds, source.rounds.counts, source.rounds.last
    oldest = nsmallest(OPEN_LISTED, rounds.open.values(), key=lambda each: each.since_ms)
    return {
        "name": printable(name, NAME_MAX),
        "state": source.diagnosis.state,
        "reason": printable(source.diagnosis.reason, REASON_MAX),
        "last_event_ms": source.last_event_ms or None,
        "clock_offset_ms": source.clock_offset_ms,
        "begun": counts.begun,
        "completed": counts.completed,
        "mismatched": counts.mismatched,
        "overdue": counts.overdue,
        "unpaired": counts.unpaired,
        "open": len(rounds.open),
        "open_rounds": [
            {
                "correlation_id": printable(each.correlation_id, NAME_MAX),
                "since_ms": each.since_ms,
                "data_count": each.data_count,
                "is_overdue": each.is_overdue,
            }
            for each in oldest
        ],
        "usual_ms": rounds.usual.value_ms,
        "limit_ms": rounds.limit_ms,
        "last_duration_ms": None if last is None else last.duration_ms,
    }


def _rates(view: IngestionView) -> list[list[object]]:
    """Return currency and last update of each rate."""
    rates = sorted(view.rates.known.items(), key=lambda each: each[1].updated_ms)
    return [[currency, rate.updated_ms] for currency, rate in rates]
