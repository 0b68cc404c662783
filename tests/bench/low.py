"""Low load, default settings: processor time beside the bare loop, and how soon a batch is seen, in each output.

The bare loop reads the same topic at the same time, and commits as often.

From append, as stamped by the broker, to a page of `/metrics` that counts the batch: at random moments it is noted how
old the oldest batch is that a page does not count yet. A batch takes longer than x to be seen as often as that age is
above x, so the ages have the quantiles of the latency. From append to the event: until a reader of committed events has
it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any, Self

from confluent_kafka import Consumer

from exporter.model import EventType
from exporter.runtime.clock import now_ms
from tests.bench.bench import MESSAGES_PER_SECOND, SCRAPE_SECONDS, Bench, Subject, Topics, every
from tests.bench.collectors import Collectors
from tests.bench.figures import ROOT, Case, Cases, quantile
from tests.bench.load import Shape, live
from tests.bench.process import processor_seconds
from tests.support.sidecar import Sidecar

SIZES = (20, 150)
FEW_MESSAGES_PER_SECOND = 1000
ENDLESS = 10**9
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
    rates = (MESSAGES_PER_SECOND, FEW_MESSAGES_PER_SECOND)
    return {
        f"{rate:,} messages/s in batches of {size}": _measure(bench, rate, size, options)
        for rate in rates
        for size in SIZES
    }


def _measure(bench: Bench, rate: int, size: int, options: argparse.Namespace) -> Case:
    topics, shape, seconds = bench.topics(), Shape(messages=size), options.seconds
    bootstrap = bench.broker.bootstrap
    collectors = Collectors(bootstrap, topics, rate / size, partial(live, shape), notes=True)
    with collectors, bench.sidecar(topics) as sidecar:
        with _bare(bootstrap, topics) as bare:
            time.sleep(SETTLE_SECONDS)
            rounds = [_processor(sidecar, bare, collectors, seconds) for _ in range(options.repeats)]
        case = {name: [each[name] for each in rounds] for name in rounds[0]}
        bench.progress(f"{rate:,} messages/s in batches of {size}: {median(case['by_bare']):.2f} times the bare loop")
        with EventReader(bootstrap, f"{topics.input}-events") as reader:
            ages = _ages(sidecar, collectors, seconds)
    waited = [
        float(at - collectors.places[place]) for place, at in reader.arrived.items() if place in collectors.places
    ]
    for output, values in (("metrics", ages), ("event", waited)):
        case[f"{output}_p50_ms"], case[f"{output}_p99_ms"] = [quantile(values, 0.5)], [quantile(values, 0.99)]
    case["looks"], case["events"] = [float(len(ages))], [float(len(waited))]
    bench.progress(f"p99 {case['metrics_p99_ms'][0]:.0f} and {case['event_p99_ms'][0]:.0f} ms")
    return case


@contextmanager
def _bare(bootstrap: str, topics: Topics) -> Iterator[int]:
    """Run the bare loop on a topic of which it reads all that comes, and yield its process id."""
    command = [sys.executable, "-m", "tests.bench.bare", bootstrap, topics.input, str(ENDLESS), str(ENDLESS)]
    # Its last transaction stays open when it is killed, and readers of committed events wait for the end of that.
    command.append(f"{topics.input}-errors")
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _processor(sidecar: Sidecar, bare: int, collectors: Collectors, seconds: float) -> dict[str, float]:
    """Measure both while the sidecar is scraped as often as the README advises."""
    pids = sidecar.pid, bare
    sent, before, begin = collectors.sent, [processor_seconds(pid) for pid in pids], time.monotonic()
    for _ in every(SCRAPE_SECONDS, begin + seconds):
        sidecar.get("/metrics")
    took, after = time.monotonic() - begin, [processor_seconds(pid) for pid in pids]
    spent, bare_spent = (now - then for now, then in zip(after, before, strict=True))
    batches = collectors.sent - sent
    return {
        "processor_percent": 100 * spent / took,
        "bare_percent": 100 * bare_spent / took,
        "by_bare": spent / bare_spent,
        "processor_us": 1e6 * spent / batches,
        "batches_per_second": batches / took,
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
    parser.add_argument("--repeats", type=int, default=1, help="rounds of processor time (1)")


LOW = Subject(
    "processor time beside the bare loop, and latency, at 1,000 and 10,000 messages/s, default settings",
    _add_options,
    measure,
)
