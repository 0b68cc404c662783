"""Limits on silence and on unchanged prices: configured, or learned from the feed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import ceil
from statistics import median_high
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.config.schema import Thresholds
    from exporter.model import FeedKey

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


class IntervalEstimator:
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


class AdaptiveThreshold:
    """How long something that recurs may stay away; learned, or fixed by the policy.

    `usual_ms` is what was learned, before floor and ceiling; 0 until then.
    """

    __slots__ = ("_estimator", "_learns", "_other", "_policy", "limit_ms", "usual_ms")

    def __init__(self, policy: Policy) -> None:
        self.usual_ms = 0.0
        self.limit_ms = policy.ceiling_ms if policy.fixed_ms is None else policy.fixed_ms
        self._policy = policy
        self._learns = True
        self._estimator = IntervalEstimator()
        self._other: IntervalEstimator | None = None  # what may be a new rhythm

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
            if span := self._estimator.add(interval_ms):
                self._follow(span)
            return
        if self._other is None:
            self._other = IntervalEstimator()
        if self._other.add(interval_ms):
            self._consider(self._other)

    def settle(self, is_learning: bool) -> None:
        """Set whether intervals are learned; while they are, there is no other rhythm."""
        self._learns = is_learning
        if is_learning:
            self._other = None

    def adapted_ms(self, pace_ms: int | None) -> int:
        """The limit of a feed that is slow at present: it is silent only when it is slow even for that."""
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
