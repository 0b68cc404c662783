"""The thread that samples the sidecar into a `History`. It reads the state of the loop in short visits."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import add
from typing import NamedTuple

from exporter.analyzers.latency import LATENCY_BOUNDS_MS, Latency, Stage
from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.instrument.quantiles import quantile
from exporter.model import FeedKey
from exporter.page.history import RATE_SAMPLES, RECENT_SAMPLES, STEP_SECONDS, FeedSample, History
from exporter.runtime.clock import Clock
from exporter.runtime.threads import Start
from exporter.status import SidecarStatus

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
# Sampling takes at most one part in so many of the time of a processor.
SHARE = 20

Buckets = list[int]


class Counted(NamedTuple):
    """Counters of the sidecar at one sample: messages and batches, seconds of stages, buckets of latencies by hop."""

    batches: int
    messages: int
    cpu_seconds: float
    stage_seconds: Mapping[str, float]
    latencies: Mapping[Stage, Buckets]


class Recorder:
    """Samples every `STEP_SECONDS`, and keeps samples of so many `seconds`; with 0 it has no thread and no samples.

    `also` is called at each sample with its time in Unix milliseconds, and takes samples of its own.
    """

    def __init__(
        self, status: SidecarStatus, clock: Clock, seconds: float, also: Callable[[int], None] | None = None
    ) -> None:
        self._also = also
        self.seconds = int(seconds // STEP_SECONDS) * STEP_SECONDS
        self._status = status
        self._clock = clock
        self._lock = threading.Lock()  # held for milliseconds
        self._history = History(self.seconds // STEP_SECONDS)
        self._counted: deque[Counted] = deque(maxlen=RECENT_SAMPLES + 1)
        self._sampled_at = 0.0
        self._stopping = threading.Event()

    def start(self, start_thread: Start) -> None:
        """Sample from now on."""
        if self.seconds:
            start_thread("history", self.run)

    def stop(self) -> None:
        """End `run` soon; from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Sample until stopped."""
        pause = 0.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            self.sample()
            took = time.monotonic() - began
            pause = max(STEP_SECONDS - took, SHARE * took)

    def sample(self) -> None:
        """Take one sample."""
        now_ms, now = self._clock.now_ms(), self._clock.monotonic()
        seconds, self._sampled_at = now - self._sampled_at, now
        feeds = self._status.feeds()
        with self._lock:
            self._history.begin(now_ms, seconds)
        counted, states = self._take(feeds)
        before = self._counted[-1] if self._counted else None
        self._counted.append(counted)
        values = {} if before is None else _values(before, counted, seconds)
        values |= self._gauges() | {f"states:{state}": states[state] for state in FeedState}
        with self._lock:
            self._history.end((feed.key for feed in feeds), values)
        if self._also is not None:
            self._also(now_ms)

    def _take(self, feeds: Iterable[Feed]) -> tuple[Counted, Counter[FeedState | None]]:
        """Add the samples of feeds; return their sums, and the number of feeds in each state."""
        batches = messages = 0
        sums = {hop: [0] * (len(LATENCY_BOUNDS_MS) + 1) for hop in Stage}
        states: Counter[FeedState | None] = Counter()
        for key, sample, hops in self._status.each(feeds, _read):
            batches, messages = batches + sample.batches, messages + sample.messages
            states[sample.state] += 1
            for hop, buckets in hops.items():
                sums[hop] = list(map(add, sums[hop], buckets))
            with self._lock:
                self._history.add(key, sample)
        stages = {stage: histogram.sum for stage, histogram in self._status.stages.items()}
        return Counted(batches, messages, time.process_time(), stages, sums), states

    def _gauges(self) -> dict[str, float | None]:
        ends = [each for each in self._status.partitions() if each.end is not None]
        lag = sum(max(0, each.end - each.offset) for each in ends if each.end is not None)
        return {"lag_records": lag if ends else None, "backlog_ratio": self._status.backlog().fullness}

    # For readers in other threads.

    @property
    def sampled_ms(self) -> int:
        """When the last sample was taken, in Unix milliseconds; 0: never."""
        return self._history.sampled_ms

    def rates(self, feeds: Iterable[FeedKey]) -> Iterator[tuple[float | None, float | None, float | None]]:
        """Yield batches and messages a second, and the mean latency in ms, of each feed; None: unknown."""
        with self._lock:
            known = [self._history.feeds.get(feed) for feed in feeds]
        for series in known:
            batches, messages = (None, None) if series is None or series.rates is None else series.rates
            yield batches, messages, None if series is None else series.latency_ms

    def means(self, names: Iterable[str]) -> dict[str, float | None]:
        """Return the means of values of the sidecar over the last minute."""
        with self._lock:
            return {name: None if (mean := self._history.mean(name)) is None else round(mean, 4) for name in names}

    @property
    def mean_seconds(self) -> float:
        """For how many seconds the means are, as far as there were so many."""
        return float(STEP_SECONDS * min(RATE_SAMPLES, max(0, self._history.taken - 1)))

    def latencies(self) -> dict[str, dict[str, float | None]]:
        """Return quantiles of the latencies of all feeds in the last minutes, by hop."""
        counted = list(self._counted)
        if not counted:
            return {hop.value: _quantiles([0]) for hop in Stage}
        first, last = counted[0], counted[-1]
        return {hop.value: _quantiles(_difference(first, last, hop)) for hop in Stage}

    def shown(self, feeds: Iterable[FeedKey]) -> dict[str, object]:
        """Return the samples of the sidecar and of some feeds, for JSON."""
        with self._lock:
            return self._history.shown(feeds)


def _read(feed: Feed) -> tuple[FeedKey, FeedSample, dict[Stage, Buckets]]:
    latency = feed.analyzers.find(Latency)
    hops = {} if latency is None else {hop: found.classic_counts() for hop, found in latency.hops.items()}
    total_ms = 0.0 if latency is None else latency.hops[Stage.END_TO_END].sum
    count = sum(hops.get(Stage.END_TO_END, ()))
    state = feed.health.state if feed.has_state else None
    return feed.key, FeedSample(feed.batches, feed.messages, total_ms, count, feed.last_received_ms, state), hops


def _difference(before: Counted, after: Counted, hop: Stage) -> Buckets:
    """Return the latencies between two samples; the sums fall when a feed is forgotten."""
    return [max(0, end - begin) for begin, end in zip(before.latencies[hop], after.latencies[hop], strict=True)]


def _quantiles(buckets: Buckets) -> dict[str, float | None]:
    found = {name: quantile(q, LATENCY_BOUNDS_MS, buckets) for name, q in QUANTILES.items()}
    rounded = {name: None if value is None else round(value, 2) for name, value in found.items()}
    return {**rounded, "count": sum(buckets)}


def _values(before: Counted, after: Counted, seconds: float) -> dict[str, float | None]:
    """Return the values of the sidecar between two samples, `seconds` apart."""
    latencies = _quantiles(_difference(before, after, Stage.END_TO_END))
    spent = {stage: total - before.stage_seconds[stage] for stage, total in after.stage_seconds.items()}
    return {
        "batches_per_second": max(0, after.batches - before.batches) / seconds,
        "messages_per_second": max(0, after.messages - before.messages) / seconds,
        "latency_p50_ms": latencies["p50_ms"],
        "latency_p99_ms": latencies["p99_ms"],
        "cpu_cores": (after.cpu_seconds - before.cpu_seconds) / seconds,
        **{f"stages:{stage}": of_stage / seconds for stage, of_stage in spent.items()},
    }
