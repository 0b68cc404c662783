"""Positions in partitions: where to begin, where to go on, and which range to read. Pure."""

from __future__ import annotations

from typing import NamedTuple

from exporter.model import Reset, ResetCause


class Position(NamedTuple):
    """How far a partition has been read; committed as the offset of the group and its metadata.

    `offset` is the next record to read. `summarized` is the next record that no published summary covers: whoever
    takes the partition over reads on from there, so that no batch is missing from the summaries. `since_ms` is when
    the summary that will cover it began. `topic_id` is the topic's, by which one that was made anew is told; empty
    where brokers tell none. `starts` counts the processes that began to read here, one after another, and came no
    further. No record before `floor` is read again: reading one of them ended the process.
    """

    offset: int
    summarized: int
    since_ms: int
    topic_id: str = ""
    starts: int = 0
    floor: int = 0

    @property
    def metadata(self) -> str:
        """The text that is committed beside the offset."""
        more = {"topic": self.topic_id, "starts": self.starts, "floor": self.floor}
        words = [f"{name}={value}" for name, value in more.items() if value]
        return " ".join([f"summarized={self.summarized}", f"since={self.since_ms}", *words])

    @classmethod
    def committed(cls, offset: int, metadata: str | None, now_ms: int) -> Position:
        """Return the position that a commit stands for; metadata of somebody else counts as fully summarized."""
        fields = dict(word.partition("=")[::2] for word in (metadata or "").split())
        try:
            summarized, since_ms = int(fields["summarized"]), int(fields["since"])
            starts, floor = int(fields.get("starts", 0)), int(fields.get("floor", 0))
        except (KeyError, ValueError):
            return cls(offset, offset, now_ms)
        summarized, floor = (min(offset, max(0, each)) for each in (summarized, floor))
        return cls(offset, summarized, min(now_ms, since_ms), fields.get("topic", ""), max(0, starts), floor)


class Start(NamedTuple):
    """Where a partition is taken over.

    `first` is the offset from which it is read, at or before what is committed: what lies between is read again to
    complete a summary, and to know when each feed was last heard. `end` is where the partition ended then. `reset`
    says why it is not the place where it was left, if it is not.
    """

    position: Position
    first: int
    end: int
    reset: Reset | None = None

    def counted(self) -> Start:
        """Return this start as one more at its position, unless there is nothing to be read."""
        if self.end <= self.first:
            return self
        return self._replace(position=self.position._replace(starts=self.position.starts + 1))


class Extent(NamedTuple):
    """What a partition holds: the records from `low` to before `high`; of which topic, where brokers tell that."""

    low: int
    high: int
    topic_id: str = ""


def is_another(topic_id: str, later: str) -> bool:
    """Tell whether two ids of topics of one name are known to differ."""
    return bool(topic_id and later) and topic_id != later


def resumed(left: Position, extent: Extent, now_ms: int) -> tuple[Position, Reset | None]:
    """Return where to go on with a partition that was left at a position, and why that is somewhere else, if it is.

    Where ids are not known, a topic that ends before the position was made anew. Where they are, and are the same,
    brokers have lost records that were read already; the end is then the only place that tells nothing twice.
    """
    low, high, topic_id = extent
    is_short = left.offset > high
    if is_another(left.topic_id, topic_id) or (is_short and not (left.topic_id and topic_id)):
        return Position(low, low, now_ms, topic_id), Reset(ResetCause.TOPIC_RECREATED, left.offset, low)
    here = left._replace(topic_id=topic_id or left.topic_id)
    if is_short:
        truncated = here._replace(
            offset=high, summarized=min(left.summarized, high), floor=min(left.floor, high), starts=0
        )
        return truncated, Reset(ResetCause.LOG_TRUNCATED, left.offset, 0)
    if left.offset < low:
        begun = here._replace(offset=low, summarized=low, starts=0)
        return begun, Reset(ResetCause.RECORDS_DELETED, left.offset, low - left.offset)
    return here, None


class Span(NamedTuple):
    """The offsets of one partition that are audited, from `start` to before `end`.

    `written` is where the partition ended when the events to be read were fixed: no event can be about a later record.
    """

    start: int
    end: int
    written: int
