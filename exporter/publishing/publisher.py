"""Publishes the backlog of the loop's dispatches and repeats after failures, without blocking the loop.

Every commit interval the events that wait are sent to the channel and committed together with their positions; when
there are many they are sent as they come. A commit may block and therefore runs on the worker's thread; meanwhile new
dispatches wait. After a failed commit its dispatches are sent again, before newer ones. Methods belong to the loop
thread unless documented otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Protocol

from exporter.config.schema import BacklogLimits
from exporter.events.factory import Event
from exporter.instrument.histogram import Bounds
from exporter.instrument.selection import ALL, Selection
from exporter.kafka.positions import Position
from exporter.model import AnyEventType, EventType, Partition
from exporter.publishing.channels import Cause, Channel, ChannelError, CommitResult, CommitState
from exporter.publishing.dispatch import Backlog, Dispatch
from exporter.publishing.retry import RetryPolicy
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.worker import Task, Worker

log = logs.logger("publisher")

# Well below the size of librdkafka's own queue, so that the queue never refuses an event of a transaction.
MAX_TRANSACTION_EVENTS = 20_000
# From so many waiting events on they are sent before the commit is due, so that it does not have to wait for them.
# Fewer are sent together: each time events are sent, the producer's thread wakes up and makes requests. At 500 events a
# second it woke 95 times a second when they were sent as they came, and 41 times when they were sent together.
MANY_EVENTS = 1000
REOPEN_SECONDS = 1.0
# An opening takes longer only without an answer from Kafka; then no transaction has begun that closing would abort.
OPENING_SECONDS = 1.0
FLUSH_POLL_SECONDS = 0.02


class Group(Protocol):
    """The consumer group, as far as the publisher needs it."""

    def metadata(self) -> object:
        """Return the identity of this member of the group, for the transaction."""

    def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, Position]:
        """Return the group's committed positions; raise `TimeoutError` when the broker does not answer in time."""


class PublisherCounts:
    """Counts of published events of some types, of commits and of failures since the start."""

    def __init__(self, families: Selection = ALL, types: Iterable[AnyEventType] = EventType) -> None:
        self.events = dict.fromkeys(types, 0)
        self.failed = dict.fromkeys(self.events, 0)
        self.delivery = {event_type: families.own_histogram(DELIVERY, DELIVERY_BOUNDS) for event_type in self.events}
        self.commits = 0
        self.commit_failures = dict.fromkeys((*Cause, "unclear"), 0)

    def published(self, dispatch: Dispatch, now: float) -> None:
        """Count the events of a dispatch whose commit is confirmed."""
        for event_type in self.events:
            if count := dispatch.counts[event_type]:
                self.events[event_type] += count
                self.delivery[event_type].add(now - dispatch.offered_at, count)


DELIVERY_BOUNDS = Bounds((0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0))
DELIVERY = "marketdata_event_delivery_seconds"


# Returns the error event that replaces an unsendable event, given the error text; None when there is none.
MakeErrorEvent = Callable[[Event, str], Event | None]


class _State(Enum):
    CLOSED = auto()
    OPENING = auto()
    IDLE = auto()
    FILLING = auto()
    ENDING = auto()
    RESOLVING = auto()


