"""The last rejections and anomalies with their places, for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest

from exporter.analyzers import analyzers
from exporter.feeds.feed import Feed
from exporter.feeds.rejections import DETAIL_CHARACTERS, RecentRejection
from exporter.model import Anomaly, FeedKey
from exporter.runtime.foreign_text import printable
from exporter.status import SidecarStatus

LISTED = 100

Entry = dict[str, object]
# Of one feed and kind: when it last occurred in Unix ms, and the rest of the entry.
Found = tuple[int, str, Anomaly, Entry]


def meanings() -> dict[Anomaly, str]:
    """Return what each kind of anomaly means."""
    return {kind: text for analyzer in analyzers() for kind, text in analyzer.meanings.items()}


def anomalies_of(feed: Feed) -> list[Found]:
    """Return the anomalies of a feed; call it with read access."""
    if not feed.anomaly_places:
        return []
    return [
        (time_ms, str(feed.key), kind, _entry(feed, kind, place.topic, place.number, offset, time_ms))
        for kind, (place, offset, time_ms) in feed.anomaly_places.items()
    ]


def _entry(feed: Feed, kind: Anomaly, topic: str, partition: int, offset: int, time_ms: int) -> Entry:
    place: Entry = {"topic": topic, "partition": partition, "offset": offset, "time_ms": time_ms}
    return {"feed": str(feed.key), "kind": kind, **place, "count": feed.anomalies[kind]}


def newest(found: Iterable[Found]) -> list[Entry]:
    """Return the entries of the newest anomalies, the newest first."""
    return [entry for *_, entry in nlargest(LISTED, found, key=lambda each: each[:3])]


def rejections(status: SidecarStatus, feed: FeedKey | None = None) -> list[Entry]:
    """Return the last rejections, the newest first, of all records or of those that name one feed."""
    recent = status.recent_rejections()
    return [_rejection(each) for each in recent if feed is None or each.rejected.feed == feed][:LISTED]


def _rejection(found: RecentRejection) -> Entry:
    partition, offset, rejected, time_ms, number = found
    return {
        "topic": partition.topic,
        "partition": partition.number,
        "offset": offset,
        "reason": rejected.reason,
        "detail": printable(rejected.detail, DETAIL_CHARACTERS),
        "feed": None if rejected.feed is None else printable(str(rejected.feed)),
        "time_ms": time_ms,
        "count": number,
    }
