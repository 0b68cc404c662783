"""A small world: collectors that write batches to partitions, and sidecars that read them.

A sidecar is the product as `exporter.app` wires it; only the broker, the time and the thread of the publisher are
made here. Everything goes by `World.now_ms`, second by second, or in longer steps for long stories. Faults are
attributes that a test changes between runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import msgspec
from confluent_kafka import TopicPartition

from exporter.config.schema import Config, FeedsConfig, OutputConfig
from exporter.config.section import Section
from exporter.events.factory import Event
from exporter.feeds.feed import Feed
from exporter.feeds.health import FeedHealth
from exporter.feeds.states import Diagnosis, FeedState, Scope
from exporter.kafka.positions import Position, Start
from exporter.loop_settings import loop_settings
from exporter.model import FeedKey, Partition, Record
from exporter.publishing.channels.null import NullChannel
from exporter.source.handler import RebalanceHandler
from exporter.status import SidecarStatus
from exporter.store.store import NullStore
from exporter.wiring.flow import make_loop
from tests.fakes import ManualClock, ManualWorker
from tests.scenarios.collectors import Collector, Written

START_MS = 1_760_000_400_000  # 2025-10-09 09:00:00 UTC, a Thursday
ALL = 1_000_000


class Broker:
    """The partitions, one for each topic, and what the group has committed.

    In a log None is the marker of a transaction, which takes an offset and is not handed out.
    """

    def __init__(self, topics: Iterable[str]) -> None:
        self.is_up = True
        self.is_transactional = False
        self.logs: dict[str, list[Record | None]] = {topic: [] for topic in topics}
        self.committed: dict[Partition, tuple[int, str | None]] = {}

    def append(self, topic: str, records: Iterable[Written]) -> None:
        """Append records to the partition of a topic."""
        log, partition = self.logs.setdefault(topic, []), Partition(topic, 0)
        for record_ms, value in records:
            log.append(Record(partition, len(log), record_ms, value))
        if self.is_transactional:
            log.append(None)


class MemorySource:
    """A member of the group, as `KafkaSource` is.

    It takes `rate` records a turn from each partition, and none from those of `stuck` topics.
    """

    last_error = ""
    is_refused = False
    subscribed = True
    is_empty = False

    def __init__(self, broker: Broker, clock: ManualClock, warm_start: int) -> None:
        self.rate = ALL
        self.stuck: set[str] = set()
        self.paused = False
        self.is_reachable = True
        self.blocked: list[str] = []
        self.positions: dict[Partition, int] = {}
        self._broker = broker
        self._clock = clock
        self._warm_start = warm_start
        self._high_watermarks: dict[Partition, int] = {}

    def open(self, handler: RebalanceHandler) -> None:
        """See Source."""
        self._handler = handler

    def join(self, *topics: str) -> None:
        """Get the partitions of these topics, and begin where the group has left them, or at their ends."""
        starts: dict[Partition, Start] = {}
        for topic in topics:
            partition, end = Partition(topic, 0), len(self._broker.logs.setdefault(topic, []))
            position = Position.committed(*self._broker.committed.get(partition, (end, None)), self._clock.now_ms())
            first = max(0, min(position.summarized, position.offset - self._warm_start))
            starts[partition] = Start(position, first, end)
            self.positions[partition] = first
        self._handler.assigned(starts)

    def leave(self, topic: str) -> None:
        """Give the partition of a topic back."""
        partition = Partition(topic, 0)
        self._handler.revoked([partition])
        del self.positions[partition]
        self._high_watermarks.pop(partition, None)

    @property
    def is_sole_reader(self) -> bool:
        """See Source."""
        return all(Partition(topic, 0) in self.positions for topic in self._broker.logs)

    def take(self, seconds: float) -> list[Record]:
        """See Source."""
        taken: list[Record] = []
        if not self._broker.is_up:
            self.is_reachable = False
        if self.paused or not self._broker.is_up:
            return taken
        for partition, position in self.positions.items():
            log = self._broker.logs[partition.topic]
            records = log[position : position + self.rate] if partition.topic not in self.stuck else []
            taken += [record for record in records if record is not None]
            self.positions[partition] = position + len(records)
            self._high_watermarks[partition] = len(log)
            if self.positions[partition] == len(log):
                self._handler.exhausted(partition, len(log))
        self.is_reachable = self.is_reachable or bool(taken)  # as known to a client that waits for records
        return taken

    def pause(self) -> None:
        """See Source."""
        self.paused = True

    def resume(self) -> None:
        """See Source."""
        self.paused = False

    def high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """See Source."""
        return {each: self._high_watermarks[each] for each in partitions if self._high_watermarks.get(each)}

    def close(self, seconds: float) -> bool:
        """See Source."""
        return True

    def metadata(self) -> object:
        """See Group."""
        return "member"

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """See Group."""
        found = {each: self._broker.committed[each] for each in partitions if each in self._broker.committed}
        return {each: Position.committed(*commit, self._clock.now_ms()) for each, commit in found.items()}

    def store(self, offsets: list[TopicPartition]) -> None:
        """Commit, as the consumer does with what is stored."""
        for each in offsets:
            self._broker.committed[Partition(each.topic, each.partition)] = each.offset, each.metadata


class RecordingChannel(NullChannel):
    """Keeps the events; takes none while it `is_stuck`, or the broker is away."""

    def __init__(self, broker: Broker, store: Callable[[list[TopicPartition]], None]) -> None:
        super().__init__(store)
        self.events: list[Event] = []
        self.is_stuck = False
        self._broker = broker

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """See Channel."""
        if self.is_stuck or not self._broker.is_up:
            return start, []
        self.events += events[start:]
        return super().send(events, start)


class Sidecar:
    """One running sidecar, and the diagnoses that each of its feeds had: from when on, and which."""

    def __init__(self, config: Config, broker: Broker, clock: ManualClock) -> None:
        self.source = MemorySource(broker, clock, config.input.warm_start)
        self.channel = RecordingChannel(broker, self.source.store)
        self.timelines: dict[FeedKey, list[tuple[int, Diagnosis]]] = {}
        self._clock = clock
        self._worker = ManualWorker(clock)
        self.loop = make_loop(config, self.source, self.channel, NullStore(), clock, self._worker)
        self.status = SidecarStatus(self.loop, clock)
        self.source.open(self.loop)

    @property
    def feeds(self) -> dict[FeedKey, Feed]:
        """All feeds that it knows."""
        return self.loop.pipeline.table.feeds

    def reload(self, config: Config) -> None:
        """Put another configuration in force, as a reload does."""
        self.loop.reconfigure(loop_settings(config))

    def turn(self) -> None:
        """Let the loop and the thread of the publisher turn once, and keep what is new."""
        self.loop.turn()
        self._worker.work()
        for key, feed in self.feeds.items():
            diagnosis, timeline = feed.health.diagnosis, self.timelines.setdefault(key, [])
            if not timeline or diagnosis[::2] != timeline[-1][1][::2]:
                timeline.append((self._clock.now_ms(), diagnosis))


class World:
    """Collectors, the topics that they write to, and one sidecar that reads them all."""

    def __init__(
        self,
        *collectors: Collector,
        feeds: FeedsConfig = FeedsConfig(),  # noqa: B008 - frozen
        start_ms: int = START_MS,
        step_ms: int = 2000,
    ) -> None:
        self.step_ms = step_ms
        self.collectors = collectors
        self.clock = ManualClock()
        self.clock.seconds = start_ms / 1000
        self.broker = Broker(collector.topic for collector in collectors)
        self.config = Config(feeds=feeds, output=OutputConfig(batch_events=False, encoding="json"))
        self._unsent: list[tuple[str, Written]] = []
        for collector in collectors:
            collector.begin(start_ms)
        self.sidecars: list[Sidecar] = []
        self.add_sidecar(*self.broker.logs)

    @property
    def now_ms(self) -> int:
        """The time in Unix milliseconds."""
        return self.clock.now_ms()

    def reload(self, **sections: Section) -> None:
        """Put these sections of the configuration in force on all sidecars; the others stay as they are."""
        self.config = msgspec.structs.replace(self.config, **sections)
        for sidecar in self.sidecars:
            sidecar.reload(self.config)

    def add_sidecar(self, *topics: str) -> Sidecar:
        """Start one more sidecar, to which the group gives the partitions of these topics."""
        sidecar = Sidecar(self.config, self.broker, self.clock)
        sidecar.source.join(*topics)
        self.sidecars.append(sidecar)
        return sidecar

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass; `each` is called every step."""
        for _ in range(round(seconds * 1000 / self.step_ms)):
            self.clock.sleep(self.step_ms / 1000)
            each()
            for collector in self.collectors:
                self._unsent += [(collector.topic, record) for record in collector.send(self.now_ms)]
            if self.broker.is_up:
                for topic, record in self._unsent:
                    self.broker.append(topic, [record])
                self._unsent.clear()
            for sidecar in self.sidecars:
                sidecar.turn()

    def health(self, feed: str) -> FeedHealth:
        """What the sidecar that owns the feed knows of it."""
        return self._owner(feed).feeds[FeedKey(*feed.split(":"))].health

    def timeline(self, feed: str) -> list[tuple[int, Diagnosis]]:
        """The diagnoses of the feed on the sidecar that owns it: from when on, and which."""
        return self._owner(feed).timelines[FeedKey(*feed.split(":"))]

    def states(self, feed: str, since_ms: int = 0) -> list[FeedState]:
        """The states of the feed, one after the other, beginning with the one at `since_ms`."""
        timeline = self.timeline(feed)
        ends = [start for start, _ in timeline[1:]] + [self.now_ms + 1]
        found = [diagnosis.state for (_, diagnosis), end in zip(timeline, ends, strict=True) if end > since_ms]
        return found[:1] + [after for before, after in pairwise(found) if before is not after]

    def entered_ms(self, feed: str, state: FeedState) -> int:
        """When the feed last came into the state."""
        return next(at_ms for at_ms, diagnosis in reversed(self.timeline(feed)) if diagnosis.state is state)

    def scope(self, feed: str) -> Scope:
        """How far what is wrong with the feed reaches."""
        return self.health(feed).diagnosis.scope

    def _owner(self, feed: str) -> Sidecar:
        key = FeedKey(*feed.split(":"))
        return next(each for each in self.sidecars if key in each.feeds and each.feeds[key].partitions)
