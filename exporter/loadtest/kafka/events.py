"""A reader of committed events, which notes when that of each message arrived."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from exporter.config.schema import Config
from exporter.config.subscription import Subscription
from exporter.kafka.connection_errors import error_text
from exporter.kafka.reader import reader_properties
from exporter.loadtest.kafka.ledger import Ledger
from exporter.loadtest.kafka.topic import reader
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.target import TargetError
from exporter.runtime.threads import start

_AT_ONCE = 1000
_WAIT_SECONDS = 0.05
_PROPERTIES: dict[str, Any] = {
    "group.id": "marketdata-loadtest",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "latest",
    # An event counts as arrived when it is here, so nothing may be held back on the way.
    "fetch.wait.max.ms": 20,
    "fetch.min.bytes": 1,
    "log_level": 0,
}


class EventWatch:
    """A thread that reads the events from their present end on; raises `TargetError` when there is no such topic."""

    def __init__(self, config: Config, topic: str, ledger: Ledger, clock: RunClock) -> None:
        self._prefix = f"{topic}/".encode()
        self._ledger, self._clock = ledger, clock
        self._consumer = Consumer({**reader_properties(config), **_PROPERTIES, "error_cb": lambda _: None})
        self._consumer.assign(_ends(config))
        self._stopping = threading.Event()
        self._thread = start("loadtest-events", self._run)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            # `consume` waits out its time when there are fewer: that is for the rest only.
            first = self._consumer.poll(_WAIT_SECONDS)
            if first is not None:
                messages = [first, *self._consumer.consume(_AT_ONCE, 0)]
                self._take(messages, self._clock.now())

    def _take(self, messages: Iterable[Message], at: float) -> None:
        for message in messages:
            if message.error() is None and (place := self._place(message)) is not None:
                self._ledger.event(*place, at)

    def _place(self, message: Message) -> tuple[int, int] | None:
        """Return partition and offset of the message that an event is about, None for other events."""
        identity: Any = dict(message.headers() or ()).get("ce_id", b"")
        if not identity.startswith(self._prefix):
            return None
        partition, _, offset = identity.removeprefix(self._prefix).partition(b"/")
        return int(partition), int(offset)


def _ends(config: Config) -> list[TopicPartition]:
    name = config.output.topic
    try:
        with reader(config) as existing:
            found = existing.partitions(Subscription([name]))
            written = existing.written(found) if found else {}
    except KafkaException as error:
        raise TargetError(f"Kafka: {error_text(error)}") from None
    if not found:
        raise TargetError(f"there is no topic of events {name}")
    return [TopicPartition(*partition, written[partition]) for partition in found]
