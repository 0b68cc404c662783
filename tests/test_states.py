"""The state of a feed: what the facts mean at a moment, and how calmly that is said over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.states import (
    CALM_MS,
    GRACE_MS,
    PATIENCE_MS,
    STALLED_MS,
    STALLED_OVERDUE_MS,
    Diagnosis,
    FeedState,
    HealthInputs,
    Scope,
    Silence,
    StateTracker,
    diagnose,
    survey,
)

NOW_MS = 1_760_031_213_693
FINE = HealthInputs(
    silent_limit_ms=40_000,
    last_sent_ms=NOW_MS - 1000,
    last_arrival_ms=NOW_MS - 1000,
    pace_ms=10_000,
    delayed_limit_ms=20_000,
    last_change_ms=NOW_MS - 1000,
    frozen_limit_ms=120_000,
    symbols_active=10,
    symbols_expected=10,
    coverage=0.8,
)
GONE = FINE._replace(last_sent_ms=NOW_MS - 41_000, last_arrival_ms=NOW_MS - 41_000)
NEVER = HealthInputs(silent_limit_ms=40_000)
SILENCE = "no batch for 41 s, the limit is 40 s"
REJECTED = "its records are rejected: empty"
LISTENING = "the sidecar has just begun to listen"


@pytest.mark.parametrize(
    ("facts", "state", "reason"),
    [
        (FINE, FeedState.OK, ""),
        (FINE._replace(last_sent_ms=NOW_MS - 40_000), FeedState.OK, ""),
        (GONE, FeedState.SILENT, SILENCE),
        (GONE._replace(planned="closed"), FeedState.MAINTENANCE, "closed"),
        (FINE._replace(planned="closed"), FeedState.MAINTENANCE, "closed"),
        (GONE._replace(expected_since_ms=NOW_MS - 30_000), FeedState.OK, ""),
        (GONE._replace(is_reachable=False), FeedState.UNKNOWN, "the broker does not answer"),
        (FINE._replace(is_reachable=False), FeedState.OK, ""),
        (GONE._replace(is_catching_up=True), FeedState.UNKNOWN, "the sidecar is catching up"),
        (GONE._replace(listening_since_ms=NOW_MS - GRACE_MS + 1), FeedState.UNKNOWN, LISTENING),
        (GONE._replace(listening_since_ms=NOW_MS - GRACE_MS), FeedState.SILENT, SILENCE),
        (GONE._replace(stalled_since_ms=NOW_MS - STALLED_OVERDUE_MS), FeedState.SIDECAR_STALLED,
         "the partition grows, the sidecar has not advanced for 5.0 s"),
        (GONE._replace(stalled_since_ms=NOW_MS - STALLED_OVERDUE_MS + 1), FeedState.SILENT, SILENCE),
        (GONE._replace(stalled_since_ms=NOW_MS - STALLED_MS, is_reachable=False), FeedState.UNKNOWN,
         "the broker does not answer"),
        (FINE._replace(stalled_since_ms=NOW_MS - STALLED_MS + 1), FeedState.OK, ""),
        (FINE._replace(stalled_since_ms=NOW_MS - STALLED_MS), FeedState.SIDECAR_STALLED,
         "the partition grows, the sidecar has not advanced for 30 s"),
        (GONE._replace(last_arrival_ms=NOW_MS), FeedState.DELAYED, "all batches are old, nothing newer for 41 s"),
        (GONE._replace(rejected=REJECTED), FeedState.REJECTED, f"no valid batch for 41 s, {REJECTED}"),
        (GONE._replace(rejected=REJECTED, planned="closed"), FeedState.MAINTENANCE, "closed"),
        (GONE._replace(rejected=REJECTED, is_catching_up=True), FeedState.UNKNOWN, "the sidecar is catching up"),
        (GONE._replace(rejected=REJECTED, is_reachable=False), FeedState.UNKNOWN, "the broker does not answer"),
        (GONE._replace(rejected=REJECTED, last_arrival_ms=NOW_MS), FeedState.DELAYED,
         "all batches are old, nothing newer for 41 s"),
        (FINE._replace(rejected=REJECTED), FeedState.OK, ""),
        (NEVER._replace(rejected=REJECTED), FeedState.REJECTED, f"no valid batch yet, {REJECTED}"),
        (NEVER._replace(rejected=REJECTED, listening_since_ms=NOW_MS - GRACE_MS + 1), FeedState.UNKNOWN, LISTENING),
        (NEVER, FeedState.UNKNOWN, "no batch yet"),
        (NEVER._replace(is_expected=True, listening_since_ms=NOW_MS - 40_000), FeedState.UNKNOWN, "no batch yet"),
        (NEVER._replace(is_expected=True, listening_since_ms=NOW_MS - 50_000), FeedState.SILENT,
         "expected, but without a batch for 50 s"),
        (FINE._replace(last_change_ms=NOW_MS - 121_001), FeedState.FROZEN,
         "it sends, but no price has changed for 120 s, the limit is 120 s"),
        (FINE._replace(last_change_ms=0), FeedState.OK, ""),
        (FINE._replace(last_change_ms=1, frozen_limit_ms=None), FeedState.OK, ""),
        (FINE._replace(last_change_ms=1, expected_since_ms=NOW_MS - 60_000), FeedState.OK, ""),
        (FINE._replace(pace_ms=20_001), FeedState.DELAYED, "a batch every 20 s, the limit is 20 s"),
        (FINE._replace(pace_ms=20_001, delayed_limit_ms=None), FeedState.OK, ""),
        (FINE._replace(symbols_active=7), FeedState.PARTIAL, "7 of 10 expected symbols are active"),
        (FINE._replace(symbols_active=8), FeedState.OK, ""),
        (FINE._replace(symbols_active=0, symbols_expected=0), FeedState.OK, ""),
        (FINE._replace(symbols_active=0, is_catching_up=True), FeedState.OK, ""),
    ],
)  # fmt: skip
def test_facts_have_one_meaning(facts: HealthInputs, state: FeedState, reason: str) -> None:
    found = diagnose(facts, NOW_MS)
    assert (found.state, "".join(found.reasons)) == (state, reason)


@pytest.mark.parametrize("scope", Scope)
def test_a_silence_says_how_far_it_reaches(scope: Scope) -> None:
    assert diagnose(GONE._replace(silence=scope), NOW_MS).scope is scope


@pytest.mark.parametrize(
    ("feeds", "topics", "is_everywhere"),
    [
        ([], set(), False),
        ([("a", True)], set(), False),
        ([("a", True), ("a", False)], set(), False),
        ([("a", True), ("a", True)], {"a"}, False),
        ([("a", True), ("a", True), ("b", False)], {"a"}, False),
        ([("a", True), ("b", True)], set(), True),
        ([("a", True), ("a", True), ("b", True)], {"a"}, True),
    ],
)
def test_a_topic_is_silent_when_all_its_feeds_are(
    feeds: list[tuple[str, bool]], topics: set[str], is_everywhere: bool
) -> None:
    assert survey(feeds) == Silence(frozenset(topics), is_everywhere)


def test_the_widest_scope_is_told() -> None:
    assert Silence().scope("a") is Scope.FEED
    assert Silence(frozenset("a")).scope("a") is Scope.TOPIC
    assert Silence(frozenset("a")).scope("b") is Scope.FEED
    assert Silence(frozenset("a"), is_everywhere=True).scope("b") is Scope.ALL


TIMES = st.just(0) | st.integers(NOW_MS - 200_000, NOW_MS + 100_000) | st.integers(0, 2 * NOW_MS)
SPANS = st.integers(0, 300_000) | st.integers(0, 10**12)
FACTS = st.builds(
    HealthInputs,
    silent_limit_ms=SPANS,
    last_sent_ms=TIMES,
    last_arrival_ms=TIMES,
    expected_since_ms=TIMES,
    planned=st.none() | st.text(),
    pace_ms=st.none() | SPANS,
    delayed_limit_ms=st.none() | SPANS,
    last_change_ms=TIMES,
    frozen_limit_ms=st.none() | SPANS,
    symbols_active=st.integers(0, 10_000),
    symbols_expected=st.integers(0, 10_000),
    coverage=st.floats(0, 1),
    stalled_since_ms=TIMES,
    is_catching_up=st.booleans(),
    is_reachable=st.booleans(),
    is_expected=st.booleans(),
    silence=st.sampled_from(Scope),
    listening_since_ms=TIMES,
    rejected=st.sampled_from(["", REJECTED]),
)


@given(facts=FACTS, now_ms=TIMES)
def test_any_facts_have_a_diagnosis_with_reasons_unless_all_is_well(facts: HealthInputs, now_ms: int) -> None:
    found = diagnose(facts, now_ms)
    assert (found.state is FeedState.OK) is (found.reasons == ())


@given(facts=FACTS, later_ms=SPANS)
def test_time_alone_never_makes_a_feed_better(facts: HealthInputs, later_ms: int) -> None:
    """A longer silence is never ok."""
    before, after = diagnose(facts, NOW_MS), diagnose(facts, NOW_MS + later_ms)
    assert before.state is FeedState.OK or after.state is not FeedState.OK
    assert before.state is not FeedState.SILENT or after.state in (FeedState.SILENT, FeedState.SIDECAR_STALLED)
    assert before.state is not FeedState.REJECTED or after.state in (FeedState.REJECTED, FeedState.SIDECAR_STALLED)


# Over time.


def tracked(*seconds: tuple[int, HealthInputs]) -> list[tuple[int, FeedState]]:
    """When which state was entered, in seconds, for facts that hold so many seconds each; they go with the time."""
    tracker, now, entered = StateTracker(NOW_MS), 0, [(0, FeedState.UNKNOWN)]
    for count, facts in seconds:
        for _ in range(count):
            moved = facts._replace(
                **{
                    name: getattr(facts, name) + now * 1000
                    for name in ("last_sent_ms", "last_arrival_ms", "last_change_ms")
                    if getattr(facts, name)
                }
            )
            moved = moved._replace(listening_since_ms=tracker.listening_since_ms)
            state = tracker.step(moved, NOW_MS + now * 1000).state
            if state is not entered[-1][1]:
                assert tracker.since_ms == NOW_MS + now * 1000
                entered.append((now, state))
            now += 1
    return entered


def test_a_new_tracker_knows_nothing_and_believes_good_news_at_once() -> None:
    assert tracked((5, FINE)) == [(0, FeedState.UNKNOWN), (0, FeedState.OK)]


def test_a_feed_that_was_silent_before_we_came_is_reported_after_the_grace() -> None:
    assert tracked((60, GONE)) == [(0, FeedState.UNKNOWN), (GRACE_MS // 1000, FeedState.SILENT)]


def test_silence_is_entered_at_once_and_left_after_a_calm() -> None:
    assert tracked((100, FINE), (10, GONE), (100, FINE)) == [
        (0, FeedState.UNKNOWN), (0, FeedState.OK), (100, FeedState.SILENT), (110 + CALM_MS // 1000, FeedState.OK)
    ]  # fmt: skip


def test_a_calm_that_is_broken_begins_anew() -> None:
    found = tracked((100, FINE), (10, GONE), (50, FINE), (1, GONE), (100, FINE))
    assert found[2:] == [(100, FeedState.SILENT), (161 + CALM_MS // 1000, FeedState.OK)]


@pytest.mark.parametrize("bad", [FINE._replace(symbols_active=1), FINE._replace(pace_ms=30_000)])
def test_what_is_only_bad_is_watched_for_a_while_before_it_is_said(bad: HealthInputs) -> None:
    assert len(tracked((100, FINE), (PATIENCE_MS // 1000, bad), (5, FINE))) == 2
    assert tracked((100, FINE), (PATIENCE_MS // 1000 + 1, bad))[2][0] == 100 + PATIENCE_MS // 1000


def test_a_worse_state_comes_at_once_and_a_lesser_one_after_a_calm() -> None:
    partial = FINE._replace(symbols_active=1)
    found = tracked((50, FINE), (50, partial), (50, GONE), (100, partial))
    assert [state for _, state in found[2:]] == [FeedState.PARTIAL, FeedState.SILENT, FeedState.PARTIAL]
    assert [when for when, _ in found[3:]] == [100, 150 + CALM_MS // 1000]


def test_rejected_is_worse_than_frozen_and_less_than_silent() -> None:
    """So a collector that stops altogether is silent at once, and one that comes back is not for a calm."""
    rejected, frozen = GONE._replace(rejected=REJECTED), FINE._replace(last_change_ms=NOW_MS - 200_000)
    found = tracked((50, FINE), (50, frozen), (50, rejected), (50, GONE), (100, rejected), (100, FINE))
    assert [state for _, state in found[2:]] == [
        FeedState.FROZEN, FeedState.REJECTED, FeedState.SILENT, FeedState.REJECTED, FeedState.OK
    ]  # fmt: skip
    assert [when for when, _ in found[3:]] == [100, 150, 200 + CALM_MS // 1000, 300 + CALM_MS // 1000]


def test_maintenance_comes_and_goes_at_once() -> None:
    planned = FINE._replace(planned="closed")
    found = tracked((50, FINE), (50, GONE), (50, planned), (50, FINE))
    assert found[3:] == [(100, FeedState.MAINTENANCE), (150, FeedState.OK)]


def test_a_silence_does_not_end_because_we_could_not_listen() -> None:
    away = GONE._replace(is_reachable=False)
    assert tracked((50, FINE), (20, GONE), (30, away), (100, GONE))[2:] == [(50, FeedState.SILENT)]


def test_while_a_state_is_held_its_reason_says_so() -> None:
    tracker = StateTracker(NOW_MS)
    assert tracker.step(GONE, NOW_MS).state is FeedState.SILENT
    for second in range(3):
        now_ms = NOW_MS + 60_000 + second * 1000
        held = tracker.step(FINE._replace(last_sent_ms=now_ms), now_ms)
    assert held == Diagnosis(FeedState.SILENT, ("ok for 2.0 s, believed after 60 s",))


@given(steps=st.lists(st.tuples(FACTS, st.integers(0, 100_000)), max_size=30))
def test_a_tracker_takes_any_facts_and_its_state_began_when_it_says(steps: list[tuple[HealthInputs, int]]) -> None:
    tracker, now_ms = StateTracker(NOW_MS), NOW_MS
    for facts, later_ms in steps:
        before, now_ms = tracker.diagnosis.state, now_ms + later_ms
        after = tracker.step(facts, now_ms)
        assert after is tracker.diagnosis
        assert (tracker.since_ms == now_ms) or after.state is before
