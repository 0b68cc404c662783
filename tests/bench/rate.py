"""What a batch costs at full rate: the sidecar beside a bare loop and an ordinary good one, each in turn."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from tests.bench.bench import Bench, Subject, Topics
from tests.bench.figures import ROOT, Cases
from tests.bench.load import Shape, mean_bytes
from tests.bench.result import Result
from tests.support.redis import RedisServer

# The sidecar with the native core, where it is built, and with that in Python.
SIDECARS = {"product": "auto", "python": "python"}
ALL = ("bare", "ordinary", *SIDECARS)
# Nothing but the sidecar knows the settings.
OURS = ("bare", *SIDECARS)
BATCHES_MIN = 2000
BATCHES_A_FEED = 20
RUN_SECONDS = 600
# Ten times as often as by default.
RISK: Mapping[str, object] = {
    "risk.enabled": True,
    "risk.interval": "1s",
    "risk.positions.file": str(ROOT / "tests" / "bench" / "positions.yml"),
    "output.create_topics": {},
}


class Variant(NamedTuple):
    """One point to measure at: what comes in, and settings of the sidecar."""

    name: str
    shape: Shape = Shape()
    settings: Mapping[str, object] = {}
    needs_redis: bool = False

    @property
    def contestants(self) -> Sequence[str]:
        """Who takes part."""
        return OURS if self.settings or self.needs_redis else ALL


MIDDLE = Variant("20 messages, 10 feeds, tickers, exactly once, Avro")
# One axis at a time, from the middle.
AXES: dict[str, tuple[Variant, ...]] = {
    "messages": tuple(Variant(f"{size} messages", Shape(messages=size)) for size in (1, 20, 150, 1000)),
    "feeds": tuple(Variant(f"{number} feeds", Shape(feeds=number)) for number in (10, 100, 1000, 10_000)),
    "kind": tuple(Variant(f"{kind}s", Shape(kind=kind)) for kind in ("ticker", "trade", "orderbook")),
    "delivery": (
        Variant("exactly once", settings={"output.delivery": "exactly_once"}),
        Variant("at least once", settings={"output.delivery": "at_least_once"}),
        Variant("no batch events", settings={"output.batch_events": False}),
        Variant("metrics only", settings={"output.enabled": False}),
    ),
    "encoding": tuple(Variant(encoding, settings={"output.encoding": encoding}) for encoding in ("avro", "json")),
    "risk": (
        Variant("risk off", settings={"risk.enabled": False}),
        Variant("risk on", settings=RISK),
    ),
    "redis": (Variant("Redis off", settings={"redis.url": None}), Variant("Redis on", needs_redis=True)),
}


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure the middle, all of them."""
    return _variant(bench, MIDDLE, options.batches, options.repeats)


def measure_matrix(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure along the axes."""
    cases: Cases = {}
    for axis in options.axes:
        for variant in AXES[axis]:
            cases |= _variant(bench, variant, options.batches, options.repeats)
    return cases


def yardstick(bench: Bench, batches: int = 50_000, repeats: int = 3) -> list[float]:
    """Return what the bare loop takes on this machine just now, in µs of processor time a batch."""
    every = [bench.filled(MIDDLE.shape, batches) for _ in range(repeats)]
    results = [
        _run("bare", [bench.broker.bootstrap, topics.input, str(batches), "1000", f"{topics.input}-events"])
        for topics in every
    ]
    costs = [_cost(result) * 1e6 for result in results]
    bench.progress(f"the bare loop takes {' '.join(f'{cost:.1f}' for cost in costs)} µs a batch")
    return costs


def _variant(bench: Bench, variant: Variant, batches: int, repeats: int) -> Cases:
    """Measure one point; as many bytes for each shape, as far as that makes sense."""
    batches = min(batches, max(BATCHES_MIN, int(batches * mean_bytes(Shape()) / mean_bytes(variant.shape))))
    batches = max(batches, BATCHES_A_FEED * variant.shape.feeds)
    with ExitStack() as parts:
        settings = dict(variant.settings)
        if variant.needs_redis:
            server = RedisServer(bench.directory / "redis").start()
            parts.callback(server.kill)
            settings["redis.url"] = server.url
        evaluator = [_round(bench, variant, batches, number, settings) for number in range(repeats)]
    return {f"{variant.name}: {name}": _case(evaluator, name) for name in variant.contestants}


def _round(
    bench: Bench, variant: Variant, batches: int, number: int, settings: Mapping[str, object]
) -> dict[str, Result]:
    topics = bench.filled(variant.shape, batches)
    names = variant.contestants
    first = number % len(names)
    results = {}
    # Each round begins with another contestant, so that none always meets the warmest broker.
    for name in (*names[first:], *names[:first]):
        results[name] = _contestant(bench, topics, name, variant, batches, settings)
        cost = results[name].processor_seconds / results[name].batches * 1e6
        bench.progress(f"{variant.name}: round {number + 1}: {name} {cost:.1f} µs a batch")
    return results


def _contestant(
    bench: Bench, topics: Topics, name: str, variant: Variant, batches: int, settings: Mapping[str, object]
) -> Result:
    # When the measuring begins every feed is known, and so are its symbols.
    warm = str(max(batches // 20, BATCHES_A_FEED // 4 * variant.shape.feeds))
    if (core := SIDECARS.get(name)) is not None:
        own = {**settings, "input.core": core, "input.group": f"{name}-{topics.input}"}
        return _run("product", [bench.broker.bootstrap, topics.input, warm, json.dumps(own)])
    return _run(name, [bench.broker.bootstrap, topics.input, str(batches), warm, f"{topics.input}-events"])


def _run(name: str, arguments: list[str]) -> Result:
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def _case(evaluator: list[dict[str, Result]], name: str) -> dict[str, list[float]]:
    results = [each[name] for each in evaluator]
    case = {
        "processor_us": [result.processor_seconds / result.batches * 1e6 for result in results],
        "wall_us": [result.wall_seconds / result.batches * 1e6 for result in results],
        "per_core_second": [result.batches / result.processor_seconds for result in results],
        "rate_by_bare": [_cost(each["bare"]) / _cost(each[name]) for each in evaluator],
        "memory_mb": [result.memory_bytes / 1e6 for result in results],
        "loop_thread_us": [result.loop_seconds / result.batches * 1e6 for result in results],
    }
    for stage in results[0].stages:
        case[f"{stage}_wall_us"] = [result.stages[stage] / result.batches * 1e6 for result in results]
    return case


def _cost(result: Result) -> float:
    return result.processor_seconds / result.batches


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=100_000, help="batches a round (100000)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")


def _add_matrix_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=50_000, help="batches a round; fewer of large ones (50000)")
    parser.add_argument("--repeats", type=int, default=1, help="rounds (1)")
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES), help="which axes (all)")


RATE = Subject("processor time a batch, beside a bare and an ordinary loop", _add_options, measure)
MATRIX = Subject("the same, one axis at a time", _add_matrix_options, measure_matrix)
