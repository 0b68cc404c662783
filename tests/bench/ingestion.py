"""How many events a second one `MessageConsumer` keeps up with, beside a bare consumer with the same decode."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid

from confluent_kafka import Producer

from exporter.ingestion.encodings import encode_avro, encode_json
from exporter.ingestion.events import Event, check
from tests.bench.bench import Bench, Subject
from tests.bench.figures import ROOT, Case, Cases
from tests.bench.ingesting import TOPIC
from tests.bench.result import Result

NAMES = ("bare", "consumer", "logging")
ENCODINGS = {"avro": encode_avro, "json": encode_json}
PARTITIONS = 3
CURRENCIES = 60
RUN_SECONDS = 120


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Let each handle the same events, in turn."""
    cases: Cases = {}
    for number in range(options.repeats):
        for encoding in ENCODINGS:
            prefix = _filled(bench, encoding, options.events)
            # Each round begins with another contestant, so that none always meets the warmest broker.
            names = (*NAMES[number % len(NAMES) :], *NAMES[: number % len(NAMES)])
            results = {name: _run(bench, name, prefix, options.events) for name in names}
            for name, result in results.items():
                _add(cases.setdefault(f"{encoding}: {name}", {}), result, results["bare"])
            bench.progress(f"round {number + 1}: events in {encoding} were handled")
    return {f"{encoding}: {name}": cases[f"{encoding}: {name}"] for encoding in ENCODINGS for name in NAMES}


def _filled(bench: Bench, encoding: str, events: int) -> str:
    """Write rates of some currencies to a topic; return its prefix."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    bench.broker.create_topic(prefix + TOPIC, PARTITIONS)
    producer = Producer({"bootstrap.servers": bench.broker.bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for number in range(events):
        code = f"C{number % CURRENCIES:02}"
        while True:
            try:
                producer.produce(prefix + TOPIC, ENCODINGS[encoding](_rate(code, number)), code)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return prefix


def _rate(code: str, number: int) -> Event:
    return check(
        TOPIC,
        {
            "currency_code": code,
            "currency_name": "미국 달러",
            "deal_base_rate": 1000.0 + number,
            "tts": 1335.2,
            "ttb": 1325.8,
            "source": "exchangerate_api",
            "recorded_at": "2025-01-27T09:59:58+00:00",
            "updated_at": "2025-01-27T10:00:00.250+00:00",
        },
    )


def _run(bench: Bench, name: str, prefix: str, events: int) -> Result:
    arguments = [name, bench.broker.bootstrap, prefix, str(events), str(events // 20)]
    command = [sys.executable, "-m", "tests.bench.ingesting", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def _add(case: Case, result: Result, bare: Result) -> None:
    cost, bare_cost = (each.processor_seconds / each.batches for each in (result, bare))
    figures = {
        "events_per_second": result.batches / result.wall_seconds,
        "event_us": cost * 1e6,
        "cost_by_bare": cost / bare_cost,
        "memory_mb": result.memory_bytes / 1e6,
    }
    for figure, value in figures.items():
        case.setdefault(figure, []).append(value)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=100_000, help="events a round (100000)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")


INGESTION = Subject("events a second of one MessageConsumer, beside a bare consumer", _add_options, measure)
