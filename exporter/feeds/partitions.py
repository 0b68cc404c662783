"""What is known of assigned partitions and of topics: one object for each. Pure; owned by the loop thread."""

from __future__ import annotations

from typing import NamedTuple

from exporter.feeds.feed import Feed, PartitionFeed
from exporter.feeds.rejections import Traffic
from exporter.kafka.positions import Position, Start
from exporter.model import Partition, Reason, ResetCause


class TopicCounts:
    """Counters of the records of one topic, or of several.

    `places` holds where each reason was last met, `reset_ms` the Unix milliseconds of the last reset by cause. Topics
    that are shown under one name share them; see `metrics.topics`.
    """

    def __init__(self) -> None:
        self.records = 0
        self.redelivered = 0
        self.recovered = 0
        self.filtered = 0
        self.rejected = dict.fromkeys(Reason, 0)
        self.places: dict[Reason, tuple[Partition, int]] = {}
        self.lost = 0
        self.unreadable = 0
        self.resets = dict.fromkeys(ResetCause, 0)
        self.reset_ms: dict[ResetCause, int] = {}

    def reset(self, cause: ResetCause, now_ms: int) -> None:
        """Count a reset of one partition."""
        self.resets[cause] += 1
        self.reset_ms[cause] = now_ms


class PartitionProgress(NamedTuple):
    """Progress on one partition: since when it has records that are not read, in Unix milliseconds (0: it has none)."""

    stalled_since_ms: int = 0
    is_catching_up: bool = False


class AssignedPartition:
    """One partition from assignment to release.

    Offsets: below `published` its events are published, below `counted` this process has counted it, `next_offset` is
    read next, `summarized` is the first that no summary covers, `target` is the end at assignment. `end` is the end as
    last fetched; None: unknown. `feeds` are the feeds on it by their names, `rejected_feeds` those that rejected
    records name. `is_behind`: there was more to read at the last two evaluations. `is_held`: it stays at records that
    end the process, and `starts` reports that to the next process; see `Position`.
    """

    __slots__ = (
        "_evaluated_offset",
        "_exhausted_at",
        "_has_more",
        "counted",
        "end",
        "feeds",
        "floor",
        "has_batch_events",
        "is_behind",
        "is_held",
        "last_record_ms",
        "next_offset",
        "published",
        "rejected_feeds",
        "since_ms",
        "stalled_since_ms",
        "starts",
        "summarized",
        "target",
        "topic",
        "topic_id",
        "traffic",
    )

    def __init__(self, start: Start, counted: int, topic: TopicCounts, traffic: Traffic) -> None:
        position = start.position
        self.topic = topic
        self.traffic = traffic
        self.has_batch_events = True
        self.published = position.offset
        self.summarized = position.summarized
        self.since_ms = position.since_ms
        self.topic_id = position.topic_id
        self.starts = position.starts
        self.floor = position.floor
        self.is_held = False
        self.counted = counted
        self.next_offset = start.first
        self.target = start.end
        self.end: int | None = None
        self.last_record_ms = 0
        self.stalled_since_ms = 0
        self.is_behind = True  # until the first evaluations show otherwise
        self.feeds: dict[tuple[str, str, str], PartitionFeed] = {}
        self.rejected_feeds: set[Feed] = set()
        self._has_more = True
        self._exhausted_at: int | None = None
        self._evaluated_offset = -1

    @property
    def position(self) -> Position:
        """What to commit once the events of all records read are published."""
        offset = max(self.next_offset, self.published)
        starts = self.starts if self.is_held or not self.is_past_start else 0
        return Position(offset, self.summarized, self.since_ms, self.topic_id, starts, self.floor)

    @property
    def is_past_start(self) -> bool:
        """Whether records beyond the first position were read, or all records that existed at assignment."""
        return self.next_offset > self.published or self.next_offset >= self.target

    @property
    def offset(self) -> int:
        """The next offset to read; transaction markers at the end of the partition count as read."""
        return max(self.next_offset, self._exhausted_at or 0)

    @property
    def is_catching_up(self) -> bool:
        """Whether it has not yet been read to the end that it had at assignment."""
        return self.offset < self.target

    def exhausted(self, offset: int) -> None:
        """Note that the broker has no record at or after an offset."""
        self._exhausted_at = offset

    def evaluate(self, high_watermark: int, is_paused: bool, now_ms: int, live_age_ms: int) -> PartitionProgress:
        """Compare the offset with the end, once a second, and return the progress.

        A watermark of 0 or less is unknown, unless the partition is known to be exhausted; until the first fetch, which
        a pause may delay, the end is that at assignment. While reading is paused the end is not fetched either, so that
        there may be more. While the partition is behind, and records older than
        `live_age_ms` are read, it is catching up: after a stall or an outage as after the assignment.
        """
        is_known = high_watermark > 0 or self._exhausted_at is not None
        self.end = max(0, high_watermark) if is_known else self.target or None
        offset = self.offset
        is_short = is_paused or (self.end is not None and offset < self.end)
        had_more, self._has_more = self._has_more, is_short or self.is_catching_up
        self.is_behind = had_more and self._has_more
        if not is_short:
            self.stalled_since_ms = 0
        elif offset != self._evaluated_offset or not 0 < self.stalled_since_ms <= now_ms:  # later: clock was set back
            self.stalled_since_ms = now_ms
        self._evaluated_offset = offset
        is_late = self.is_behind and 0 < self.last_record_ms < now_ms - live_age_ms
        return PartitionProgress(self.stalled_since_ms, self.is_catching_up or is_late)
