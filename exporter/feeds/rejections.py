"""Rejected records of a feed and of a topic: the prevailing reason, and whether they explain a feed's silence. Pure.

Rejected records that name a feed belong to it. Those that name none may belong to any feed on their topic. They count
for a feed when nothing else arrives on the topic, or when there are clearly more of them since the last batch of the
feed than before it: records of another feed that have always been rejected do not explain why this one is silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from exporter.model import FeedKey, Partition, Reason, Record, Rejected
from exporter.runtime.rate_limit import RateLimiter

# About so many of the last rejections decide the main reason.
KEPT = 100
DETAIL_CHARACTERS = 160
# The factor from which on there are clearly more. When two collectors send one feed and fail one after the other, there
# are twice as many.
RISEN = 1.5
# The share of rejected records is that of the last one to two minutes in which records arrived.
WINDOW_MS = 60_000
# From this share on there is a warning, as long as the last rejection is not older than this.
WARNED_RATIO = 0.1
WARNED_MS = 900_000
LISTED = 20
# Of the rejections of one topic and reason, the first is logged at once, then one in so many seconds.
LOG_SECONDS = 300
# Different recent rejections, by topic, reason and known feed.
RECENT_MAX = 100


class Rejections:
    """Rejected records of one feed or one topic: how many, and when the last came in Unix milliseconds (0: never)."""

    __slots__ = ("_counts", "_examples", "last_ms", "total")

    def __init__(self) -> None:
        self.total = 0
        self.last_ms = 0
        self._counts: dict[Reason, int] = {}
        self._examples: dict[Reason, tuple[Partition, int, str]] = {}

    def add(self, rejected: Rejected, partition: Partition, offset: int, now_ms: int) -> None:
        """Count a rejected record; older ones weigh less and less."""
        reason = rejected.reason
        self.total += 1
        self.last_ms = now_ms
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._examples[reason] = partition, offset, rejected.detail
        if self.total % KEPT == 0:
            self._counts = {each: count // 2 for each, count in self._counts.items() if count > 1}

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        self.last_ms = min(self.last_ms, now_ms)

    def __str__(self) -> str:
        """Return the prevailing reason, with the place and fault of the last record that was rejected for it."""
        reason = max(self._counts, key=lambda each: self._counts[each])
        partition, offset, detail = self._examples[reason]
        mostly = "mostly " if len(self._counts) > 1 else ""
        return f"{mostly}{reason}, for example {partition}/{offset}: {one_line(detail)}"


class LoggedRejection(NamedTuple):
    """A rejected record to log; `suppressed` others of its topic and reason were not logged before it."""

    record: Record
    rejected: Rejected
    suppressed: int


class RejectionLog:
    """Rejected records that are to be logged, limited by topic and reason."""

    def __init__(self) -> None:
        self.waiting: list[LoggedRejection] = []
        self._limiter = RateLimiter(burst=1, per_second=1 / LOG_SECONDS)

    def add(self, record: Record, rejected: Rejected, now_ms: int) -> None:
        """Add a rejected record, unless one like it was added lately."""
        suppressed = self._limiter.admit(f"{record.partition.topic} {rejected.reason}", now_ms)
        if suppressed is not None:
            self.waiting.append(LoggedRejection(record, rejected, suppressed))

    def take(self) -> list[LoggedRejection]:
        """Return the rejections since the last call."""
        waiting, self.waiting = self.waiting, []
        return waiting


class RecentRejection(NamedTuple):
    """The last rejected record of one topic, reason and known feed, and the `number` of them."""

    partition: Partition
    offset: int
    rejected: Rejected
    time_ms: int
    number: int


class RecentRejections:
    """The last rejections: at most `RECENT_MAX`, one for each topic, reason and known feed, in the order of time.

    A flood of one kind therefore hides no other, and a record costs about a microsecond.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, Reason, FeedKey | None], RecentRejection] = {}

    def add(self, record: Record, rejected: Rejected, known_feed: FeedKey | None, now_ms: int) -> None:
        """Add a rejected record; `known_feed` is the feed that it names, None when there is no such feed."""
        key = record.partition.topic, rejected.reason, known_feed
        before = self._entries.pop(key, None)
        number = 1 if before is None else before.number + 1
        self._entries[key] = RecentRejection(record.partition, record.offset, rejected, now_ms, number)
        if len(self._entries) > RECENT_MAX:
            del self._entries[next(iter(self._entries))]

    def listed(self) -> list[RecentRejection]:
        """Return the rejections, the newest first; callable from any thread."""
        return list(self._entries.values())[::-1]


