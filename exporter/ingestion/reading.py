"""The thread of a consumer: it polls, hands messages to the event loop, and commits what was handled there.

A consumer that several threads use makes each wait for the other's call, so all its calls are made here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from exporter.ingestion.lanes import Lane
from exporter.kafka.connection_errors import error_text
from exporter.kafka.credentials import Maker
from exporter.kafka.session import KafkaSession
from exporter.model import Partition
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable
from exporter.runtime.threads import start

log = logs.logger("ingestion")

POLL_SECONDS = 0.1
# While a partition waits for its handler, which may be done soon.
PAUSED_POLL_SECONDS = 0.01
MESSAGES_MAX = 500
# A partition is paused if its handler does not make room in this time.
DRAIN_SECONDS, DRAIN_STEP_SECONDS = 0.1, 0.002
# Messages of one partition that wait for its handler.
QUEUE_MAX = 1000
# After this time a handler of a released partition is cancelled; a group waits up to max.poll.interval.ms for it.
RELEASE_SECONDS = 15.0
CANCEL_SECONDS = 5.0
PROGRESS_SECONDS = 1.0


class PartitionProgress(NamedTuple):
    """How far an assigned partition is handled.

    `lag` is the number of offsets from the next event to the end, None while that is unknown; `queued` is the number of
    events in memory.
    """

    partition: Partition
    lag: int | None
    queued: int


class Reader:
    """Thread that owns a consumer. `make_lane` makes the lane of an assigned partition.

    For all threads: `progress` is a second old at most while the thread turns, `turned_at` is the time of its last turn
    by the monotonic clock, and `is_member` is set once the group has assigned partitions, or none.
    """

    def __init__(
        self,
        make_consumer: Maker[[Callable[[KafkaError], None]], Consumer],
        topics: Sequence[str],
        make_lane: Callable[[Partition], Lane],
        loop: asyncio.AbstractEventLoop,
        session: KafkaSession,
    ) -> None:
        self.ended: asyncio.Future[None] = loop.create_future()
        self._make_consumer = make_consumer
        self._session = session
        self._lifeline = session.lifeline()
        self._consumer: Any = make_consumer(self._on_error)
        self._topics = list(topics)
        self._make_lane = make_lane
        self._loop = loop
        self._lanes: dict[Partition, Lane] = {}
        self._stopping = threading.Event()
        self.is_member = False
        self.turned_at = time.monotonic()
        self.progress: tuple[PartitionProgress, ...] = ()
        self._progress_at = 0.0
        self._thread = threading.Thread(target=self._run, name="ingestion", daemon=True)

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the handlers that run, commit and leave the group; `ended` is then set. From any thread."""
        self._stopping.set()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            try:
                self._read()
            finally:
                self._finish()
        except BaseException as raised:
            error = raised
        self._call(lambda: _end(self.ended, error))

    def _read(self) -> None:
        self._subscribe()
        while not self._stopping.is_set():
            self.turned_at = time.monotonic()
            is_lost = self._lifeline.is_lost(self._consumer, is_silent=not self._lanes)
            if self._make_consumer.is_outdated() or is_lost:
                self._replace_consumer()
            self._store(self._lanes.values())
            self._pause_and_resume()
            if self.turned_at - self._progress_at >= PROGRESS_SECONDS:
                self._progress_at = self.turned_at
                self.progress = tuple(map(self._progress_of, self._lanes.values()))
            self._hand_over(self._poll())

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _replace_consumer(self) -> None:
        """Go on with another consumer; what was handled is committed if the old one is still connected."""
        try:
            made = self._make_consumer(self._on_error)
        except KafkaException:  # files of certificates may be replaced at this moment
            return
        self._store(self._release(list(self._lanes)))
        old, self._consumer = self._consumer, made
        self.is_member = False
        start("consumer-close", old.close)  # which may never return without a connection (librdkafka #3740)
        self._subscribe()

    def _finish(self) -> None:
        self._commit(self._release(list(self._lanes)))
        self._consumer.close()

    def _poll(self) -> list[Message]:
        """Return what has arrived, waiting for the first; calls the callbacks of a rebalance."""
        is_waiting = any(lane.is_paused for lane in self._lanes.values())
        first = self._consumer.poll(PAUSED_POLL_SECONDS if is_waiting else POLL_SECONDS)
        return [] if first is None else [first, *self._consumer.consume(MESSAGES_MAX - 1, 0)]

    def _hand_over(self, messages: Iterable[Message]) -> None:
        arrived: dict[Lane, list[Message]] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._on_error(error)
            # A partition that was revoked in the same call is not read here any more.
            elif (lane := self._lanes.get(Partition(message.topic() or "", message.partition() or 0))) is not None:
                arrived.setdefault(lane, []).append(message)
        for lane, batch in arrived.items():
            lane.queued += len(batch)
            self._call(lane.put, batch)

    def _store(self, lanes: Iterable[Lane]) -> list[TopicPartition]:
        """Store the offsets after the last handled events, which the client commits; return them."""
        stored = []
        for lane in lanes:
            count, offset = len(lane.handled), 0
            for _ in range(count):
                offset = lane.handled.popleft()
            lane.queued -= count
            if count:
                stored.append(TopicPartition(*lane.partition, offset + 1))
        try:
            if stored:
                self._consumer.store_offsets(offsets=stored)
        except KafkaException as error:  # a partition is not assigned any more
            _log_uncommitted(error)
            return []
        return stored

    def _pause_and_resume(self) -> None:
        full = [lane for lane in self._lanes.values() if not lane.is_paused and lane.queued >= QUEUE_MAX]
        slow = [] if self._drain(full) else full
        for lane in self._lanes.values():
            partition = [TopicPartition(*lane.partition)]
            if lane in slow and lane.waiting() > QUEUE_MAX // 2:
                self._consumer.pause(partition)
                lane.is_paused = True
            elif lane.is_paused and lane.queued <= QUEUE_MAX // 2:
                self._consumer.resume(partition)
                lane.is_paused = False

    def _drain(self, lanes: Sequence[Lane]) -> bool:
        """Wait shortly until lanes have room again; return whether they have.

        A paused partition loses what the client has fetched of it, and reading it again took most of the time of fast
        handlers: they handled a tenth of what they can.
        """
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(lane.waiting() > QUEUE_MAX // 2 for lane in lanes):
            if time.monotonic() >= deadline or self._stopping.wait(DRAIN_STEP_SECONDS):
                return False
        return True

    def _progress_of(self, lane: Lane) -> PartitionProgress:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*lane.partition), cached=True)
        following = lane.next_offset
        lag = None if following is None or end < 0 else max(0, end - following)
        return PartitionProgress(lane.partition, lag, lane.queued)

    def _on_assign(self, consumer: object, positions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:  # it was replaced
            return
        for position in positions:
            partition = Partition(position.topic, position.partition)
            self._lanes[partition] = self._make_lane(partition)
            self._call(self._lanes[partition].start)
        self.is_member = True
        self._progress_at = 0.0
        log.info("partitions assigned", extra={"partitions": _names(positions)})

    def _on_revoke(self, consumer: object, positions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._commit(self._release([Partition(each.topic, each.partition) for each in positions]))
        log.info("partitions revoked", extra={"partitions": _names(positions)})

    def _on_lost(self, consumer: object, positions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._release([Partition(each.topic, each.partition) for each in positions])
        log.warning(
            "partitions lost, events since the last commit are handled again", extra={"partitions": _names(positions)}
        )

    def _release(self, partitions: Iterable[Partition]) -> list[Lane]:
        """Wait until the handlers of partitions have returned, or cancel them; return their lanes."""
        lanes = [self._lanes.pop(partition) for partition in partitions if partition in self._lanes]
        for lane in lanes:
            self._call(lane.close)
        late = self._wait(lanes, RELEASE_SECONDS)
        for lane in late:
            log.warning("handler cancelled, its event is handled again", extra={"partition": str(lane.partition)})
            self._call(lane.cancel)
        self._wait(late, CANCEL_SECONDS)
        return lanes

    def _wait(self, lanes: Sequence[Lane], seconds: float) -> list[Lane]:
        """Return the lanes whose handlers have not returned in time."""
        deadline = time.monotonic() + seconds
        return [
            lane
            for lane in lanes
            if not self._loop.is_closed() and not lane.ended.wait(max(0.0, deadline - time.monotonic()))
        ]

    def _commit(self, lanes: Iterable[Lane]) -> None:
        """Commit now, before another member reads on from there."""
        try:
            if stored := self._store(lanes):
                self._consumer.commit(offsets=stored, asynchronous=False)
        except KafkaException as error:
            _log_uncommitted(error)

    def _on_error(self, error: KafkaError) -> None:
        fault = self._session.faults.explain(error.str())
        if error.fatal():
            raise KafkaException(error)
        if fault is None:  # those of connections are lines of the client's own
            log.warning("events are not read, retrying", extra={"error": printable(error.str())})

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the event loop, unless that has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._stopping.set()


def _end(ended: asyncio.Future[None], error: BaseException | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


def _names(positions: Iterable[TopicPartition]) -> str:
    return " ".join(f"{each.topic}/{each.partition}" for each in positions)


def _log_uncommitted(error: KafkaException) -> None:
    log.warning("offsets not committed, events are handled again", extra={"error": error_text(error)})
