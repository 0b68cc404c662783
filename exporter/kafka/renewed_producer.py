"""A producer that outlives its client: certificates, secrets, and what librdkafka knows of brokers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from exporter.kafka.credentials import Maker
from exporter.kafka.session import KafkaSession

OnDelivery = Callable[[KafkaError | None, Any], None]

# For what is on its way by connections that are still open when a producer is replaced.
LAST_SECONDS = 5.0
_STEP_SECONDS = 0.1
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class RenewedProducer:
    """A producer whose client is replaced between two polls once it may not be able to log in, or to find brokers.

    What the old client has not delivered by then is sent again by the new one, so that nothing is lost; what was
    written and not acknowledged is then written twice. `produce` may be called from any thread, the rest belongs to
    one. `make` returns clients.
    """

    def __init__(self, make: Maker[..., Any], session: KafkaSession) -> None:
        self._make = make
        self._session = session
        self._producer: Any = make(error_cb=self._on_error)
        self._lock = threading.Lock()
        self._is_ending = False
        self._lifeline = session.lifeline()
        self._has_delivered = True  # since the last poll

    def produce(self, topic: str, value: bytes | None, key: bytes | None, report: OnDelivery, **more: Any) -> None:
        """Send a record; `report` is called by `poll` as `on_delivery` is. Raises as `Producer.produce`."""
        again = partial(self.produce, topic, value, key, report, **more)
        with self._lock:  # a record given to a producer that was just replaced would have no report
            self._producer.produce(topic, value, key, on_delivery=partial(self._on_delivery, again, report), **more)

    def poll(self, seconds: float) -> None:
        """Call reports, waiting up to `seconds` for the first."""
        is_silent = not self._has_delivered and len(self._producer) > 0
        self._has_delivered = False
        if self._make.is_outdated() or self._lifeline.is_lost(self._producer, is_silent=is_silent):
            self._replace()
        self._producer.poll(seconds)

    def close(self, seconds: float) -> None:
        """Wait at most `seconds` for records being sent, and discard the rest."""
        self._is_ending = True
        if self._producer.flush(seconds):
            self._producer.purge()
            self._producer.flush(_STEP_SECONDS)

    def _on_error(self, error: KafkaError) -> None:
        self._session.faults.explain(error.str())

    def _replace(self) -> None:
        try:
            made = self._make(error_cb=self._on_error)
        except KafkaException:  # files of certificates may be replaced at this moment
            return
        with self._lock:
            old, self._producer = self._producer, made
        deadline = time.monotonic() + LAST_SECONDS
        while old.flush(_STEP_SECONDS) and time.monotonic() < deadline:
            made.poll(0)
        old.purge()
        old.flush(_STEP_SECONDS)

    def _on_delivery(
        self, again: Callable[[], None], report: OnDelivery, error: KafkaError | None, message: Any
    ) -> None:
        self._has_delivered = self._has_delivered or error is None
        if error is not None and error.code() in _PURGED and not self._is_ending:
            try:
                again()
                return
            except (BufferError, KafkaException):  # reported below
                pass
        report(error, message)
