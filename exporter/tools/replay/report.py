"""What a replay found, as one document for JSON, and from it for text and HTML.

Times are Unix milliseconds, durations seconds, latencies milliseconds; None is unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from exporter.analyzers.latency import Latency, Stage
from exporter.feeds.feed import Feed
from exporter.feeds.partitions import TopicCounts
from exporter.feeds.rejections import RecentRejection, one_line
from exporter.feeds.states import FeedState, Transition
from exporter.instrument.quantiles import quantile
from exporter.model import FeedKey, Partition
from exporter.page.feed import thresholds
from exporter.runtime.foreign_text import printable
from exporter.tools.replay.analysis import Analysis

FORMAT = 1
SIDECAR_STAGES = (Stage.BROKER_TO_SIDECAR,)
NAME_MAX, REASON_MAX = 200, 500
QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}

Document = dict[str, Any]


def document(analysis: Analysis, source: str, seconds: float, damage: str = "") -> Document:
    """Return what the analysis found in the records of `source`, which took it so many seconds.

    `damage` is why more could not be read, if so.
    """
    pipeline, end_ms = analysis.pipeline, analysis.now_ms
    names = sorted({*analysis.timelines, *analysis.feeds})
    return {
        "format": FORMAT,
        "source": source,
        "damage": damage or None,
        "from_ms": analysis.from_ms,
        "to_ms": end_ms,
        "records": analysis.records,
        "seconds": round(seconds, 3),
        "topics": [_topic(name, counts) for name, counts in sorted(pipeline.topics.items())],
        "feeds": [_feed(analysis, key, end_ms) for key in names],
        "rejections": [_rejection(each) for each in pipeline.recent_rejections.listed()],
        "gaps": [gap._asdict() for gap in analysis.gaps],
        "forgotten_feeds": pipeline.table.forgotten,
        "transitions_not_kept": analysis.dropped,
    }


def _topic(name: str, counts: TopicCounts) -> Document:
    rejected = {reason.value: number for reason, number in counts.rejected.items() if number}
    places = {reason.value: _place(*place) for reason, place in counts.places.items()}
    return {
        "topic": printable(name, NAME_MAX),
        "records": counts.records,
        "filtered": counts.filtered,
        "rejected": rejected,
        "last_rejected": places,
        "unreadable": counts.unreadable,
    }


def _place(partition: Partition, offset: int) -> str:
    return f"{printable(partition.topic, NAME_MAX)}/{partition.number}/{offset}"


def _rejection(found: RecentRejection) -> Document:
    partition, offset, rejected, at_ms, number = found
    return {
        "at_ms": at_ms,
        "place": _place(partition, offset),
        "reason": rejected.reason.value,
        "detail": one_line(rejected.detail),
        "feed": None if rejected.feed is None else printable(str(rejected.feed), NAME_MAX),
        "count": number,
    }


def _feed(analysis: Analysis, key: FeedKey, end_ms: int) -> Document:
    timeline = analysis.timelines.get(key, [])
    found: Document = {
        "feed": printable(str(key), NAME_MAX),
        "timeline": [_entered(each) for each in timeline],
        "seconds_in": seconds_in(timeline, end_ms),
    }
    feed = analysis.feeds.get(key)
    return found if feed is None else found | _known(feed) | {"anomalies": _anomalies(analysis, feed)}


def _entered(entered: Transition) -> Document:
    state, reasons, scope = entered.diagnosis
    return {
        "at_ms": entered.since_ms,
        "state": state.value,
        "scope": scope.value,
        "reasons": [printable(reason, REASON_MAX) for reason in reasons],
    }


def seconds_in(timeline: Iterable[Transition], end_ms: int) -> dict[str, float]:
    """Return for how many seconds a feed was in each of its states."""
    found: Counter[FeedState] = Counter()
    moments = [(each.since_ms, each.diagnosis.state) for each in timeline]
    for (since_ms, state), (until_ms, _) in pairwise([*moments, (end_ms, FeedState.UNKNOWN)]):
        found[state] += until_ms - since_ms
    return {state.value: milliseconds / 1000 for state, milliseconds in found.items()}


def _known(feed: Feed) -> Document:
    sums = [(each.sum if each is not None else None) for each in (feed.uniques, feed.efficiencies)]
    return {
        "batches": feed.batches,
        "messages": feed.messages,
        "symbols": feed.symbol_count,
        "unique_symbols_sum": sums[0],
        "cache_efficiency_sum": sums[1],
        "first_ms": feed.began_ms or None,
        "last_ms": feed.last_received_ms or None,
        "latencies": _latencies(feed),
        "thresholds": thresholds(feed.health, owned=bool(feed.partitions)),
    }


def _latencies(feed: Feed) -> Mapping[str, Document]:
    """Return the durations of each stage; the last one, to the sidecar, is not of the past and left out."""
    found: dict[str, Document] = {}
    for stage, hop in feed.analyzers.get(Latency).hops.items():
        count = hop.count
        if stage in SIDECAR_STAGES or not (count or hop.skewed):
            continue
        bounds = hop.bounds.values
        quantiles = {name: quantile(q, bounds, hop.buckets) for name, q in QUANTILES.items()}
        mean_ms = hop.sum / count if count else None
        found[stage.value] = {"count": count, "mean_ms": mean_ms, **quantiles, "skewed": hop.skewed}
    return found


def _anomalies(analysis: Analysis, feed: Feed) -> list[Document]:
    places = analysis.places.get(feed.key, {})
    return [
        {
            "kind": kind.value,
            "count": count,
            "places": [{"place": _place(*each[:2]), "at_ms": each.at_ms} for each in places.get(kind, [])],
        }
        for kind, count in feed.anomalies.items()
        if count
    ]
