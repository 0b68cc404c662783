"""Recommendations from figures: each has a figure beyond its threshold and what to change, or it is not given. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

HIT_RATE_MIN = 0.8
EVICTION_RATIO_MAX = 0.2
CACHE_REQUESTS_MIN = 100
SECONDS_TO_LIMIT_MIN = 6 * 3600.0
LEAK_SPAN_SECONDS = 60.0
# Growth of a minute foretells no more than 20 minutes.
LEAK_HORIZON = 20
CPU_RATIO_MAX = 0.8
THREAD_RATIO_MAX = 0.9
MEMORY_RATIO_MAX = 0.8
GAIN_MIN = 1.5
BUSY_RATIO_MIN = 0.5
OBSERVATIONS_MIN = 10
QUEUE_RATIO_MAX = 0.8


class Recommendation(NamedTuple):
    """A figure beyond its threshold, and what to change. `about` is a stage, operation, cache, handler or empty."""

    kind: str
    about: str
    figure: float
    threshold: float
    unit: str
    change: str


class SlowStage(NamedTuple):
    """A stage above its threshold; `largest` is the part with the largest share where it is the whole pipeline."""

    stage: str
    p95_ms: float
    threshold_ms: float
    share: float
    largest: tuple[str, float] | None


class CacheUse(NamedTuple):
    """A cache in the time that is looked at."""

    name: str
    entries: int
    capacity: int
    requests: int
    hits: int
    evictions: int


class HandlerUse(NamedTuple):
    """A handler of an event bus in the time that is looked at."""

    name: str
    dropped: int
    queue_length: int
    queue_capacity: int


class OperationUse(NamedTuple):
    """An operation in the time that is looked at; `busy_ratio` is the part of the time that it worked."""

    name: str
    observations: int
    rate: float | None
    target: float | None
    busy_ratio: float
    batch_size: float
    optimal_batch_size: int | None
    gain: float | None


class MachineUse(NamedTuple):
    """Medians of the last half minute as ratios; None while unknown."""

    cpu: float | None = None
    busiest_thread: float | None = None
    machine_cpu: float | None = None
    memory: float | None = None
    machine_memory: float | None = None


class MemoryUse(NamedTuple):
    """The trend of memory."""

    bytes_per_second: float = 0.0
    seconds_to_limit: float | None = None
    span_seconds: float = 0.0


class Facts(NamedTuple):
    """All that recommendations come from."""

    stages: tuple[SlowStage, ...] = ()
    caches: tuple[CacheUse, ...] = ()
    handlers: tuple[HandlerUse, ...] = ()
    operations: tuple[OperationUse, ...] = ()
    machine: MachineUse = MachineUse()
    memory: MemoryUse = MemoryUse()


def recommendations(facts: Facts) -> list[Recommendation]:
    """Return what to change, from what is beyond its threshold; none without it."""
    rules: tuple[Callable[[Facts], Iterable[Recommendation]], ...] = (
        _stages, _operations, _caches, _handlers, _processor, _memory,
    )  # fmt: skip
    return [each for rule in rules for each in rule(facts)]


def _stages(facts: Facts) -> Iterator[Recommendation]:
    for stage, p95, threshold, share, largest in facts.stages:
        if largest is None:
            change = f"make {stage} faster or do it less often: it takes {share:.0%} of the pipeline's time"
        else:
            change = f"begin with {largest[0]}, which takes {largest[1]:.0%} of the pipeline's time"
        yield Recommendation("latency", stage, p95, threshold, "ms, p95", change)


def _operations(facts: Facts) -> Iterator[Recommendation]:
    for each in facts.operations:
        if each.observations < OBSERVATIONS_MIN or each.rate is None:
            continue
        # An operation that waits for work is not below its target: it has parts of batches.
        is_busy = each.busy_ratio >= BUSY_RATIO_MIN
        is_below = is_busy and each.target is not None and each.rate < each.target
        optimal, gain = each.optimal_batch_size, each.gain
        larger = optimal if optimal is not None and optimal > each.batch_size else None
        pays = larger is not None and gain is not None and gain >= GAIN_MIN
        if pays and gain is not None and is_busy:
            change = f"raise the batch size from {each.batch_size:.0f} to {larger}: {gain:.1f} times the rate"
            yield Recommendation("batch_size", each.name, each.batch_size, float(larger or 0), "items", change)
        if is_below and each.target is not None:
            change = "raise its batch size as above" if pays else "add workers, or spend less time on each item"
            yield Recommendation("throughput", each.name, each.rate, each.target, "items/s", change)


def _caches(facts: Facts) -> Iterator[Recommendation]:
    for each in facts.caches:
        if each.requests < CACHE_REQUESTS_MIN or each.entries < 0.95 * each.capacity:
            continue
        hit_rate, evicted = each.hits / each.requests, each.evictions / each.requests
        if hit_rate < HIT_RATE_MIN and evicted > EVICTION_RATIO_MAX:
            change = f"raise the capacity above {each.capacity} entries: {evicted:.0%} of requests evict an entry"
            yield Recommendation("cache", each.name, hit_rate, HIT_RATE_MIN, "hit rate", change)


def _handlers(facts: Facts) -> Iterator[Recommendation]:
    for each in facts.handlers:
        if each.dropped:
            change = "make the handler faster or split its work over several: its events are dropped"
            yield Recommendation("bus", each.name, float(each.dropped), 0.0, "dropped events", change)
        elif each.queue_capacity and each.queue_length > QUEUE_RATIO_MAX * each.queue_capacity:
            threshold = QUEUE_RATIO_MAX * each.queue_capacity
            change = "make the handler faster or split its work over several: its queue is nearly full"
            yield Recommendation("bus", each.name, float(each.queue_length), threshold, "queued events", change)


def _processor(facts: Facts) -> Iterator[Recommendation]:
    own, thread, machine = facts.machine.cpu, facts.machine.busiest_thread, facts.machine.machine_cpu
    if own is not None and own > CPU_RATIO_MAX:
        change = "give the program more cores, or less work: it uses nearly all that it may"
        yield Recommendation("cpu", "program", own, CPU_RATIO_MAX, "of its cores", change)
    elif thread is not None and thread > THREAD_RATIO_MAX:
        change = "move work of this thread to other processes: one core is saturated while others are free"
        yield Recommendation("core", "busiest thread", thread, THREAD_RATIO_MAX, "of a core", change)
    elif machine is not None and machine > CPU_RATIO_MAX:
        change = "move other programs elsewhere: the machine is busy, this program is not"
        yield Recommendation("cpu", "machine", machine, CPU_RATIO_MAX, "of the machine", change)


def _memory(facts: Facts) -> Iterator[Recommendation]:
    rate, left, span = facts.memory
    threshold = min(SECONDS_TO_LIMIT_MIN, LEAK_HORIZON * span)
    if left is not None and left < threshold and span >= LEAK_SPAN_SECONDS:
        change = f"find what keeps growing by {rate / 1e6:.2g} MB/s (tracemalloc), bound it, or restart in time"
        yield Recommendation("leak", "program", left, threshold, "seconds to the limit", change)
    if facts.machine.memory is not None and facts.machine.memory > MEMORY_RATIO_MAX:
        change = "raise the limit, or keep less: call optimize_memory, lower the capacity of caches"
        yield Recommendation("memory", "program", facts.machine.memory, MEMORY_RATIO_MAX, "of the limit", change)
    elif facts.machine.machine_memory is not None and facts.machine.machine_memory > MEMORY_RATIO_MAX:
        change = "move programs elsewhere: the machine has little memory left"
        yield Recommendation(
            "memory", "machine", facts.machine.machine_memory, MEMORY_RATIO_MAX, "of the machine", change
        )
