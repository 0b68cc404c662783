"""The families of one feed: its own, and those of its analyzers, symbols and prices. Pure.

A gauge is shown only while the feed is owned, so that no two replicas claim a feed; counters and histograms stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from exporter.analyzers import Analyzer, analyzers
from exporter.feeds.divergence import DIVERGENCE_ROWS
from exporter.feeds.feed import COUNT_BOUNDS, EFFICIENCY_BOUNDS, Feed
from exporter.feeds.states import FeedState
from exporter.feeds.symbols import COUNT_ROWS, SHOWN_ROWS
from exporter.instrument.families import Lines, Row, buckets, counter, gauge, spelled, unix_time
from exporter.model import BatchResult

T = TypeVar("T")
_COUNT_LE = spelled(COUNT_BOUNDS)
_EFFICIENCY_LE = spelled(EFFICIENCY_BOUNDS)


def analyzer_rows(kind: type[Analyzer]) -> Iterator[Row[Feed]]:
    """Yield the families of one analyzer of a feed."""
    return _rows(kind.rows, lambda feed: feed.health.analyzers.get(kind))


def _rows(rows: Iterable[Row[T]], part: Callable[[Feed], T | None]) -> Iterator[Row[Feed]]:
    """Yield rows of a part of a feed as rows of the feed; while it has no such part, there are no lines."""
    for row in rows:
        lines = _lines_of_owned(row.lines, part) if row.kind == "gauge" else _lines(row.lines, part)
        yield Row(row.name, row.kind, row.help, lines, row.unit)


def _lines(lines: Lines[T], part: Callable[[Feed], T | None]) -> Lines[Feed]:
    def lines_of_feed(feed: Feed, name: str, labels: str) -> str:
        found = part(feed)
        return "" if found is None else lines(found, name, labels)

    return lines_of_feed


def _lines_of_owned(lines: Lines[T], part: Callable[[Feed], T | None]) -> Lines[Feed]:
    return _lines(lines, lambda feed: part(feed) if feed.partitions else None)


def _sizes(feed: Feed, name: str, labels: str) -> str:
    return buckets(name, labels, _COUNT_LE, feed.size_buckets, feed.messages)


def _uniques(feed: Feed, name: str, labels: str) -> str:
    return buckets(name, labels, _COUNT_LE, feed.unique_buckets, feed.unique_sum)


def _efficiencies(feed: Feed, name: str, labels: str) -> str:
    return buckets(name, labels, _EFFICIENCY_LE, feed.efficiency_buckets, feed.efficiency_sum)


def _anomalies(feed: Feed, name: str, labels: str) -> str:
    return "".join([f'{name}_total{{{labels},kind="{kind}"}} {n}\n' for kind, n in feed.anomalies.items()])


def _expected(feed: Feed, name: str, labels: str) -> str:
    health = feed.health
    if not (feed.partitions or health.is_expected):
        return ""
    return f"{name}{{{labels}}} {int(health.plan.reason is None)}\n"


def _states(feed: Feed, name: str, labels: str) -> str:
    if not feed.has_state:
        return ""
    state = feed.health.state
    return "".join([f'{name}{{{labels},state="{each}"}} {int(each is state)}\n' for each in FeedState])


_COUNTED: tuple[Row[Feed], ...] = (
    Row("marketdata_batches", "counter", "Batches accepted.", counter(lambda feed: feed.batches)),
    Row("marketdata_messages", "counter", "Messages in accepted batches.", counter(lambda feed: feed.messages)),
    Row("marketdata_batch_size", "histogram", "Messages in a batch.", _sizes),
    Row("marketdata_batch_unique_symbols", "histogram", "Different symbols in a batch.", _uniques),
    Row(
        "marketdata_batch_cache_efficiency_ratio",
        "histogram",
        "1 / unique symbols of a batch; 0 when it is empty.",
        _efficiencies,
        "ratio",
    ),
    Row("marketdata_anomalies", "counter", "Anomalies in valid batches, by kind.", _anomalies),
    Row(
        "marketdata_feed_last_batch_timestamp_seconds",
        "gauge",
        "Newest timestamp_ms of a batch, as Unix time.",
        unix_time(lambda feed: feed.last_batch_ms),
        "seconds",
    ),
    Row(
        "marketdata_feed_last_message_timestamp_seconds",
        "gauge",
        "Newest timestamp of a message, as Unix time.",
        unix_time(lambda feed: feed.last_message_ms),
        "seconds",
    ),
    Row(
        "marketdata_feed_last_received_timestamp_seconds",
        "gauge",
        "Unix time when the sidecar last analyzed a batch.",
        unix_time(lambda feed: feed.last_received_ms),
        "seconds",
    ),
)
_LAST: tuple[Row[BatchResult], ...] = (
    Row("marketdata_last_batch_size", "gauge", "Messages in the last batch.", gauge(lambda last: last.batch_size)),
    Row(
        "marketdata_last_batch_unique_symbols",
        "gauge",
        "Different symbols in the last batch.",
        gauge(lambda last: last.unique_symbols),
    ),
    Row(
        "marketdata_last_batch_cache_efficiency_ratio",
        "gauge",
        "1 / unique symbols of the last batch; 0 when it is empty.",
        gauge(lambda last: last.cache_efficiency),
        "ratio",
    ),
)
# Shown for some feeds that are not owned, too: those that are expected, or whose batches are all missing or rejected.
_EVALUATED: tuple[Row[Feed], ...] = (
    Row(
        "marketdata_feed_expected", "gauge", "1 while the feed should send, 0 while its silence is planned.", _expected
    ),
    Row("marketdata_feed_state", "gauge", "1 for the state of the feed.", _states),
)
COUNTED_ROWS: tuple[Row[Feed], ...] = (
    *_rows(_COUNTED, lambda feed: feed),
    *_rows(_LAST, lambda feed: feed.last),
)
FEED_ROWS: tuple[Row[Feed], ...] = (
    *COUNTED_ROWS,
    *(row for kind in analyzers() for row in analyzer_rows(kind)),
    *_rows(COUNT_ROWS, lambda feed: feed.health.symbols),
    *_rows(SHOWN_ROWS, lambda feed: feed.health.shown_symbols),
    *_rows(DIVERGENCE_ROWS, lambda feed: feed.health.divergence),
    *_EVALUATED,
)
