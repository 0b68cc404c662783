"""One, two and three sidecars in one group, on a topic that they have to catch up on together."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.bench.bench import Bench, Subject, Topics
from tests.bench.figures import Case, Cases
from tests.bench.load import Shape, fill
from tests.bench.process import processor_seconds
from tests.support.sidecar import Sidecar
from tests.support.waiting import eventually

PARTITIONS = 12
SHAPE = Shape(feeds=120)
JOIN_SECONDS = 60.0
READ_SECONDS = 300.0
POLL_SECONDS = 0.1


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure each number of sidecars."""
    return {f"{number} sidecars": _measure(bench, number, options.batches) for number in options.sidecars}


def _measure(bench: Bench, number: int, batches: int) -> Case:
    topics = bench.topics(PARTITIONS)
    with ExitStack() as running:
        sidecars = [running.enter_context(bench.sidecar(topics, f"sidecar-{place}")) for place in range(number)]
        _hold(bench, topics, sidecars, batches)
        begin, spent = time.monotonic(), [processor_seconds(sidecar.pid) for sidecar in sidecars]
        for sidecar in sidecars:
            sidecar.resume()
        _until_read(sidecars, batches)
        took = time.monotonic() - begin
        spent = [processor_seconds(sidecar.pid) - before for sidecar, before in zip(sidecars, spent, strict=True)]
        read = [sidecar.batches() for sidecar in sidecars]
    bench.progress(f"{number} sidecars: {batches / took:,.0f} batches/s in total")
    return {
        "total_batches_per_second": [batches / took],
        "each_batches_per_second": [part / took for part in read],
        "processor_us": [1e6 * sum(spent) / batches],
        "cores": [sum(spent) / took],
    }


def _hold(bench: Bench, topics: Topics, sidecars: Sequence[Sidecar], batches: int) -> None:
    """Write batches while the sidecars are stopped, each with its share of the partitions: so all begin together."""
    eventually(lambda: _owned(sidecars) == _shares(len(sidecars)), JOIN_SECONDS, "the partitions are not shared out")
    for sidecar in sidecars:
        sidecar.freeze()
    fill(bench.broker.bootstrap, topics.input, PARTITIONS, SHAPE, batches)


def _owned(sidecars: Sequence[Sidecar]) -> list[int]:
    return [len(sidecar.scrape().series("marketdata_consumer_position_offset")) for sidecar in sidecars]


def _shares(number: int) -> list[int]:
    return [PARTITIONS // number] * number


def _until_read(sidecars: Sequence[Sidecar], batches: int) -> None:
    end = time.monotonic() + READ_SECONDS
    while (read := sum(sidecar.batches() for sidecar in sidecars)) < batches:
        if time.monotonic() > end:
            raise RuntimeError(f"{read} of {batches} batches were read in {READ_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=120_000, help="batches in all (120000)")
    parser.add_argument("--sidecars", type=int, nargs="+", choices=(1, 2, 3, 4, 6), default=[1, 2, 3], help="1 2 3")


SCALE = Subject("replicas in one group", _add_options, measure)
