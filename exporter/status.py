"""The state of a running sidecar for other threads: whether it is ready and healthy, its feeds and its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from exporter.config.schema import BacklogLimits
from exporter.feed_loop import FeedLoop
from exporter.feeds.feed import Feed
from exporter.feeds.partitions import TopicCounts
from exporter.feeds.rejections import RecentRejection
from exporter.instrument.histogram import Histogram
from exporter.loop import Loop
from exporter.model import LISTED, FeedKey, Partition, Status, listing
from exporter.publishing.dispatch import BacklogSize
from exporter.publishing.publisher import Publisher, PublisherCounts
from exporter.runtime.clock import Clock
from exporter.runtime.fair_lock import ReadAccess

if TYPE_CHECKING:
    from exporter.ingestion_loop import IngestionLoop

STALLED_SECONDS = 30.0

T = TypeVar("T")
R = TypeVar("R")


class PartitionStatus(NamedTuple):
    """An assigned partition: the next offset to read, its end if known, and the stamp of its last record (0: none)."""

    partition: Partition
    offset: int
    end: int | None
    last_record_ms: int


class ReloadState(NamedTuple):
    """The last reload of the configuration: its error, empty if it succeeded, and the Unix seconds of the last success.

    `with_restart` are the paths of the keys whose new values need a restart.
    """

    success_seconds: float
    error: str = ""
    with_restart: tuple[str, ...] = ()

    def warnings(self) -> tuple[str, ...]:
        """Return what differs from the configuration that is wanted."""
        failure = f"the configuration is not reloaded, the old one stays in force: {'; '.join(self.error.splitlines())}"
        restart = f"restart needed for {', '.join(self.with_restart)}"
        return (*([failure] if self.error else []), *([restart] if self.with_restart else []))


class SidecarStatus:
    """All that other threads may ask of the loop and its parts; any thread may call it.

    What it returns is copied by `list` and `dict`, which no other thread can interrupt, or is read with `read_access`.
    `ingestion` is the loop that reads ingestion events, None when none does. Readiness, health and feeds are those of
    `loop`.
    """

    def __init__(self, loop: FeedLoop, clock: Clock, ingestion: IngestionLoop | None = None) -> None:
        self._loop = loop
        self.ingestion = ingestion
        self._loops: list[Loop[Any]] = [loop] if ingestion is None else [loop, ingestion]
        self._clock = clock
        self.reload = ReloadState(success_seconds=clock.now_ms() / 1000)

    # Readiness.

    def healthy(self) -> Status:
        """Return whether the loop makes progress."""
        still = self._clock.monotonic() - self._loop.turned_at
        return Status(still < STALLED_SECONDS, () if still < STALLED_SECONDS else (f"no turn for {still:.0f} s",))

    def stuck_seconds(self) -> float:
        """Return for how many seconds the same turn, or the same call of the publisher, has been in progress."""
        now = self._clock.monotonic()
        return max(max(now - each.turned_at, each.publisher.busy_seconds()) for each in self._loops)

    def ready(self) -> Status:
        """Return whether what is served is up to date, with warnings about rejected records and reloads."""
        source, publisher = self._loop.source, self._loop.publisher
        partitions = dict(self._loop.pipeline.partitions)
        behind = [partition for partition, owned in partitions.items() if owned.is_catching_up]
        checks: list[tuple[bool, Callable[[], str]]] = [
            (bool(partitions), self._why_none),
            (not behind, lambda: f"catching up on {listing(behind)}"),
            (not source.blocked, lambda: "; ".join(source.blocked[:LISTED])),
            (not source.paused, lambda: f"the backlog is full: {publisher.last_error or 'events are slow'}"),
            (not publisher.needs_operator, lambda: publisher.needs_operator),
            (self.healthy().ok, lambda: "the loop does not turn"),
        ]
        reasons = tuple(reason() for holds, reason in checks if not holds)
        return Status(not reasons, reasons, (*self._warnings(), *self.reload.warnings()))

    def reloaded(self, state: ReloadState) -> None:
        """Take the result of a reload into account."""
        self.reload = state

    def is_reading(self) -> bool:
        """Return whether any partition is assigned."""
        return bool(self._loop.pipeline.partitions)

    def _warnings(self) -> Iterator[str]:
        for each in self._loops:
            yield from each.warnings

    def _why_none(self) -> str:
        """Return why no partition is read."""
        source = self._loop.source
        if source.subscribed:
            text = "no partition is assigned"
        else:
            text = "the group cannot be joined" if source.is_refused else "no broker has answered yet"
        error = source.last_error
        return f"{text}: {error}" if error else text

    # Feeds, partitions and topics.

    def feeds(self) -> list[Feed]:
        """Return the feeds; read their content by `each`, or with `read_access`."""
        return list(self._loop.pipeline.table.feeds.values())

    def feed(self, key: FeedKey) -> Feed | None:
        """Return a feed, or None when it is unknown."""
        return self._loop.pipeline.table.feeds.get(key)

    def each(self, items: Iterable[T], read: Callable[[T], R]) -> Iterator[R]:
        """Yield what `read` returns for each item, with read access for a moment at a time; see `ReadAccess.each`."""
        return self._loop.read_access.each(items, read)

    @property
    def read_access(self) -> ReadAccess:
        """The context in which the content of a feed may be read, for a moment."""
        return self._loop.read_access

    @property
    def forgotten_feeds(self) -> int:
        """How many feeds were forgotten to make room for others."""
        return self._loop.pipeline.table.forgotten

    def partitions(self) -> list[PartitionStatus]:
        """Return the assigned partitions."""
        return [
            PartitionStatus(partition, owned.offset, owned.end, owned.last_record_ms)
            for each in self._loops
            for partition, owned in dict(each.pipeline.partitions).items()
        ]

    def topics(self) -> dict[str, TopicCounts]:
        """Return the counts of each topic that was ever read."""
        topics: dict[str, TopicCounts] = {}
        for each in reversed(self._loops):
            topics |= dict(each.pipeline.topics)
        return topics

    def recent_rejections(self) -> list[RecentRejection]:
        """Return the last rejected records, the newest first."""
        lists = [each.pipeline.recent_rejections.listed() for each in self._loops]
        return list(merge(*lists, key=lambda each: each.time_ms, reverse=True))

    # The loop and its publisher.

    @property
    def stages(self) -> dict[str, Histogram]:
        """The seconds that each stage of a turn took."""
        return self._loop.stages

    def backlog(self) -> BacklogSize:
        """Return how much waits to be published."""
        return self._loop.publisher.backlog.size(self._clock.monotonic())

    @property
    def backlog_limits(self) -> BacklogLimits:
        """The limits of the backlog, at which reading pauses."""
        return self._loop.publisher.backlog.limits

    def published(self) -> list[PublisherCounts]:
        """Return the counts of all publishers."""
        return [each.publisher.counts for each in self._loops]

    @property
    def publisher(self) -> Publisher:
        """The publisher, for its counts."""
        return self._loop.publisher
