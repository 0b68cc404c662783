"""Latencies of load tests add up and keep their quantiles, seconds follow each other, and results survive a file."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.loadtest import results, verdict
from exporter.loadtest.distributions import QUANTILES, LatencyHistogram, merged
from exporter.loadtest.results import Check, Ended, Outcome, ResultsError
from exporter.loadtest.timeline import Timeline

LATENCIES = st.lists(st.floats(0.01, 1e7), min_size=1, max_size=300)
MACHINE = results.Machine(system="Linux", processor="x", cores=2.0, memory_bytes=1, python="3.11", version="0")


def _histogram(values: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(LATENCIES)
def test_quantiles_are_within_one_percent_of_a_latency_at_their_rank(values: list[float]) -> None:
    found, ordered = _histogram(values).distribution(), sorted(values)
    assert found is not None
    for name, q in QUANTILES.items():
        exact = ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]
        assert getattr(found, name) == pytest.approx(exact, rel=0.0101)
    assert (found.count, found.max) == (len(values), max(values))
    assert found.mean == pytest.approx(sum(values) / len(values))


@given(LATENCIES, LATENCIES)
def test_distributions_of_two_processes_add_up_to_that_of_all_their_latencies(
    one: list[float], other: list[float]
) -> None:
    both, whole = merged([_distribution(one), _distribution(other)]), _distribution(one + other)
    assert both is not None
    assert [getattr(both, name) for name in QUANTILES] == [getattr(whole, name) for name in QUANTILES]
    assert (both.count, both.max, both.buckets) == (whole.count, whole.max, whole.buckets)
    assert both.mean == pytest.approx(whole.mean)


def _distribution(values: list[float]) -> results.Distribution:
    found = _histogram(values).distribution()
    assert found is not None
    return found


def test_nothing_has_no_distribution_and_a_negative_latency_is_none() -> None:
    assert LatencyHistogram().distribution() is None
    assert merged([]) is None
    assert _distribution([-5.0]).max == 0.0


def test_a_second_without_answers_is_in_the_timeline() -> None:
    timeline = Timeline()
    timeline.answered(0.2, 10.0)
    timeline.failed(0.9)
    timeline.answered(3.1, 2000.0)
    first, second, third, last = timeline.intervals(3.5)
    assert (first.at, first.count, first.errors, first.max) == (0.0, 1, 1, 10.0)
    assert [(each.at, each.count, each.p99) for each in (second, third)] == [(1.0, 0, None), (2.0, 0, None)]
    assert (last.at, last.count) == (3.0, 1)
    assert last.p50 == pytest.approx(2000.0, rel=0.01)


def test_an_answer_that_is_told_late_counts_in_the_second_that_is_open() -> None:
    timeline = Timeline()
    timeline.answered(2.5, 1.0)
    timeline.answered(1.9, 1.0)
    assert [each.count for each in timeline.intervals(4)] == [0, 0, 2, 0]


def test_what_another_process_has_counted_is_in_its_second() -> None:
    timeline = Timeline()
    timeline.merge(1.0, _histogram([1.0, 2.0, 3.0]), 2)
    timeline.merge(1.0, _histogram([5.0]), 0)
    assert [(each.count, each.errors, each.max) for each in timeline.intervals(2)] == [(0, 0, None), (4, 2, 5.0)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.integers(1, 20))
def test_a_run_has_at_most_forty_pieces_with_all_its_latencies(steps: list[int], latencies: int) -> None:
    timeline, second = Timeline(), 0
    for step in steps:
        second += step
        timeline.merge(second, _histogram([float(second + 1)] * latencies), 1)
    timeline.intervals(second + 1)
    pieces = timeline.slices()
    length = pieces[0].seconds
    assert [each.at for each in pieces] == [number * length for number in range(len(pieces))]
    assert len(pieces) <= 40
    assert sum(each.errors for each in pieces) == len(steps)
    assert sum(each.latency.count for each in pieces if each.latency) == latencies * len(steps)
    last = pieces[second // int(length)].latency
    assert last is not None
    assert last.max == second + 1


def _run(**fields: object) -> results.Run:
    needed = {"profile": "smoke", "command": "loadtest", "settings": {"users": 5}, "started_ms": 1_760_031_213_693}
    return results.Run(**needed, seconds=3.0, machine=MACHINE, ended=Ended.FINISHED, **fields)  # type: ignore[arg-type]


def test_results_are_read_as_they_were_written() -> None:
    target = results.TargetResult(
        name="kafka",
        unit="messages",
        seconds=2.0,
        sent=4,
        answered=3,
        errors={"timed out": 1},
        latency=_distribution([1.0, 2.0, 3000.0]),
        end_to_end={"event": _distribution([5.0])},
        lost=0,
    )
    run = _run(targets=(target,), skipped={"redis": "no address"})
    assert results.decode(results.encode(run)) == run
    assert results.results_name(run) == "load_test_results_20251009_173333.json"
    assert (target.failed, target.per_second, run.target("kafka"), run.target("http")) == (1, 1.5, target, None)


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b'{"profile": "smoke"}'])
def test_other_documents_are_no_results(document: bytes) -> None:
    with pytest.raises(ResultsError, match="no results of a load test"):
        results.decode(document)


def test_results_of_another_format_are_refused_by_its_number() -> None:
    with pytest.raises(ResultsError, match="format 2, this version reads 1"):
        results.decode(results.encode(_run(format=2)))


@pytest.mark.parametrize(
    ("outcomes", "ended", "code"),
    [
        ([Outcome.MET], Ended.FINISHED, 0),
        ([Outcome.MET, Outcome.MISSED, Outcome.NOT_MEASURED], Ended.FINISHED, 1),
        ([Outcome.MET, Outcome.NOT_MEASURED], Ended.FINISHED, 2),
        ([], Ended.FINISHED, 2),
        ([Outcome.MET], Ended.INTERRUPTED, 2),
        ([Outcome.MISSED], Ended.INTERRUPTED, 1),
        ([Outcome.MET], Ended.BROKER_DIED, 1),
        ([], Ended.DISK_FULL, 1),
    ],
)
def test_the_exit_code_tells_met_missed_and_not_measured_apart(
    outcomes: list[Outcome], ended: Ended, code: int
) -> None:
    checks = [Check(target="kafka", name="p95", wanted="", measured="", outcome=outcome) for outcome in outcomes]
    assert verdict.exit_code(checks, ended) == code
