"""Channels: how events reach Kafka, and when they count as published.

`TransactionalChannel` commits events and input offsets in one Kafka transaction (exactly once). `IdempotentChannel`
stores offsets once their events are delivered (at least once). `NullChannel` only stores offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels.channel import Cause, ChannelError, CommitResult, CommitState
from exporter.publishing.channels.kafka import (
    LOOK_SECONDS,
    SEAL_SECONDS,
    Frames,
    KafkaChannel,
    channel_error,
    topic_partitions,
)
from exporter.runtime.worker import ThreadWorker

# How long one transactional call may take before it is made again; they may all be made again.
CALL_SECONDS = 10.0
# librdkafka sends nothing again before `retry.backoff.ms`, less a fifth. A seal that took less was sent once.
SLOW_SECONDS = 0.75
# A call that has not returned after so long may never do so: some ignore their time-out (librdkafka #5456).
STUCK_SECONDS = 15.0


class TransactionalChannel(KafkaChannel):
    """Events and positions in one Kafka transaction, which the broker ends when it lives for `transaction_seconds`.

    A call that has not returned after `stuck_seconds` is left to itself, with its producer.
    """

    def __init__(
        self,
        make_producer: Callable[..., Producer],
        prepare: Callable[[], Frames],
        transaction_seconds: float,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        super().__init__(make_producer, prepare)
        self._transaction_seconds = transaction_seconds
        self._stuck_seconds = stuck_seconds
        self._caller = ThreadWorker("transaction")
        self._begun_at = 0.0
        self._is_in_doubt = False  # whether a request may have been sent twice, or the producer cannot go on

    def begin(self) -> None:
        """Begin a transaction."""
        if self._producer is None:
            raise ChannelError("the producer was lost")
        self._begun_at = time.monotonic()
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._lost(error) from error

    def seal(self, positions: Mapping[Partition, Position], group: object, commit: bool) -> CommitResult:
        """Commit the transaction with the positions, or abort it; a producer in doubt is replaced.

        A request that was sent twice may still arrive during the next transaction, end it half-way (KAFKA-17754), or
        put old offsets into it. It bounces off a new producer, whose epoch is higher.
        """
        started, self._is_in_doubt = time.monotonic(), False
        outcome = self._commit(positions, group) if commit else self._abort(CommitResult.ABORTED, CommitState.ABORTED)
        if outcome.cause in (Cause.FENCED, Cause.DENIED):
            self.close()  # a new one at once would throw the other out, or be refused as this one was
        elif self._is_in_doubt or self._is_outdated() or time.monotonic() - started >= SLOW_SECONDS:
            self._renew()
        return outcome

    def committed(self, positions: Mapping[Partition, Position]) -> None:
        """The transaction has committed the offsets already."""

    def _introduce(self, producer: Any) -> None:
        """End what a predecessor of the same transactional.id left open."""
        self._call(partial(producer.init_transactions, CALL_SECONDS))

    def _lost(self, error: KafkaException) -> ChannelError:
        """Return what an error says; `produce` says no more than that the producer is broken, other calls say why."""
        try:
            if error.args[0].code() == KafkaError._FATAL:
                self._producer.abort_transaction(LOOK_SECONDS)
        except KafkaException as fatal:
            error = fatal
        lost = channel_error(error)
        return ChannelError(str(lost)) if self._has_expired(lost.cause) else lost

    def _failure(self, error: KafkaError) -> CommitResult:
        """Return what an error means; one that has expired was undone by the broker, and nobody threw us out."""
        failure = super()._failure(error)
        return replace(failure, cause=Cause.ABORTED) if self._has_expired(failure.cause) else failure

    def _has_expired(self, cause: Cause) -> bool:
        """Tell whether the broker fenced the producer because it ended the transaction: that looks like another's."""
        return cause is Cause.FENCED and time.monotonic() - self._begun_at >= self._transaction_seconds

    def _commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        offsets, deadline = topic_partitions(positions), time.monotonic() + SEAL_SECONDS
        if self._is_careful and not self._flush(deadline):
            # librdkafka would wait for the rest until its time-out.
            cause = Cause.TOO_LARGE if self._refused else Cause.ABORTED
            return self._abort(
                CommitResult(CommitState.ABORTED, cause, "not all events were delivered"), CommitState.ABORTED
            )
        try:
            if offsets:
                send = partial(self._producer.send_offsets_to_transaction, offsets, group, CALL_SECONDS)
                self._insist(send, deadline)
        except KafkaException as error:
            return self._undo(error.args[0], CommitState.ABORTED)
        try:
            self._insist(partial(self._producer.commit_transaction, CALL_SECONDS), deadline)
        except KafkaException as error:
            return self._undo(error.args[0], CommitState.UNCLEAR)
        return CommitResult.COMMITTED

    def _undo(self, error: KafkaError, otherwise: CommitState) -> CommitResult:
        """Abort after an error; `otherwise` is how the transaction ended when that cannot be done."""
        failure = self._failure(error)
        if error.txn_requires_abort():
            return self._abort(failure, otherwise)
        self._is_in_doubt = True
        return replace(failure, ending=otherwise)

    def _abort(self, failure: CommitResult, otherwise: CommitState) -> CommitResult:
        try:
            self._insist(partial(self._producer.abort_transaction, CALL_SECONDS), time.monotonic() + SEAL_SECONDS)
        except KafkaException:
            self._is_in_doubt = True
            return replace(failure, ending=otherwise)
        self._producer.poll(0)
        return replace(failure, refused=self._take_refused())

    def _insist(self, call: Callable[[], None], deadline: float) -> None:
        """Make a call again as long as librdkafka says that it may be."""
        while True:
            self.alive_at = time.monotonic()
            try:
                self._call(call)
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
                self._is_in_doubt = True

    def _call(self, call: Callable[[], None]) -> None:
        """Make a call and wait for its end; one that does not return keeps its thread and its producer to itself.

        Should it return after all, nobody listens, and the producer that comes next has ended its transaction.
        """
        task = self._caller.submit(call)
        if task.wait(self._stuck_seconds):
            task.result()
            return
        self._caller.stop()
        self._caller = ThreadWorker("transaction")
        self._producer = None
        raise KafkaException(
            KafkaError(KafkaError._TIMED_OUT, f"a call did not return within {self._stuck_seconds:g} s")
        )
