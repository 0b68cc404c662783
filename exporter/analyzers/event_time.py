"""Whether a feed goes on in time, or somebody tells again what is long past."""

from __future__ import annotations


class Order:
    """The order in which one feed tells what happened; all times are Unix milliseconds.

    What lies more than `past_ms` before the newest that was told is past: a replay, as long as news comes beside it.
    """

    __slots__ = ("_news_from_ms", "_past_ms", "_received_ms")

    def __init__(self, past_ms: int) -> None:
        self._past_ms = past_ms
        self._news_from_ms = 0.0
        self._received_ms = 0

    def is_news(self, told_ms: float, received_ms: int) -> bool:
        """Whether what was received now tells of a time that is not past; then it may be the newest."""
        if told_ms < self._news_from_ms:
            return False
        self._received_ms = received_ms
        # A stamp of the future makes nothing else past.
        past_to_ms = (told_ms if told_ms < received_ms else received_ms) - self._past_ms
        if past_to_ms > self._news_from_ms:
            self._news_from_ms = past_to_ms
        return True

    def turns_back(self, told_ms: float, received_ms: int, patience_ms: int) -> bool:
        """Whether no news came for longer than that: then what is past is all there is, and becomes the newest.

        At once when our own clock was set back.
        """
        if 0 <= received_ms - self._received_ms <= max(patience_ms, self._past_ms):
            return False
        self._news_from_ms = min(told_ms, received_ms) - self._past_ms
        self._received_ms = received_ms
        return True
