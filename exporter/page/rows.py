"""Rows of the table of feeds: one array each, in the order of `COLUMNS`. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.feeds.feed import Feed
from exporter.runtime.foreign_text import printable

# Length of a reason, which may quote a broker or a record.
REASON_MAX = 600
RATES = ("batches_per_second", "messages_per_second", "latency_ms")
COLUMNS = (
    "name",
    "state",
    "reasons",
    "scope",
    "state_since_ms",
    "batches",
    "messages",
    "batch_size",
    "unique_symbols",
    "efficiency",
    "symbols",
    "symbols_active",
    "symbols_expected",
    "last_batch_ms",
    "last_received_ms",
    "silent_limit_seconds",
    "anomalies",
    *RATES,
)

Values = Sequence[object]


def feed_values(feed: Feed) -> list[object]:
    """Return the row of a feed without its rates; call it with read access."""
    health, owned = feed.health, bool(feed.partitions)
    last, symbols = (feed.last, health.symbols) if owned else (None, None)
    state, reasons, scope = health.diagnosis if feed.has_state else (None, (), None)
    return [
        str(feed.key),
        state,
        reasons,
        scope,
        health.state_since_ms if feed.has_state else None,
        feed.batches,
        feed.messages,
        *((None, None, None) if last is None else last[:3]),
        feed.symbol_count,
        symbols and symbols.active,
        symbols and symbols.expected,
        *((feed.last_batch_ms or None, feed.last_received_ms or None) if owned else (None, None)),
        health.freshness.silent_limit_ms / 1000 if feed.has_state else None,
        sum(feed.anomalies.values()),
    ]


def with_rates(values: Values, rates: Values) -> list[object]:
    """Return a row with its rates, and its reasons as they may be shown."""
    name, state, reasons, *rest = values
    texts = [printable(reason, REASON_MAX) for reason in reasons] if isinstance(reasons, tuple) and reasons else []
    return [name, state, texts, *rest, *rates]
