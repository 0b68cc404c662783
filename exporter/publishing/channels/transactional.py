"""Events exactly once: one Kafka transaction for events and input offsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from exporter.events.framing import FrameByType
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels import Cause, ChannelError, CommitResult, CommitState
from exporter.publishing.channels.kafka import (
    COMMIT_SECONDS,
    POLL_SECONDS,
    KafkaChannel,
    channel_error,
    topic_partitions,
)
from exporter.runtime.worker import ThreadWorker

# Time-out of one transactional call; afterwards it is repeated, as all of them may be.
CALL_SECONDS = 10.0
# librdkafka repeats no request before `retry.backoff.ms`, less a fifth. A faster commit sent each request once.
SLOW_SECONDS = 0.75
# A call that takes longer may never return: some ignore their time-out (librdkafka #5456).
STUCK_SECONDS = 15.0


class TransactionalChannel(KafkaChannel):
    """A channel with events and positions in one Kafka transaction.

    The broker aborts a transaction after `transaction_seconds`. A call that has not returned after `stuck_seconds`
    is abandoned together with its producer.
    """

    def __init__(
        self,
        make_producer: Callable[..., Producer],
        prepare: Callable[[], FrameByType],
        transaction_seconds: float,
        stuck_seconds: float = STUCK_SECONDS,
        is_superseded: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(make_producer, prepare, is_superseded)
        self._transaction_seconds = transaction_seconds
        self._stuck_seconds = stuck_seconds
        self._caller = ThreadWorker("transaction")
        self._begun_at = 0.0
        self._is_in_doubt = False  # whether a request may have been sent twice, or the producer cannot go on

    def begin(self) -> None:
        """Begin a transaction."""
        super().begin()
        self._begun_at = time.monotonic()
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._fatal(error) from error

    def commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        """Commit the transaction with the positions."""
        return self._end(partial(self._commit, positions, group))

    def abort(self) -> CommitResult:
        """Abort the transaction."""
        return self._end(partial(self._abort, CommitResult.ABORTED, CommitState.ABORTED))

    def _end(self, call: Callable[[], CommitResult]) -> CommitResult:
        """End the transaction, and replace the producer when requests of it may still be under way.

        A request that was sent twice may arrive during the next transaction, end it half-way (KAFKA-17754), or put old
        offsets into it. A new producer has a higher epoch, and the broker refuses such a request.
        """
        started, self._is_in_doubt = time.monotonic(), False
        result = call()
        if result.cause in (Cause.FENCED, Cause.DENIED):
            self.close()  # a new one at once would fence the other process, or be refused again
        elif self._is_in_doubt or self._is_outdated() or time.monotonic() - started >= SLOW_SECONDS:
            self._replace_producer()
        return result

    def store_offsets(self, positions: Mapping[Partition, Position]) -> None:
        """Do nothing: the transaction has committed the offsets."""

    def _initialize(self, producer: Any) -> None:
        """End the transaction that an earlier producer of the same `transactional.id` left open."""
        self._call(partial(producer.init_transactions, CALL_SECONDS))

    def _fatal(self, error: KafkaException) -> ChannelError:
        """Return the error of the channel; `produce` reports only that there is a fatal error, other calls which."""
        try:
            if error.args[0].code() == KafkaError._FATAL:
                self._producer.abort_transaction(POLL_SECONDS)
        except KafkaException as fatal:
            error = fatal
        found = channel_error(error)
        return ChannelError(str(found)) if self._has_expired(found.cause) else found

    def _failure(self, error: KafkaError) -> CommitResult:
        """Return an error as a result; an expired transaction was aborted by the broker, not fenced by a process."""
        failure = super()._failure(error)
        return replace(failure, cause=Cause.ABORTED) if self._has_expired(failure.cause) else failure

    def _has_expired(self, cause: Cause) -> bool:
        """Return whether the broker fenced the producer because the transaction expired, which has the same code."""
        return cause is Cause.FENCED and time.monotonic() - self._begun_at >= self._transaction_seconds

    def _commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        offsets, deadline = topic_partitions(positions), time.monotonic() + COMMIT_SECONDS
        if self._is_unbatched and not self._flush(deadline):
            # librdkafka would wait for the rest until its time-out.
            cause = Cause.TOO_LARGE if self._unsendable else Cause.ABORTED
            return self._abort(
                CommitResult(CommitState.ABORTED, cause, "not all events were delivered"), CommitState.ABORTED
            )
        try:
            if offsets:
                send = partial(self._producer.send_offsets_to_transaction, offsets, group, CALL_SECONDS)
                self._repeat(send, deadline)
        except KafkaException as error:
            return self._abort_after(error.args[0], CommitState.ABORTED)
        try:
            self._repeat(partial(self._producer.commit_transaction, CALL_SECONDS), deadline)
        except KafkaException as error:
            return self._abort_after(error.args[0], CommitState.UNCLEAR)
        return CommitResult.COMMITTED

    def _abort_after(self, error: KafkaError, otherwise: CommitState) -> CommitResult:
        """Abort after an error; `otherwise` is the state of the transaction when it cannot be aborted."""
        failure = self._failure(error)
        if error.txn_requires_abort():
            return self._abort(failure, otherwise)
        self._is_in_doubt = True
        return replace(failure, state=otherwise)

    def _abort(self, failure: CommitResult, otherwise: CommitState) -> CommitResult:
        try:
            self._repeat(partial(self._producer.abort_transaction, CALL_SECONDS), time.monotonic() + COMMIT_SECONDS)
        except KafkaException:
            self._is_in_doubt = True
            return replace(failure, state=otherwise)
        self._producer.poll(0)
        return replace(failure, unsendable=self._take_unsendable())

    def _repeat(self, call: Callable[[], None], deadline: float) -> None:
        """Make a call, and repeat it while librdkafka calls its error retriable, until the deadline."""
        while True:
            self.alive_at = time.monotonic()
            try:
                self._call(call)
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline or self._is_superseded():
                    raise
                self._is_in_doubt = True

    def _call(self, call: Callable[[], None]) -> None:
        """Make a call with a time-out; one that does not return is abandoned with its thread and its producer.

        If it returns later, its result is ignored, and the next producer has ended its transaction.
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
