"""The families of one feed: its own, and those of its analyzers, symbols and prices. Pure.

A gauge is shown only while the feed is owned, so that no two replicas claim a feed; counters and histograms stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from prometheus_client.samples import Exemplar

from exporter.analyzers import Analyzer, analyzers
from exporter.feeds.divergence import DIVERGENCE_ROWS
from exporter.feeds.feed import EFFICIENCY, SIZE, UNIQUE, Feed
from exporter.feeds.states import FeedState
from exporter.feeds.symbols import COUNT_ROWS, SHOWN_ROWS
from exporter.instrument.exposition import Family
from exporter.instrument.families import (
    CompactTexts,
    PartOf,
    Row,
    RowMessages,
    RowTexts,
    compact_families,
    compact_texts,
    counter,
    families,
    gauge,
    histogram,
    message_families,
    row_texts,
    unix_time,
)
from exporter.instrument.protobuf import encoded_labels
from exporter.instrument.selection import Selection
from exporter.model import BatchResult

T = TypeVar("T")
ANOMALIES = "marketdata_anomalies"


class Part(NamedTuple):
    """The families of a part of a feed; `find` returns the part, None while the feed has none.

    `needs_owner`: gauges are shown only while the feed is owned.
    """

    rows: tuple[Row[Any], ...]
    find: Callable[[Feed], object]
    needs_owner: bool = True


def _part(rows: Iterable[Row[T]], find: Callable[[Feed], T | None], *, needs_owner: bool = True) -> Part:
    return Part(tuple(rows), find, needs_owner)


def analyzer_part(kind: type[Analyzer]) -> Part:
    """Return the families of one analyzer of a feed."""
    return _part(kind.rows, lambda feed: feed.analyzers.find(kind))


def shown_parts(parts: Iterable[Part], shown: Selection) -> tuple[Part, ...]:
    """Return the parts with the rows that are shown; parts without any are left out."""
    chosen = [part._replace(rows=tuple([row for row in part.rows if shown.shows(*row[:2])])) for part in parts]
    return tuple([part for part in chosen if part.rows])


def feed_texts(parts: Iterable[Part], labels: str, feed: Feed) -> RowTexts:
    """Return the lines of a feed for each row of the parts."""
    return row_texts(_found(parts, feed), labels)


def compact_feed_texts(parts: Iterable[Part], labels: str, feed: Feed) -> CompactTexts:
    """Return the same to be kept, for `compact_families`."""
    return compact_texts(_found(parts, feed), labels)


def _found(parts: Iterable[Part], feed: Feed) -> list[PartOf]:
    return [(rows, find(feed), bool(feed.partitions) or not needs_owner) for rows, find, needs_owner in parts]


def feed_messages(parts: Iterable[Part], labels: str, feed: Feed, places: Mapping[str, Exemplar]) -> RowMessages:
    """Return the metrics of a feed for each row of the parts, as protobuf; `places` are exemplars by line."""
    found: list[tuple[bytes, int]] = []
    known = encoded_labels(labels)
    for rows, find, needs_owner in parts:
        part = find(feed)
        hides_gauges = needs_owner and not feed.partitions
        for row in rows:
            is_shown = part is not None and not (hides_gauges and row.kind == "gauge")
            exemplars = places if row.name == ANOMALIES else {}
            found.append(row.message(part, labels, known, exemplars) if is_shown else (b"", 0))
    return RowMessages(tuple([body for body, _ in found]), tuple([series for _, series in found]))


def feed_families(parts: Iterable[Part], texts: Sequence[RowTexts]) -> list[Family]:
    """Return the families of all feeds, from the texts of each."""
    return families([row for part in parts for row in part.rows], texts)


def compact_feed_families(parts: Iterable[Part], texts: Sequence[CompactTexts]) -> list[Family]:
    """Return the families of all feeds, from the compact texts of each."""
    return compact_families([row for part in parts for row in part.rows], texts)


def feed_message_families(parts: Iterable[Part], messages: Sequence[RowMessages]) -> list[Family]:
    """Return the families of all feeds, from the messages of each."""
    return message_families([row for part in parts for row in part.rows], messages)


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
    histogram(SIZE, "Messages in a batch.", lambda feed: feed.sizes),
    histogram(UNIQUE, "Different symbols in a batch.", lambda feed: feed.uniques),
    histogram(
        EFFICIENCY, "1 / unique symbols of a batch; 0 when it is empty.", lambda feed: feed.efficiencies, "ratio"
    ),
    Row(ANOMALIES, "counter", "Anomalies in valid batches, by kind.", _anomalies),
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
COUNTED = (_part(_COUNTED, lambda feed: feed), _part(_LAST, lambda feed: feed.last))
FEED_PARTS: tuple[Part, ...] = (
    *COUNTED,
    *(analyzer_part(kind) for kind in analyzers()),
    _part(COUNT_ROWS, lambda feed: feed.health.symbols),
    _part(SHOWN_ROWS, lambda feed: feed.health.shown_symbols),
    _part(DIVERGENCE_ROWS, lambda feed: feed.health.divergence),
    _part(_EVALUATED, lambda feed: feed, needs_owner=False),
)
