"""Positions in partitions: where to start, where to resume, and which range to read. Pure."""

from __future__ import annotations

from typing import NamedTuple

from exporter.model import Reset, ResetCause


class Position(NamedTuple):
    """How far a partition has been read; committed as the offset of the group and its metadata.

    `offset` is the next record to read. `summarized` is the next record that no published summary covers: a new owner
    of the partition reads from there, so that no batch is missing from the summaries. `since_ms` is when the summary
    that will cover it began. `topic_id` shows whether the topic was deleted and created again; empty where brokers
    provide none. `starts` counts the consecutive processes that started here and read no record. No record before
    `floor` is read again: reading one of them ended the process.
    """

    offset: int
    summarized: int
    since_ms: int
    topic_id: str = ""
    starts: int = 0
    floor: int = 0

    @property
    def metadata(self) -> str:
        """The metadata committed with the offset."""
        more = {"topic": self.topic_id, "starts": self.starts, "floor": self.floor}
        words = [f"{name}={value}" for name, value in more.items() if value]
        return " ".join([f"summarized={self.summarized}", f"since={self.since_ms}", *words])

    @classmethod
    def committed(cls, offset: int, metadata: str | None, now_ms: int) -> Position:
        """Return the position of a commit; without metadata of a sidecar all records before it count as summarized."""
        fields = dict(word.partition("=")[::2] for word in (metadata or "").split())
        try:
            summarized, since_ms = int(fields["summarized"]), int(fields["since"])
            starts, floor = int(fields.get("starts", 0)), int(fields.get("floor", 0))
        except (KeyError, ValueError):
            return cls(offset, offset, now_ms)
        summarized, floor = (min(offset, max(0, each)) for each in (summarized, floor))
        return cls(offset, summarized, min(now_ms, since_ms), fields.get("topic", ""), max(0, starts), floor)


class Start(NamedTuple):
    """Where reading a partition starts.

    `first` is the offset to read from, at or before the committed one: the records between are read again to complete
    a summary, and to restore when each feed last sent. `end` is the end of the partition at that moment. `reset` is
    the reason when reading does not resume at the committed position.
    """

    position: Position
    first: int
    end: int
    reset: Reset | None = None

    def counted(self) -> Start:
        """Return this start counted at its position, unless there is nothing to read."""
        if self.end <= self.first:
            return self
        return self._replace(position=self.position._replace(starts=self.position.starts + 1))


class Extent(NamedTuple):
    """The records in a partition, from `low` to before `high`; with the id of the topic if brokers provide it."""

    low: int
    high: int
    topic_id: str = ""


def is_another(topic_id: str, later: str) -> bool:
    """Return whether two ids of topics of one name are known and differ."""
    return bool(topic_id and later) and topic_id != later


def resumed(left: Position, extent: Extent, now_ms: int) -> tuple[Position, Reset | None]:
    """Return where to resume a partition that was left at a position, and the reason if that is another position.

    Without ids, a topic that ends before the position counts as created again. With equal ids, brokers have lost
    records that were read already; then only the end of the partition counts no record twice.
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
    """The offsets of one partition to be read, from `start` to before `end`.

    `written` is the end of the partition when the range of events was fixed: no event can be about a later record.
    """

    start: int
    end: int
    written: int
