"""A small world: collectors that write batches to partitions, and sidecars that read them and make diagnoses.

Everything goes by `World.now_ms`, second by second, or in longer steps for long stories. What goes wrong is an
attribute that a test changes between runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

from exporter.analyzers.freshness import Freshness, PriceActivity
from exporter.analyzers.thresholds import frozen_policy, silence_policy, thresholds_of
from exporter.config.schema import CalendarRule, Thresholds
from exporter.decoding.batch import Batch, Message
from exporter.decoding.batch_stats import BatchStats
from exporter.feeds.calendar import Calendar, Plan, Schedule
from exporter.feeds.rejections import FeedRejections, Traffic
from exporter.feeds.states import Diagnosis, FeedState, HealthInputs, Scope, Silence, StateTracker, survey
from exporter.model import Arrival, FeedKey, Partition, Reason, Rejected

START_MS = 1_760_000_400_000  # 2025-10-09 09:00:00 UTC, a Thursday
LIVE_AGE_MS = 60_000
SYMBOLS = 40
TAIL = 2000


class Written(NamedTuple):
    """One record of a partition; `price` and `symbols` stand for its rows.

    A rejected one has a `reason`, and `names` its feed or does not.
    """

    feed: FeedKey
    record_ms: int
    batch_ms: int
    price: int
    symbols: int
    reason: Reason | None = None
    names: bool = True


class Collector:
    """Sends a batch of one feed every `period_ms`; each attribute may change while the world runs."""

    def __init__(self, feed: str, period_ms: int = 1000, *, topic: str = "", is_random: bool = False) -> None:
        self.feed = FeedKey(*feed.split(":"))
        self.topic = topic or f"{self.feed.request_type}-data.{self.feed.region}"
        self.period_ms = period_ms
        self.is_running = True
        self.is_market_moving = True
        self.symbols = SYMBOLS
        self.clock_ms = 0  # how far its clock is ahead
        self.stamps_records = True  # false: the broker does
        self.rejected_for: Reason | None = None  # why what it sends is rejected
        self.rejected_ratio = 1.0
        self.names_feed = True  # although what it sends is rejected
        self._is_random = is_random
        self._random = Random(feed)
        self._next_ms = 0
        self._price = 0

    def begin(self, now_ms: int) -> None:
        """Send the first batch within a period from now."""
        self._next_ms = now_ms + self._random.randrange(self.period_ms)

    def sends(self, now_ms: int) -> list[Written]:
        """The batches that are due."""
        due: list[Written] = []
        while self._next_ms <= now_ms:
            at_ms = self._next_ms
            self._next_ms += round(self._random.expovariate(1 / self.period_ms)) if self._is_random else self.period_ms
            if self.is_running:
                due.append(self._batch(at_ms))
        return due

    def replays(self, at_ms: Sequence[int]) -> list[Written]:
        """Batches of these times."""
        return [self._batch(one) for one in at_ms]

    def _batch(self, at_ms: int) -> Written:
        self._price += self.is_market_moving
        event_time_ms = at_ms + self.clock_ms
        is_rejected = self.rejected_for is not None and self._random.random() < self.rejected_ratio
        return Written(
            self.feed,
            event_time_ms if self.stamps_records else at_ms,
            event_time_ms,
            self._price,
            self.symbols,
            self.rejected_for if is_rejected else None,
            self.names_feed,
        )


class Watched:
    """What a sidecar knows of one feed."""

    def __init__(self, feed: FeedKey, topic: str, rule: Thresholds, schedule: Schedule, now_ms: int) -> None:
        self.feed = feed
        self.topic = topic
        self.coverage = rule.coverage
        self.freshness = Freshness(silence_policy(rule))
        self.price_activity = PriceActivity(frozen_policy(rule))
        self.schedule = schedule
        self.rejections = FeedRejections()
        self.tracker = StateTracker(now_ms)
        self.symbols = 0
        self.price = 0
        self.changed_ms = 0
        self.timeline: list[tuple[int, Diagnosis]] = [(now_ms, self.tracker.diagnosis)]

    def observe(self, record: Written, arrival: Arrival) -> None:
        """Take one record into account, as the analyzers do."""
        region, exchange, request_type = record.feed
        batch = Batch(exchange, region, request_type, record.batch_ms, [Message("A")])
        self.freshness.observe(batch, BatchStats(batch), arrival)
        if not arrival.is_live:
            return
        self.symbols = record.symbols
        if record.price != self.price:
            self.price, self.changed_ms = record.price, arrival.received_ms

    def settle(self, facts: HealthInputs, now_ms: int) -> None:
        """Let a second pass."""
        diagnosis = self.tracker.step(facts, now_ms)
        self.price_activity.note_change(self.changed_ms)
        is_learning = diagnosis.state in (FeedState.OK, FeedState.UNKNOWN)
        self.freshness.settle(is_learning)
        self.price_activity.settle(is_learning)
        if diagnosis[::2] != self.timeline[-1][1][::2]:
            self.timeline.append((now_ms, diagnosis))


class Sidecar:
    """Reads the topics that it owns, and steps the state of every feed on them once a second."""

    def __init__(
        self, world: World, topics: Sequence[str], rules: Sequence[Thresholds], calendar: Sequence[CalendarRule]
    ) -> None:
        self.positions: dict[str, int] = {}
        self.is_paused = False
        self.rate = 1_000_000  # records a second
        self.feeds: dict[FeedKey, Watched] = {}
        self._calendar = Calendar(calendar)
        self._world = world
        self._rules = rules
        self._traffic: dict[str, Traffic] = {}
        self._standing_ms: dict[str, int] = {}
        self._is_catching_up: dict[str, bool] = {}
        for topic in topics:
            self.take(topic)

    def take(self, topic: str) -> None:
        """Become the owner of a topic, and look at its last records without counting them."""
        records = self._world.topics.setdefault(topic, [])
        self.positions[topic] = len(records)
        self._traffic[topic] = Traffic()
        for record in records[-TAIL:]:
            if record.reason is None:
                self._feed(topic, record.feed).freshness.recall(record.record_ms)

    def release(self, topic: str) -> None:
        """Lose a topic, and what is known of its feeds."""
        del self.positions[topic]
        self.feeds = {feed: known for feed, known in self.feeds.items() if known.topic != topic}

    def rewind(self, topic: str) -> None:
        """Read a topic from its beginning."""
        self.positions[topic] = 0

    def tick(self, now_ms: int) -> None:
        """Read what there is to read, and make the diagnoses of this second."""
        if not self.is_paused and self._world.is_broker_up:
            for topic in self.positions:
                self._read(topic, now_ms)
        if self._world.is_broker_up:
            for topic in self.positions:
                self._look(topic, now_ms)
        self._diagnose(now_ms)

    def _read(self, topic: str, now_ms: int) -> None:
        start = self.positions[topic]
        records = self._world.topics[topic][start : start + self.rate]
        self.positions[topic] = start + len(records)
        for record in records:
            is_live = now_ms - record.record_ms <= LIVE_AGE_MS
            if record.reason is not None:
                self._reject(topic, record, now_ms, is_live)
                continue
            self._traffic[topic].valid_ms = now_ms
            self._feed(topic, record.feed).observe(record, Arrival(record.record_ms, now_ms, is_live))
        if records:
            self._standing_ms.pop(topic, None)

    def _reject(self, topic: str, record: Written, now_ms: int, is_live: bool) -> None:
        if not is_live or record.reason is None:
            return
        rejected, place = Rejected(record.reason, "spoiled"), (Partition(topic, 0), 0, now_ms)
        if not record.names:
            self._traffic[topic].strays.add(rejected, *place)
        elif record.feed in self.feeds:
            self.feeds[record.feed].rejections.named.add(rejected, *place)

    def _look(self, topic: str, now_ms: int) -> None:
        """Compare our position with the end of the partition."""
        waiting = self._world.topics[topic][self.positions[topic] :]
        self._is_catching_up[topic] = bool(waiting) and not self.is_paused
        if not waiting:
            self._standing_ms.pop(topic, None)
        elif self.is_paused:
            self._standing_ms.setdefault(topic, now_ms)

    def _diagnose(self, now_ms: int) -> None:
        planned = [(known, known.schedule.at(now_ms)) for known in self.feeds.values()]
        silence = survey(
            (known.topic, known.freshness.is_overdue(now_ms, plan.since_ms) and not self._rejected(known, now_ms))
            for known, plan in planned
            if plan.reason is None
        )
        for known, plan in planned:
            known.settle(self._facts(known, plan, silence, now_ms), now_ms)

    def _rejected(self, known: Watched, now_ms: int) -> str:
        topics = (self._traffic[known.topic],)
        known.rejections.update(known.freshness.last_sent_ms, topics, now_ms)
        return str(known.rejections.find(known.freshness.silent_limit_ms, topics, now_ms) or "")

    def _facts(self, known: Watched, plan: Plan, silence: Silence, now_ms: int) -> HealthInputs:
        freshness, topic = known.freshness, known.topic
        return HealthInputs(
            silent_limit_ms=freshness.silent_limit_ms,
            last_sent_ms=freshness.last_sent_ms,
            last_arrival_ms=freshness.last_arrival_ms,
            expected_since_ms=plan.since_ms,
            planned=plan.reason,
            pace_ms=freshness.pace_ms,
            delayed_limit_ms=freshness.delayed_limit_ms,
            last_change_ms=known.changed_ms,
            frozen_limit_ms=known.price_activity.limit_ms,
            symbols_active=known.symbols,
            symbols_expected=SYMBOLS if known.symbols else 0,
            coverage=known.coverage,
            stalled_since_ms=self._standing_ms.get(topic, 0),
            is_catching_up=self._is_catching_up.get(topic, False),
            is_reachable=self._world.is_broker_up,
            silence=silence.scope(topic),
            listening_since_ms=known.tracker.listening_since_ms,
            rejected=self._rejected(known, now_ms),
        )

    def _feed(self, topic: str, feed: FeedKey) -> Watched:
        if feed not in self.feeds:
            rule = thresholds_of(feed, self._rules, Thresholds())
            self.feeds[feed] = Watched(feed, topic, rule, self._calendar.of(feed), self._world.now_ms)
        return self.feeds[feed]


class World:
    """Collectors, the topics that they write to, and one sidecar that reads them all."""

    def __init__(
        self,
        *collectors: Collector,
        thresholds: Sequence[Thresholds] = (),
        calendar: Sequence[CalendarRule] = (),
        start_ms: int = START_MS,
        step_ms: int = 1000,
    ) -> None:
        self.now_ms = start_ms
        self.step_ms = step_ms
        self.collectors = collectors
        self.is_broker_up = True
        self.topics: dict[str, list[Written]] = {collector.topic: [] for collector in collectors}
        self._unsent: list[tuple[str, Written]] = []
        self._thresholds, self._calendar = thresholds, calendar
        for collector in collectors:
            collector.begin(start_ms)
        self.sidecars = [self.sidecar(*self.topics)]

    def sidecar(self, *topics: str) -> Sidecar:
        """One more sidecar, not yet running."""
        return Sidecar(self, topics, self._thresholds, self._calendar)

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass; `each` is called every step."""
        for _ in range(round(seconds * 1000 / self.step_ms)):
            self.now_ms += self.step_ms
            each()
            for collector in self.collectors:
                self._unsent += [(collector.topic, record) for record in collector.sends(self.now_ms)]
            if self.is_broker_up:
                for topic, record in self._unsent:
                    self.topics[topic].append(record)
                self._unsent.clear()
            for sidecar in self.sidecars:
                sidecar.tick(self.now_ms)

    def write(self, topic: str, records: Sequence[Written]) -> None:
        """Append records as somebody else than a collector."""
        self.topics[topic] += records

    def watched(self, feed: str) -> Watched:
        """What the sidecar that owns the feed knows of it."""
        key = FeedKey(*feed.split(":"))
        return next(sidecar.feeds[key] for sidecar in self.sidecars if key in sidecar.feeds)

    def states(self, feed: str, since_ms: int = 0) -> list[FeedState]:
        """The states of the feed, one after the other, beginning with the one at `since_ms`."""
        timeline = self.watched(feed).timeline
        ends = [start for start, _ in timeline[1:]] + [self.now_ms + 1]
        found = [diagnosis.state for (_, diagnosis), end in zip(timeline, ends, strict=True) if end > since_ms]
        return found[:1] + [after for before, after in pairwise(found) if before is not after]

    def entered_ms(self, feed: str, state: FeedState) -> int:
        """When the feed last came into the state."""
        return next(at_ms for at_ms, diagnosis in reversed(self.watched(feed).timeline) if diagnosis.state is state)

    def scope(self, feed: str) -> Scope:
        """How far what is wrong with the feed reaches."""
        return self.watched(feed).tracker.diagnosis.scope
