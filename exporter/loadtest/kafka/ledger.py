"""What became of each message of a run: acknowledged, committed as an event, visible in metrics, read back.

Times are arguments, in seconds after the start of the run. Several threads call; each call is short.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.results import Distribution
from exporter.loadtest.timeline import Timeline
from exporter.loadtest.trace import Trace

_CHUNK = 65_536
_UNKNOWN = -1
# A message that is not acknowledged for 30 s is given up.
EARLY_SECONDS = 60.0


class Message(NamedTuple):
    """A message that was sent: its number, its feed by index, and when it was due; None for one of the warm-up."""

    number: int
    feed: int
    due: float | None


class Arrivals:
    """Messages that arrived at one place: how often each, and how late."""

    def __init__(self) -> None:
        self.times = bytearray()
        self.latencies = LatencyHistogram()
        self.trace = Trace()
        self.count = self.repeated = 0

    def has(self, number: int) -> bool:
        """Return whether a message has arrived."""
        return number < len(self.times) and bool(self.times[number])

    def add(self, number: int, due: float, at: float) -> None:
        """Count an arrival of a message; a repeated one, and one that was due at no time (NaN), has no latency."""
        while number >= len(self.times):
            self.times += bytes(_CHUNK)
        if self.times[number]:
            self.repeated += 1
            return
        self.times[number] = 1
        self.count += 1
        if due == due:
            ms = (at - due) * 1000
            self.latencies.add(ms)
            self.trace.add(due, ms)


class _Places:
    """The numbers of messages by partition and offset: 4 bytes each, as there may be millions."""

    def __init__(self, begins: Mapping[int, int]) -> None:
        self._begins = begins
        self._numbers = {partition: array("i") for partition in begins}

    def set(self, partition: int, offset: int, number: int) -> None:
        """Set the number of a message."""
        numbers, index = self._numbers[partition], offset - self._begins[partition]
        if index >= len(numbers):
            numbers.extend([_UNKNOWN] * (index + 1 - len(numbers)))
        numbers[index] = number

    def get(self, partition: int, offset: int) -> int:
        """Return the number of a message, `_UNKNOWN` for other records."""
        numbers, index = self._numbers.get(partition, ()), offset - self._begins.get(partition, 0)
        return numbers[index] if 0 <= index < len(numbers) else _UNKNOWN


class Outstanding(NamedTuple):
    """How many messages have not arrived yet: at the broker, as events, in metrics."""

    acknowledgements: int
    events: int
    metrics: int


class Ledger:
    """The messages of a run, by number and, once acknowledged, by partition and offset."""

    def __init__(self, feeds: int, begins: Mapping[int, int], run_seconds: float = 0.0) -> None:
        """Take the number of feeds, the first offset of each partition, and how long the run is to last."""
        self._lock = threading.Lock()
        self._places = _Places(begins)
        self._due = array("d")
        # Events that were read before the acknowledgement of their message was: when, and how often again.
        self._early: dict[tuple[int, int], tuple[float, int]] = {}
        self.has_metrics = True  # those that wait for metrics are kept
        self._waiting: list[deque[int]] = [deque() for _ in range(feeds)]
        self._seen = [0] * feeds
        self.counts = [0] * feeds
        self.acknowledged, self.events, self.metrics = Arrivals(), Arrivals(), Arrivals()
        self.timeline = Timeline(run_seconds)
        self.lag, self.lag_trace = LatencyHistogram(), Trace()
        self.errors = Counter[str]()
        self.sent = self.failed = self.warm_ups = self.bytes = 0
        self._outstanding_since: float | None = None
        self._eventless_since, self._first_number = 0.0, 0

    def begin(self, feed: int, due: float | None, at: float, free: float = 0.0) -> Message:
        """Return a new message that is about to be sent; before `free` its client had no room for it."""
        with self._lock:
            message = Message(self.sent, feed, due)
            self._due.append(math.nan if due is None else due)
            self.sent += 1
            if due is None:
                self.warm_ups += 1
            else:
                lag_ms = (at - max(due, free)) * 1000
                self.lag.add(lag_ms)
                self.lag_trace.add(due, lag_ms)
            if self._outstanding_since is None:
                self._outstanding_since = at
        return message

    def end_warm_up(self) -> None:
        """Wait for no event of the messages until now: a sidecar may have begun to read after some of them.

        What metrics count from now on is what is sent from now on.
        """
        with self._lock:
            for waiting in self._waiting:
                waiting.clear()
            self._seen = self.counts.copy()
            for number in range(self._first_number, self.sent):
                if not self.events.has(number):
                    self.events.add(number, math.nan, 0.0)
            self._first_number, self._eventless_since = self.sent, 0.0

    def delivered(self, message: Message, partition: int, offset: int, at: float, size: int) -> None:
        """Count an acknowledgement."""
        with self._lock:
            self._settle(at)
            number, due = message.number, self._due[message.number]
            if self.acknowledged.count <= self.events.count:
                self._eventless_since = at
            self.acknowledged.add(number, due, at)
            if message.due is not None:
                self.bytes += size
                self.timeline.answered(at, (at - message.due) * 1000)
            if self.has_metrics:
                self._waiting[message.feed].append(number)
            self._places.set(partition, offset, number)
            if (early := self._early.pop((partition, offset), None)) is not None:
                self.events.add(number, due, early[0])
                self.events.repeated += early[1]

    def undelivered(self, kind: str, at: float) -> None:
        """Count a message that did not reach the broker, by the kind of the error."""
        with self._lock:
            self._settle(at)
            self.failed += 1
            self.errors[kind] += 1
            self.timeline.failed(at)

    def _settle(self, at: float) -> None:
        left = self.sent - self.acknowledged.count - self.failed - 1
        self._outstanding_since = at if left > 0 else None

    def event(self, partition: int, offset: int, at: float) -> None:
        """Count a committed event by the place of its message."""
        with self._lock:
            self._eventless_since = at
            number = self._places.get(partition, offset)
            if number >= self._first_number:
                self.events.add(number, self._due[number], at)
            elif number != _UNKNOWN:  # of the warm-up, late
                return
            else:
                first, again = self._early.get((partition, offset), (at, -1))
                self._early[partition, offset] = first, again + 1
                self._forget_early(at)

    def _forget_early(self, now: float) -> None:
        """Drop events of records that others have written to the topic: no acknowledgement takes so long."""
        while self._early:
            oldest = next(iter(self._early))
            if now - self._early[oldest][0] < EARLY_SECONDS:
                return
            del self._early[oldest]

    def visible(self, feed: int, count: int, at: float) -> None:
        """Set how many messages of a feed a page of metrics has counted since before the first."""
        with self._lock:
            self.counts[feed] = count
            waiting = self._waiting[feed]
            while self._seen[feed] < count and waiting:
                self._seen[feed] += 1
                number = waiting.popleft()
                self.metrics.add(number, self._due[number], at)

    def outstanding(self) -> Outstanding:
        """Return how many messages are on their way."""
        with self._lock:
            acknowledged = self.acknowledged.count
            return Outstanding(
                self.sent - acknowledged - self.failed, acknowledged - self.events.count, sum(map(len, self._waiting))
            )

    def missing_events(self, first: int) -> int:
        """Return how many messages from this number on were acknowledged and have no event."""
        with self._lock:
            acknowledged, events = self.acknowledged.times, self.events.times
            arrived = events + bytes(max(0, len(acknowledged) - len(events)))
            numbers = zip(acknowledged, arrived, strict=False)
            return sum(1 for one, other in islice(numbers, first, None) if one and not other)

    def silent_seconds(self, now: float) -> float:
        """Return for how long no broker has answered although a message is on its way."""
        with self._lock:
            return 0.0 if self._outstanding_since is None else now - self._outstanding_since

    def eventless_seconds(self, now: float) -> float:
        """Return for how long no event has come although one is missing."""
        with self._lock:
            return now - self._eventless_since if self.acknowledged.count > self.events.count else 0.0

    def latency(self) -> Distribution | None:
        """Return the latencies of acknowledgements so far."""
        with self._lock:
            return self.acknowledged.latencies.distribution()
