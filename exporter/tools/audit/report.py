"""The result of an audit, as JSON and as text. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from exporter.model import FeedKey
from exporter.tools.audit.ledger import Difference, DifferenceKind, EventTruth, InputTruth, MetricsTruth
from exporter.tools.audit.rejected_tails import RejectedTails


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The numbers of each side, the count of differences of each kind, and the first differences."""

    inputs: InputTruth
    tails: RejectedTails
    events: EventTruth | None
    metrics: MetricsTruth | None
    counts: Counter[DifferenceKind]
    first: list[Difference]


def as_json(result: AuditResult) -> dict[str, Any]:
    """Return the result as JSON values."""
    inputs, events = result.inputs, result.events
    outside = events.outside if events is not None else {}
    return {
        "agree": not result.counts,
        "feeds": {str(feed): _row(result, feed) for feed in _feeds(result)},
        "records": dict(sorted(inputs.records.items())),
        "rejected": dict(sorted(inputs.rejected.items())),
        "rejected_at_the_end": {str(place): run.total for place, run in result.tails.all_rejected()},
        "filtered": inputs.filtered,
        "ingestion_events": dict(sorted(inputs.events.items())),
        "unreadable": {f"{partition}/{gap.first}": gap.end - gap.first for partition, gap in inputs.gaps},
        "events_outside": sum(tally.batches for tally in outside.values()),
        "differences": {kind.value: count for kind, count in sorted(result.counts.items())},
        "first_differences": [difference._asdict() for difference in result.first],
    }


def _feeds(result: AuditResult) -> list[FeedKey]:
    feeds = set(result.inputs.feeds)
    if result.events is not None:
        feeds |= result.events.feeds.keys() | result.events.summaries.keys()
    if result.metrics is not None:
        feeds |= result.metrics.batches.keys() | result.metrics.messages.keys()
    return sorted(feeds)


def _row(result: AuditResult, feed: FeedKey) -> dict[str, int]:
    """Return the numbers of one feed on each compared side."""
    there = result.inputs.feeds[feed]
    row = {"batches": there.batches, "messages": there.messages}
    if result.events is not None:
        row["batch_events"] = result.events.feeds[feed].batches
        row["in_summaries"] = result.events.summaries[feed].batches
    if result.metrics is not None:
        row["in_metrics"] = result.metrics.batches[feed]
    return row


def as_text(result: AuditResult) -> str:
    """Return the result as text: a table of the feeds, totals, and the first differences."""
    document = as_json(result)
    lines = _table(document["feeds"])
    lines.append(
        f"{sum(document['records'].values())} records, {sum(document['rejected'].values())} of them rejected, "
        f"{document['filtered']} filtered; {document['events_outside']} events about records outside the audit"
    )
    if inputs := document["ingestion_events"]:
        lines.append("ingestion events: " + ", ".join(f"{count} {name}" for name, count in inputs.items()))
    lines += [
        f"the last {run.total} records of {place} are all rejected: {run}"
        for place, run in islice(result.tails.all_rejected(), 20)
    ]
    lines += [f"{count} records cannot be read from {where} on" for where, count in document["unreadable"].items()]
    if not result.counts:
        return "\n".join([*lines, "they agree"])
    counts = ", ".join(f"{count} {kind}" for kind, count in document["differences"].items())
    lines.append(f"they differ: {counts}")
    lines += [f"{kind} {where}: {detail}" for kind, where, detail in result.first]
    left = result.counts.total() - len(result.first)
    return "\n".join([*lines, f"and {left} more"] if left else lines)


def _table(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    if not rows:
        return ["no feeds"]
    width = max(len(feed) for feed in rows)
    columns = list(next(iter(rows.values())))
    lines = ["feed".ljust(width) + "".join(f"  {column:>12}" for column in columns)]
    lines += [feed.ljust(width) + "".join(f"  {value:>12}" for value in row.values()) for feed, row in rows.items()]
    return lines
