"""The rounds of one source, paired by correlation id. Pure.

A round begins with `new_data_received` and ends with `data_processing_completed`. These are two topics, so the end may
be read before the beginning. An end waits for its beginning before it counts as unpaired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from exporter.ingestion.view.usual import UsualLength, round_limit_ms
from exporter.instrument.histogram import Bounds, Histogram
from exporter.model import Arrival

DURATION = "marketdata_ingestion_round_duration_seconds"
DURATION_BOUNDS = Bounds(
    (100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000),
    per_unit=1000,
)
# An end waits for its beginning for so long, and so does a round for its end after a time without reading.
GRACE_MS = 15_000
# An open round is dropped after so long.
EXPIRY_MS = 86_400_000
# Two durations, by the times of the records and by those of their arrival, may differ by so much because of the way
# the sidecar reads. Those of records are finer, but wrong when two clocks made them.
READ_MS = 2_000
LONGEST_ID = 200
# Ends that are kept for each open round that may be kept: a backlog of ends may be read before that of beginnings.
ENDS = 10


@dataclass(slots=True)
class RoundCounts:
    """Numbers of the rounds of one source.

    `late`: completed after they were overdue. `mismatched`: `data_count` differs from `total_processed`. `unpaired`:
    ends without a beginning. `expired`: open for a day. `dropped`: removed to make room for others, or old and without
    an end among those that are kept.
    `announced` and `processed` are the sums of `data_count` and `total_processed`.
    """

    begun: int = 0
    completed: int = 0
    overdue: int = 0
    late: int = 0
    mismatched: int = 0
    unpaired: int = 0
    expired: int = 0
    dropped: int = 0
    announced: int = 0
    processed: int = 0


class OpenRound:
    """A round without an end: `since_ms` is its beginning by the clock of the sidecar, in Unix milliseconds."""

    __slots__ = ("arrival", "correlation_id", "data_count", "is_overdue", "since_ms")

    def __init__(self, correlation_id: str, data_count: int, arrival: Arrival) -> None:
        self.correlation_id = correlation_id
        self.data_count = data_count
        self.arrival = arrival
        self.since_ms = moment_ms(arrival)
        self.is_overdue = False

    def age_ms(self, now_ms: int) -> int:
        """Return the age; 0 for one that begins in the future."""
        return max(0, now_ms - self.since_ms)


class CompletedRound(NamedTuple):
    """A round with its end; `duration_ms` is None when the clocks do not show it."""

    correlation_id: str
    data_count: int
    total_processed: int
    duration_ms: int | None
    since_ms: int

    @property
    def is_complete(self) -> bool:
        """Whether all that was announced was processed, and nothing more."""
        return self.data_count == self.total_processed


class _End:
    """An end: it waits for its beginning, is paired with it, or is counted as unpaired."""

    __slots__ = ("arrival", "is_paired", "total_processed")

    def __init__(self, total_processed: int, arrival: Arrival) -> None:
        self.total_processed = total_processed
        self.arrival = arrival
        self.is_paired = False


class Rounds:
    """The rounds of one source: at most `limit` open ones are kept, and `ENDS` times as many ends.

    `last` is the completed round that began last, None before the first. `durations` has those that are known.
    """

    __slots__ = ("_ends", "_forgotten_ms", "_limit", "_waiting", "counts", "durations", "last", "open", "usual")

    def __init__(self, limit: int, durations: Histogram | None = None) -> None:
        self.counts = RoundCounts()
        self.durations = durations or Histogram(DURATION_BOUNDS)
        self.usual = UsualLength()
        self.open: dict[str, OpenRound] = {}
        self.last: CompletedRound | None = None
        self._limit = limit
        self._ends: dict[str, _End] = {}
        self._waiting: dict[str, _End] = {}
        self._forgotten_ms = 0  # ends until then are not all kept

    @property
    def limit_ms(self) -> int:
        """The age at which a round is overdue."""
        return round_limit_ms(self.usual.value_ms)

    def begin(self, correlation_id: str, data_count: int, arrival: Arrival, *, is_new: bool = True) -> bool:
        """Begin a round; return False if it was begun before. What is not new is counted nowhere."""
        key = bounded_id(correlation_id)
        end = self._ends.get(key)
        if key in self.open or (end is not None and end.is_paired):
            return False
        counts = self.counts if is_new else RoundCounts()
        counts.begun += 1
        counts.announced += data_count
        begun = OpenRound(key, data_count, arrival)
        if end is not None:
            self._pair(begun, end, counts)
        elif begun.since_ms <= self._forgotten_ms:
            counts.dropped += 1  # its end may have been read and forgotten
        else:
            self._keep_open(begun, counts)
        return True

    def complete(self, correlation_id: str, total_processed: int, arrival: Arrival, *, is_new: bool = True) -> bool:
        """Complete a round; return False if it was completed before. What is not new is counted nowhere."""
        key = bounded_id(correlation_id)
        if key in self._ends:
            return False
        counts = self.counts if is_new else RoundCounts()
        counts.processed += total_processed
        end = self._ends[key] = _End(total_processed, arrival)
        begun = self.open.pop(key, None)
        if begun is None:
            self._waiting[key] = end
        else:
            self._pair(begun, end, counts)
        if len(self._ends) > ENDS * self._limit:
            self._forget_end()
        return True

    def evaluate(self, now_ms: int, listening_since_ms: int, certain_from_ms: int) -> list[OpenRound]:
        """Return the open rounds that are overdue since the last evaluation.

        Of a round that began before `listening_since_ms` the end may have to be read yet. An end that arrived before
        `certain_from_ms` may have begun before anything was read, and is not counted as unpaired.
        """
        self._settle(now_ms, listening_since_ms, certain_from_ms)
        for round_ in [each for each in self.open.values() if each.age_ms(now_ms) >= EXPIRY_MS]:
            del self.open[round_.correlation_id]
            self.counts.expired += 1
        found = [each for each in self.open.values() if self._is_due(each, now_ms, listening_since_ms)]
        for round_ in found:
            round_.is_overdue = True
        self.counts.overdue += len(found)
        return found

    def current_overdue(self) -> OpenRound | None:
        """Return the overdue round that began first, unless a round that began later is completed."""
        last_ms = self.last.since_ms if self.last else 0
        overdue = [each for each in self.open.values() if each.is_overdue and each.since_ms >= last_ms]
        return min(overdue, key=lambda each: each.since_ms, default=None)

    def oldest_ms(self) -> int:
        """Return the beginning of the oldest open round in Unix milliseconds, 0 without one."""
        return min((each.since_ms for each in list(self.open.values())), default=0)

    def forget_until(self, time_ms: int) -> None:
        """Note that ends until `time_ms` are not all read: rounds that were open then are kept no longer."""
        self._forgotten_ms = max(self._forgotten_ms, time_ms)
        for round_ in [each for each in self.open.values() if each.since_ms <= time_ms]:
            del self.open[round_.correlation_id]

    def release(self) -> None:
        """Forget all but what was counted: another member reads the rounds."""
        self.usual, self.last, self._forgotten_ms = UsualLength(), None, 0
        self.open, self._ends, self._waiting = {}, {}, {}

    def set_back(self, now_ms: int) -> None:
        """Let no moment be later than now: the clock was set back."""
        for round_ in self.open.values():
            if round_.since_ms > now_ms:
                round_.since_ms, round_.arrival = now_ms, _arrived(round_.arrival, now_ms)
        for end in self._waiting.values():
            end.arrival = _arrived(end.arrival, now_ms)
        self._forgotten_ms = min(self._forgotten_ms, now_ms)
        if self.last is not None:
            self.last = self.last._replace(since_ms=min(self.last.since_ms, now_ms))

    def _is_due(self, round_: OpenRound, now_ms: int, listening_since_ms: int) -> bool:
        if round_.is_overdue or round_.age_ms(now_ms) < self.limit_ms:
            return False
        return round_.since_ms >= listening_since_ms or now_ms - listening_since_ms >= GRACE_MS

    def _keep_open(self, begun: OpenRound, counts: RoundCounts) -> None:
        self.open[begun.correlation_id] = begun
        if len(self.open) > self._limit:
            del self.open[next(iter(self.open))]
            counts.dropped += 1

    def _forget_end(self) -> None:
        """Forget the oldest end; it is unpaired if it waited, unless it is old and its beginning may be unread."""
        key = next(iter(self._ends))
        end = self._ends.pop(key)
        self._forgotten_ms = max(self._forgotten_ms, moment_ms(end.arrival))
        self.counts.unpaired += self._waiting.pop(key, None) is not None and end.arrival.is_live

    def _pair(self, begun: OpenRound, end: _End, counts: RoundCounts) -> None:
        end.is_paired = True
        self._waiting.pop(begun.correlation_id, None)
        duration_ms = duration_between(begun.arrival, end.arrival)
        done = CompletedRound(begun.correlation_id, begun.data_count, end.total_processed, duration_ms, begun.since_ms)
        counts.completed += 1
        counts.late += begun.is_overdue
        counts.mismatched += not done.is_complete
        if duration_ms is not None:
            self.usual.add(duration_ms)
            if counts is self.counts:
                self.durations.add(duration_ms)
        if self.last is None or done.since_ms >= self.last.since_ms:
            self.last = done

    def _settle(self, now_ms: int, listening_since_ms: int, certain_from_ms: int) -> None:
        """Count the ends that have waited for long enough, of which the oldest comes first."""
        for key in list(self._long_waiting(now_ms, listening_since_ms)):
            self.counts.unpaired += self._waiting.pop(key).arrival.received_ms >= certain_from_ms

    def _long_waiting(self, now_ms: int, listening_since_ms: int) -> Iterator[str]:
        for key, end in self._waiting.items():
            if now_ms - max(end.arrival.received_ms, listening_since_ms) < GRACE_MS:
                return
            yield key


def bounded_id(correlation_id: str) -> str:
    """Return an id of limited length, which differs where the ids do."""
    if len(correlation_id) <= LONGEST_ID:
        return correlation_id
    return f"{correlation_id[:80]}…{blake2b(correlation_id.encode(errors='replace'), digest_size=16).hexdigest()}"


def moment_ms(arrival: Arrival) -> int:
    """Return when an event was sent, as far as it is known, but no later than it was received."""
    if arrival.is_live or arrival.record_ms <= 0:
        return arrival.received_ms
    return min(arrival.record_ms, arrival.received_ms)


def duration_between(begun: Arrival, ended: Arrival) -> int | None:
    """Return the milliseconds between two events; None when one of them is old and their records have no order."""
    are_stamped = begun.record_ms > 0 and ended.record_ms > 0
    by_records = ended.record_ms - begun.record_ms if are_stamped else -1
    if not (begun.is_live and ended.is_live):
        return by_records if by_records >= 0 else None
    by_arrival = max(0, ended.received_ms - begun.received_ms)
    return by_records if by_records >= 0 and abs(by_records - by_arrival) <= READ_MS else by_arrival


def _arrived(arrival: Arrival, now_ms: int) -> Arrival:
    """Return an arrival that is no later than now."""
    return Arrival(arrival.record_ms, min(arrival.received_ms, now_ms), arrival.is_live, arrival.is_replay)
