"""A rate limit for each key that counts what it suppressed. Pure: time is an argument."""

from __future__ import annotations


class RateLimiter:
    """A token bucket for each key: `burst` at once, then `per_second`. The set of keys is bounded by the caller."""

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = burst
        self._per_ms = per_second / 1000
        self._buckets: dict[str, tuple[float, int]] = {}
        self._suppressed: dict[str, int] = {}

    def admit(self, key: str, now_ms: int) -> int | None:
        """Return how many were suppressed since the last admitted one, or None when this one is suppressed, too."""
        tokens, then_ms = self._buckets.get(key, (float(self._burst), now_ms))
        tokens = min(self._burst, tokens + max(0, now_ms - then_ms) * self._per_ms)
        if tokens < 1:
            self._buckets[key] = (tokens, now_ms)
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return None
        self._buckets[key] = (tokens - 1, now_ms)
        return self._suppressed.pop(key, 0)
