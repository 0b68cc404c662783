"""Two runs of one distribution differ by noise, and a shift of a fifth is found."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.reports.comparison import compare
from exporter.loadtest.reports.differences import ALPHA, EFFECT, Difference, Verdict
from exporter.loadtest.reports.pieces import FIGURES, aligned
from exporter.loadtest.results import Ended, Machine, Run, TargetResult
from exporter.loadtest.slices import Slices

MACHINE = Machine(system="Linux", processor="x", cores=2.0, memory_bytes=1, python="3.11", version="0")

Latency = Callable[[random.Random, int], float]


def usual(chance: random.Random, second: int) -> float:
    """Latencies as they are: skewed, and slower in the first seconds."""
    return chance.lognormvariate(2.0, 0.6) * (3 if second < 4 else 1)


def slower(chance: random.Random, second: int) -> float:
    return 1.2 * usual(chance, second)


def target(
    chance: random.Random, latency: Latency, seconds: int = 60, per_second: int = 100, errors: float = 0.0
) -> TargetResult:
    pieces, answered, failed = Slices(), 0, 0
    for second in range(seconds):
        histogram, load = LatencyHistogram(), 1.2 if chance.random() < 0.1 else 1.0  # some seconds are busy
        wrong = sum(chance.random() < errors for _ in range(per_second)) if errors else 0
        for _ in range(per_second - wrong):
            histogram.add(load * latency(chance, second))
        pieces.add(second, histogram, wrong)
        answered, failed = answered + histogram.count, failed + wrong
    return TargetResult(
        name="http",
        unit="requests",
        seconds=float(seconds),
        sent=answered + failed,
        answered=answered,
        errors={"timed out": failed} if failed else {},
        slices=pieces.slices(),
    )


def run(*targets: TargetResult) -> Run:
    return Run(
        profile="smoke",
        command="loadtest",
        settings={},
        started_ms=0,
        seconds=60.0,
        machine=MACHINE,
        ended=Ended.FINISHED,
        targets=targets,
    )


def differences(one: TargetResult, other: TargetResult) -> dict[str, Difference]:
    return {difference.figure.name: difference for difference in compare(run(one), run(other))}


def verdicts(seed: int, one: Latency, other: Latency) -> dict[str, Verdict]:
    chance = random.Random(seed)
    found = differences(target(chance, one), target(chance, other))
    return {name: difference.verdict for name, difference in found.items()}


def assert_equal_runs_are_noise_and_a_fifth_is_found(pairs: int) -> None:
    alarms = missed = 0
    for seed in range(pairs):
        alarms += not {Verdict.BETTER, Verdict.WORSE}.isdisjoint(verdicts(seed, usual, usual).values())
        found = verdicts(pairs + seed, usual, slower)
        missed += found["mean"] is not Verdict.WORSE or found["p50"] is not Verdict.WORSE
        assert found["throughput"] is found["errors"] is Verdict.NOISE
    assert alarms <= pairs * ALPHA
    assert missed <= pairs * ALPHA


def test_runs_of_one_distribution_differ_by_noise_and_a_shift_of_a_fifth_is_found() -> None:
    assert_equal_runs_are_noise_and_a_fifth_is_found(12)


@pytest.mark.bench
def test_both_hold_in_95_of_100_pairs() -> None:
    assert_equal_runs_are_noise_and_a_fifth_is_found(300)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_worse_in_one_direction_is_better_in_the_other(seed: int) -> None:
    chance = random.Random(seed)
    one, other = target(chance, usual, per_second=60), target(chance, slower, per_second=40, errors=0.02)
    forth, back = differences(one, other), differences(other, one)
    for name in ("throughput", "mean", "p50", "errors"):
        assert (forth[name].verdict, back[name].verdict) == (Verdict.WORSE, Verdict.BETTER)
    change = forth["mean"].change
    assert change is not None
    assert (forth["mean"].low or 0) < change < (forth["mean"].high or 0)
    assert back["mean"].change == pytest.approx(1 / (1 + change) - 1)


def test_a_run_does_not_differ_from_itself() -> None:
    one = target(random.Random(3), usual, seconds=12)
    for difference in differences(one, one).values():
        assert (difference.verdict, difference.change, difference.p) == (Verdict.NOISE, 0.0, 1.0)


def test_a_change_that_is_certain_and_small_is_noise() -> None:
    one = target(random.Random(4), lambda chance, _: chance.uniform(9.9, 10.1))
    other = target(random.Random(5), lambda chance, _: chance.uniform(10.6, 10.8))
    mean = differences(one, other)["mean"]
    assert mean.p is not None
    assert mean.p < 0.005
    assert mean.verdict is Verdict.NOISE


def test_a_change_that_is_large_in_all_of_its_range_and_not_certain_is_no_noise() -> None:
    chance = random.Random(1)
    p99 = differences(target(chance, usual), target(chance, slower))["p99"]
    assert p99.low is not None
    assert p99.low > EFFECT
    assert p99.verdict is Verdict.UNCERTAIN


def test_runs_of_a_few_seconds_or_without_answers_cannot_be_compared() -> None:
    one, short = target(random.Random(6), usual), target(random.Random(7), usual, seconds=9)
    assert {each.verdict for each in differences(one, short).values()} == {Verdict.UNKNOWN}
    silent = replace(one, slices=())
    assert {each.verdict for each in differences(silent, one).values()} == {Verdict.UNKNOWN}
    assert compare(run(), run(one)) == []


def test_runs_of_different_lengths_are_compared_in_the_seconds_of_both() -> None:
    long, short = target(random.Random(8), usual, seconds=170), target(random.Random(9), usual, seconds=70)
    pieces = aligned(long, short)
    earlier, now = pieces.whole()
    assert len(pieces) == 70 // 8
    assert earlier.seconds == now.seconds == 64
    assert earlier.count == now.count == 6400


@given(st.lists(st.lists(st.floats(0.1, 1e4), max_size=5), min_size=1, max_size=12), st.randoms())
def test_exchanged_pieces_lose_nothing(latencies: list[list[float]], chance: random.Random) -> None:
    one, other = Slices(), Slices()
    for second, values in enumerate(latencies):
        for pieces, factor in ((one, 1.0), (other, 2.0)):
            histogram = LatencyHistogram()
            for value in values:
                histogram.add(value * factor)
            pieces.add(second, histogram, len(values) % 2)
    fields = {"name": "x", "unit": "x", "seconds": float(len(latencies)), "sent": 0, "answered": 0, "errors": {}}
    both = aligned(TargetResult(**fields, slices=one.slices()), TargetResult(**fields, slices=other.slices()))  # type: ignore[arg-type]
    swap = chance.getrandbits(len(both))
    earlier, now = both.exchanged(swap)
    chosen = [number for number in range(len(both)) if not swap >> number & 1]
    kept, _ = both.chosen(chosen)
    moved = both.chosen([number for number in range(len(both)) if number not in chosen])[1]
    assert earlier.count == now.count == sum(map(len, latencies))
    assert earlier.total_ms == pytest.approx(kept.total_ms + moved.total_ms)
    assert earlier.errors == now.errors
    largest = [value * (1 if number in chosen else 2) for number, values in enumerate(latencies) for value in values]
    assert earlier.quantile(1.0) == (pytest.approx(max(largest), rel=0.011) if largest else None)
    whole = earlier.total_ms + now.total_ms
    assert whole == pytest.approx(3 * sum(map(sum, latencies)))
    assert {figure.name for figure in FIGURES if figure.is_share} == {"errors"}


def test_throughput_of_another_load_is_neither_better_nor_worse() -> None:
    chance = random.Random(3)
    one, other = (target(chance, usual, per_second=rate) for rate in (100, 50))
    assert differences(one, other)["throughput"].verdict is Verdict.WORSE
    wanted = differences(replace(one, wanted_per_second=100.0), replace(other, wanted_per_second=50.0))
    assert wanted["throughput"].verdict is Verdict.OTHER
    assert wanted["mean"].verdict is not Verdict.OTHER
    same = differences(replace(one, wanted_per_second=100.0), replace(other, wanted_per_second=100.0))
    assert same["throughput"].verdict is Verdict.WORSE
