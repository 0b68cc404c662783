"""How fresh a feed is: when it was heard last, the rhythm of its batches, and what silence is too long for it.

A limit is `factor` times a robust upper estimate of the intervals, between a floor and a ceiling, and it is careful:

- Of each stretch of half a minute or more, the longest interval is kept, 64 of them; the estimate is their 95th
  percentile. So a burst counts for as much as the time it took, and a few odd gaps count for nothing.
- Until 8 intervals over 2 minutes are known, the limit is the ceiling; until there are 20 stretches, it is doubled.
- Then it rises at most to the double in two hours. Markets calm down more slowly; what is faster is `delayed`.
- An interval beyond the limit, or one while the feed is not ok, teaches nothing: an outage is no rhythm. Only what was
  steady in spite of that for half an hour and 8 intervals is a new rhythm, and replaces the old one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import ceil
from statistics import median_high
from typing import TYPE_CHECKING, NamedTuple

from exporter.analyzers.states import FeedState
from exporter.metrics.histogram import Histogram

if TYPE_CHECKING:
    from exporter.batch import Batch
    from exporter.configuration.config import Thresholds
    from exporter.measured import Measured
    from exporter.model import Arrival, FeedKey

INTERVAL_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

STRETCH_MS = 30_000
STRETCHES = 64
LEARNED_INTERVALS = 8
LEARNED_MS = 120_000
# With fewer stretches the limit is so many times as long; from then on it may rise only slowly.
SETTLED_STRETCHES = 20
UNSETTLED = 2
DOUBLING_MS = 7_200_000
NEW_RHYTHM_MS = 1_800_000
# A rhythm is steady when its upper estimate is at most so many times its mean, as it is when batches come at random,
# and when it does not become slower any more: one half of it is at most so many times as slow as the half before.
STEADY = 6
SLOWER = 1.5
# The present pace is the median of so many intervals.
PACE_INTERVALS = 5
# Prices may rest longer than batches: the least limit on that when it is learned.
FROZEN_FLOOR_MS = 120_000
_LEARNING = (FeedState.OK, FeedState.UNKNOWN)


class Policy(NamedTuple):
    """How a limit comes about. `fixed_ms` is not learned."""

    fixed_ms: int | None
    factor: float
    floor_ms: int
    ceiling_ms: int


def thresholds_of(feed: FeedKey, rules: Sequence[Thresholds], default: Thresholds) -> Thresholds:
    """Return the first rule that matches the feed."""
    name = str(feed)
    matching = (rule for rule in rules if any(fnmatchcase(name, glob) for glob in rule.feeds))
    return next(matching, default)


def silence_policy(rule: Thresholds) -> Policy:
    """Return how the limit on silence comes about."""
    return Policy(_ms(rule.silent), rule.factor, round(rule.floor * 1000), round(rule.ceiling * 1000))


def frozen_policy(rule: Thresholds) -> Policy:
    """Return how the limit on resting prices comes about."""
    ceiling = round(rule.ceiling * 1000)
    return Policy(_ms(rule.frozen), rule.factor, min(max(round(rule.floor * 1000), FROZEN_FLOOR_MS), ceiling), ceiling)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


class Rhythm:
    """What intervals are usual, from the longest of each stretch of time."""

    __slots__ = ("_longest", "_span", "_stretches", "covered_ms", "intervals")

    def __init__(self) -> None:
        self.intervals = 0
        self.covered_ms = 0
        self._stretches: deque[int] = deque(maxlen=STRETCHES)
        self._longest = 0
        self._span = 0

    def add(self, interval_ms: int) -> int:
        """Take one interval; return how long the stretch was that it completed, 0 when it completed none."""
        self.intervals += 1
        self._span += interval_ms
        if interval_ms > self._longest:
            self._longest = interval_ms
        if self._span < STRETCH_MS:
            return 0
        span, self._span = self._span, 0
        self._stretches.append(self._longest)
        self._longest = 0
        self.covered_ms += span
        return span

    def has(self, intervals: int, covered_ms: int) -> bool:
        """Whether it knows so many intervals and so much time."""
        return self.intervals >= intervals and self.covered_ms >= covered_ms

    def is_settled(self) -> bool:
        """Whether there are enough stretches for one of them to be an exception."""
        return len(self._stretches) >= SETTLED_STRETCHES

    def is_steady(self) -> bool:
        """Whether long intervals are the rule, rather than gaps between short ones or steps of a decline."""
        longest = list(self._stretches)
        half = len(longest) // 2
        is_declining = half > 0 and median_high(longest[half:]) > SLOWER * median_high(longest[:half])
        return self.upper_ms() * self.intervals <= STEADY * self.covered_ms and not is_declining

    def upper_ms(self) -> int:
        """The 95th percentile of the stretches; with less than 20 of them the longest."""
        return sorted(self._stretches)[ceil(0.95 * len(self._stretches)) - 1]


class Limit:
    """How long something that recurs may stay away; learned, or fixed by the policy.

    `usual_ms` is what was learned, before floor and ceiling; 0 until then.
    """

    __slots__ = ("_learns", "_other", "_policy", "_rhythm", "limit_ms", "usual_ms")

    def __init__(self, policy: Policy) -> None:
        self.usual_ms = 0.0
        self.limit_ms = policy.ceiling_ms if policy.fixed_ms is None else policy.fixed_ms
        self._policy = policy
        self._learns = True
        self._rhythm = Rhythm()
        self._other: Rhythm | None = None  # what may be a new rhythm

    @property
    def is_known(self) -> bool:
        """Whether the limit is more than the ceiling for want of knowledge."""
        return self.usual_ms > 0 or self._policy.fixed_ms is not None

    @property
    def least_ms(self) -> int:
        """What was learned, no less than the floor but without the ceiling; or what is fixed."""
        return max(int(self.usual_ms), self._policy.floor_ms) if self._policy.fixed_ms is None else self.limit_ms

    def learn(self, interval_ms: int) -> None:
        """Take one interval into account."""
        if self._policy.fixed_ms is not None:
            return
        if self._learns and interval_ms <= self.limit_ms:
            if span := self._rhythm.add(interval_ms):
                self._follow(span)
            return
        if self._other is None:
            self._other = Rhythm()
        if self._other.add(interval_ms):
            self._consider(self._other)

    def settle(self, state: FeedState) -> None:
        """Learn while the feed is ok; what was seen of another rhythm until then was none."""
        self._learns = state in _LEARNING
        if self._learns:
            self._other = None

    def adapted_ms(self, pace_ms: int | None) -> int:
        """The limit of a feed that is slow at present: it is silent only when it is slow even for that."""
        policy = self._policy
        if policy.fixed_ms is not None or not pace_ms:
            return self.limit_ms
        return max(self.limit_ms, min(int(policy.factor * pace_ms), policy.ceiling_ms))

    def _follow(self, span_ms: int) -> None:
        if not self._rhythm.has(LEARNED_INTERVALS, LEARNED_MS):
            return
        usual = self._policy.factor * self._rhythm.upper_ms()
        if not self._rhythm.is_settled():
            usual *= UNSETTLED
        elif self.usual_ms:
            usual = min(usual, self.usual_ms * 2 ** (span_ms / DOUBLING_MS))
        self._set(usual)

    def _consider(self, other: Rhythm) -> None:
        if other.has(LEARNED_INTERVALS, NEW_RHYTHM_MS) and other.is_steady():
            self._rhythm, self._other = other, None
            self._set(self._policy.factor * other.upper_ms())

    def _set(self, usual_ms: float) -> None:
        self.usual_ms = max(usual_ms, 1.0)
        self.limit_ms = min(max(int(usual_ms), self._policy.floor_ms), self._policy.ceiling_ms)


class Freshness:
    """When one feed was heard, and how often it usually is. Intervals are taken by Kafka's stamps.

    `last_heard_ms` is the newest moment at which the feed is known to have sent: ours when a batch was live, Kafka's
    when it was old. `last_arrival_ms` is when we last read a batch of it, however old. 0: never. `pace_ms` is the
    median of the last intervals, as of the last `settle`; None before there are five.
    """

    __slots__ = ("_last_intervals", "_limit", "_record_ms", "intervals", "last_arrival_ms", "last_heard_ms", "pace_ms")

    def __init__(self, policy: Policy) -> None:
        self.last_heard_ms = 0
        self.last_arrival_ms = 0
        self.pace_ms: int | None = None
        self.intervals = Histogram(INTERVAL_BOUNDS)
        self._record_ms = 0
        self._last_intervals: deque[int] = deque(maxlen=PACE_INTERVALS)
        self._limit = Limit(policy)

    def observe(self, batch: Batch, measured: Measured, arrival: Arrival) -> None:
        """See Analyzer."""
        record_ms, received_ms, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        self.last_arrival_ms = received_ms
        if not is_live:
            self.last_heard_ms = max(self.last_heard_ms, min(record_ms, received_ms))
            return
        self.last_heard_ms = received_ms
        stamp, before = record_ms or received_ms, self._record_ms
        self._record_ms = stamp
        if before and stamp >= before:  # else the first, or clocks disagree
            interval_ms = stamp - before
            self.intervals.add(interval_ms / 1000)
            self._last_intervals.append(interval_ms)
            self._limit.learn(interval_ms)

    def recall(self, record_ms: int) -> None:
        """Learn from a batch that was counted before this process read it; oldest first."""
        if 0 < self._record_ms <= record_ms:
            self._limit.learn(record_ms - self._record_ms)
        self._record_ms = record_ms
        self.last_heard_ms = max(self.last_heard_ms, record_ms)

    def set_back(self, now_ms: int) -> None:
        """Let no moment by our clock be later than now."""
        self.last_heard_ms, self.last_arrival_ms = min(self.last_heard_ms, now_ms), min(self.last_arrival_ms, now_ms)

    def forget(self) -> None:
        """Somebody else hears the feed now; its rhythm stays known."""
        self.last_heard_ms = self.last_arrival_ms = self._record_ms = 0
        self._last_intervals.clear()
        self.pace_ms = None

    def settle(self, state: FeedState) -> None:
        """Learn the state of the feed, once a second."""
        self._limit.settle(state)
        if len(self._last_intervals) == PACE_INTERVALS:
            self.pace_ms = sorted(self._last_intervals)[PACE_INTERVALS // 2]

    @property
    def silent_limit_ms(self) -> int:
        """How long the feed may be silent."""
        return self._limit.adapted_ms(self.pace_ms)

    @property
    def delayed_limit_ms(self) -> int | None:
        """The pace from which on the feed is delayed: half of what would be silence; None while that is unknown."""
        return self._limit.least_ms // 2 if self._limit.is_known else None

    def is_overdue(self, now_ms: int, expected_since_ms: int = 0) -> bool:
        """Whether the feed was heard once, but for too long no more."""
        heard_ms = self.last_heard_ms
        return heard_ms > 0 and now_ms - max(heard_ms, expected_since_ms) > self.silent_limit_ms


class Movement:
    """How long the prices of one feed usually rest. `last_ms` is the newest change; 0: none yet."""

    __slots__ = ("_ceiling_ms", "_limit", "last_ms")

    def __init__(self, policy: Policy) -> None:
        self.last_ms = 0
        self._ceiling_ms = policy.ceiling_ms
        self._limit = Limit(policy)

    def see(self, changed_ms: int) -> None:
        """Take note of the newest change of a price, once a second."""
        if changed_ms > self.last_ms:
            if self.last_ms:
                self._limit.learn(changed_ms - self.last_ms)
            self.last_ms = changed_ms

    def set_back(self, now_ms: int) -> None:
        """Let no moment be later than now."""
        self.last_ms = min(self.last_ms, now_ms)

    def settle(self, state: FeedState) -> None:
        """Learn the state of the feed, once a second."""
        self._limit.settle(state)

    @property
    def limit_ms(self) -> int | None:
        """How long prices may rest; None while that is unknown, or learned to be more than the ceiling.

        A rest of an hour says nothing of a market that often has one: it is not cut short to be judged.
        """
        limit = self._limit
        return limit.limit_ms if limit.is_known and limit.usual_ms <= self._ceiling_ms else None
