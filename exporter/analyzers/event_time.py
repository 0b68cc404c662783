"""Whether a feed goes on in time, or somebody tells again what is long past."""

from __future__ import annotations


class EventTimeWatermark:
    """The order in which one feed tells what happened; all times are Unix milliseconds.

    What lies more than `late_ms` before the newest that was told is past: a replay, as long as news comes beside it.
    """

    __slots__ = ("_late_ms", "_received_ms", "_watermark_ms")

    def __init__(self, late_ms: int) -> None:
        self._late_ms = late_ms
        self._watermark_ms = 0.0
        self._received_ms = 0

    def is_on_time(self, event_time_ms: float, received_ms: int) -> bool:
        """Whether what was received now tells of a time that is not past; then it may be the newest."""
        if event_time_ms < self._watermark_ms:
            return False
        self._received_ms = received_ms
        # A stamp of the future makes nothing else past.
        late_to_ms = (event_time_ms if event_time_ms < received_ms else received_ms) - self._late_ms
        if late_to_ms > self._watermark_ms:
            self._watermark_ms = late_to_ms
        return True

    def turns_back(self, event_time_ms: float, received_ms: int, patience_ms: int) -> bool:
        """Whether no news came for longer than that: then what is past is all there is, and becomes the newest.

        At once when our own clock was set back.
        """
        if 0 <= received_ms - self._received_ms <= max(patience_ms, self._late_ms):
            return False
        self._watermark_ms = min(event_time_ms, received_ms) - self._late_ms
        self._received_ms = received_ms
        return True
