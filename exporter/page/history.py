"""The last minutes of each feed and of the sidecar: samples in rings of plain numbers. Pure: time is an argument."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from math import isnan, nan
from typing import NamedTuple

from exporter.feeds.states import FeedState
from exporter.model import FeedKey

STEP_SECONDS = 10
# Rates are those of so many samples: a minute.
RATE_SAMPLES = 6
# Samples of the sidecar count this many: five minutes.
RECENT_SAMPLES = 30
_STATE_OF = dict(enumerate(FeedState))
_STATE_CODES = {state: code for code, state in _STATE_OF.items()}
_NO_STATE = 255
_COUNT_MAX = 2**32 - 1

Values = list[float | None]


class FeedSample(NamedTuple):
    """The present counters of a feed, and its state; times in Unix milliseconds.

    `latency_sum_ms` and `latency_count` are those of its end-to-end latencies. Without a `state` it is not here.
    """

    batches: int
    messages: int
    latency_sum_ms: float
    latency_count: int
    last_received_ms: int
    state: FeedState | None


class FeedSeries:
    """The samples of one feed. The rates and the mean latency are those of the last samples; None: unknown."""

    __slots__ = ("_ages", "_batches", "_first", "_last", "_latencies", "_messages", "_states", "latency_ms", "rates")

    def __init__(self, capacity: int, first: int, last: FeedSample) -> None:
        self.rates: tuple[float, float] | None = None
        self.latency_ms: float | None = None
        self._first = first
        self._last = last
        self._batches = array("I", bytes(4 * capacity))
        self._messages = array("I", bytes(4 * capacity))
        self._latencies = array("f", [nan]) * capacity
        self._ages = array("f", [nan]) * capacity
        self._states = array("B", [_NO_STATE]) * capacity

    def add(self, slot: int, sample: FeedSample, now_ms: int) -> None:
        """Add a sample."""
        last, self._last = self._last, sample
        self._batches[slot] = _count(sample.batches - last.batches)
        self._messages[slot] = _count(sample.messages - last.messages)
        latencies = sample.latency_count - last.latency_count
        latency = (sample.latency_sum_ms - last.latency_sum_ms) / latencies if latencies > 0 else nan
        self._latencies[slot] = latency
        if latencies > 0:
            self.latency_ms = round(latency, 1)
        is_seen = sample.state is not None and sample.last_received_ms > 0
        self._ages[slot] = max(0, now_ms - sample.last_received_ms) / 1000 if is_seen else nan
        self._states[slot] = _NO_STATE if sample.state is None else _STATE_CODES[sample.state]

    def rate(self, slots: Iterable[int], seconds: float) -> None:
        """Update the rates, over the samples in these slots."""
        if seconds > 0:
            batches, messages = self._batches, self._messages
            of_batches = of_messages = 0
            for slot in slots:
                of_batches += batches[slot]
                of_messages += messages[slot]
            self.rates = round(of_batches / seconds, 3), round(of_messages / seconds, 2)

    def shown(self, slots: Mapping[int, int], seconds: array[float]) -> dict[str, object]:
        """Return the samples for JSON; `slots` maps the number of each sample to its slot, oldest first."""
        known = [slot if number >= self._first else None for number, slot in slots.items()]
        return {
            "batches_per_second": [_rate(self._batches, slot, seconds) for slot in known],
            "messages_per_second": [_rate(self._messages, slot, seconds) for slot in known],
            "latency_ms": _numbers(self._latencies, slots.values()),
            "age_seconds": _numbers(self._ages, slots.values()),
            "state": [_STATE_OF.get(self._states[slot]) for slot in slots.values()],
        }


class History:
    """Samples of all feeds, `capacity` of each (0: nothing is kept), and the last values of the sidecar by name.

    `taken` is the number of samples so far, `sampled_ms` the time of the last one in Unix milliseconds.
    """

    def __init__(self, capacity: int) -> None:
        self.taken = 0
        self.sampled_ms = 0
        self.feeds: dict[FeedKey, FeedSeries] = {}
        self._capacity = capacity
        self._times = array("q", bytes(8 * capacity))
        self._seconds = array("f", bytes(4 * capacity))
        self._values: dict[str, array[float]] = {}

    def begin(self, now_ms: int, seconds: float) -> None:
        """Begin a sample, `seconds` after the one before."""
        slot = self.taken % self._capacity
        self._times[slot], self._seconds[slot] = now_ms, seconds if self.taken else 0.0
        for values in self._values.values():
            values[slot] = nan
        self.sampled_ms = now_ms
        self.taken += 1

    def add(self, feed: FeedKey, sample: FeedSample) -> None:
        """Add the sample of a feed to that which was begun; a new feed begins at 0."""
        number = self.taken - 1
        series = self.feeds.get(feed)
        if series is None:
            # What was counted before the first sample was not counted in it.
            before = sample if number == 0 else FeedSample(0, 0, 0.0, 0, 0, None)
            series = self.feeds[feed] = FeedSeries(self._capacity, max(1, number), before)
        series.add(number % self._capacity, sample, self.sampled_ms)

    def end(self, feeds: Iterable[FeedKey], values: Mapping[str, float | None]) -> None:
        """End the sample: drop the feeds that are gone, update rates, and add the values of the sidecar."""
        for gone in self.feeds.keys() - set(feeds):
            del self.feeds[gone]
        slots = list(self._slots(RATE_SAMPLES).values())
        seconds = sum(self._seconds[slot] for slot in slots)
        for series in self.feeds.values():
            series.rate(slots, seconds)
        for name, value in values.items():
            if name not in self._values:
                self._values[name] = array("d", [nan]) * self._capacity
            self._values[name][(self.taken - 1) % self._capacity] = nan if value is None else value

    def mean(self, name: str) -> float | None:
        """Return the mean of a value of the sidecar over the last minute; None while it is unknown."""
        if name not in self._values:
            return None
        last = [value for slot in self._slots(RATE_SAMPLES).values() if not isnan(value := self._values[name][slot])]
        return sum(last) / len(last) if last else None

    def shown(self, feeds: Iterable[FeedKey]) -> dict[str, object]:
        """Return the times, the values of the sidecar, and the samples of known feeds, for JSON.

        Values whose names have two parts, such as `stages:poll`, are in objects.
        """
        slots = self._slots(self._capacity)
        known = {feed: self.feeds[feed] for feed in feeds if feed in self.feeds}
        totals: dict[str, Values] = {}
        groups: dict[str, dict[str, Values]] = {}
        for name, values in self._values.items():
            group, _, member = name.rpartition(":")
            (groups.setdefault(group, {}) if group else totals)[member] = _numbers(values, slots.values())
        return {
            "step_seconds": STEP_SECONDS,
            "times_ms": [self._times[slot] for slot in slots.values()],
            "totals": {**totals, **groups},
            "feeds": {str(feed): series.shown(slots, self._seconds) for feed, series in known.items()},
        }

    def _slots(self, number: int) -> dict[int, int]:
        """Return the slots of the last samples by their numbers, oldest first."""
        first = max(0, self.taken - min(number, self._capacity))
        return {each: each % self._capacity for each in range(first, self.taken)}


def _count(number: int) -> int:
    return min(max(0, number), _COUNT_MAX)


def _rate(counts: array[int], slot: int | None, seconds: array[float]) -> float | None:
    return round(counts[slot] / seconds[slot], 3) if slot is not None and seconds[slot] > 0 else None


def _numbers(values: array[float], slots: Iterable[int]) -> Values:
    return [None if isnan(value := values[slot]) else round(value, 4) for slot in slots]
