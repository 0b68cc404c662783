"""Sends records of simulated collectors to a broker in real time: `python -m exporter.tools.simulate.simulator`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Generic, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from exporter.kafka.connection_errors import error_text
from exporter.runtime.clock import now_ms
from exporter.tools.simulate.market import FEEDS, SimulatedFeed, SimulatedRecord, Simulator

_TICK_SECONDS = 0.02
_ANSWER_SECONDS = 15.0
# librdkafka's default allows a record of 1 MB, the sidecar one of 1 MiB.
_PRODUCER_DEFAULTS = {"linger.ms": 5, "message.max.bytes": 2 * 1024**2, "message.timeout.ms": 30_000}
# Without this the clients print about an unreachable broker many times a second; failed records are counted.
_QUIET = {"log_level": 0}


class RecordSource(Protocol):
    """What is sent: `records` yields what is due; `start_ms` is the beginning of its time, in Unix milliseconds."""

    start_ms: int

    def records(self, until_ms: float) -> Iterator[SimulatedRecord]:
        """Yield the records up to `until_ms` (Unix) that were not yielded before, in the order of time."""


S = TypeVar("S", bound=RecordSource)


class Collectors(Generic[S]):
    """Sender of a simulator's records in real time, in a background thread.

    `kafka` are librdkafka's properties. The time of the simulator is the time since `start`. After `stop`, the counts
    of the simulator are those of the records in the topics, as long as `failed` is 0.
    """

    def __init__(self, simulator: S, kafka: Mapping[str, Any]) -> None:
        self.simulator = simulator
        self.sent = 0
        self.failed = 0
        self._producer = Producer({**_QUIET, **_PRODUCER_DEFAULTS, **kafka})
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collectors", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self, deadline_seconds: float = _ANSWER_SECONDS) -> None:
        """Stop sending, and wait until the broker has the sent records; those that it has not by then have failed."""
        self._stopping.set()
        self._thread.join(deadline_seconds)
        self.failed += self._producer.flush(deadline_seconds)

    def _run(self) -> None:
        started = time.monotonic()
        while not self._stopping.wait(_TICK_SECONDS):
            elapsed_ms = (time.monotonic() - started) * 1000
            for record in self.simulator.records(self.simulator.start_ms + elapsed_ms):
                self._send(record)
                if self._stopping.is_set():
                    return
            self._producer.poll(0)

    def _send(self, record: SimulatedRecord) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    key=record.key or None,
                    timestamp=record.timestamp_ms,
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(_TICK_SECONDS)
            else:
                self.sent += 1
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self.failed += error is not None


def faster(feeds: Sequence[SimulatedFeed], rate: float) -> list[SimulatedFeed]:
    """Return the feeds with batches `rate` times as often."""
    return [
        replace(
            feed,
            interval_ms=feed.interval_ms / rate,
            then=tuple((after_ms, faster([later], rate)[0]) for after_ms, later in feed.then),
        )
        for feed in feeds
    ]


def create_topics(kafka: Mapping[str, Any], topics: Sequence[str], partitions: int) -> None:
    """Create the topics that do not exist yet; raises KafkaException when the broker refuses or does not answer."""
    admin = AdminClient({**_QUIET, **kafka})
    wanted = [NewTopic(topic, partitions) for topic in topics]
    for created in admin.create_topics(wanted, request_timeout=_ANSWER_SECONDS).values():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate collectors until the time is over, or SIGINT or SIGTERM; print the exact counts as JSON."""
    args = _parser().parse_args(arguments)
    kafka = {"bootstrap.servers": args.bootstrap_servers}
    simulator = Simulator(args.seed, faster(FEEDS, args.rate), now_ms())
    try:
        if args.partitions:
            create_topics(kafka, simulator.topics, args.partitions)
    except KafkaException as error:
        print(f"cannot create topics: {error_text(error)}", file=sys.stderr)
        return 1
    collectors = Collectors(simulator, kafka)
    collectors.start()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait(args.seconds)
    collectors.stop()
    print(json.dumps(_as_json(collectors), indent=1))
    return 1 if collectors.failed else 0


def _as_json(collectors: Collectors[Simulator]) -> dict[str, object]:
    truth = collectors.simulator.truth
    return {
        "sent": collectors.sent,
        "failed": collectors.failed,
        "feeds": {str(key): asdict(feed) for key, feed in sorted(truth.feeds.items())},
        "garbage": {f"{topic} {reason}": count for (topic, reason), count in sorted(truth.invalid_records.items())},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m exporter.tools.simulate.simulator", description=__doc__)
    parser.add_argument("--bootstrap-servers", default="localhost:9092", help="brokers (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="how long (default: until interrupted)")
    parser.add_argument("--rate", type=positive, default=1.0, help="how many times as fast as usual (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same market (default: 1)")
    parser.add_argument(
        "--partitions",
        type=int,
        default=4,
        help="of topics to create; 0 lets the broker create them (default: 4)",
    )
    return parser


def positive(text: str) -> float:
    """Return a number of the command line that is greater than 0, and at most the longest time-out."""
    value = float(text)
    if not 0 < value <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError("must be greater than 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
