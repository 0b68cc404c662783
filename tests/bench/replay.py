"""What a batch costs when records of the past are replayed, from a recording and from a topic with six partitions.

A day of 500 batches a second takes less than 40 minutes of one core below 55 µs a batch, at 18,000 batches/s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from confluent_kafka import Producer

from exporter.model import Partition, Record
from exporter.tools.replay.recording import writing
from tests.bench.bench import PARTITIONS, Bench, Subject
from tests.bench.figures import Cases
from tests.bench.load import Shape, records

START_MS = 1_760_000_400_000
PER_SECOND = 500
TOPIC = "ticker-data.replayed"
# The peak of memory as the kernel tells it of a child begins with that of its parent.
MEASURED = """
import re, sys, time
from exporter.cli import main
assert main(["replay", *sys.argv[1:]]) == 0
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(time.process_time(), peak)
"""


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Replay the same batches from a file and from a topic, by the decoder in Python and by the native core."""
    file = bench.directory / "recording.jsonl"
    _write(file, bench, Shape(messages=options.messages, feeds=options.feeds), options.batches)
    bench.progress(f"{options.batches:,} batches are recorded")
    topic = TOPIC, "--kafka.bootstrap-servers", bench.broker.bootstrap
    cases: Cases = {}
    for name, source in (("a recording", ("--file", str(file))), ("a topic", topic)):
        for core in ("python", "native"):
            cost = _cost((*source, "--input.core", core), options.batches)
            cases[f"{name}, {core}"] = {name: [figure] for name, figure in cost.items()}
            bench.progress(f"{name} is replayed with the core {core}")
    return cases


def _batches(shape: Shape, number: int) -> Iterator[Record]:
    """Yield batches, 500 a second, each 100 ms after its newest message; a feed stays on its partition."""
    for n, sent in enumerate(islice(records(shape), number)):
        batch, at_ms = json.loads(sent.value), START_MS + n * 1000 // PER_SECOND
        later = at_ms - 100 - max(message["timestamp"] for message in batch["data"])
        for message in batch["data"]:
            message["timestamp"] += later
        value = json.dumps({**batch, "timestamp_ms": at_ms - 20}, separators=(",", ":")).encode()
        yield Record(Partition(TOPIC, sent.feed % PARTITIONS), n, at_ms, value)


def _write(file: Path, bench: Bench, shape: Shape, number: int) -> None:
    """Write the batches into a recording and into the topic."""
    bench.broker.create_topic(TOPIC, PARTITIONS)
    producer = Producer({"bootstrap.servers": bench.broker.bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    with writing(file) as write:
        for record in _batches(shape, number):
            write(record)
            producer.produce(TOPIC, record.value, partition=record.partition.number, timestamp=record.timestamp_ms)
            if record.offset % 1000 == 0:
                producer.flush()
    producer.flush()


def _cost(arguments: Sequence[str], batches: int) -> dict[str, float]:
    """Return what a replay costs: processor time of all its threads a batch, the rate that this is, and memory."""
    done = subprocess.run([sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, check=True)
    *_, seconds, memory_kb = done.stdout.split()
    return {
        "processor_us": float(seconds) / batches * 1e6,
        "batches_per_core_second": batches / float(seconds),
        "memory_mb": int(memory_kb) * 1024 / 1e6,
    }


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=20)
    parser.add_argument("--feeds", type=int, default=10)


REPLAY = Subject("records of the past, at their own time", _add_options, measure)