def one_line(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = "".join(character if character.isprintable() else " " for character in text[: DETAIL_CHARACTERS + 1])
    return line if len(line) <= DETAIL_CHARACTERS else f"{line[: DETAIL_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


class Traffic:
    """The live records of one topic.

    `records` is the number of records that were read for the first time. `rejections` are all rejected records,
    `strays` those of them that name no feed. `valid_ms` is the time of the last valid batch of any feed, in Unix
    milliseconds; 0: never. `rejected_ratio` is the present share of rejected records.
    """

    __slots__ = ("_before", "_since", "_turned_ms", "records", "rejected_ratio", "rejections", "strays", "valid_ms")

    def __init__(self) -> None:
        self.records = 0
        self.rejections = Rejections()
        self.strays = Rejections()
        self.valid_ms = 0
        self.rejected_ratio = 0.0
        self._turned_ms = 0
        self._before = self._since = (0, 0)  # records and rejections at the beginning of the last windows

    def update(self, now_ms: int) -> None:
        """Update the present share of rejected records, once a second."""
        records = self.records
        if records != self._since[0] and not 0 <= now_ms - self._turned_ms < WINDOW_MS:
            self._before, self._since = self._since, (records, self.rejections.total)
            self._turned_ms = now_ms
        total, rejected = records - self._before[0], self.rejections.total - self._before[1]
        self.rejected_ratio = rejected / total if total else 0.0

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        self.valid_ms = min(self.valid_ms, now_ms)
        self.rejections.set_back(now_ms)
        self.strays.set_back(now_ms)

    def is_suspect(self, now_ms: int) -> bool:
        """Return whether the present share of rejected records is worth a warning."""
        return self.rejected_ratio >= WARNED_RATIO and now_ms - self.rejections.last_ms <= WARNED_MS


class FeedRejections:
    """The rejected records that may explain the silence of one feed. `named` are those that name it."""

    __slots__ = ("_began_ms", "_sent_ms", "_strays_at_first", "_strays_when_sent", "named")

    def __init__(self) -> None:
        self.named = Rejections()
        self._began_ms = 0
        self._sent_ms = 0
        self._strays_at_first = 0
        self._strays_when_sent = 0

    def update(self, sent_ms: int, topics: Sequence[Traffic], now_ms: int) -> None:
        """Note, once a second, when the feed last sent: records rejected until then explain no later silence."""
        if sent_ms == self._sent_ms:
            return
        self._sent_ms = sent_ms
        self._strays_when_sent = _strays(topics)
        if self.named.total:
            self.named = Rejections()
        if not self._began_ms:
            self._began_ms, self._strays_at_first = now_ms, self._strays_when_sent

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        self._began_ms, self._sent_ms = min(self._began_ms, now_ms), min(self._sent_ms, now_ms)
        self.named.set_back(now_ms)

    def find(self, limit_ms: int, topics: Sequence[Traffic], now_ms: int) -> Rejections | None:
        """Return the rejected records of the last `limit_ms` that may be the feed's; None when there are none."""
        have_risen = self._has_risen(topics, now_ms)
        strays = [topic.strays for topic in topics if have_risen or now_ms - topic.valid_ms > limit_ms]
        newest = max((self.named, *strays), key=lambda each: each.last_ms)
        return newest if newest.last_ms and now_ms - newest.last_ms <= limit_ms else None

    def _has_risen(self, topics: Iterable[Traffic], now_ms: int) -> bool:
        """Return whether clearly more records that name no feed come since the feed's last batch than before it."""
        if not self._sent_ms:
            return False
        since, before = _strays(topics) - self._strays_when_sent, self._strays_when_sent - self._strays_at_first
        sent_for_ms = max(1, self._sent_ms - self._began_ms)
        return since * sent_for_ms > RISEN * before * (now_ms - self._sent_ms)


def _strays(topics: Iterable[Traffic]) -> int:
    return sum(topic.strays.total for topic in topics)


@lru_cache(maxsize=10_000)
def is_named_after(topic: str, feed: FeedKey) -> bool:
    """Return whether the name of a topic contains region and request type of a feed, as `ticker-data.korea` does."""
    words = (rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" for word in (feed.region, feed.request_type))
    return all(re.search(word, topic) for word in words)


def likely_topics(feed: FeedKey, topics: Mapping[str, Traffic]) -> Sequence[Traffic]:
    """Return the topics on which a feed that never sent may be: those that are named after it, or else all."""
    if not any(topic.strays.total for topic in topics.values()):
        return ()
    return [topic for name, topic in topics.items() if is_named_after(name, feed)] or list(topics.values())


def warnings(topics: Mapping[str, Traffic], feeds: Iterable[FeedKey], now_ms: int) -> tuple[str, ...]:
    """Return a line for each topic with many rejected records, and one that lists the `feeds` with no others."""
    lines = [
        f"{_share(topic.rejected_ratio)} records of {name} are rejected: {topic.rejections}"
        for name, topic in sorted(topics.items())
        if topic.is_suspect(now_ms)
    ]
    if len(lines) > LISTED:
        lines = [*lines[:LISTED], f"so are many records of {len(lines) - LISTED} more topics"]
    if names := sorted(map(str, feeds)):
        lines.append(f"all records of these feeds are rejected: {_listed(names)}")
    return tuple(lines)


def _share(ratio: float) -> str:
    return "all" if ratio >= 1 else f"{int(100 * ratio)} % of the"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
