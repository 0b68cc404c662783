"""Collectors that send at a steady pace, in a thread."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from confluent_kafka import KafkaException, Producer

from exporter.runtime.clock import now_ms
from tests.bench.bench import Topics
from tests.bench.load import Sent

TICK_SECONDS = 0.005


class Collectors:
    """Sends `make(number, now_ms)` so many times a second while it is entered, and remembers when each was appended.

    `places` are those times (Unix milliseconds) by partition and offset, `feeds` the same by the number of the feed.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        per_second: float,
        make: Callable[[int, int], Sent],
        *,
        notes: bool = False,
    ) -> None:
        self.sent = 0
        self.places: dict[tuple[int, int], int] = {}
        self.feeds: dict[int, list[int]] = defaultdict(list)
        self._topics = topics
        self._per_second = per_second
        self._make = make
        self._notes = notes
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": True})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collectors")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(10)

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stopping.wait(TICK_SECONDS):
            due = int((time.monotonic() - begin) * self._per_second)
            while self.sent < due:
                self._send(self._make(self.sent, now_ms()))
                self.sent += 1
            self._producer.poll(0)

    def _send(self, sent: Sent) -> None:
        told: dict[str, Any] = {"on_delivery": partial(self._appended, sent.feed)} if self._notes else {}
        self._producer.produce(self._topics.input, sent.value, partition=sent.feed % self._topics.partitions, **told)

    def _appended(self, feed: int, error: Any, message: Any) -> None:
        if error is not None:
            raise KafkaException(error)
        _, at_ms = message.timestamp()
        self.places[message.partition(), message.offset()] = at_ms
        self.feeds[feed].append(at_ms)
