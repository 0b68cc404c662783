"""Kafka as a target: messages at an open rate, and what became of each of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from uuid import uuid4

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.kafka import topic as topics
from exporter.loadtest.kafka.events import EventWatch
from exporter.loadtest.kafka.ledger import Ledger
from exporter.loadtest.kafka.read_back import ReadBack, read_back
from exporter.loadtest.kafka.records import REGION, feed
from exporter.loadtest.kafka.sender import BrokerAnswers, Sender
from exporter.loadtest.measured import measured
from exporter.loadtest.results import Ended, TargetResult
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Pacer, Schedule
from exporter.loadtest.settings import STRESS, Settings
from exporter.loadtest.sidecar import SidecarWatch
from exporter.loadtest.target import Counts, Failure, Patience, TargetError
from exporter.loadtest.trace import Trace
from exporter.loadtest.waiting import wait_for

_TOPIC = "ticker-data.loadtest-{}"
_ACKNOWLEDGED_SECONDS = 10.0
# A sidecar looks for new topics every 10 s.
_WARM_UP_SECONDS = 25.0
_ROUND_SECONDS = 3.0
_KEEP_SECONDS = 3600.0


class KafkaTarget:
    """Messages to a topic of the cluster of `config`, and their events in its event topic.

    See `exporter.loadtest.target.Target`.
    """

    name = "kafka"
    waits_for_answers = False

    def __init__(self, settings: Settings, config: Config, patience: Patience = Patience()) -> None:  # noqa: B008
        self._settings, self._config, self._patience = settings, config, patience
        self._run = uuid4().hex[:8]
        self._clock = RunClock()
        self.answers = BrokerAnswers(self._clock)
        self.sidecar: SidecarWatch | None = None
        self.ledger = Ledger(0, {})
        self._events: EventWatch | None = None
        self._senders: list[Sender] = []
        self._topic: topics.LoadTopic | None = None
        self._notes: list[str] = []
        self.has_events = self._has_metrics = False
        self._exchanges: dict[str, int] = {}
        self._before: Mapping[str, int] | None = None
        self._warm_ups = 0

    @property
    def lag(self) -> LatencyHistogram:
        """See Target."""
        return self.ledger.lag

    def pids(self) -> dict[str, int]:
        """See Target."""
        return {}

    def prepare(self, stopping: threading.Event) -> None:
        """See Target."""
        self._topic = self._make_topic()
        numbers = [each.number for each in self._topic.begins]
        threads = self._settings.kafka_threads
        feeds = range(max(len(numbers), threads))
        begins = {each.number: offset for each, offset in self._topic.begins.items()}
        self.ledger = Ledger(len(feeds), begins, self._settings.seconds)
        self.ledger.has_metrics = self._settings.url is not None
        self._exchanges = {feed(index).exchange: index for index in feeds}
        self._watch(self._topic.name)
        for index in range(threads):
            own = [(each, numbers[each % len(numbers)]) for each in feeds[index::threads]]
            self._senders.append(self._sender(self._topic.name, own))
        self._warm_up(stopping)

    def start(self, started: float) -> None:
        """See Target."""
        self._clock.start(started)
        self.ledger.end_warm_up()
        if self.sidecar is not None:
            self.sidecar.figures.clear()
        settings = self._settings
        if settings.profile != STRESS:  # which sends in steps
            self.send(Schedule(settings.kafka_rate, settings.ramp_seconds), 0.0, settings.seconds, settings.messages)

    def send(self, schedule: Schedule, base: float, seconds: float, limit: int | None = None) -> None:
        """See SteppedTarget; at most `limit` messages."""
        for index, sender in enumerate(self._senders):
            sender.assign(Pacer(schedule, index, len(self._senders), seconds, limit), base)

    @property
    def is_sending(self) -> bool:
        """See SteppedTarget."""
        return not all(sender.is_idle for sender in self._senders)

    @property
    def trace(self) -> Trace:
        """See SteppedTarget: of events, if there is a sidecar, else of acknowledgements."""
        return (self.ledger.events if self.has_events else self.ledger.acknowledged).trace

    @property
    def lag_trace(self) -> Trace:
        """See SteppedTarget."""
        return self.ledger.lag_trace

    def waiting(self) -> int:
        """See SteppedTarget: messages that were acknowledged and have no event, if events are measured."""
        return self.ledger.outstanding().events if self.has_events else 0

    def counts(self) -> Counts:
        """See Target."""
        ledger, before = self.ledger, self._warm_ups
        sent, answered = ledger.sent - before, ledger.acknowledged.count - before
        return Counts(max(0, sent), max(0, answered), ledger.failed, ledger.latency())

    def failure(self) -> Failure | None:
        """See Target."""
        now, ledger = self._clock.now(), self.ledger
        down, silent = self.answers.down_seconds(), ledger.silent_seconds(now)
        if self.answers.has_storage_error and (ledger.failed or silent > self._patience.down):
            # Without it another broker leads by now.
            text = f"a broker reported an error of its storage, as with a full disk: {_left(silent, ledger.failed)}"
            return Failure(Ended.DISK_FULL, text)
        if min(down, silent) > self._patience.down or silent > self._patience.answer:
            return Failure(Ended.BROKER_DIED, f"no broker has acknowledged a message for {max(silent, down):.0f} s")
        if self.sidecar is not None and (failure := self.sidecar.failure()) is not None:
            return failure
        eventless = ledger.eventless_seconds(now) if self.has_events else 0.0
        if eventless > self._patience.event:
            text = f"no event has been committed for {eventless:.0f} s, {self.waiting()} are missing"
            return Failure(Ended.SIDECAR_DIED, text)
        return None

    def stop(self) -> TargetResult:
        """See Target."""
        seconds = min(self._clock.now(), self._settings.seconds)
        for sender in self._senders:
            sender.cease()
        failure = self.failure()
        if failure is None and self.ledger.sent > self._warm_ups:
            self.drain()
        is_reachable = failure is None or failure.ended is Ended.SIDECAR_DIED
        for sender in self._senders:
            sender.stop(1.0 if is_reachable else 0.0)
        for watch in (self._events, self.sidecar):
            if watch is not None:
                watch.stop()
        found = self._read_back(is_reachable)
        self._delete(is_reachable)
        return self._result(seconds, found)

    def drain(self) -> bool:
        """See SteppedTarget."""
        return wait_for(lambda: not self._on_their_way(), self._patience.answer, self._progress)

    def _on_their_way(self) -> int:
        left = self.ledger.outstanding()
        # A stress test waits between its steps for what it measures only.
        has_metrics = self._has_metrics and self._settings.profile != STRESS
        return left.acknowledgements + self.waiting() + (left.metrics if has_metrics else 0)

    def _progress(self) -> int:
        ledger = self.ledger
        return ledger.acknowledged.count + ledger.failed + ledger.events.count + ledger.metrics.count

    def _make_topic(self) -> topics.LoadTopic:
        settings, name = self._settings, self._settings.topic or _TOPIC.format(self._run)
        if not Subscription(self._config.input.topics).means(name):
            self._notes.append(f"The configuration has no input.topics that cover {name}: no sidecar with it reads it.")
        if settings.is_embedded:
            return topics.ask_for(self._config, name)
        keep, may = settings.seconds + _KEEP_SECONDS, settings.allow_existing
        return topics.prepare(self._config, name, settings.partitions, keep, may_have_records=may)

    def _sender(self, topic: str, feeds: list[tuple[int, int]]) -> Sender:
        run, size = self._run.encode(), self._settings.batch_size
        return Sender(self._config, topic, run, feeds, size, self.ledger, self.answers, self._clock)

    def _watch(self, topic: str) -> None:
        try:
            self._events = EventWatch(self._config, topic, self.ledger, self._clock)
        except TargetError as error:
            self._notes.append(f"Events were not measured: {error}.")
        if (url := self._settings.url) is not None:
            self.sidecar = self._sidecar_watch(url)
            if not self.sidecar.start():
                raise TargetError(f"the sidecar at {url} does not answer: {self.sidecar.last_error}")

    def _sidecar_watch(self, url: str) -> SidecarWatch:
        page, client = f"{url}{self._settings.metrics_path}", self._settings.client
        return SidecarWatch(page, client, REGION, self._on_batches, self._clock, self._patience)

    def _on_batches(self, batches: Mapping[str, int], at: float) -> None:
        if self._before is None:
            self._before = dict(batches)
        for exchange, index in self._exchanges.items():
            if exchange in batches:
                self.ledger.visible(index, batches[exchange] - self._before.get(exchange, 0), at)

    def _warm_up(self, stopping: threading.Event) -> None:
        """Send messages until connections, topic and sidecar are ready for others; raise `TargetError`.

        A sidecar that begins with the latest records skips some of them.
        """
        began = self._clock.now()
        while not stopping.is_set() and not self._is_warm(stopping):
            if self._clock.now() - began > _WARM_UP_SECONDS:
                break
        self._warm_ups = self.ledger.sent
        self.has_events = self.ledger.events.count > 0
        self._has_metrics = any(self.ledger.counts)
        if self._events is not None and not self.has_events:
            self._notes.append("Events were not measured: no sidecar has published one of the topic.")
        if self.sidecar is not None and not self._has_metrics:
            self._notes.append("Metrics were not measured: the sidecar does not count the topic.")

    def _is_warm(self, stopping: threading.Event) -> bool:
        """Send a message of each feed, and return whether they soon arrive wherever that is measured."""
        ledger, first = self.ledger, self.ledger.sent
        for sender in self._senders:
            sender.warm_up()
        sent = range(first, ledger.sent)

        def is_answered() -> bool:
            return ledger.failed > 0 or all(map(ledger.acknowledged.has, sent))

        if not wait_for(is_answered, _ACKNOWLEDGED_SECONDS, stopping=stopping) and stopping.is_set():
            return False
        if not all(map(ledger.acknowledged.has, sent)):
            raise TargetError(f"no broker acknowledges messages: {', '.join(ledger.errors) or 'no answer'}")

        def has_arrived() -> bool:
            has_events = self._events is None or all(map(ledger.events.has, sent))
            return has_events and (self.sidecar is None or all(ledger.counts))

        return wait_for(has_arrived, _ROUND_SECONDS, stopping=stopping)

    def _read_back(self, is_reachable: bool) -> ReadBack:
        if self._topic is None or not is_reachable or self.ledger.sent <= self._warm_ups:
            return ReadBack(None, None)
        return read_back(self._config, self._topic, self._run.encode(), self.ledger.acknowledged.times)

    def _delete(self, is_reachable: bool) -> None:
        if self._topic is not None and (
            error := topics.delete(self._config, self._topic, 10.0 if is_reachable else 2.0)
        ):
            self._notes.append(f"{error[0].upper()}{error[1:]}.")

    def _result(self, seconds: float, found: ReadBack) -> TargetResult:
        ledger = self.ledger
        places = {"event": ledger.events, "metrics": ledger.metrics}
        arrived = {place: each.latencies.distribution() for place, each in places.items()}
        if found.note:
            self._notes.append(f"{found.note[0].upper()}{found.note[1:]}.")
        missing = ledger.missing_events(self._warm_ups) if self.has_events and found.lost is not None else None
        return measured(
            self.name,
            "messages",
            seconds,
            self.counts(),
            ledger.errors,
            ledger.timeline,
            self._clock.now(),
            wanted_per_second=self._wanted(seconds),
            lost=found.lost,
            repeated=found.repeated,
            events_missing=missing,
            events_repeated=None if missing is None else ledger.events.repeated,
            end_to_end={place: each for place, each in arrived.items() if each is not None},
            not_reached=self._not_reached(),
            bytes_sent=ledger.bytes,
            notes=tuple(self._notes),
        )

    def _not_reached(self) -> tuple[str, ...]:
        """Return where messages should arrive and did not; without the address of a sidecar there is no such place."""
        if self._settings.url is None:
            return ()
        output = self._config.output
        missing = {
            "event": output.enabled and output.batch_events and not self.has_events,
            "metrics": not self._has_metrics,
        }
        return tuple(place for place, is_missing in missing.items() if is_missing)

    def _wanted(self, seconds: float) -> float | None:
        settings = self._settings
        if seconds <= 0 or settings.profile == STRESS:
            return None
        due = Schedule(settings.kafka_rate, settings.ramp_seconds).count(seconds)
        return min(due, settings.messages or due) / seconds


def _left(silent: float, failed: int) -> str:
    return f"{failed:,} messages failed" if failed else f"none has been acknowledged for {silent:.0f} s"
