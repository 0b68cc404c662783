"""Senders of messages at an open rate, each a thread with a producer of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer
from msgspec.structs import replace

from exporter.config.schema import Config
from exporter.kafka import clients
from exporter.loadtest.kafka.ledger import Ledger, Message
from exporter.loadtest.kafka.records import HEADER, BatchWriter, feed
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Pacer
from exporter.runtime.clock import now_ms
from exporter.runtime.threads import start

# Callbacks of acknowledgements run within `poll`, so that one is due at least as often.
_WAIT_SECONDS = 0.05
_AT_ONCE = 100
# A message that cannot be delivered for so long is an error. It stays in line until then: it is late, not lost.
_DELIVERY_MS = 30_000
# An hour of two clients.
_SAMPLES_MAX = 7200
_PROPERTIES: dict[str, Any] = {
    "message.timeout.ms": _DELIVERY_MS,
    "statistics.interval.ms": 1000,
    # An error of a broker's storage is tried again without end, and only the log has it: a broker that stops by it, as
    # one with a full disk does, is seen to be gone and no more. These are a few lines for each request.
    "debug": "msg",
    "log_level": 7,
    "queue.buffering.max.kbytes": 262_144,
}
# What was given up at the end.
_GIVEN_UP = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
_STORAGE = KafkaError(KafkaError.KAFKA_STORAGE_ERROR).str()


class BrokerSample(NamedTuple):
    """What a client saw of a broker in the second before `at`: milliseconds of most requests (p99), and a quota's."""

    at: float
    answer_ms: float
    queued_ms: float
    throttled_ms: float


class BrokerAnswers:
    """What the clients of a run know of the brokers."""

    def __init__(self, clock: RunClock) -> None:
        self.samples: deque[BrokerSample] = deque(maxlen=_SAMPLES_MAX)
        self._clock = clock
        self._down_since: float | None = None
        self.has_storage_error = False

    def log(self, level: int, form: str, kind: str, client: str, text: str) -> None:
        """Take a line of a client's log, as loggers do."""
        if kind == "MSGSET" and _STORAGE in text:
            self.has_storage_error = True

    def on_statistics(self, text: str) -> None:
        """Take the statistics of a client."""
        for broker in orjson.loads(text)["brokers"].values():
            if broker["rtt"]["cnt"]:
                answer_ms, queued_ms = (broker[name]["p99"] / 1000 for name in ("rtt", "outbuf_latency"))
                throttled_ms = float(broker["throttle"]["max"])
                self.samples.append(BrokerSample(self._clock.now(), answer_ms, queued_ms, throttled_ms))

    def down_seconds(self) -> float:
        """Return for how long no broker could be connected to, as far as is known."""
        since = self._down_since
        return 0.0 if since is None else time.monotonic() - since

    def acknowledged(self) -> None:
        """Note that a broker has answered."""
        self._down_since = None

    def on_error(self, error: KafkaError) -> None:
        """Take an error of a client."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._down_since is None:
            self._down_since = time.monotonic()


class Sender:
    """A thread that sends batches of its feeds, one after the other, each when it is due."""

    def __init__(
        self,
        config: Config,
        topic: str,
        run: bytes,
        feeds: Sequence[tuple[int, int]],
        batch_size: int,
        ledger: Ledger,
        answers: BrokerAnswers,
        clock: RunClock,
    ) -> None:
        self._topic, self._name, self._clock = topic, run, clock
        self._ledger, self._answers = ledger, answers
        self._feeds = [(index, number, BatchWriter(feed(index), batch_size)) for index, number in feeds]
        hooks: dict[str, Any] = {"stats_cb": answers.on_statistics, "error_cb": answers.on_error, "logger": answers}
        plain = replace(config, output=replace(config.output, delivery="at_least_once"))
        self._producer: Producer | None = clients.producer(plain, **_PROPERTIES, **hooks)
        self._turn = 0
        self._pacer: Pacer | None = None
        self._base = self._free = 0.0
        self._stopping = threading.Event()
        self._thread = start(f"loadtest-kafka-{feeds[0][0]}", self._run)

    def warm_up(self) -> None:
        """Send a message of each feed that is not measured."""
        for _ in self._feeds:
            self._send(None)

    def assign(self, pacer: Pacer, base: float) -> None:
        """Send by a pacer; its times are seconds after `base`, which is itself seconds of the run."""
        self._base, self._pacer = base, pacer

    def cease(self) -> None:
        """Send nothing else of the schedule."""
        self._pacer = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was due has been handed over."""
        return self._pacer is None

    def stop(self, seconds: float) -> None:
        """End the thread, and give up what is on its way after so many seconds."""
        self._stopping.set()
        self._thread.join()
        if self._producer is not None:
            self._producer.flush(seconds)
            self._producer.purge()
            self._producer.flush(1.0)
            self._producer = None

    def _run(self) -> None:
        producer = self._producer
        while producer is not None and not self._stopping.is_set():
            pacer = self._pacer
            if pacer is None:
                producer.poll(_WAIT_SECONDS)
                continue
            wait = self._send_due(pacer)
            producer.poll(wait)
            if pacer.next_due is None and self._pacer is pacer:
                self._pacer = None

    def _send_due(self, pacer: Pacer) -> float:
        """Send some of what is due, and return for how many seconds nothing else is."""
        for _ in range(_AT_ONCE):
            due = pacer.take(self._clock.now() - self._base)
            if due is None:
                break
            self._send(self._base + due)
        left = 0.0 if pacer.next_due is None else pacer.next_due - (self._clock.now() - self._base)
        return min(max(0.0, left), _WAIT_SECONDS)

    def _send(self, due: float | None) -> None:
        index, number, writer = self._feeds[self._turn]
        self._turn = (self._turn + 1) % len(self._feeds)
        message = self._ledger.begin(index, due, self._clock.now(), self._free)
        value = writer.value(message.number, now_ms())
        hand_over = partial(
            self._producer.produce,  # type: ignore[union-attr]  # the thread ends before the producer
            self._topic,
            value,
            writer.key,
            number,
            partial(self._on_delivery, message, len(value)),
            headers=[(HEADER, b"%b/%d" % (self._name, message.number))],
        )
        while not self._stopping.is_set():
            try:
                hand_over()
                return
            except KafkaException as error:  # such as one that is too large
                self._ledger.undelivered(error.args[0].name(), self._clock.now())
                return
            except BufferError:  # the client has no room: the message waits here, and is late by its due time
                self._producer.poll(_WAIT_SECONDS)  # type: ignore[union-attr]
                self._free = self._clock.now()
        self._ledger.undelivered("not sent, the client's queue was full", self._clock.now())

    def _on_delivery(self, message: Message, size: int, error: KafkaError | None, delivered: Any) -> None:
        if error is None:
            self._answers.acknowledged()
            self._ledger.delivered(message, delivered.partition(), delivered.offset(), self._clock.now(), size)
        else:
            kind = "no answer before the end" if error.code() in _GIVEN_UP else error.name()
            self._ledger.undelivered(kind, self._clock.now())
