"""Limits on silence and on unchanged prices: configured, or learned from the feed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil
from statistics import median_high
from typing import TYPE_CHECKING, NamedTuple

from exporter.config.feed_globs import matches

if TYPE_CHECKING:
    from exporter.config.schema import Thresholds
    from exporter.model import FeedKey

# Of each stretch of so much time the longest interval is kept, for so many stretches.
STRETCH_MS = 30_000
STRETCHES = 64
# A limit is learned from so many intervals over so much time. With fewer than these stretches it is multiplied; from
# then on it may rise only slowly.
LEARNED_INTERVALS = 8
LEARNED_MS = 120_000
SETTLED_STRETCHES = 20
UNSETTLED = 2
DOUBLING_MS = 7_200_000
# Intervals of an outage, or beyond the limit, are a new rhythm when they last for so long and are steady: their upper
# estimate is at most `STEADY` times their mean, as with batches at random times, and they do not become longer and
# longer: one half of them is at most `SLOWER` times as long as the half before.
NEW_RHYTHM_MS = 1_800_000
STEADY = 6
SLOWER = 1.5
# The present pace is the median of so many intervals.
PACE_INTERVALS = 5
# Prices may rest longer than batches: the least limit on that when it is learned.
FROZEN_FLOOR_MS = 120_000


class Policy(NamedTuple):
    """The origin of a limit: `fixed_ms`, or learned when that is None."""

    fixed_ms: int | None
    factor: float
    floor_ms: int
    ceiling_ms: int


class Learning(NamedTuple):
    """How a limit came about: its policy, and what is known of the intervals.

    `usual_ms` is the learned limit before floor and ceiling, `upper_ms` the estimate of long intervals behind it; None
    until then. There were so many `intervals` over `covered_ms`. While it `is_doubled`, too few are known.
    """

    policy: Policy
    usual_ms: float | None
    upper_ms: int | None
    intervals: int
    covered_ms: int
    is_doubled: bool


def thresholds_of(feed: FeedKey, rules: Sequence[Thresholds], default: Thresholds) -> Thresholds:
    """Return the first rule that matches the feed."""
    return next((rule for rule in rules if matches(rule.feeds, feed)), default)


def silence_policy(rule: Thresholds) -> Policy:
    """Return the policy of the limit on silence."""
    return Policy(_ms(rule.silent), rule.factor, round(rule.floor * 1000), round(rule.ceiling * 1000))


def frozen_policy(rule: Thresholds) -> Policy:
    """Return the policy of the limit on resting prices."""
    ceiling = round(rule.ceiling * 1000)
    return Policy(_ms(rule.frozen), rule.factor, min(max(round(rule.floor * 1000), FROZEN_FLOOR_MS), ceiling), ceiling)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


class IntervalEstimator:
    """The usual intervals, estimated from the longest of each stretch of time."""

    __slots__ = ("_longest", "_span", "_stretches", "covered_ms", "intervals")

    def __init__(self) -> None:
        self.intervals = 0
        self.covered_ms = 0
        self._stretches: deque[int] = deque(maxlen=STRETCHES)
        self._longest = 0
        self._span = 0

    def add(self, interval_ms: int) -> int:
        """Take one interval; return the length of the stretch that it completes, 0 when it completes none."""
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

    def add_all(self, intervals_ms: Sequence[int]) -> bool:
        """Take intervals at once, and return True, unless they would complete a stretch."""
        span = sum(intervals_ms)
        if self._span + span >= STRETCH_MS:
            return False
        self.intervals += len(intervals_ms)
        self._span += span
        self._longest = max(self._longest, *intervals_ms)
        return True

    def has(self, intervals: int, covered_ms: int) -> bool:
        """Whether there were at least so many intervals over so much time."""
        return self.intervals >= intervals and self.covered_ms >= covered_ms

    def is_settled(self) -> bool:
        """Whether there are enough stretches for one of them to be an exception."""
        return len(self._stretches) >= SETTLED_STRETCHES

    def is_steady(self) -> bool:
        """Whether long intervals are the rule, rather than gaps between short ones or part of a decline."""
        longest = list(self._stretches)
        half = len(longest) // 2
        is_declining = half > 0 and median_high(longest[half:]) > SLOWER * median_high(longest[:half])
        return self.upper_ms() * self.intervals <= STEADY * self.covered_ms and not is_declining

    def upper_ms(self) -> int:
        """Return the 95th percentile of the stretches; of fewer than 20 the longest. There must be one."""
        return sorted(self._stretches)[ceil(0.95 * len(self._stretches)) - 1]


class AdaptiveThreshold:
    """The limit on the time between recurring events: learned, or fixed by the policy.

    `limit_ms` is the limit, `usual_ms` the learned one before floor and ceiling; 0 until then.
    """

    __slots__ = ("_estimator", "_learns", "_other", "_policy", "limit_ms", "usual_ms")

    def __init__(self, policy: Policy) -> None:
        self.usual_ms = 0.0
        self.limit_ms = policy.ceiling_ms if policy.fixed_ms is None else policy.fixed_ms
        self._policy = policy
        self._learns = True
        self._estimator = IntervalEstimator()
        self._other: IntervalEstimator | None = None  # of intervals that may be a new rhythm

    @property
    def is_known(self) -> bool:
        """Whether the limit is learned or fixed, rather than the ceiling because nothing is learned yet."""
        return self.usual_ms > 0 or self._policy.fixed_ms is not None

    @property
    def least_ms(self) -> int:
        """The learned limit, no less than the floor but without the ceiling; or the fixed one."""
        return max(int(self.usual_ms), self._policy.floor_ms) if self._policy.fixed_ms is None else self.limit_ms

    @property
    def learning(self) -> Learning:
        """How the limit came about."""
        seen, usual = self._estimator, self.usual_ms or None
        upper = None if usual is None else seen.upper_ms()
        return Learning(self._policy, usual, upper, seen.intervals, seen.covered_ms, not seen.is_settled())

    def learn(self, interval_ms: int) -> None:
        """Take one interval into account."""
        if self._policy.fixed_ms is not None:
            return
        if self._learns and interval_ms <= self.limit_ms:
            if span := self._estimator.add(interval_ms):
                self._follow(span)
            return
        if self._other is None:
            self._other = IntervalEstimator()
        if self._other.add(interval_ms):
            self._consider(self._other)

    def learn_all(self, intervals_ms: Sequence[int]) -> None:
        """Take intervals into account, of which there must be one, as if they were learned one after another."""
        is_usual = self._learns and max(intervals_ms) <= self.limit_ms
        if self._policy.fixed_ms is not None or (is_usual and self._estimator.add_all(intervals_ms)):
            return
        for interval_ms in intervals_ms:
            self.learn(interval_ms)

    def follow(self, policy: Policy) -> None:
        """Set the limit by another policy; what was learned stays, also while the limit is fixed."""
        if policy == self._policy:
            return
        self.usual_ms *= policy.factor / self._policy.factor
        self._policy = policy
        if policy.fixed_ms is not None:
            self.limit_ms = policy.fixed_ms
        elif self.usual_ms:
            self._set(self.usual_ms)
        else:
            self.limit_ms = policy.ceiling_ms

    def settle(self, is_learning: bool) -> None:
        """Set whether intervals are learned; while they are, there is no other rhythm."""
        self._learns = is_learning
        if is_learning:
            self._other = None

    def adapted_ms(self, pace_ms: int | None) -> int:
        """Return the limit adapted to the present pace: a slow feed is silent only when it is slow even for that."""
        policy = self._policy
        if policy.fixed_ms is not None or not pace_ms:
            return self.limit_ms
        return max(self.limit_ms, min(int(policy.factor * pace_ms), policy.ceiling_ms))

    def _follow(self, span_ms: int) -> None:
        if not self._estimator.has(LEARNED_INTERVALS, LEARNED_MS):
            return
        usual = self._policy.factor * self._estimator.upper_ms()
        if not self._estimator.is_settled():
            usual *= UNSETTLED
        elif self.usual_ms:
            usual = min(usual, self.usual_ms * 2 ** (span_ms / DOUBLING_MS))
        self._set(usual)

    def _consider(self, other: IntervalEstimator) -> None:
        if other.has(LEARNED_INTERVALS, NEW_RHYTHM_MS) and other.is_steady():
            self._estimator, self._other = other, None
            self._set(self._policy.factor * other.upper_ms())

    def _set(self, usual_ms: float) -> None:
        self.usual_ms = max(usual_ms, 1.0)
        self.limit_ms = min(max(int(usual_ms), self._policy.floor_ms), self._policy.ceiling_ms)
