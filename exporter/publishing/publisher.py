"""Publishes what the loop hands it, until it sticks, without ever making the loop wait.

Events go into the channel as they come; every commit interval they are sealed together with the positions they bring.
While a seal is under way (it may block, so the worker's thread makes it), new dispatches wait. A seal that failed puts
its dispatches back in front. All methods belong to the loop thread.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Protocol

from exporter.events.factory import Event
from exporter.instrument.histogram import Histogram
from exporter.kafka.positions import Position
from exporter.model import EventType, Partition
from exporter.publishing.backlog import Backlog
from exporter.publishing.channels.channel import Cause, Channel, ChannelError, CommitResult, CommitState
from exporter.publishing.dispatch import Dispatch
from exporter.publishing.retry import RetryPolicy
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.worker import Task, Worker

log = logs.logger("publisher")

# Well below librdkafka's own queue, so that it never refuses an event of a transaction that is being filled.
MAX_SEALED_EVENTS = 20_000
REOPEN_SECONDS = 1.0
SETTLE_LOOK_SECONDS = 0.02


class Group(Protocol):
    """What the publisher asks of the consumer group."""

    def metadata(self) -> object:
        """Return who we are in the group, for the transaction."""

    def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, Position]:
        """Return what the group has committed; raise `TimeoutError` when the broker does not answer in time."""


class PublisherCounts:
    """What the publisher did, for whoever scrapes."""

    def __init__(self) -> None:
        self.events = dict.fromkeys(EventType, 0)
        self.failed = dict.fromkeys(EventType, 0)
        self.delivery = {event_type: Histogram(DELIVERY_BOUNDS) for event_type in EventType}
        self.commits = 0
        self.commit_failures = dict.fromkeys((*Cause, "unclear"), 0)

    def published(self, dispatch: Dispatch, now: float) -> None:
        """Count the events of a dispatch that is published for good."""
        for event_type, count in dispatch.counts.items():
            self.events[event_type] += count
            self.delivery[event_type].add(now - dispatch.offered_at, count)


DELIVERY_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


# Makes the event that tells of one that can never be sent, or none.
Report = Callable[[Event, str], Event | None]


class _State(Enum):
    CLOSED = auto()
    OPENING = auto()
    IDLE = auto()
    FILLING = auto()
    SEALING = auto()
    RESOLVING = auto()


class Publisher:
    """The state of what is being published; see the head of this file."""

    def __init__(
        self,
        channel: Channel,
        group: Group,
        backlog: Backlog,
        commit_interval: float,
        clock: Clock,
        worker: Worker,
        report: Report = lambda _event, _trouble: None,
    ) -> None:
        self.counts = PublisherCounts()
        self.trouble = "not opened yet"
        self._channel = channel
        self._group = group
        self._backlog = backlog
        self._commit_interval = commit_interval
        self._clock = clock
        self._report = report
        self._retry = RetryPolicy()
        self._worker = worker
        self._opening: Task[None] | None = None
        self._sealing: Task[CommitResult] | None = None
        self._state = _State.CLOSED
        self._spoiled = False  # what was sent belongs in part to partitions that are lost: it must not be committed
        self._called_at = 0.0
        self._due = 0.0  # when to act next: open, begin or seal

    # What others ask.

    def backlog_size(self) -> tuple[int, int, float]:
        """Return events, bytes and the age in seconds of the oldest, of all that is not known to be published."""
        return self._backlog.size(self._clock.monotonic())

    def fullness(self) -> float:
        """Return how full the backlog is, by the limit that is nearest: from 1.0 on reading has to pause."""
        return self._backlog.fullness(self._clock.monotonic())

    # What the loop does.

    def offer(self, dispatch: Dispatch) -> None:
        """Take a dispatch over; it is published in the order of offers."""
        self._backlog.offer(dispatch, self._clock.monotonic())

    def advance(self) -> None:
        """Go as far as is possible without waiting."""
        now = self._clock.monotonic()
        if self._state in (_State.CLOSED, _State.OPENING):
            self._open(now)
        if self._state in (_State.SEALING, _State.RESOLVING):
            self._finish_seal(now)
        if self._state is _State.IDLE and self._backlog.waiting and now >= self._due:
            self._attempt(self._channel.begin)
            if self._state is _State.IDLE:
                self._state, self._due = _State.FILLING, now + self._commit_interval
        if self._state is _State.FILLING:
            self._attempt(lambda: self._fill(now))

    def settle(self, seconds: float) -> bool:
        """Publish all that waits, now; wait for it at most so long, and return whether it is done."""
        deadline = self._clock.monotonic() + seconds
        while self._backlog and self._clock.monotonic() < deadline:
            if self._state is _State.FILLING:
                self._due = 0.0
            self.advance()
            call = self._sealing or self._opening
            if call is not None and not call.done():
                call.wait(SETTLE_LOOK_SECONDS)
            elif call is not None or self._backlog.waiting:  # in doubt, or the channel takes nothing yet
                self._clock.sleep(SETTLE_LOOK_SECONDS)
        return not self._backlog

    def drop(self, partitions: Container[Partition]) -> None:
        """Forget what belongs to partitions that are lost: their next owner publishes it."""
        self._backlog.drop(partitions)
        self._spoiled = self._state is _State.FILLING

    def close(self, seconds: float) -> bool:
        """Let go of the channel; wait at most so long and return whether it went."""
        closing = self._worker.submit(self._channel.close)
        self._worker.stop()
        return closing.wait(seconds)

    def busy_seconds(self) -> float:
        """Return for how long one call has been blocking, 0 when none is; from any thread."""
        if self._sealing is None and self._opening is None:
            return 0.0
        return self._clock.monotonic() - max(self._called_at, self._channel.alive_at)

    @property
    def needs_operator(self) -> str:
        """What keeps events from being published until somebody helps; empty when nothing does."""
        return self._retry.needs_operator

    # How it goes.

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ChannelError as error:
            self._restore()
            self._state = _State.CLOSED
            self._failed(error.cause, str(error))

    def _failed(self, cause: Cause, trouble: str) -> None:
        """Count and tell what went wrong, and wait for a while."""
        now, needs_operator = self._clock.monotonic(), self.needs_operator
        self.counts.commit_failures[cause] += 1
        self._due = now + self._retry.failed(cause, trouble, now)
        if self.needs_operator and self.needs_operator != needs_operator:
            log.error("events cannot be published until somebody helps", extra={"error": self.needs_operator})
        elif trouble and trouble != self.trouble:
            log.warning("events cannot be published", extra={"error": trouble, "reason": cause.value})
        self.trouble = trouble or self.trouble

    def _open(self, now: float) -> None:
        if self._opening is None:
            if now >= self._due:
                self._called_at = now
                self._state, self._opening = _State.OPENING, self._worker.submit(self._channel.open)
            return
        if not self._opening.done():
            return
        opening, self._opening = self._opening, None
        self._state, self._due = _State.IDLE, 0.0
        self._attempt(opening.result)
        if self._state is _State.IDLE and not self._backlog.waiting:
            self._succeeded(now)

    def _succeeded(self, now: float) -> None:
        self.trouble = ""
        self._retry.succeeded(now)

    def _fill(self, now: float) -> None:
        backlog = self._backlog
        while backlog.waiting and not self._spoiled:
            first = backlog.waiting[0]
            size = len(first.events)
            backlog.cursor, hopeless = self._channel.send(first.events, backlog.cursor)
            is_whole = backlog.cursor == size
            backlog.cursor -= len(hopeless)
            self._give_up(first, hopeless, "larger than the producer takes")
            if not is_whole:
                break
            if hopeless:
                continue  # the reports are at its end now
            backlog.first_is_sent()
            if backlog.sent_events() >= MAX_SEALED_EVENTS:
                self._due = now
                break
        # A dispatch that is only half sent cannot be sealed: its positions would not cover its events.
        if now >= self._due and (backlog.cursor == 0 or now >= self._due + REOPEN_SECONDS):
            self._seal(commit=backlog.cursor == 0 and not self._spoiled)

    def _give_up(self, dispatch: Dispatch, events: Sequence[Event], trouble: str) -> None:
        """Go on without events that can never be sent, and tell of them."""
        for event in events:
            self.counts.failed[event.type] += 1
            identity = dict(event.headers).get("ce_id", b"").decode()
            log.error("an event can never be sent", extra={"ce_id": identity, "error": trouble})
            dispatch.give_up(event, self._report(event, trouble))

    def _seal(self, commit: bool) -> None:
        positions, group = self._backlog.reached(), self._group.metadata()
        self._called_at = self._clock.monotonic()
        self._sealing = self._worker.submit(lambda: self._channel.seal(positions, group, commit))
        self._state, self._spoiled = _State.SEALING, False

    def _finish_seal(self, now: float) -> None:
        if self._sealing is None or not self._sealing.done():
            return
        outcome = self._sealing.result()
        ending = outcome.ending
        if ending is CommitState.UNCLEAR:
            self._state = _State.RESOLVING
            try:
                ending = self._resolve()
            except TimeoutError:
                return
        self._sealing = None
        self._state, self._due = _State.IDLE, now
        if ending is CommitState.COMMITTED:
            self._confirm(now)
        else:
            for dispatch in self._backlog.sent:
                refused = [event for event in dispatch.events if any(event is other for other in outcome.refused)]
                self._give_up(dispatch, refused, outcome.trouble)
            self._restore()
            if outcome.cause in (Cause.FENCED, Cause.DENIED):
                self._state = _State.CLOSED
            self._failed(outcome.cause, outcome.trouble)

    def _resolve(self) -> CommitState:
        """Ask the group whether an unclear commit took place: its positions are part of it."""
        positions = self._backlog.reached()
        committed = self._group.committed(positions)
        self.counts.commit_failures["unclear"] += 1
        reached = all(committed.get(partition) == position for partition, position in positions.items())
        return CommitState.COMMITTED if reached else CommitState.ABORTED

    def _confirm(self, now: float) -> None:
        self.counts.commits += 1
        self._succeeded(now)
        self._channel.committed(self._backlog.reached())
        for dispatch in self._backlog.published():
            self.counts.published(dispatch, now)

    def _restore(self) -> None:
        """Offer again what was sent."""
        self._backlog.restore()
        self._spoiled = False
