"""Searches, with a separate consumer, the first readable offset after an unreadable one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from exporter.kafka.connection_errors import error_text
from exporter.kafka.unreadable import FailedOffset, FailedOffsets, Gap, readable_from
from exporter.model import Partition
from exporter.runtime import logs

log = logs.logger("source")

ANSWER_SECONDS = 5.0
# The longest search; the next one continues where it ended.
SEARCH_SECONDS = 30.0
# Between the starts of two searches, because one that fails may end at once.
PAUSE_SECONDS = 3.0
# Errors that are not about the record, though some have an offset: deleted, forbidden, or no answer.
_ELSEWHERE = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._LOG_TRUNCATION,
    KafkaError._TRANSPORT,
    KafkaError._SSL,
    KafkaError._AUTHENTICATION,
    KafkaError._RESOLVE,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._FATAL,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)


def is_unreadable(message: Any) -> bool:
    """Return whether a message is an error in reading its offset, not a record or the end of a partition."""
    error, offset = message.error(), message.offset()
    if error is None or error.code() == KafkaError._PARTITION_EOF or message.topic() is None:
        return False
    return offset is not None and offset >= 0 and error.code() not in _ELSEWHERE


class Prober:
    """Reader of single offsets of one partition, with a consumer that serves nothing else.

    All methods raise `TimeoutError` or `KafkaException` without an answer.
    """

    def __init__(self, consumer: Any, partition: Partition) -> None:
        self._consumer = consumer
        self._partition = partition
        self._answers: dict[int, int | None] = {}

    def gap(self, first: int) -> Gap | None:
        """Return the unreadable offsets from `first` on; None when `first` is readable.

        The end of the partition must be readable, and `first` must still fail after the search, so that an outage or
        a slow broker is not mistaken for unreadable records.
        """
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*self._partition), timeout=ANSWER_SECONDS)
        if self._asked(end) is not None or self._asked(first) is None:
            return None
        until = time.monotonic() + SEARCH_SECONDS
        found = readable_from(self.ask, first, end, lambda: time.monotonic() < until)
        return Gap(first, found) if self._asked(first) is not None else None

    def ask(self, offset: int) -> int | None:
        """Return the first offset of the unreadable batch that contains the offset, or None when it is readable."""
        if offset not in self._answers:
            self._answers[offset] = self._asked(offset)
        return self._answers[offset]

    def _asked(self, offset: int) -> int | None:
        self._consumer.assign([TopicPartition(*self._partition, offset)])
        deadline = time.monotonic() + ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            if message is None:
                continue
            if is_unreadable(message):
                return int(message.offset())
            if message.error() is None or message.error().code() == KafkaError._PARTITION_EOF:
                return None
        raise TimeoutError(f"no answer about {self._partition} at offset {offset}")


class GapSearch(FailedOffsets):
    """Failed offsets whose gaps are searched one after another, in a thread, with a consumer made for each search."""

    def __init__(self, make_consumer: Callable[[], Any]) -> None:
        super().__init__()
        self._make_consumer = make_consumer
        self._searched: Partition | None = None
        self._due = 0.0
        self._result: Future[Gap | None] = Future()

    def failed(self, partition: Partition, offset: int, error: str, now: float) -> bool:
        """See FailedOffsets. The error repeats twice a second, so only the first one at an offset is logged."""
        is_new = super().failed(partition, offset, error, now)
        if is_new:
            where = {"partition": str(partition), "offset": offset}
            log.warning("cannot read a record, retrying", extra={**where, "error": error})
        return is_new

    def search(self, now: float) -> tuple[Partition, Gap, str] | None:
        """Return a partition, its unreadable offsets and the error, once a search has found them; never wait."""
        if self._searched is None:
            if self and now >= self._due:
                self._begin(self.persistent(now), now)
            return None
        if not self._result.done():
            return None
        partition, self._searched = self._searched, None
        gap, place = self._result.result(), self.persistent(now).get(partition)
        if gap is None or place is None or place.offset != gap.first:
            return None  # the search failed, the record was read after all, or the partition was released
        self.passed([partition])
        return partition, gap, place.error

    def _begin(self, persistent: Mapping[Partition, FailedOffset], now: float) -> None:
        if not persistent:
            return
        self._due = now + PAUSE_SECONDS
        # The least tried first: a search that fails must not delay the others.
        self._searched, place = min(persistent.items(), key=lambda each: each[1].tries)
        self._result = Future()
        arguments = self._searched, place.offset, self._result
        threading.Thread(target=self._run, args=arguments, name="probe", daemon=True).start()

    def _run(self, partition: Partition, first: int, result: Future[Gap | None]) -> None:
        try:
            consumer = self._make_consumer()
            try:
                result.set_result(Prober(consumer, partition).gap(first))
            finally:
                consumer.close()
        except (KafkaException, TimeoutError) as error:
            log.info("the end of the unreadable records is unknown, retrying", extra={"error": error_text(error)})
        finally:
            if not result.done():
                result.set_result(None)
