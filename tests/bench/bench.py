"""What the subjects share: a broker, topics, sidecars with default settings, and lines that tell how far it is."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.bench.figures import Cases
from tests.bench.load import Shape, fill
from tests.support.kafka import Broker
from tests.support.sidecar import Sidecar

PARTITIONS = 6
MESSAGES_PER_SECOND = 10_000
SCRAPE_SECONDS = 5.0


class Topics(NamedTuple):
    """An input topic; those of events and errors have its name and a suffix."""

    input: str
    partitions: int

    @property
    def settings(self) -> dict[str, object]:
        """The keys of the configuration that name them."""
        return {
            "input.topics": [self.input],
            "input.group": f"group-{self.input}",
            "output.topic": f"{self.input}-events",
            "output.error_topic": f"{self.input}-errors",
        }


class Bench:
    """The real parts of one run."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.directory = directory
        self.broker = broker
        self._numbers = count()
        self._begin = time.monotonic()

    def progress(self, text: str) -> None:
        """Say what has been done, and after how long."""
        print(f"[{time.monotonic() - self._begin:5.0f} s] {text}", file=sys.stderr, flush=True)

    def topics(self, partitions: int = PARTITIONS) -> Topics:
        """Make empty topics; the broker's clock stamps what comes into the first.

        The others have one partition, as the sidecar creates them by default.
        """
        name = f"ticker-data.bench-{next(self._numbers)}"
        self.broker.create_topic(name, partitions, message_timestamp_type="LogAppendTime")
        self.broker.create_topic(f"{name}-events", 1)
        self.broker.create_topic(f"{name}-errors", 1)
        return Topics(name, partitions)

    def filled(self, shape: Shape, batches: int, partitions: int = PARTITIONS) -> Topics:
        """Make topics with so many batches in them."""
        topics = self.topics(partitions)
        fill(self.broker.bootstrap, topics.input, partitions, shape, batches)
        self.progress(f"{batches:,} batches of {shape} written")
        return topics

    @contextmanager
    def sidecar(
        self, topics: Topics, instance: str = "one", settings: Mapping[str, object] | None = None
    ) -> Iterator[Sidecar]:
        """Run a sidecar in a process of its own; what `settings` do not say is as it comes."""
        given = {"kafka.bootstrap_servers": self.broker.bootstrap, "instance": instance, **topics.settings}
        directory = self.directory / f"{topics.input}-{instance}"
        sidecar = Sidecar(directory, {"input.start": "earliest", **given, **(settings or {})}).start()
        try:
            yield sidecar
        finally:
            sidecar.kill()


class Subject(NamedTuple):
    """What can be measured: options with defaults that make it short, and the measuring."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], object]
    measure: Callable[[Bench, argparse.Namespace], Cases]


def every(seconds: float, until: float) -> Iterator[float]:
    """Yield the time (monotonic), once in so many seconds, for as long as it is before `until`."""
    due = time.monotonic()
    while (now := time.monotonic()) < until:
        yield now
        due = max(due + seconds, time.monotonic())
        time.sleep(max(0.0, min(due, until) - time.monotonic()))
