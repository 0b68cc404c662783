"""What a scrape shows of one feed, as text: the largest part of a page. Pure.

A family of feeds is a row of `FEED_FAMILIES`: its name, and a function that gives the lines of one feed. The text of
a feed is kept until the feed changes, because most feeds do not between two scrapes of thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from exporter.exposition import Family
from exporter.feeds import COUNT_BOUNDS, EFFICIENCY_BOUNDS, Feed
from exporter.model import BatchResult

Lines = Callable[[str, str, Feed], str]


class FeedFamily(NamedTuple):
    """One family of all feeds; `lines` gets its name, the text of a feed's labels, and the feed."""

    name: str
    kind: str
    help: str
    lines: Lines
    unit: str = ""


def feed_texts(feed: Feed, labels: str) -> tuple[str, ...]:
    """Return the lines of one feed for each row of `FEED_FAMILIES`."""
    return tuple([family.lines(family.name, labels, feed) for family in FEED_FAMILIES])


def feed_families(texts: Sequence[tuple[str, ...]]) -> Iterator[Family]:
    """Yield the families of all feeds, from the texts of each."""
    for index, family in enumerate(FEED_FAMILIES):
        yield Family(family.name, family.kind, family.help, family.unit, [text[index] for text in texts])


def buckets(name: str, labels: str, bounds: Sequence[str], counts: Sequence[int], total: float) -> str:
    """Return the lines of one histogram; `counts` are those of single buckets."""
    cumulated = list(accumulate(counts))
    lines = [f'{name}_bucket{{{labels},le="{bound}"}} {n}\n' for bound, n in zip(bounds, cumulated, strict=True)]
    lines.append(f"{name}_count{{{labels}}} {cumulated[-1]}\n{name}_sum{{{labels}}} {total}\n")
    return "".join(lines)


def spelled(bounds: Iterable[float]) -> tuple[str, ...]:
    """Return the bounds of buckets as `le` spells them, with the last that has none."""
    return (*(repr(float(bound)) for bound in bounds), "+Inf")


_COUNT_LE = spelled(COUNT_BOUNDS)
_EFFICIENCY_LE = spelled(EFFICIENCY_BOUNDS)


def _counter(value: Callable[[Feed], int]) -> Lines:
    return lambda name, labels, feed: f"{name}_total{{{labels}}} {value(feed)}\n"


def _last(value: Callable[[BatchResult], float]) -> Lines:
    """Lines of a last value: none while the feed is not ours, so that no two replicas claim it."""

    def lines(name: str, labels: str, feed: Feed) -> str:
        return f"{name}{{{labels}}} {value(feed.last)}\n" if feed.last is not None and feed.partitions else ""

    return lines


def _stamp(value: Callable[[Feed], int]) -> Lines:
    """Lines of a point in time, from milliseconds; none when it is unknown or the feed not ours."""

    def lines(name: str, labels: str, feed: Feed) -> str:
        time_ms = value(feed)
        return f"{name}{{{labels}}} {time_ms / 1000}\n" if time_ms > 0 and feed.partitions else ""

    return lines


def _sizes(name: str, labels: str, feed: Feed) -> str:
    return buckets(name, labels, _COUNT_LE, feed.size_buckets, feed.messages)


def _uniques(name: str, labels: str, feed: Feed) -> str:
    return buckets(name, labels, _COUNT_LE, feed.unique_buckets, feed.unique_sum)


def _efficiencies(name: str, labels: str, feed: Feed) -> str:
    return buckets(name, labels, _EFFICIENCY_LE, feed.efficiency_buckets, feed.efficiency_sum)


def _anomalies(name: str, labels: str, feed: Feed) -> str:
    return "".join([f'{name}_total{{{labels},kind="{kind}"}} {n}\n' for kind, n in feed.anomalies.items()])


FEED_FAMILIES = (
    FeedFamily("marketdata_batches", "counter", "Batches accepted.", _counter(lambda feed: feed.batches)),
    FeedFamily("marketdata_messages", "counter", "Messages in accepted batches.", _counter(lambda feed: feed.messages)),
    FeedFamily("marketdata_batch_size", "histogram", "Messages in a batch.", _sizes),
    FeedFamily("marketdata_batch_unique_symbols", "histogram", "Different symbols in a batch.", _uniques),
    FeedFamily(
        "marketdata_batch_cache_efficiency_ratio",
        "histogram",
        "1 / unique symbols of a batch; 0 when empty.",
        _efficiencies,
        "ratio",
    ),
    FeedFamily("marketdata_anomalies", "counter", "Suspicious things in valid batches, by kind.", _anomalies),
    FeedFamily(
        "marketdata_last_batch_size", "gauge", "Messages in the last batch.", _last(lambda last: last.batch_size)
    ),
    FeedFamily(
        "marketdata_last_batch_unique_symbols",
        "gauge",
        "Different symbols in the last batch.",
        _last(lambda last: last.unique_symbols),
    ),
    FeedFamily(
        "marketdata_last_batch_cache_efficiency_ratio",
        "gauge",
        "1 / unique symbols of the last batch; 0 when empty.",
        _last(lambda last: last.cache_efficiency),
        "ratio",
    ),
    FeedFamily(
        "marketdata_feed_last_batch_timestamp_seconds",
        "gauge",
        "Newest timestamp_ms of a batch, Unix time.",
        _stamp(lambda feed: feed.last_batch_ms),
        "seconds",
    ),
    FeedFamily(
        "marketdata_feed_last_message_timestamp_seconds",
        "gauge",
        "Newest stamp of a message, Unix time.",
        _stamp(lambda feed: feed.last_message_ms),
        "seconds",
    ),
    FeedFamily(
        "marketdata_feed_last_received_timestamp_seconds",
        "gauge",
        "When the sidecar last analyzed a batch, Unix time.",
        _stamp(lambda feed: feed.last_received_ms),
        "seconds",
    ),
)
