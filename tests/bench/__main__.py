"""`python -m tests.bench [BATCHES] [REPEATS]`: a table of what a batch costs, and the same as JSON in .cache/bench."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.load import batches, fill
from tests.bench.result import Result
from tests.support.kafka import Broker

ROOT = Path(__file__).parents[2]
PARTITIONS = 6
SIZE = 20
CONTESTANTS = ("bare", "ordinary", "product")


def main(count: int = 200_000, repeats: int = 3) -> None:
    """Measure, print and keep."""
    values = batches(SIZE)
    mean = statistics.mean(map(len, values))
    print(f"{count} batches of {SIZE} messages, {mean:.0f} bytes, {repeats} repeats, {_machine()}")
    with tempfile.TemporaryDirectory() as directory:
        broker = Broker(Path(directory), {"log.segment.bytes": str(256 * 1024**2)}, heap="1g").start()
        try:
            measured = [_round(broker, values, count, number) for number in range(repeats)]
        finally:
            broker.kill()
    _print(measured)
    folder = ROOT / ".cache" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    kept = [{name: result._asdict() for name, result in measurement.items()} for measurement in measured]
    (folder / f"{time.strftime('%Y%m%dT%H%M%S')}.json").write_text(json.dumps({"machine": _machine(), "rounds": kept}))


def _round(broker: Broker, values: list[bytes], count: int, number: int) -> dict[str, Result]:
    topic = f"ticker-data.bench-{number}"
    broker.create_topic(topic, PARTITIONS)
    broker.create_topic(f"{topic}-events", PARTITIONS)
    broker.create_topic(f"{topic}-errors", 1)
    fill(broker.bootstrap, topic, PARTITIONS, values, count)
    results = {}
    # Each round begins with another contestant, so that none always meets the warmest broker.
    for name in (*CONTESTANTS[number % 3 :], *CONTESTANTS[: number % 3]):
        arguments = [broker.bootstrap, topic] + ([] if name == "product" else [str(count)])
        results[name] = _run(name, arguments)
        cost = results[name].processor_seconds / count * 1e6
        print(f"  round {number + 1}: {name:9} {cost:6.1f} µs a batch", flush=True)
    return results


def _run(name: str, arguments: list[str]) -> Result:
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def _print(measured: list[dict[str, Result]]) -> None:
    columns: dict[str, Callable[[Result], float]] = {
        "processor µs": lambda result: result.processor_seconds / result.batches * 1e6,
        "wall µs": lambda result: result.wall_seconds / result.batches * 1e6,
        "batches/s a core": lambda result: result.batches / result.processor_seconds,
        "memory MB": lambda result: result.memory_bytes / 1e6,
    }
    print(
        f"\n{'median of rounds':18}" + "".join(f"{column:>18}" for column in columns) + f"{'rate / bare (spread)':>24}"
    )
    for name in CONTESTANTS:
        figures = [statistics.median(value(each[name]) for each in measured) for value in columns.values()]
        ratios = [each["bare"].processor_seconds / each[name].processor_seconds for each in measured]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{name:18}" + "".join(f"{figure:18.1f}" for figure in figures) + f"{spread:>24}")


def _machine() -> str:
    return f"{platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
