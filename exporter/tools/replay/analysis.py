"""The analysis of a sidecar over records of the past, by a clock that the records drive.

Each record is read at its own time and each second of that time is evaluated, as by a sidecar that was at the end of
all partitions while they were written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from exporter.config.schema import Config, MetricsConfig, RedisConfig
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.states import Transition
from exporter.kafka.positions import Position, Start
from exporter.loop import PART_BYTES, PART_RECORDS
from exporter.loop_settings import loop_settings
from exporter.model import Anomaly, FeedKey, Partition
from exporter.pipeline import Decoded, Pipeline
from exporter.tools.replay.arrival import Arrived
from exporter.wiring.flow import event_factory, make_pipeline

if TYPE_CHECKING:
    from exporter.decoding.record_decoder import FindSchemas

EVALUATION_MS = 1000
# After so long without any record nothing changes but the calendar: the rest of a longer gap is not evaluated.
GAP_MS = 86_400_000
# Bounds of what is kept: transitions of all feeds, and places of one kind of anomaly of one feed.
TRANSITIONS_MAX = 100_000
PLACES_MAX = 20


class Gap(NamedTuple):
    """A time without records of which only the first part was evaluated; Unix milliseconds."""

    from_ms: int
    to_ms: int


class Place(NamedTuple):
    """Where an anomaly is, and the Unix milliseconds at which its record was read."""

    partition: Partition
    offset: int
    at_ms: int


class Analysis:
    """Feeds and their states over records that arrive in the order of their times.

    `timelines` are the states that each feed entered; `dropped` of them were not kept, as there were too many.
    `places` are those of anomalies, the last of each second, up to `PLACES_MAX` of a kind. `each_second` is called
    after each evaluation, with this analysis and the time in Unix milliseconds. `config` is that of a sidecar; it
    publishes nothing here and has no Redis.
    """

    def __init__(
        self,
        config: Config,
        find_schemas: FindSchemas | None = None,
        each_second: Callable[[Analysis, int], None] = lambda analysis, now_ms: None,
    ) -> None:
        config = msgspec.structs.replace(config, redis=RedisConfig(), metrics=MetricsConfig())
        settings = loop_settings(config, find_schemas)
        without_events = settings.pipeline._replace(batch_events=lambda topic: False)
        self.pipeline: Pipeline = make_pipeline(config, event_factory(config), without_events)
        self.timelines: dict[FeedKey, list[Transition]] = {}
        self.places: dict[FeedKey, dict[Anomaly, list[Place]]] = {}
        self.gaps: list[Gap] = []
        self.dropped = 0
        self.records = 0
        self.from_ms: int | None = None
        self.now_ms = 0
        self._kept = 0
        self._last: dict[FeedKey, Transition] = {}
        self._each_second = each_second
        self._evaluator = Evaluator(settings.comparison)
        self._summary_ms = round(settings.summary_interval * 1000)
        self._summary_due_ms = self._evaluation_due_ms = 0

    @property
    def feeds(self) -> Mapping[FeedKey, Feed]:
        """All feeds that are known at the end."""
        return self.pipeline.table.feeds

    def begin(self, now_ms: int, offsets: Mapping[Partition, int]) -> None:
        """Begin at this time to read partitions at these offsets; call it before anything is read."""
        self.from_ms = self.now_ms = now_ms
        self._evaluation_due_ms = now_ms
        self._summary_due_ms = now_ms + self._summary_ms
        for partition, offset in offsets.items():
            self._assign(partition, offset)

    def read(self, part: Sequence[Arrived]) -> None:
        """Read some records, as `in_parts` makes them, in the order of their times."""
        decoded = self.pipeline.decode([record for _, record in part])
        if self.from_ms is None:
            self.begin(part[0][0], {})
        # All records of one time at once, as each call makes an end of what it read.
        for now_ms, group in groupby(zip(part, decoded, strict=True), key=_time):
            self.advance(now_ms)
            self._analyze(list(group))

    def advance(self, to_ms: int) -> None:
        """Let time pass up to this moment, and evaluate each second of it."""
        if to_ms - self._evaluation_due_ms > GAP_MS:
            self._pass(self._evaluation_due_ms + GAP_MS)
            self.gaps.append(Gap(self.now_ms, to_ms))
            self._evaluation_due_ms = to_ms
        self._pass(to_ms)

    def end(self, at_ms: int = 0) -> None:
        """Evaluate once more at the end, which is `at_ms` unless records came later."""
        self.advance(max(self.now_ms, at_ms))
        self._evaluate(self.now_ms)

    def _pass(self, to_ms: int) -> None:
        while self._evaluation_due_ms <= to_ms:
            self.now_ms = self._evaluation_due_ms
            self._evaluation_due_ms += EVALUATION_MS
            self._evaluate(self.now_ms)
        self.now_ms = max(self.now_ms, to_ms)

    def _analyze(self, some: list[tuple[Arrived, Decoded]]) -> None:
        records = [arrived[1] for arrived, _ in some]
        for record in records:
            if record.partition not in self.pipeline.partitions:
                self._assign(record.partition, record.offset)
        self.pipeline.analyze(records, [decoded for _, decoded in some], self.now_ms)
        self.records += len(records)

    def _assign(self, partition: Partition, offset: int) -> None:
        start = Start(Position(offset, offset, self.now_ms), offset, offset)
        self.pipeline.begin({partition: start}, self.now_ms)

    def _evaluate(self, now_ms: int) -> None:
        """Do what the loop of a sidecar does once a second; whatever has arrived has been read."""
        if now_ms >= self._summary_due_ms:
            self._summary_due_ms = now_ms + self._summary_ms
            self.pipeline.summarize(list(self.pipeline.partitions), now_ms)
        self.pipeline.rejection_log.take()
        ends = {partition: owned.offset for partition, owned in self.pipeline.partitions.items()}
        progress, topics = self.pipeline.progress(ends, False, now_ms), self.pipeline.traffic(now_ms)
        feeds = list(self.feeds.values())
        self._evaluator.evaluate(feeds, progress, now_ms, is_reachable=True, is_sole_reader=True, topics=topics)
        for feed in feeds:
            self._note_states(feed)
            if feed.anomaly_places:
                self._note_places(feed)
        self._each_second(self, now_ms)

    def _note_states(self, feed: Feed) -> None:
        """Keep the states that the feed has entered since the last call."""
        transitions, last = feed.health.tracker.transitions, self._last.get(feed.key)
        if transitions[-1] is last or not feed.health.is_active:
            return
        self._last[feed.key] = transitions[-1]
        timeline = self.timelines.setdefault(feed.key, [])
        new = list(takewhile(lambda each: each is not last, reversed(transitions)))[::-1]
        # A feed that was expected begins again with its first batch, and is still unknown then.
        if timeline and new[0].diagnosis.state is timeline[-1].diagnosis.state:
            del new[0]
        kept = new[: max(0, TRANSITIONS_MAX - self._kept)]
        timeline += kept
        self._kept += len(kept)
        self.dropped += len(new) - len(kept)

    def _note_places(self, feed: Feed) -> None:
        kinds = self.places.setdefault(feed.key, {})
        for kind, place in feed.anomaly_places.items():
            known = kinds.setdefault(kind, [])
            if len(known) < PLACES_MAX and (not known or known[-1] != place):
                known.append(Place(*place))


def in_parts(arrived: Iterable[Arrived]) -> Iterator[list[Arrived]]:
    """Yield all in order, in lists of a size in which a sidecar decodes them."""
    part: list[Arrived] = []
    size = 0
    for each in arrived:
        part.append(each)
        size += len(each[1].value or b"")
        if size > PART_BYTES or len(part) == PART_RECORDS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _time(pair: tuple[Arrived, Decoded]) -> int:
    return pair[0][0]
