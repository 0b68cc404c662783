"""The history of feeds and of the sidecar, by values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.states import FeedState
from exporter.instrument.quantiles import quantile
from exporter.model import FeedKey
from exporter.page.history import RATE_SAMPLES, STEP_SECONDS, FeedSample, History

KEY, OTHER = FeedKey("korea", "upbit", "ticker"), FeedKey("us", "okx", "trade")
CAPACITY = 9
BEGIN_MS = 1_760_000_000_000


def take(history: History, feeds: Mapping[FeedKey, FeedSample], number: int, seconds: float = STEP_SECONDS) -> None:
    """Take the sample of a number."""
    history.begin(BEGIN_MS + number * 10_000, seconds)
    for key, sample in feeds.items():
        history.add(key, sample)
    history.end(feeds, {"lag_records": float(number), "states:ok": 1.0})


def sampled(batches: int, messages: int = 0, **more: Any) -> FeedSample:
    """A sample with these counters."""
    return FeedSample(batches, messages, **{**NOTHING, **more})


NOTHING = {"latency_sum_ms": 0.0, "latency_count": 0, "last_received_ms": 0, "state": None}


def shown(history: History, key: FeedKey = KEY) -> dict[str, list[Any]]:
    """The samples of a feed."""
    data: Any = history.shown([key])
    return dict(data["feeds"][str(key)])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=3 * CAPACITY))
def test_a_feed_has_the_increments_of_the_last_samples(counts: list[int]) -> None:
    """Whatever is older is gone; what was counted before the first sample is in none."""
    history, total = History(CAPACITY), 7
    expected: list[float | None] = [None]
    take(history, {KEY: sampled(total)}, 0)
    for number, count in enumerate(counts, 1):
        total += count
        take(history, {KEY: sampled(total, 2 * total)}, number)
        expected.append(round(count / STEP_SECONDS, 3))
    assert shown(history)["batches_per_second"] == expected[-CAPACITY:]
    data: Any = history.shown([])
    assert data["times_ms"] == [BEGIN_MS + 10_000 * number for number in range(len(expected))][-CAPACITY:]
    assert data["totals"]["lag_records"] == [float(number) for number in range(len(expected))][-CAPACITY:]
    assert data["feeds"] == {}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=2 * CAPACITY))
def test_rates_are_those_of_the_last_minute(counts: list[int]) -> None:
    history, total = History(CAPACITY), 0
    take(history, {KEY: sampled(0)}, 0)
    assert history.feeds[KEY].rates is None
    for number, count in enumerate(counts, 1):
        total += count
        take(history, {KEY: sampled(total, 3 * total)}, number)
    last = counts[-RATE_SAMPLES:]
    # The first sample has no length: with it among the last six there is less than a minute.
    seconds = STEP_SECONDS * min(len(counts), RATE_SAMPLES)
    assert history.feeds[KEY].rates == (round(sum(last) / seconds, 3), round(3 * sum(last) / seconds, 2))


def test_a_feed_that_comes_later_began_at_nothing() -> None:
    """Before it, there are no values."""
    history = History(CAPACITY)
    take(history, {}, 0)
    take(history, {}, 1)
    take(history, {KEY: sampled(20, state=FeedState.OK)}, 2)
    assert shown(history)["batches_per_second"] == [None, None, 2.0]
    assert shown(history)["state"] == [None, None, FeedState.OK]


def test_a_feed_that_is_gone_is_forgotten() -> None:
    history = History(CAPACITY)
    take(history, {KEY: sampled(1), OTHER: sampled(1)}, 0)
    take(history, {OTHER: sampled(1)}, 1)
    data: Any = history.shown([KEY, OTHER])
    assert list(data["feeds"]) == [str(OTHER)]


def test_latency_is_the_mean_of_a_sample_and_age_the_time_since_the_last_batch() -> None:
    history = History(CAPACITY)
    take(history, {KEY: sampled(1, latency_sum_ms=100.0, latency_count=1)}, 0)
    first = sampled(3, latency_sum_ms=160.0, latency_count=3, last_received_ms=BEGIN_MS, state=FeedState.OK)
    take(history, {KEY: first}, 1)
    take(history, {KEY: first._replace(state=FeedState.SILENT)}, 2)
    assert shown(history)["latency_ms"] == [None, 30.0, None]
    assert shown(history)["age_seconds"] == [None, 10.0, 20.0]
    assert shown(history)["state"] == [None, FeedState.OK, FeedState.SILENT]
    assert history.feeds[KEY].latency_ms == 30.0


def test_a_clock_that_is_set_back_makes_no_negative_age() -> None:
    history = History(CAPACITY)
    take(history, {KEY: sampled(1, last_received_ms=BEGIN_MS + 10**9, state=FeedState.OK)}, 0)
    assert shown(history)["age_seconds"] == [0.0]


def test_values_of_two_parts_are_grouped_and_have_a_mean() -> None:
    history = History(CAPACITY)
    for number in range(8):
        take(history, {}, number)
    data: Any = history.shown([])
    assert data["totals"]["states"] == {"ok": [1.0] * 8}
    assert history.mean("lag_records") == sum(range(2, 8)) / 6
    assert history.mean("unknown") is None


BOUNDS = (1.0, 2.0, 5.0, 10.0)


@given(st.lists(st.integers(0, 100), min_size=5, max_size=5), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_its_bucket(counts: list[int], q: float) -> None:
    found = quantile(q, BOUNDS, counts)
    if not sum(counts):
        assert found is None
        return
    assert found is not None
    below = sum(count for bound, count in zip(BOUNDS, counts, strict=False) if bound <= found)
    reached = sum(count for bound, count in zip((0.0, *BOUNDS), counts, strict=True) if bound < found)
    assert below <= q * sum(counts) + 1e-6 or found == BOUNDS[-1]
    assert reached + 1e-6 >= q * sum(counts) or found == BOUNDS[-1]


def test_quantiles_are_those_of_prometheus() -> None:
    """Interpolated within the bucket; those above the last bound are the last bound."""
    assert quantile(0.5, BOUNDS, [0, 10, 0, 0, 0]) == 1.5
    assert quantile(0.9, BOUNDS, [5, 0, 5, 0, 0]) == 2 + 3 * 4 / 5
    assert quantile(0.99, BOUNDS, [1, 0, 0, 0, 99]) == 10.0
