"""The families of what is counted of each feed. Pure; `exporter.metrics.watch_metrics` has those of what is watched."""

from __future__ import annotations

from collections.abc import Callable

from exporter.feeds.feed import COUNT_BOUNDS, EFFICIENCY_BOUNDS, Feed
from exporter.instrument.families import Lines, Row, buckets, counter, spelled
from exporter.model import BatchResult

_COUNT_LE = spelled(COUNT_BOUNDS)
_EFFICIENCY_LE = spelled(EFFICIENCY_BOUNDS)


def stamp(value: Callable[[Feed], int]) -> Lines[Feed]:
    """Return the lines of a point in time, from milliseconds; none while it is unknown or the feed is not owned."""

    def lines(name: str, labels: str, feed: Feed) -> str:
        time_ms = value(feed)
        return f"{name}{{{labels}}} {time_ms / 1000}\n" if time_ms > 0 and feed.partitions else ""

    return lines


def _last(value: Callable[[BatchResult], float]) -> Lines[Feed]:
    """Lines of a last value: none while the feed is not ours, so that no two replicas claim it."""

    def lines(name: str, labels: str, feed: Feed) -> str:
        return f"{name}{{{labels}}} {value(feed.last)}\n" if feed.last is not None and feed.partitions else ""

    return lines


def _sizes(name: str, labels: str, feed: Feed) -> str:
    return buckets(name, labels, _COUNT_LE, feed.size_buckets, feed.messages)


def _uniques(name: str, labels: str, feed: Feed) -> str:
    return buckets(name, labels, _COUNT_LE, feed.unique_buckets, feed.unique_sum)


def _efficiencies(name: str, labels: str, feed: Feed) -> str:
    return buckets(name, labels, _EFFICIENCY_LE, feed.efficiency_buckets, feed.efficiency_sum)


def _anomalies(name: str, labels: str, feed: Feed) -> str:
    return "".join([f'{name}_total{{{labels},kind="{kind}"}} {n}\n' for kind, n in feed.anomalies.items()])


def _unreadable(name: str, labels: str, feed: Feed) -> str:
    return "".join(
        [f'{name}_total{{{labels},field="{field}"}} {n}\n' for field, n in feed.health.quality.unreadable.items()]
    )


FEED_FAMILIES: tuple[Row[Feed], ...] = (
    Row("marketdata_batches", "counter", "Batches accepted.", counter(lambda feed: feed.batches)),
    Row("marketdata_messages", "counter", "Messages in accepted batches.", counter(lambda feed: feed.messages)),
    Row("marketdata_batch_size", "histogram", "Messages in a batch.", _sizes),
    Row("marketdata_batch_unique_symbols", "histogram", "Different symbols in a batch.", _uniques),
    Row(
        "marketdata_batch_cache_efficiency_ratio",
        "histogram",
        "1 / unique symbols of a batch; 0 when empty.",
        _efficiencies,
        "ratio",
    ),
    Row("marketdata_anomalies", "counter", "Suspicious things in valid batches, by kind.", _anomalies),
    Row(
        "marketdata_unreadable_fields",
        "counter",
        "Optional fields of valid batches that cannot be read and are left out, by name.",
        _unreadable,
    ),
    Row("marketdata_last_batch_size", "gauge", "Messages in the last batch.", _last(lambda last: last.batch_size)),
    Row(
        "marketdata_last_batch_unique_symbols",
        "gauge",
        "Different symbols in the last batch.",
        _last(lambda last: last.unique_symbols),
    ),
    Row(
        "marketdata_last_batch_cache_efficiency_ratio",
        "gauge",
        "1 / unique symbols of the last batch; 0 when empty.",
        _last(lambda last: last.cache_efficiency),
        "ratio",
    ),
    Row(
        "marketdata_feed_last_batch_timestamp_seconds",
        "gauge",
        "Newest timestamp_ms of a batch, Unix time.",
        stamp(lambda feed: feed.last_batch_ms),
        "seconds",
    ),
    Row(
        "marketdata_feed_last_message_timestamp_seconds",
        "gauge",
        "Newest stamp of a message, Unix time.",
        stamp(lambda feed: feed.last_message_ms),
        "seconds",
    ),
    Row(
        "marketdata_feed_last_received_timestamp_seconds",
        "gauge",
        "When the sidecar last analyzed a batch, Unix time.",
        stamp(lambda feed: feed.last_received_ms),
        "seconds",
    ),
)
