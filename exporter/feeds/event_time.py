"""Whether a feed sends new data, or replays old data."""

from __future__ import annotations


class EventTimeWatermark:
    """Event-time watermark of one feed: separates new data from a replay; all times are Unix milliseconds.

    Data from more than `late_ms` before the newest event time is late: a replay, as long as new data comes beside it.
    """

    __slots__ = ("_late_ms", "_received_ms", "_watermark_ms")

    def __init__(self, late_ms: int) -> None:
        self._late_ms = late_ms
        self._watermark_ms = 0.0
        self._received_ms = 0

    def is_on_time(self, event_time_ms: float, received_ms: int) -> bool:
        """Whether data of this event time, received now, is not late; then it may raise the watermark."""
        if event_time_ms < self._watermark_ms:
            return False
        self._received_ms = received_ms
        # A timestamp in the future makes no other data late.
        late_to_ms = (event_time_ms if event_time_ms < received_ms else received_ms) - self._late_ms
        if late_to_ms > self._watermark_ms:
            self._watermark_ms = late_to_ms
        return True

    def turns_back(self, event_time_ms: float, received_ms: int, patience_ms: int) -> bool:
        """Whether no new data came for longer than `patience_ms`: then the late data is all there is, and the newest.

        Immediately when the sidecar's clock was set back.
        """
        if 0 <= received_ms - self._received_ms <= max(patience_ms, self._late_ms):
            return False
        self._watermark_ms = min(event_time_ms, received_ms) - self._late_ms
        self._received_ms = received_ms
        return True
