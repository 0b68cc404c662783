"""Errors of the consumer: counted, logged, and kept as the cause why nothing is read."""

from __future__ import annotations

import time

from confluent_kafka import KafkaError

from exporter.kafka.connection_errors import ConnectionFaults, error_text
from exporter.runtime import logs
from exporter.runtime.foreign_text import printable
from exporter.source.causes import CauseKind, Causes, refusal, without_repetition
from exporter.source.handler import SourceCounts
from exporter.source.reconnect import ReconnectPolicy

log = logs.logger("source")

# Errors of connections, whose cause librdkafka only logs.
_UNREACHABLE = (
    KafkaError._TRANSPORT,
    KafkaError._SSL,
    KafkaError._AUTHENTICATION,
    KafkaError._RESOLVE,
    KafkaError._BAD_MSG,
)


class ConsumerErrors:
    """Errors of the present consumer; `reconnect` decides when to replace it. Loop thread only, unless noted."""

    def __init__(self, counts: SourceCounts, faults: ConnectionFaults, down_seconds: float) -> None:
        self.reconnect = ReconnectPolicy(down_seconds)
        self.causes = Causes()
        self._counts = counts
        self._faults = faults

    @property
    def last_error(self) -> str:
        """The cause why nothing is read, empty if unknown; from any thread."""
        return self.causes.current(time.monotonic())

    @property
    def is_refused(self) -> bool:
        """Whether brokers answer, and refuse; from any thread."""
        return self.causes.is_refused(time.monotonic())

    def count(self, error: KafkaError) -> None:
        """Count an error by its name."""
        name = error.name()
        self._counts.errors[name] = self._counts.errors.get(name, 0) + 1

    def on_error(self, error: KafkaError, *, is_reading: bool) -> None:
        """Count and log an error; while no partition is read, it is the cause."""
        self.count(error)
        text, now = printable(without_repetition(error.str())), time.monotonic()
        fault = self._faults.explain(error.str())
        if fault is not None or error.code() in _UNREACHABLE:
            self.causes.set(CauseKind.UNREACHABLE, str(fault or text), now)
            return
        text = refusal(text)
        log.warning("error of the Kafka consumer", extra={"code": error.name(), "error": text})
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.reconnect.broker_down(now)
            self.causes.set(CauseKind.SILENT, text, now)
        elif error.fatal() or error.code() == KafkaError._FATAL:
            # A fatal error that comes as a message has a code of its own, and `fatal` is False.
            self.consumer_failed(CauseKind.REFUSED, text)
        elif not is_reading:
            self._refused(error.code(), text, now)

    def _refused(self, code: int, text: str, now: float) -> None:
        if code != KafkaError.UNKNOWN_TOPIC_OR_PART:
            self.causes.set(CauseKind.REFUSED, text, now)
        elif not self.causes.has(CauseKind.MISSING):  # "deleted" is more specific
            self.causes.set(CauseKind.MISSING, text, now)

    def cannot_join(self, error: Exception) -> None:
        """Record why topics and offsets are unavailable before the consumer subscribes."""
        # Some failed connections are only logged by librdkafka.
        text = self._faults.last_of_consumer() or error_text(error)
        self.causes.set(CauseKind.SILENT, text, time.monotonic())
        if self.last_error == error_text(error):  # a more specific cause was logged already
            log.warning("cannot join the consumer group yet, retrying", extra={"error": text})

    def outdated(self) -> None:
        """Record that the consumer is to be replaced now by one that logs in with other certificates or secrets."""
        self.reconnect.outdated("certificates or secrets have changed")

    def cannot_reopen(self, error: Exception) -> None:
        """Record that no consumer could be made in place of the last one; `reconnect` decides when to try again."""
        self.reconnect.failure = ""
        self.consumer_failed(CauseKind.REFUSED, error_text(error))

    def consumer_failed(self, kind: CauseKind, error: str) -> None:
        """Record that the consumer cannot be used any more; `reconnect` decides when to replace it."""
        if self.reconnect.failure:
            return
        now = time.monotonic()
        wait = self.reconnect.consumer_failed(error, now)
        self.causes.set(kind, error, now + wait)
        log.error("the Kafka consumer failed and will be replaced", extra={"error": error, "next_try_seconds": wait})
