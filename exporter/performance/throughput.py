"""The throughput of operations, and settings that are tried while they run."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeAlias

from exporter.instrument import Gauge, MetricsCollector, get_metrics_collector
from exporter.performance.batches import batch_cost, optimal_size
from exporter.performance.search import Search
from exporter.performance.trend import line

Setting: TypeAlias = Literal["batch_size", "workers"]
OBSERVATIONS_KEPT = 1000
OPERATIONS_MAX = 500
TREND_MIN = 0.05


class Observation(NamedTuple):
    """Items that an operation handled in so many seconds, and when (monotonic seconds)."""

    at: float
    items: float
    seconds: float


class ThroughputOptimizer:
    """The rate of each operation (items for each second of work), and its batch size and number of workers.

    `tune` lets a setting be tried: it changes while that helps and is taken back when it does not. The last 1,000
    observations of up to 500 operations are kept; further operations count as `__other__`.
    """

    def __init__(self, *, collector: MetricsCollector | None = None, clock: Callable[[], float] | None = None) -> None:
        self._collector = collector or get_metrics_collector()
        self._clock = clock or monotonic
        self._operations: dict[str, _Operation] = {}
        self._lock = threading.RLock()

    def observe(self, operation: str, items: float, seconds: float) -> None:
        """Take that an operation handled items in so many seconds; raise `ValueError` unless these are from 0."""
        if not (0 <= items < math.inf and 0 <= seconds < math.inf):
            raise ValueError(f"items and seconds are numbers from 0, not {items!r} and {seconds!r}")
        found = self._operations.get(operation) or self._add(operation)
        found.items.increment(items)
        found.seconds.increment(seconds)
        with self._lock:
            found.observations.append(Observation(self._clock(), items, seconds))
            tuned = found.trial()
            is_changed = tuned is not None and tuned.observe(items, seconds)
        if tuned is not None and is_changed:
            tuned.announce()

    def set_target(self, operation: str, items_per_second: float) -> None:
        """Set the rate that an operation should reach; raise `ValueError` unless it is a number above 0."""
        if not 0 < items_per_second < math.inf:
            raise ValueError(f"a target is a number of items a second above 0, not {items_per_second!r}")
        found = self._own(operation)
        found.target = float(items_per_second)
        name, text = "program_operation_target_items_per_second", "Rate that an operation should reach."
        self._collector.gauge(name, text, {"operation": found.name}).set(items_per_second)

    def tune(
        self,
        operation: str,
        setting: Setting,
        *,
        initial: int,
        least: int = 1,
        most: int = 10_000,
        apply: Callable[[int], object] | None = None,
    ) -> None:
        """Try values of a setting from now on, from `least` to `most`; `apply` is called with each change.

        Of two settings, one is tried at a time: the second while the first is settled. `apply` is called by the thread
        that observes, or that calls `apply` already; what it raises is raised there.
        """
        if setting not in ("batch_size", "workers"):
            raise ValueError(f"a setting is batch_size or workers, not {setting!r}")
        if not isinstance(initial, int):
            raise TypeError(f"initial is a whole number, not {initial!r}")
        if apply is not None and not callable(apply):
            raise TypeError(f"apply is a function of the new value, not {apply!r}")
        found = self._own(operation)
        gauge = self._collector.gauge(f"program_operation_{setting}", _HELP[setting], {"operation": found.name})
        tuned = _Tuned(setting, Search(initial, least, most), gauge, apply)
        with self._lock:
            found.tuned[setting] = tuned
        tuned.announce()

    def get_setting(self, operation: str, setting: Setting) -> int:
        """Return the value to be used now; raise `LookupError` for what is not tuned."""
        found = self._operations.get(operation)
        if found is None or setting not in found.tuned:
            raise LookupError(f"the {setting} of {operation} is not tuned")
        return found.tuned[setting].search.value

    def get_operations(self) -> list[str]:
        """Return the operations that there are."""
        return list(self._operations)

    def get_throughput_statistics(self, operation: str, since: float = -math.inf) -> dict[str, Any]:
        """Return figures of the observations kept (since a time in monotonic seconds).

        `rate` is in items for each second of work, None without any; `target` None without one; `busy_seconds` is the
        work; `settings` has for each tuned setting its value, that which is kept, and how many trials ended which way.
        """
        found, seen = self._observed(operation, since)
        items, seconds = math.fsum([each.items for each in seen]), math.fsum([each.seconds for each in seen])
        return {
            "observations": len(seen),
            "items": items,
            "busy_seconds": seconds,
            "rate": items / seconds if seconds else None,
            "target": found.target if found else None,
            "settings": {name: tuned.shown() for name, tuned in found.tuned.items()} if found else {},
        }

    def get_busy_ratio(self, operation: str, since: float, now: float) -> float:
        """Return the seconds of work for each second since a time (monotonic), or since the first observation kept."""
        found, seen = self._observed(operation, since)
        begin = seen[0].at if found and len(seen) == OBSERVATIONS_KEPT else since
        return math.fsum([each.seconds for each in seen]) / max(1e-9, now - begin)

    def get_throughput_trend(self, operation: str) -> dict[str, Any]:
        """Return where the rate goes: `direction` (rising, falling, steady), and `change` over the time, as a ratio.

        It is steady unless rates of the observations kept point one way beyond chance, by 5 % or more.
        """
        _, seen = self._observed(operation, -math.inf)
        points = [(each.at, each.items / each.seconds) for each in seen if each.seconds]
        found = line(points)
        if found is None or not found.is_certain:
            return {"direction": "steady", "change": 0.0}
        begin = found.at_end - found.slope * (points[-1][0] - points[0][0])
        change = found.at_end / begin - 1 if begin > 0 else 0.0
        if abs(change) < TREND_MIN:
            return {"direction": "steady", "change": change}
        return {"direction": "rising" if change > 0 else "falling", "change": change}

    def calculate_optimal_batch_size(
        self, operation: str, *, max_seconds: float | None = None, most: int = 10_000
    ) -> int | None:
        """Return the smallest batch size with 90 % of the highest possible rate; None while that is unknown.

        It takes batches of at least 3 sizes, each seen 3 times. `max_seconds` is the longest time of a batch.
        """
        _, seen = self._observed(operation, -math.inf)
        cost = batch_cost([(each.items, each.seconds) for each in seen])
        return None if cost is None else optimal_size(cost, most, max_seconds)

    def expected_gain(self, operation: str, size: int) -> float | None:
        """Return how many times the present rate batches of a size would have; None while that is unknown."""
        _, seen = self._observed(operation, -math.inf)
        cost = batch_cost([(each.items, each.seconds) for each in seen])
        number = sum([each.items > 0 for each in seen])
        if cost is None or not number:
            return None
        present = math.fsum([each.items for each in seen]) / number
        return cost.rate(size) / cost.rate(present)

    def _observed(self, operation: str, since: float) -> tuple[_Operation | None, list[Observation]]:
        found = self._operations.get(operation)
        with self._lock:
            return found, [each for each in found.observations if each.at >= since] if found else []

    def _own(self, operation: str) -> _Operation:
        """Return an operation, which must not be one of those that are counted together."""
        found = self._operations.get(operation) or self._add(operation)
        if found.name != operation:
            raise ValueError(f"there are {OPERATIONS_MAX} operations already: {operation} has no target or settings")
        return found

    def _add(self, operation: str) -> _Operation:
        with self._lock:
            is_known = operation in self._operations or len(self._operations) < OPERATIONS_MAX
            name = operation if is_known else "__other__"
            if name not in self._operations:
                self._operations[name] = _Operation(name, self._collector)
            return self._operations[name]


_HELP = {"batch_size": "Batch size of an operation.", "workers": "Workers of an operation."}


class _Tuned:
    """A setting that is tried, with the gauge and the function that take its changes."""

    def __init__(self, setting: Setting, search: Search, gauge: Gauge, apply: Callable[[int], object] | None) -> None:
        self.setting, self.search = setting, search
        self._gauge, self._apply = gauge, apply
        self._skip = False
        self._applied: int | None = None
        self._applying = threading.Lock()

    def observe(self, items: float, seconds: float) -> bool:
        """Take an observation; return whether the value is another now."""
        if self.setting == "batch_size" and items != self.search.value:
            return False  # part of a batch, or one begun before a change: it shows nothing of the present size
        if self._skip:  # the first with other workers was begun with the former ones
            self._skip = False
            return False
        before = self.search.value
        self.search.observe(items, seconds)
        is_changed = self.search.value != before
        self._skip = is_changed and self.setting == "workers"
        return is_changed

    def announce(self) -> None:
        """Apply the present value. Called without the lock of the optimizer, since `apply` may wait for an observer.

        Changes made meanwhile are left to the thread that is applying, so that the last value is the last one applied.
        """
        while self._applied != self.search.value and self._applying.acquire(blocking=False):
            try:
                self._applied = value = self.search.value
                self._gauge.set(value)
                if self._apply is not None:
                    self._apply(value)
            finally:
                self._applying.release()

    def shown(self) -> dict[str, Any]:
        search = self.search
        return {
            "value": search.value,
            "kept": search.kept,
            "is_settled": search.is_settled,
            "accepted": search.accepted,
            "taken_back": search.taken_back,
        }


class _Operation:
    def __init__(self, name: str, collector: MetricsCollector) -> None:
        labels = {"operation": name}
        self.name = name
        self.items = collector.counter("program_operation_items_total", "Items that an operation handled.", labels)
        self.seconds = collector.counter("program_operation_seconds_total", "Time of work of an operation.", labels)
        self.observations = deque[Observation](maxlen=OBSERVATIONS_KEPT)
        self.tuned: dict[str, _Tuned] = {}
        self.target: float | None = None

    def trial(self) -> _Tuned | None:
        """Return the setting that observations are for: the first that is not settled, else the first."""
        searching = [each for each in self.tuned.values() if not each.search.is_settled]
        return next(iter(searching or self.tuned.values()), None)
