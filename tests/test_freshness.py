"""The rhythm of a feed: what it learns, what it does not, and within which bounds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers.freshness import Freshness, PriceActivity
from exporter.analyzers.thresholds import (
    FROZEN_FLOOR_MS,
    LEARNED_INTERVALS,
    NEW_RHYTHM_MS,
    STRETCHES,
    AdaptiveThreshold,
    IntervalEstimator,
    Policy,
    frozen_policy,
    silence_policy,
    thresholds_of,
)
from exporter.config.schema import Thresholds
from exporter.decoding.batch import Batch, Message
from exporter.decoding.batch_stats import BatchStats
from exporter.model import Arrival, FeedKey
from tests.support.batches import kept

KEY = FeedKey("korea", "upbit", "ticker")
POLICY = Policy(None, 4.0, 10_000, 3_600_000)
NOW_MS = 1_760_031_213_693
BATCH = Batch(KEY.exchange, KEY.region, KEY.request_type, NOW_MS, [Message("KRW-BTC")])
MEASURED = BatchStats(BATCH)


def heard(freshness: Freshness, *record_ms: int, is_live: bool = True, delay_ms: int = 5) -> Freshness:
    for one in record_ms:
        freshness.observe(BATCH, MEASURED, Arrival(one, one + delay_ms, is_live))
    freshness.settle(is_learning=True)
    return freshness


def regular(period_ms: int, count: int, start_ms: int = NOW_MS) -> list[int]:
    return [start_ms + number * period_ms for number in range(count)]


# What is known of a feed.


def test_intervals_are_those_of_the_stamps_of_kafka() -> None:
    freshness = heard(Freshness(POLICY), NOW_MS, NOW_MS + 1500, NOW_MS + 1700)
    assert kept(freshness.intervals).sum == 1700
    assert kept(freshness.intervals).count == 2
    assert (freshness.last_sent_ms, freshness.last_arrival_ms) == (NOW_MS + 1705, NOW_MS + 1705)


def test_records_without_stamps_are_taken_as_they_come() -> None:
    freshness = Freshness(POLICY)
    for at_ms in (NOW_MS, NOW_MS + 3000):
        freshness.observe(BATCH, MEASURED, Arrival(0, at_ms, True))
    assert kept(freshness.intervals).sum == 3000


def test_a_stamp_that_goes_back_is_no_interval() -> None:
    freshness = heard(Freshness(POLICY), NOW_MS, NOW_MS - 90_000, NOW_MS - 89_000)
    assert kept(freshness.intervals).sum == 1000


def test_old_records_tell_when_the_feed_sent_and_nothing_else() -> None:
    freshness = heard(Freshness(POLICY), NOW_MS - 900_000, NOW_MS - 800_000, is_live=False, delay_ms=700_000)
    assert (freshness.last_sent_ms, freshness.last_arrival_ms) == (NOW_MS - 800_000, NOW_MS - 100_000)
    heard(freshness, NOW_MS)
    heard(freshness, NOW_MS - 86_400_000, is_live=False, delay_ms=86_400_100)
    assert (freshness.last_sent_ms, freshness.last_arrival_ms) == (NOW_MS + 5, NOW_MS + 100)
    assert kept(freshness.intervals).count == 0


def test_the_pace_is_the_median_of_the_last_five_intervals() -> None:
    freshness = heard(Freshness(POLICY), *regular(1000, 5))
    assert freshness.pace_ms is None
    stamps = [NOW_MS + 5000, NOW_MS + 50_000, NOW_MS + 51_000, NOW_MS + 91_000, NOW_MS + 131_000]
    assert [heard(freshness, stamp).pace_ms for stamp in stamps] == [1000, 1000, 1000, 1000, 40_000]


def test_recalled_batches_are_learned_from_but_not_counted() -> None:
    freshness = Freshness(POLICY)
    for stamp in regular(20_000, 100):
        freshness.recall(stamp)
    assert freshness.silent_limit_ms == 80_000
    assert freshness.last_sent_ms == NOW_MS + 99 * 20_000
    assert (freshness.last_arrival_ms, kept(freshness.intervals).count) == (0, 0)


def test_a_released_feed_keeps_its_rhythm_but_not_when_it_last_sent() -> None:
    freshness = heard(Freshness(POLICY), *regular(20_000, 100))
    freshness.release()
    assert (freshness.last_sent_ms, freshness.pace_ms, freshness.silent_limit_ms) == (0, None, 80_000)
    assert not freshness.is_overdue(NOW_MS + 10**9)


def test_a_feed_is_overdue_beyond_its_limit_from_when_it_is_expected() -> None:
    freshness = heard(Freshness(Policy(30_000, 4.0, 10_000, 3_600_000)), NOW_MS, delay_ms=0)
    assert [freshness.is_overdue(NOW_MS + after) for after in (30_000, 30_001)] == [False, True]
    assert not freshness.is_overdue(NOW_MS + 80_000, expected_since_ms=NOW_MS + 50_000)


# Limits.


@pytest.mark.parametrize(
    ("period_ms", "limit_ms"),
    [(100, 10_000), (1000, 10_000), (10_000, 40_000), (600_000, 2_400_000), (1_200_000, 3_600_000)],
)
def test_the_limit_is_a_multiple_of_the_interval_between_floor_and_ceiling(period_ms: int, limit_ms: int) -> None:
    limit = AdaptiveThreshold(POLICY)
    for _ in range(max(100, 1_200_000 // period_ms)):
        limit.learn(period_ms)
    assert limit.limit_ms == limit_ms


def test_the_limit_is_the_ceiling_until_enough_is_known_and_doubled_for_a_while() -> None:
    limit, limits = AdaptiveThreshold(POLICY), []
    for _ in range(20):
        limits.append(limit.limit_ms)
        limit.learn(30_000)
    assert limits == [3_600_000] * LEARNED_INTERVALS + [240_000] * (20 - LEARNED_INTERVALS)
    assert limit.limit_ms == 120_000


def test_a_fixed_limit_learns_nothing() -> None:
    limit = AdaptiveThreshold(Policy(30_000, 4.0, 10_000, 3_600_000))
    for _ in range(1000):
        limit.learn(60_000)
    assert (limit.limit_ms, limit.least_ms, limit.is_known, limit.adapted_ms(60_000)) == (30_000, 30_000, True, 30_000)


@given(
    intervals=st.lists(st.integers(0, 10_000_000) | st.integers(0, 2000), max_size=300),
    learning=st.lists(st.booleans(), max_size=20),
    factor=st.floats(1.5, 100),
    bounds=st.tuples(st.integers(5000, 10**9), st.integers(5000, 10**9)),
    pace_ms=st.none() | st.integers(0, 10**10),
)
def test_a_limit_never_leaves_its_bounds(
    intervals: list[int], learning: list[bool], factor: float, bounds: tuple[int, int], pace_ms: int | None
) -> None:
    floor_ms, ceiling_ms = sorted(bounds)
    limit = AdaptiveThreshold(Policy(None, factor, floor_ms, ceiling_ms))
    for number, interval in enumerate(intervals):
        limit.learn(interval)
        if learning and number % 10 == 0:
            limit.settle(is_learning=learning[number // 10 % len(learning)])
        assert floor_ms <= limit.limit_ms <= limit.adapted_ms(pace_ms) <= ceiling_ms
        assert limit.least_ms >= floor_ms


POLICIES = st.builds(
    Policy, st.none() | st.integers(5000, 10**6), st.sampled_from([2.0, 4.0, 16.0]), st.just(10_000), st.just(3_600_000)
)


@given(period_ms=st.integers(1000, 100_000), batches=st.integers(0, 200), policies=st.lists(POLICIES, max_size=5))
def test_after_other_policies_a_limit_is_as_if_it_had_followed_the_last_one_always(
    period_ms: int, batches: int, policies: list[Policy]
) -> None:
    limit, always = AdaptiveThreshold(POLICY), AdaptiveThreshold([POLICY, *policies][-1])
    for _ in range(batches):
        limit.learn(period_ms)
        always.learn(period_ms)
    for policy in policies:
        limit.follow(policy)
    assert limit.limit_ms == always.limit_ms
    limit.learn(period_ms)
    always.learn(period_ms)
    assert limit.limit_ms == always.limit_ms
    assert limit.is_known == always.is_known


@given(intervals=st.lists(st.integers(0, 100_000), min_size=1, max_size=500))
def test_a_rhythm_counts_every_interval_and_its_estimate_is_one_of_them(intervals: list[int]) -> None:
    rhythm = IntervalEstimator()
    spans = [rhythm.add(interval) for interval in intervals]
    assert rhythm.intervals == len(intervals)
    assert rhythm.covered_ms == sum(spans) <= sum(intervals)
    if rhythm.covered_ms:
        assert rhythm.upper_ms() in intervals


def test_a_few_odd_intervals_do_not_move_a_settled_limit() -> None:
    limit = AdaptiveThreshold(POLICY)
    for number in range(STRETCHES):
        limit.learn(100_000 if number in (20, 30, 40) else 30_000)
    assert limit.limit_ms == 120_000


def test_a_burst_counts_for_the_time_it_takes() -> None:
    limit = AdaptiveThreshold(POLICY)
    for _ in range(STRETCHES):
        limit.learn(60_000)
    for _ in range(100_000):
        limit.learn(1)
    assert limit.limit_ms == 240_000


def test_an_interval_beyond_the_limit_teaches_nothing() -> None:
    limit = learned(10_000)
    for _ in range(20):
        limit.learn(41_000)
        limit.settle(is_learning=True)
    assert limit.limit_ms == 40_000


def test_nothing_is_learned_while_a_feed_is_not_ok() -> None:
    limit = learned(10_000)
    limit.settle(is_learning=False)
    for _ in range(40):
        limit.learn(30_000)
    limit.settle(is_learning=True)
    limit.learn(10_000)
    assert limit.limit_ms == 40_000


def test_a_limit_rises_at_most_to_the_double_in_two_hours() -> None:
    limit = learned(10_000)
    for _ in range(2 * 3600 // 30):
        limit.learn(30_000)
    assert limit.limit_ms == pytest.approx(80_000, rel=0.02)


def test_a_new_rhythm_is_learned_when_it_was_steady_for_half_an_hour() -> None:
    limit = learned(10_000)
    limit.settle(is_learning=False)
    for _ in range(NEW_RHYTHM_MS // 60_000 - 1):
        limit.learn(60_000)
    assert limit.limit_ms == 40_000
    limit.learn(60_000)
    assert limit.limit_ms == 240_000


@pytest.mark.parametrize(
    "intervals",
    [[300_000, *[1000] * 60], [90_000, *[1000] * 20], [1000 * n for n in range(1, 110)]],
    ids=["gaps", "short gaps", "decline"],
)
def test_gaps_and_declines_are_no_new_rhythm(intervals: list[int]) -> None:
    limit = learned(10_000)
    limit.settle(is_learning=False)
    for interval in intervals if len(intervals) > 100 else intervals * 30:
        limit.learn(interval)
    assert limit.limit_ms == 40_000


def learned(period_ms: int) -> AdaptiveThreshold:
    limit = AdaptiveThreshold(POLICY)
    for _ in range(STRETCHES * 30_000 // period_ms):
        limit.learn(period_ms)
    return limit


def test_a_feed_that_is_slow_is_silent_only_when_it_is_slow_even_for_that() -> None:
    freshness = heard(Freshness(POLICY), *regular(10_000, 300))
    assert (freshness.silent_limit_ms, freshness.delayed_limit_ms) == (40_000, 20_000)
    freshness.settle(is_learning=False)
    heard(freshness, *regular(35_000, 6, NOW_MS + 300 * 10_000))
    assert (freshness.silent_limit_ms, freshness.delayed_limit_ms) == (140_000, 20_000)


def test_a_feed_whose_usual_interval_comes_near_the_ceiling_is_not_delayed_by_that() -> None:
    freshness = heard(Freshness(POLICY), *regular(2_400_000, 100))
    assert freshness.silent_limit_ms == 3_600_000
    assert freshness.delayed_limit_ms == 4_800_000


@pytest.mark.parametrize("mean_ms", [2000, 20_000])
def test_batches_that_come_at_random_stay_within_the_limit_for_days(mean_ms: int) -> None:
    limit, random = AdaptiveThreshold(POLICY), Random(mean_ms)
    for _ in range(2 * 86_400_000 // mean_ms):
        interval = round(random.expovariate(1 / mean_ms))
        assert interval <= limit.limit_ms
        limit.learn(interval)


# Prices.


def test_how_long_prices_rest_is_learned_from_their_changes() -> None:
    price_activity = PriceActivity(POLICY)
    for stamp in regular(20_000, 100):
        price_activity.note_change(stamp)
        price_activity.note_change(stamp)
    assert (price_activity.limit_ms, price_activity.last_ms) == (80_000, NOW_MS + 99 * 20_000)


def test_prices_that_never_changed_are_not_judged() -> None:
    price_activity = PriceActivity(POLICY)
    price_activity.note_change(0)
    price_activity.note_change(NOW_MS)
    assert price_activity.limit_ms is None


# Configuration.


def test_the_first_rule_that_matches_a_feed_counts() -> None:
    rules = [Thresholds(feeds=("*:trade",), silent=30.0), Thresholds(feeds=("korea:*",), silent=60.0)]
    default = Thresholds()
    assert thresholds_of(KEY, rules, default) is rules[1]
    assert thresholds_of(KEY._replace(request_type="trade"), rules, default) is rules[0]
    assert thresholds_of(KEY._replace(region="asia"), rules, default) is default


def test_rules_become_policies_in_milliseconds() -> None:
    assert silence_policy(Thresholds()) == POLICY
    assert frozen_policy(Thresholds()) == Policy(None, 4.0, FROZEN_FLOOR_MS, 3_600_000)
    rule = Thresholds(silent=7.5, frozen=300.0, factor=2.0, floor=20.0, ceiling=60.0)
    assert silence_policy(rule) == Policy(7500, 2.0, 20_000, 60_000)
    assert frozen_policy(rule) == Policy(300_000, 2.0, 60_000, 60_000)
