"""One source of ingestion events: its rounds, its rhythm, its clock and its state. Pure."""

from __future__ import annotations

from collections import deque
from statistics import median

from exporter.ingestion.view.rounds import OpenRound, Rounds, moment_ms
from exporter.ingestion.view.states import SourceDiagnosis, SourceInputs, SourceState, diagnose, silent_limit_ms
from exporter.ingestion.view.usual import UsualLength
from exporter.instrument.histogram import Histogram
from exporter.model import Arrival

STAMPS_KEPT = 9


class IngestionSource:
    """What is known of one source; times are Unix milliseconds by the clock of the sidecar.

    `updates` are new rates, `outdated` such that a newer one was known before. `diagnosis` is that of the last
    evaluation.
    """

    __slots__ = (
        "_begun_ms",
        "_offsets",
        "diagnosis",
        "intervals",
        "last_event_ms",
        "outdated",
        "rounds",
        "updates",
    )

    def __init__(self, rounds_limit: int, durations: Histogram | None = None) -> None:
        self.rounds = Rounds(rounds_limit, durations)
        self.updates = 0
        self.outdated = 0
        self._offsets: deque[int] = deque(maxlen=STAMPS_KEPT)
        self._begin()

    def _begin(self) -> None:
        self.intervals = UsualLength()
        self.last_event_ms = 0
        self.diagnosis = SourceDiagnosis(SourceState.UNKNOWN, "no round is completed yet")
        self._begun_ms = 0
        self._offsets.clear()

    def release(self) -> None:
        """Forget all but what was counted: another member reads the rounds."""
        self.rounds.release()
        self._begin()

    @property
    def clock_offset_ms(self) -> float | None:
        """How far the clock of the source is ahead: the median over the last current events; None without one."""
        return median(self._offsets) if self._offsets else None

    def see(self, arrival: Arrival) -> None:
        """Take the time of any event into account."""
        self.last_event_ms = max(self.last_event_ms, moment_ms(arrival))

    def compare_clock(self, stamp_ms: int, arrival: Arrival) -> None:
        """Compare the clock of the source with that of the sidecar, by a stamp made when an event was sent."""
        if arrival.is_live:
            self._offsets.append(stamp_ms - arrival.received_ms)

    def begin(self, correlation_id: str, data_count: int, arrival: Arrival, *, is_new: bool) -> bool:
        """See Rounds; the interval since the last beginning is learned."""
        if not self.rounds.begin(correlation_id, data_count, arrival, is_new=is_new):
            return False
        begun_ms = moment_ms(arrival)
        if self._begun_ms and begun_ms > self._begun_ms:
            self.intervals.add(begun_ms - self._begun_ms)
        self._begun_ms = max(self._begun_ms, begun_ms)
        return True

    def evaluate(self, now_ms: int, listening_since_ms: int, certain_from_ms: int, obstacle: str) -> list[OpenRound]:
        """Set the diagnosis, and return the rounds that are overdue since the last evaluation; see Rounds."""
        rounds = self.rounds
        found = [] if obstacle else rounds.evaluate(now_ms, listening_since_ms, certain_from_ms)
        inputs = SourceInputs(
            self.last_event_ms,
            listening_since_ms,
            silent_limit_ms(self.intervals.value_ms),
            rounds.current_overdue(),
            rounds.usual.value_ms,
            rounds.last,
            obstacle,
        )
        self.diagnosis = diagnose(inputs, now_ms)
        return found

    def set_back(self, now_ms: int) -> None:
        """Let no moment be later than now: the clock was set back."""
        self.last_event_ms, self._begun_ms = min(self.last_event_ms, now_ms), min(self._begun_ms, now_ms)
        self._offsets.clear()
        self.rounds.set_back(now_ms)
