"""Native histograms: each value is in the bucket that Prometheus means by its index, and there are never too many."""

from __future__ import annotations

from collections import Counter
from math import log2, ulp
from random import Random
from sys import float_info

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.analyzers.message_age import MessageAge
from exporter.instrument.histogram import Bounds, Histogram
from exporter.instrument.native import BUCKETS_MAX, SCHEMA, SCHEMA_MIN, ZERO_THRESHOLD, BucketRun, NativeBuckets
from exporter.instrument.selection import Selection
from tests.support.batches import NOW_MS, kept, message, observed

DURATIONS = st.floats(1e-6, 1e6)
ANY = st.floats(allow_nan=False, allow_infinity=False)
SMALLEST = float_info.min * float_info.epsilon


def added(*values: float) -> NativeBuckets:
    native = NativeBuckets()
    for value in values:
        native.add(value)
    return native


def counts(run: BucketRun | None) -> dict[int, int]:
    """The counts of buckets that have any, by index."""
    return {} if run is None else {index: n for index, n in enumerate(run.counts, run.first) if n}


@given(DURATIONS)
@example(1.0)
@example(2.0)
@example(0.25)
def test_a_value_is_above_the_bound_below_its_bucket_and_not_above_its_own(value: float) -> None:
    native = added(value)
    (index,) = counts(native.positive)
    assert native.upper_bound(index - 1) < value + ulp(value)
    assert value - ulp(value) <= native.upper_bound(index)
    assert native.index(value) == index


@pytest.mark.parametrize("power", range(-20, 20))
def test_a_power_of_two_ends_its_bucket(power: int) -> None:
    """So its index is known without any rounding."""
    assert counts(added(2.0**power).positive) == {power * 2**SCHEMA: 1}


def test_buckets_grow_by_nine_percent() -> None:
    native = NativeBuckets()
    assert native.upper_bound(1) == pytest.approx(2 ** (1 / 8))
    assert [native.upper_bound(index) for index in (0, 8, 16)] == [1, 2, 4]


@given(st.lists(ANY, max_size=60))
@example([0.0, -0.0, ZERO_THRESHOLD, -ZERO_THRESHOLD, float_info.max, -float_info.max, SMALLEST])
def test_each_value_is_counted_once(values: list[float]) -> None:
    native = added(*values)
    assert native.count == len(values)
    assert native.zeros == sum(-ZERO_THRESHOLD <= value <= ZERO_THRESHOLD for value in values)
    assert sum(counts(native.negative).values()) == sum(value < -ZERO_THRESHOLD for value in values)


@given(st.lists(DURATIONS, min_size=1, max_size=400))
def test_a_lower_schema_has_the_buckets_that_it_would_have_had_from_the_start(values: list[float]) -> None:
    native = added(*values)
    assert len(native.positive.counts) <= BUCKETS_MAX
    width, fine = 2 ** (SCHEMA - native.schema), Counter[int]()
    for value in values:
        (index,) = counts(added(value).positive)
        fine[-(-index // width)] += 1
    assert counts(native.positive) == fine


@given(st.integers(1, 1000), st.integers(0, 1500), st.integers(0, 100))
def test_there_are_never_too_many_buckets(power: int, positive: int, negative: int) -> None:
    """Over any range of numbers, of either sign."""
    random = Random(power)
    values = [2.0 ** random.uniform(-power, power) for _ in range(positive + negative)]
    native = added(*values[:positive], *(-value for value in values[positive:]))
    assert native.schema >= SCHEMA_MIN
    for run in (native.positive, native.negative or BucketRun()):
        assert len(run.counts) <= BUCKETS_MAX
    assert native.count == positive + negative


def test_the_schema_falls_only_when_there_are_too_many_buckets() -> None:
    native = added(*(2 ** (index / 8) for index in range(BUCKETS_MAX)))
    assert native.schema == SCHEMA
    native.add(2.0**21)
    assert native.schema == SCHEMA - 1


@given(st.lists(st.integers(0, 3_600_000), min_size=1, max_size=60))
def test_ages_counted_by_bucket_are_those_counted_one_by_one(ages_ms: list[int]) -> None:
    ages = MessageAge(Selection(histograms="both"))
    ages.observe(*observed(*(message(stamp=NOW_MS - age) for age in ages_ms), sent=NOW_MS))
    one_by_one = added(*(age / 1000 for age in ages_ms))
    histogram = kept(ages.histogram)
    assert histogram.native is not None
    assert (counts(histogram.native.positive), histogram.native.zeros) == (
        counts(one_by_one.positive),
        one_by_one.zeros,
    )
    assert sum(histogram.buckets) == histogram.count == len(ages_ms)


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.sampled_from([(True, False), (False, True), (True, True)]))
def test_a_histogram_of_any_kind_has_all_values(values: list[float], kinds: tuple[bool, bool]) -> None:
    """Its distribution has bounds in the unit of the metric, in order, and each value below the bound of its bucket."""
    histogram = Histogram(Bounds((10, 100, 1000), per_unit=1000), is_classic=kinds[0], is_native=kinds[1])
    for value in values:
        histogram.add(value * 1000)
    shown = histogram.distribution()
    bounds = [bucket.upper_bound for bucket in shown]
    assert (bounds, sum(bucket.number for bucket in shown)) == (sorted(bounds), len(values))
    assert histogram.count == len(values)
    assert histogram.shown_sum == pytest.approx(sum(values))
    for bound in bounds:
        below = sum(bucket.number for bucket in shown if bucket.upper_bound <= bound)
        assert below == pytest.approx(sum(value <= bound * (1 + 1e-12) for value in values), abs=1)


def test_negative_values_come_first_in_a_distribution() -> None:
    histogram = Histogram(Bounds((1,)), is_classic=False, is_native=True)
    for value in (-2.0, -1.0, 0.0, 4.0):
        histogram.add(value)
    assert [bucket.number for bucket in histogram.distribution()] == [1, 1, 1, 1]
    assert [round(bucket.upper_bound, 2) for bucket in histogram.distribution()] == [-1.83, -0.92, 0, 4]
    assert log2(4) * 8 in counts((histogram.native or NativeBuckets()).positive)


@given(st.lists(st.floats(0, 100), max_size=100))
@example([8.5, 1.4e-29])  # so far from each other that a bucket is twice as wide as the one before
def test_classic_counts_of_native_buckets_are_exact_to_their_width(values: list[float]) -> None:
    bounds = Bounds((0.1, 1, 10))
    native, classic = Histogram(bounds, is_classic=False, is_native=True), Histogram(bounds)
    for value in values:
        native.add(value)
        classic.add(value)
    assert classic.classic_counts() == classic.buckets
    assert sum(native.classic_counts()) == len(values)
    assert native.native is not None
    width = 2.0**-native.native.schema  # of a bucket, in powers of two
    near = [(value, bound) for value in values if value > 0 for bound in bounds.values]
    doubtful = sum(abs(log2(value) - log2(bound)) <= width for value, bound in near)
    for exact, about in zip(classic.buckets, native.classic_counts(), strict=True):
        assert abs(exact - about) <= doubtful
    assert Histogram(bounds, is_classic=False).classic_counts() == [0] * 4
