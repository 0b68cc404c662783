"""Low load, default settings: processor time at 10,000 messages/s, and how soon a batch is seen, in each output.

From append, as stamped by the broker, to a page of `/metrics` that counts the batch: at random moments it is noted how
old the oldest batch is that a page does not count yet. A batch takes longer than x to be seen as often as that age is
above x, so the ages have the quantiles of the latency. From append to the event: until a reader of committed events has
it.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from functools import partial
from typing import Any, Self

from confluent_kafka import Consumer

from exporter.model import EventType
from exporter.runtime.clock import now_ms
from tests.bench.bench import MESSAGES_PER_SECOND, SCRAPE_SECONDS, Bench, Subject, every
from tests.bench.collectors import Collectors
from tests.bench.figures import Case, Cases, quantile
from tests.bench.load import Shape, live
from tests.bench.process import processor_seconds
from tests.support.sidecar import Sidecar

SIZES = (20, 150)
SETTLE_SECONDS = 5.0
# Pages are reused for 0.1 s, so those asked for at such intervals are new.
LOOK_SECONDS = (0.15, 0.35)


class EventReader:
    """Reads events as they are committed, in a thread, and notes when each came, by the record that it is about."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.arrived: dict[tuple[int, int], int] = {}
        settings = {"group.id": "bench-reader", "auto.offset.reset": "latest", "fetch.wait.max.ms": 10}
        self._consumer: Any = Consumer(
            {"bootstrap.servers": bootstrap, "isolation.level": "read_committed", **settings}
        )
        self._consumer.subscribe([topic])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-reader")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            messages, at_ms = self._consumer.consume(1000, 0.01), now_ms()
            for message in messages:
                headers = dict(message.headers())
                if headers["ce_type"].decode().endswith(EventType.BATCH):  # others are about no record
                    _, partition, offset = headers["ce_id"].decode().rsplit("/", 2)
                    self.arrived[int(partition), int(offset)] = at_ms


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure each size of batches."""
    return {f"batches of {size}": _measure(bench, size, options.seconds) for size in SIZES}


def _measure(bench: Bench, size: int, seconds: float) -> Case:
    topics, shape = bench.topics(), Shape(messages=size)
    bootstrap = bench.broker.bootstrap
    collectors = Collectors(bootstrap, topics, MESSAGES_PER_SECOND / size, partial(live, shape), notes=True)
    with collectors, bench.sidecar(topics) as sidecar:
        time.sleep(SETTLE_SECONDS)
        case = _processor(sidecar, collectors, seconds)
        bench.progress(f"batches of {size}: {case['processor_percent'][0]:.2f} % of a core")
        with EventReader(bootstrap, f"{topics.input}-events") as reader:
            ages = _ages(sidecar, collectors, seconds)
    waited = [
        float(at - collectors.places[place]) for place, at in reader.arrived.items() if place in collectors.places
    ]
    for output, values in (("metrics", ages), ("event", waited)):
        case[f"{output}_p50_ms"], case[f"{output}_p99_ms"] = [quantile(values, 0.5)], [quantile(values, 0.99)]
    case["looks"], case["events"] = [float(len(ages))], [float(len(waited))]
    bench.progress(f"batches of {size}: p99 {case['metrics_p99_ms'][0]:.0f} and {case['event_p99_ms'][0]:.0f} ms")
    return case


def _processor(sidecar: Sidecar, collectors: Collectors, seconds: float) -> Case:
    """Measure while it is scraped as often as the README advises."""
    begin, spent, sent = time.monotonic(), processor_seconds(sidecar.pid), collectors.sent
    for _ in every(SCRAPE_SECONDS, begin + seconds):
        sidecar.get("/metrics")
    took, spent = time.monotonic() - begin, processor_seconds(sidecar.pid) - spent
    batches = collectors.sent - sent
    return {
        "processor_percent": [100 * spent / took],
        "processor_us": [1e6 * spent / batches],
        "batches_per_second": [batches / took],
    }


def _ages(sidecar: Sidecar, collectors: Collectors, seconds: float) -> list[float]:
    """How old the oldest batch was that a page did not count, in ms, for each feed and page; 0 when there was none."""
    ages: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(random.uniform(*LOOK_SECONDS))
        scrape, at_ms = sidecar.scrape(), now_ms()
        for feed, appended in list(collectors.feeds.items()):
            counted = int(scrape.total("marketdata_batches_total", exchange=f"exchange{feed}"))
            ages.append(float(max(0, at_ms - appended[counted])) if counted < len(appended) else 0.0)
    return ages


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each measurement (20)")


LOW = Subject("processor time and latency at 10,000 messages/s, default settings", _add_options, measure)
