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
from typing import TYPE_CHECKING

from exporter.analyzers.thresholds import PACE_INTERVALS, AdaptiveThreshold, Policy
from exporter.instrument.histogram import Histogram

if TYPE_CHECKING:
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Arrival

INTERVAL_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


class Freshness:
    """When one feed was heard, and how often it usually is. Intervals are taken by Kafka's stamps.

    `last_sent_ms` is the newest moment at which the feed is known to have sent: ours when a batch was live, Kafka's
    when it was old. `last_arrival_ms` is when we last read a batch of it, however old. 0: never. `pace_ms` is the
    median of the last intervals, as of the last `settle`; None before there are five.
    """

    __slots__ = ("_last_intervals", "_limit", "_record_ms", "intervals", "last_arrival_ms", "last_sent_ms", "pace_ms")

    def __init__(self, policy: Policy) -> None:
        self.last_sent_ms = 0
        self.last_arrival_ms = 0
        self.pace_ms: int | None = None
        self.intervals = Histogram(INTERVAL_BOUNDS)
        self._record_ms = 0
        self._last_intervals: deque[int] = deque(maxlen=PACE_INTERVALS)
        self._limit = AdaptiveThreshold(policy)

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> None:
        """See Analyzer."""
        record_ms, received_ms, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        self.last_arrival_ms = received_ms
        if not is_live:
            self.last_sent_ms = max(self.last_sent_ms, min(record_ms, received_ms))
            return
        self.last_sent_ms = received_ms
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
        self.last_sent_ms = max(self.last_sent_ms, record_ms)

    def set_back(self, now_ms: int) -> None:
        """Let no moment by our clock be later than now."""
        self.last_sent_ms, self.last_arrival_ms = min(self.last_sent_ms, now_ms), min(self.last_arrival_ms, now_ms)

    def forget(self) -> None:
        """Somebody else hears the feed now; its rhythm stays known."""
        self.last_sent_ms = self.last_arrival_ms = self._record_ms = 0
        self._last_intervals.clear()
        self.pace_ms = None

    def settle(self, is_learning: bool) -> None:
        """Take one second into account; `is_learning` is false while intervals are those of an outage."""
        self._limit.settle(is_learning)
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
        sent_ms = self.last_sent_ms
        return sent_ms > 0 and now_ms - max(sent_ms, expected_since_ms) > self.silent_limit_ms


class PriceActivity:
    """How long the prices of one feed usually rest. `last_ms` is the newest change; 0: none yet."""

    __slots__ = ("_ceiling_ms", "_limit", "last_ms")

    def __init__(self, policy: Policy) -> None:
        self.last_ms = 0
        self._ceiling_ms = policy.ceiling_ms
        self._limit = AdaptiveThreshold(policy)

    def see(self, changed_ms: int) -> None:
        """Take note of the newest change of a price, once a second."""
        if changed_ms > self.last_ms:
            if self.last_ms:
                self._limit.learn(changed_ms - self.last_ms)
            self.last_ms = changed_ms

    def set_back(self, now_ms: int) -> None:
        """Let no moment be later than now."""
        self.last_ms = min(self.last_ms, now_ms)

    def settle(self, is_learning: bool) -> None:
        """Take one second into account; `is_learning` is false while intervals are those of an outage."""
        self._limit.settle(is_learning)

    @property
    def limit_ms(self) -> int | None:
        """How long prices may rest; None while that is unknown, or learned to be more than the ceiling.

        A rest of an hour says nothing of a market that often has one: it is not cut short to be judged.
        """
        limit = self._limit
        return limit.limit_ms if limit.is_known and limit.usual_ms <= self._ceiling_ms else None
