"""Compares the three sides of a demo: the sent records, the metrics, and the events.

Unlike in an audit, the sent records are known without reading the topics, and the broker may have dropped events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.instrument.samples import samples
from exporter.model import Anomaly, FeedKey
from exporter.tools.audit.readers import BatchEvent, SummaryEvent
from exporter.tools.simulate.market import Truth
from exporter.tools.simulate.services import BEGUN, COMPLETED, ServiceSimulator

BATCHES, MESSAGES, SYMBOLS = "batches", "messages", "unique symbols"
SUMMARIZED, UNREADABLE, REJECTED = "batches in summaries", "unreadable", "rejected"
EVENTS = "events"
AGREE = "agree"

# By feed or topic, and the name of the number.
Figures = Counter[tuple[str, str]]

_NOT_IN_METRICS = (SUMMARIZED, UNREADABLE)
_IN_EVENTS = (BATCHES, MESSAGES, SYMBOLS, SUMMARIZED, UNREADABLE)
_SERIES = {
    "marketdata_batches_total": BATCHES,
    "marketdata_messages_total": MESSAGES,
    "marketdata_batch_unique_symbols_sum": SYMBOLS,
    "marketdata_anomalies_total": "{kind} anomalies",
    "marketdata_records_rejected_total": REJECTED + " {reason}",
    "marketdata_ingestion_events_total": EVENTS,
    "marketdata_ingestion_rounds_begun_total": BEGUN,
    "marketdata_ingestion_rounds_completed_total": COMPLETED,
}


class Row(NamedTuple):
    """One number on each side; None where a side does not have it."""

    of: str
    what: str
    sent: int
    in_metrics: int | None
    in_events: int | None

    def agrees(self, some_dropped: bool) -> bool:
        """Return whether the sides agree; the events may count fewer when some were dropped."""
        if self.in_metrics not in (None, self.sent):
            return False
        if self.in_events is None or self.in_events == self.sent:
            return True
        return some_dropped and self.in_events < self.sent


def sent(truth: Truth) -> Figures:
    """Return the numbers of the sent records."""
    figures = Figures()
    for key, feed in truth.feeds.items():
        name = str(key)
        figures[name, BATCHES] = figures[name, SUMMARIZED] = feed.batches
        figures[name, MESSAGES] = feed.messages
        figures[name, SYMBOLS] = feed.unique_symbols
        figures[name, f"{Anomaly.SIZE_MISMATCH} anomalies"] = feed.wrong_sizes
        figures[name, f"{Anomaly.UNCHANGED_BATCH} anomalies"] = feed.unchanged
    for (topic, reason), count in truth.invalid_records.items():
        figures[topic, f"{REJECTED} {reason}"] = count
    return figures


def sent_events(simulator: ServiceSimulator) -> Figures:
    """Return the numbers of the sent events of ingesting services, and of their rounds."""
    return Figures({**{(name, EVENTS): number for name, number in simulator.events.items()}, **simulator.rounds})


def in_metrics(text: str) -> Figures:
    """Return the numbers of a page of metrics (text format 0.0.4); raise ValueError for other text."""
    figures = Figures()
    for sample in samples(text):
        if sample.name in _SERIES:
            labels = sample.labels
            names = [labels[name] for name in ("topic", "event", "source") if name in labels]
            of = names[0] if names else ":".join(labels[name] for name in FeedKey._fields)
            figures[of, _SERIES[sample.name].format_map(labels)] = int(sample.value)
    return figures


def records(counted: Figures) -> int:
    """Return the number of records that these figures count."""
    return sum(count for (_, what), count in counted.items() if what in (BATCHES, EVENTS) or what.startswith(REJECTED))


def in_event(event: BatchEvent | SummaryEvent | None) -> Figures:
    """Return the numbers of one event; None is an error event."""
    if isinstance(event, SummaryEvent):
        return Figures({(str(event.feed), SUMMARIZED): event.batches})
    if event is None:
        return Figures()
    feed, size, unique, *_ = event.facts
    return Figures({(str(feed), BATCHES): 1, (str(feed), MESSAGES): size, (str(feed), SYMBOLS): unique})


def side_by_side(sent: Figures, in_metrics: Figures, in_events: Figures) -> list[Row]:
    """Return a row for each number that is not 0 on every side."""
    return [
        Row(
            of,
            what,
            sent[of, what],
            None if what in _NOT_IN_METRICS else in_metrics[of, what],
            in_events[of, what] if what in _IN_EVENTS else None,
        )
        for of, what in sorted(+sent | +in_metrics | +in_events)
    ]


def verdict(rows: Sequence[Row], dropped: int, errors: Iterable[str] = ()) -> list[str]:
    """Return `agree`, or a line for each difference and each error; `dropped` events are missing."""
    differing = [row for row in rows if not row.agrees(dropped > 0)]
    lines = [f"differ: {row.of}: {row.what}: {', '.join(_numbers(row))}" for row in differing]
    missing = sum(row.sent - (row.in_events or 0) for row in rows if row.what == BATCHES)
    if 0 < dropped < missing:
        lines.append(f"differ: {missing} events are missing, of which at most {dropped} were dropped")
    lines += [f"differ: {error}" for error in errors]
    return lines or [AGREE]


def _numbers(row: Row) -> list[str]:
    places = ("sent", "in /metrics", "in events")
    return [f"{count} {place}" for count, place in zip(row[2:], places, strict=True) if count is not None]


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines of text; a name is not repeated in the next line."""
    lines = [["", "", "sent", "in /metrics", "in events"]]
    for row, above in zip(rows, [None, *rows], strict=False):
        of = "" if above is not None and row.of == above.of else row.of
        lines.append([of, row.what, *("-" if count is None else str(count) for count in row[2:])])
    width, what_width = (max(len(line[column]) for line in lines) for column in (0, 1))
    return [
        f"{of:<{width}}  {what:<{what_width}}  {sent:>8}  {counted:>11}  {published:>9}"
        for of, what, sent, counted, published in lines
    ]
