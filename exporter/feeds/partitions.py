"""What is kept of the topics and partitions that are ours. Pure; owned by the loop thread."""

from __future__ import annotations

from exporter.feeds.feed import Feed
from exporter.feeds.rejections import Traffic
from exporter.feeds.window import Window
from exporter.kafka.positions import Position, Start
from exporter.model import Reason, ResetCause


class TopicCounts:
    """What became of the records of one topic.

    `places` holds where each reason was last met, `reset_ms` when each cause of a reset last was. `traffic` is what
    comes at present.
    """

    def __init__(self) -> None:
        self.records = 0
        self.redelivered = 0
        self.recovered = 0
        self.filtered = 0
        self.rejected = dict.fromkeys(Reason, 0)
        self.places: dict[Reason, tuple[int, int]] = {}
        self.traffic = Traffic()
        self.lost = 0
        self.unreadable = 0
        self.resets = dict.fromkeys(ResetCause, 0)
        self.reset_ms: dict[ResetCause, int] = {}


class PartitionFeed:
    """A feed on one partition: its counters, and what its next summary will say of this partition."""

    __slots__ = ("feed", "window")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.window = Window()


class AssignedPartition:
    """One partition while it is ours."""

    def __init__(self, start: Start, counted: int, topic: TopicCounts) -> None:
        position = start.position
        self.published = position.offset
        self.next_offset = start.first
        self.has_more = True  # until somebody has looked
        self.is_behind = True  # it had more twice in a row
        self.summarized = position.summarized
        self.since_ms = position.since_ms
        self.topic_id = position.topic_id
        self.starts = position.starts
        self.floor = position.floor
        self.is_held = False  # it stands at a place of which processes die, and its starts tell the next one
        self.end_at_start = start.end
        self.counted = counted
        self.topic = topic
        self.seats: dict[tuple[str, str, str], PartitionFeed] = {}  # by the names of the feed
        self.rejected: set[Feed] = set()  # the feeds that rejected records named
        self.last_record_ms = 0

    @property
    def position(self) -> Position:
        """What to commit once all that was read is published."""
        offset = max(self.next_offset, self.published)
        starts = self.starts if self.is_held or not self.is_past_start else 0
        return Position(offset, self.summarized, self.since_ms, self.topic_id, starts, self.floor)

    @property
    def is_past_start(self) -> bool:
        """Whether records were read beyond the position of the start, or all records there were then."""
        return self.next_offset > self.published or self.next_offset >= self.end_at_start