class Publisher:
    """State machine of the current transaction; see the top of this file.

    `tap` is called with each dispatch whose commit is confirmed; other threads may set it.
    """

    def __init__(
        self,
        channel: Channel,
        group: Group,
        backlog: Backlog,
        commit_interval: float,
        clock: Clock,
        worker: Worker,
        make_error_event: MakeErrorEvent = lambda _event, _error: None,
        families: Selection = ALL,
        types: Iterable[AnyEventType] = EventType,
    ) -> None:
        self.counts = PublisherCounts(families, types)
        self.last_error = "the producer is not open yet"
        self.tap: Callable[[Dispatch], None] | None = None
        self._channel = channel
        self._group = group
        self.backlog = backlog
        self._commit_interval = commit_interval
        self._clock = clock
        self._make_error_event = make_error_event
        self._retry = RetryPolicy()
        self._worker = worker
        self._opening: Task[None] | None = None
        self._ending: Task[CommitResult] | None = None
        self._state = _State.CLOSED
        self._tainted = False  # some of what was sent belongs to lost partitions: the transaction must be aborted
        self._called_at = 0.0
        self._due = 0.0  # when to act next: open, begin or commit

    # Calls of the loop.

    def reconfigure(self, commit_interval: float, limits: BacklogLimits) -> None:
        """Commit at another interval from the next transaction on, and limit the backlog otherwise at once."""
        self._commit_interval, self.backlog.limits = commit_interval, limits

    def advance(self, *, is_urgent: bool = False) -> None:
        """Do all that is possible without waiting; `is_urgent`: also commit now what waits."""
        now = self._clock.monotonic()
        if self._state in (_State.CLOSED, _State.OPENING):
            self._open(now)
        if self._state in (_State.ENDING, _State.RESOLVING):
            self._finish(now)
        if self._state is _State.IDLE and self.backlog.waiting and now >= self._due:
            self._begin(now, is_urgent)
        if self._state is _State.FILLING:
            self._due = min(self._due, now) if is_urgent else self._due
            self._attempt(lambda: self._fill(now))

    def flush(self, seconds: float) -> bool:
        """Publish the backlog now, for at most `seconds`; return whether it is empty."""
        deadline = self._clock.monotonic() + seconds
        while self.backlog and self._clock.monotonic() < deadline:
            self.advance(is_urgent=True)
            call = self._ending or self._opening
            if call is not None and not call.done():
                call.wait(FLUSH_POLL_SECONDS)
            elif call is not None or self.backlog.waiting:  # the result is unclear, or the channel accepts nothing yet
                self._clock.sleep(FLUSH_POLL_SECONDS)
        return not self.backlog

    def drop(self, partitions: Container[Partition]) -> None:
        """Remove the events and positions of lost partitions: their next owner publishes them."""
        self.backlog.drop(partitions)
        self._tainted = self._state is _State.FILLING

    def close(self, seconds: float) -> bool:
        """Close the channel; return whether it closed within `seconds`, while it is being opened `OPENING_SECONDS`."""
        closing = self._worker.submit(self._channel.close)
        self._worker.stop()
        return closing.wait(seconds if self._opening is None else min(seconds, OPENING_SECONDS))

    def busy_seconds(self) -> float:
        """Return for how many seconds a call has been blocking, 0 when none is; callable from any thread."""
        if self._ending is None and self._opening is None:
            return 0.0
        return self._clock.monotonic() - max(self._called_at, self._channel.alive_at)

    @property
    def needs_operator(self) -> str:
        """The fault that only an operator can correct; empty when there is none."""
        return self._retry.needs_operator

    # Transitions.

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ChannelError as error:
            self._restore()
            self._state = _State.CLOSED
            self._failed(error.cause, str(error))

    def _failed(self, cause: Cause, error: str) -> None:
        """Count and log a failure, and schedule the next attempt."""
        now, known_fault = self._clock.monotonic(), self.needs_operator
        self.counts.commit_failures[cause] += 1
        self._due = now + self._retry.failed(cause, error, now)
        fault = self.needs_operator
        if fault and fault != known_fault:
            log.error("events cannot be published until an operator corrects the fault", extra={"error": fault})
        elif error and error != self.last_error:
            log.warning("events could not be published, retrying", extra={"error": error, "reason": cause.value})
        self.last_error = error or self.last_error

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
        if self._state is _State.IDLE and not self.backlog.waiting:
            self._succeeded(now)

    def _succeeded(self, now: float) -> None:
        self.last_error = ""
        self._retry.succeeded(now)

    def _begin(self, now: float, is_urgent: bool) -> None:
        """Begin a transaction if it is urgent, if what waits has to be committed now, or if there is much of it."""
        waiting = self.backlog.waiting
        commit_at = waiting[0].offered_at + self._commit_interval
        if is_urgent or now >= commit_at or sum([len(each.events) for each in waiting]) >= MANY_EVENTS:
            self._attempt(self._channel.begin)
            if self._state is _State.IDLE:
                self._state, self._due = _State.FILLING, max(now, commit_at)

    def _fill(self, now: float) -> None:
        backlog = self.backlog
        while backlog.waiting and not self._tainted:
            first = backlog.waiting[0]
            size = len(first.events)
            backlog.cursor, unsendable = self._channel.send(first.events, backlog.cursor)
            is_whole = backlog.cursor == size
            backlog.cursor -= len(unsendable)
            self._replace_unsendable(first, unsendable, "larger than the producer accepts")
            if not is_whole:
                break
            if unsendable:
                continue  # their error events are at the end of the dispatch now
            if backlog.mark_first_sent() >= MAX_TRANSACTION_EVENTS:
                self._due = now
                break
        # A partly sent dispatch cannot be committed: its positions would cover events that were not sent.
        if now >= self._due and (backlog.cursor == 0 or now >= self._due + REOPEN_SECONDS):
            self._end(commit=backlog.cursor == 0 and not self._tainted)

    def _replace_unsendable(self, dispatch: Dispatch, events: Sequence[Event], error: str) -> None:
        """Replace unsendable events by error events."""
        for event in events:
            self.counts.failed[event.type] += 1
            identity = dict(event.headers).get("ce_id", b"").decode()
            log.error("event dropped, it can never be sent", extra={"ce_id": identity, "error": error})
            dispatch.replace(event, self._make_error_event(event, error))

    def _end(self, commit: bool) -> None:
        """Begin to commit or abort the transaction, on the worker's thread."""
        channel, positions, group = self._channel, self.backlog.sent_positions(), self._group.metadata()
        self._called_at = self._clock.monotonic()
        self._ending = self._worker.submit(partial(channel.commit, positions, group) if commit else channel.abort)
        self._state, self._tainted = _State.ENDING, False

    def _finish(self, now: float) -> None:
        """Act on the result of the commit or abort, once it is there."""
        if self._ending is None or not self._ending.done():
            return
        result = self._ending.result()
        state = result.state
        if state is CommitState.UNCLEAR:
            self._state = _State.RESOLVING
            try:
                state = self._resolve()
            except TimeoutError:
                return
        self._ending = None
        self._state, self._due = _State.IDLE, now
        if state is CommitState.COMMITTED:
            self._confirm(now)
        else:
            self._send_again(result)

    def _send_again(self, result: CommitResult) -> None:
        for dispatch in self.backlog.sent:
            unsendable = [event for event in dispatch.events if any(event is other for other in result.unsendable)]
            self._replace_unsendable(dispatch, unsendable, result.error)
        self._restore()
        if result.cause in (Cause.FENCED, Cause.DENIED):
            self._state = _State.CLOSED
        self._failed(result.cause, result.error)

    def _resolve(self) -> CommitState:
        """Return whether an unclear commit took place, by the group's positions, which are part of it."""
        positions = self.backlog.sent_positions()
        committed = self._group.committed(positions)
        self.counts.commit_failures["unclear"] += 1
        reached = all(committed.get(partition) == position for partition, position in positions.items())
        return CommitState.COMMITTED if reached else CommitState.ABORTED

    def _confirm(self, now: float) -> None:
        self.counts.commits += 1
        self._succeeded(now)
        self._channel.store_offsets(self.backlog.sent_positions())
        tap = self.tap
        for dispatch in self.backlog.take_sent():
            self.counts.published(dispatch, now)
            if tap is not None:
                tap(dispatch)

    def _restore(self) -> None:
        """Put what was sent back into the backlog."""
        self.backlog.restore()
        self._tainted = False
