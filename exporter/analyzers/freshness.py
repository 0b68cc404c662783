"""How fresh a feed is: when it last sent, the rhythm of its batches, and how long a silence is too long for it.

A limit is `factor` times a robust upper estimate of the intervals, between a floor and a ceiling, and it is careful:

- Of each stretch of half a minute or more, the longest interval is kept, 64 of them; the estimate is their 95th
  percentile. So a burst counts for as much as the time it took, and a few exceptional gaps count for nothing.
- Until 8 intervals over 2 minutes are known, the limit is the ceiling; until there are 20 stretches, it is doubled.
- Then it rises at most to the double in two hours. Markets calm down more slowly; a faster change is `delayed`.
- Intervals beyond the limit, or while the feed is not ok, are not learned: an outage is no rhythm. Only when they stay
  steady for half an hour and 8 intervals are they a new rhythm, which replaces the old one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from exporter.analyzers import Analyzer
from exporter.analyzers.thresholds import PACE_INTERVALS, AdaptiveThreshold, Learning, Policy, silence_policy
from exporter.instrument.families import Row, gauge, histogram
from exporter.instrument.histogram import Bounds
from exporter.instrument.selection import ALL, Selection, selection

if TYPE_CHECKING:
    from exporter.config.schema import Config, Thresholds
    from exporter.decoding.batch import Batch
    from exporter.decoding.batch_stats import BatchStats
    from exporter.model import Anomaly, Arrival

INTERVAL_BOUNDS_MS = (
    *(100, 250, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000),
    *(60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000),
)
_BOUNDS = Bounds(INTERVAL_BOUNDS_MS, per_unit=1000)
_NAME = "marketdata_batch_interval_seconds"


class Freshness(Analyzer):
    """When one feed sent, and how often it usually does. Intervals are those between Kafka's timestamps.

    `last_sent_ms` is the newest time at which the feed is known to have sent: by the sidecar's clock when a batch was
    live, by Kafka's when it was old. `last_arrival_ms` is when a batch of it was last read, however old. 0: never.
    `pace_ms` is the median of the last intervals, as of the last `settle`; None before there are five. `intervals` is
    None where they are not shown.
    """

    __slots__ = (
        "_last_intervals",
        "_limit",
        "_record_ms",
        "intervals",
        "last_arrival_ms",
        "last_sent_ms",
        "pace_ms",
    )

    is_required = True

    def __init__(self, policy: Policy, shown: Selection = ALL) -> None:
        self.last_sent_ms = 0
        self.last_arrival_ms = 0
        self.pace_ms: int | None = None
        self.intervals = shown.histogram(_NAME, _BOUNDS)
        self._record_ms = 0
        self._last_intervals: deque[int] = deque(maxlen=PACE_INTERVALS)
        self._limit = AdaptiveThreshold(policy)

    @classmethod
    def create(cls, config: Config, rule: Thresholds) -> Self:
        """See Analyzer."""
        return cls(silence_policy(rule), selection(config.metrics))

    def reconfigure(self, config: Config, rule: Thresholds) -> None:
        """See Analyzer."""
        self._limit.follow(silence_policy(rule))

    def observe(self, batch: Batch, stats: BatchStats, arrival: Arrival) -> Sequence[Anomaly]:
        """See Analyzer."""
        record_ms, received_ms, is_live = arrival.record_ms, arrival.received_ms, arrival.is_live
        self.last_arrival_ms = received_ms
        if not is_live:
            self.last_sent_ms = max(self.last_sent_ms, min(record_ms, received_ms))
            return ()
        self.last_sent_ms = received_ms
        stamp, before = record_ms or received_ms, self._record_ms
        self._record_ms = stamp
        if before and stamp >= before:  # else the first, or clocks disagree
            interval_ms = stamp - before
            if (intervals := self.intervals) is not None:
                if intervals.native is None:  # as `Histogram.add`: a call is half of what this costs
                    intervals.buckets[bisect_left(INTERVAL_BOUNDS_MS, interval_ms)] += 1
                    intervals.sum += interval_ms
                else:
                    intervals.add(interval_ms)
            self._last_intervals.append(interval_ms)
            self._limit.learn(interval_ms)
        return ()

    def recall(self, record_ms: int) -> None:
        """Take a batch into account that was published before this process read it; oldest first."""
        if 0 < self._record_ms <= record_ms:
            self._limit.learn(record_ms - self._record_ms)
        self._record_ms = record_ms
        self.last_sent_ms = max(self.last_sent_ms, record_ms)

    def set_back(self, now_ms: int) -> None:
        """See Analyzer."""
        self.last_sent_ms, self.last_arrival_ms = min(self.last_sent_ms, now_ms), min(self.last_arrival_ms, now_ms)

    def release(self) -> None:
        """See Analyzer; the rhythm stays known."""
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
        """The pace from which on the feed is delayed, half of the limit on silence; None while that is unknown."""
        return self._limit.least_ms // 2 if self._limit.is_known else None

    @property
    def learning(self) -> Learning:
        """How the limit on silence came about."""
        return self._limit.learning

    def is_overdue(self, now_ms: int, expected_since_ms: int = 0) -> bool:
        """Whether the feed has sent before, but not within its limit on silence."""
        sent_ms = self.last_sent_ms
        return sent_ms > 0 and now_ms - max(sent_ms, expected_since_ms) > self.silent_limit_ms

    rows: ClassVar[tuple[Row[Freshness], ...]] = (
        histogram(
            _NAME,
            "Time between two batches, by Kafka's timestamps.",
            lambda freshness: freshness.intervals,
            "seconds",
        ),
        Row(
            "marketdata_feed_stale_threshold_seconds",
            "gauge",
            "Seconds for which the feed may be silent.",
            gauge(lambda freshness: freshness.silent_limit_ms / 1000),
            "seconds",
        ),
    )


class PriceActivity:
    """How long the prices of one feed usually rest. `last_ms` is the time of the newest change; 0: none yet."""

    __slots__ = ("_ceiling_ms", "_limit", "last_ms")

    def __init__(self, policy: Policy) -> None:
        self.last_ms = 0
        self._ceiling_ms = policy.ceiling_ms
        self._limit = AdaptiveThreshold(policy)

    def follow(self, policy: Policy) -> None:
        """Set the limit by another policy; what was learned stays."""
        self._ceiling_ms = policy.ceiling_ms
        self._limit.follow(policy)

    def note_change(self, changed_ms: int) -> None:
        """Take the newest change of a price into account, once a second."""
        if changed_ms > self.last_ms:
            if self.last_ms:
                self._limit.learn(changed_ms - self.last_ms)
            self.last_ms = changed_ms

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        self.last_ms = min(self.last_ms, now_ms)

    def settle(self, is_learning: bool) -> None:
        """Take one second into account; `is_learning` is false while intervals are those of an outage."""
        self._limit.settle(is_learning)

    @property
    def learning(self) -> Learning:
        """How the limit came about."""
        return self._limit.learning

    @property
    def limit_ms(self) -> int | None:
        """How long prices may rest; None while that is unknown, or learned to be more than the ceiling.

        Where prices often rest for longer than the ceiling, a rest of that length is no evidence of a fault.
        """
        limit = self._limit
        return limit.limit_ms if limit.is_known and limit.usual_ms <= self._ceiling_ms else None
