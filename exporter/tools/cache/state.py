"""The state of a cache service: healthy, ready, and as text for its page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from exporter.model import Status

# A partition that is released waits up to 20 s for its handler.
STUCK_SECONDS = 60.0


class PartitionState(NamedTuple):
    """An assigned partition: its topic and number, records to its end (None: unknown), and events in memory."""

    name: str
    lag: int | None
    queued: int


class ServiceState(NamedTuple):
    """What is known of a service; `redis_error` is why Redis cannot be written, None when it can."""

    is_member: bool
    partitions: tuple[PartitionState, ...]
    stuck_seconds: float
    redis_error: str | None

    def healthy(self) -> Status:
        """Return whether its loops turn."""
        if self.stuck_seconds < STUCK_SECONDS:
            return Status(True)
        return Status(False, (f"nothing was done for {self.stuck_seconds:.0f} s",))

    def ready(self, warnings: tuple[str, ...] = ()) -> Status:
        """Return whether caches follow events now."""
        reasons = [] if self.is_member else ["Kafka: not a member of the group yet"]
        if self.redis_error is not None:
            reasons.append(f"Redis: {self.redis_error}")
        return Status(not reasons, tuple(reasons), warnings)


def text_lines(
    state: ServiceState, counts: Mapping[tuple[str, str], float], updates: Mapping[str, float], now_seconds: float
) -> Iterator[str]:
    """Yield the lines of the page.

    `counts` are numbers of events by topic and outcome, `updates` the Unix times of the newest updates by currency.
    """
    status = state.ready()
    yield "cache service: ready" if status.ok else "cache service: not ready"
    yield from (f"  {reason}" for reason in status.reasons)
    yield from _section("partitions", map(_partition_line, state.partitions))
    yield from _section("events", (f"{topic} {outcome} {count:.0f}" for (topic, outcome), count in counts.items()))
    oldest_first = sorted(updates.items(), key=lambda pair: pair[1])
    rates = (f"{code} updated {max(0.0, now_seconds - updated):.0f} s ago" for code, updated in oldest_first)
    yield from _section("rates", rates)


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    yield from (f"  {line}" for line in lines)


def _partition_line(each: PartitionState) -> str:
    lag = "unknown" if each.lag is None else each.lag
    return f"{each.name} lag {lag} queued {each.queued}"
