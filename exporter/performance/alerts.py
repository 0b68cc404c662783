"""Alerts that a moment neither raises nor clears. Pure: times are arguments."""

from __future__ import annotations

from typing import NamedTuple

RAISE_SECONDS = 30.0
CLEAR_SECONDS = 30.0
# Without a figure for so long, an alert ends: a stage that no longer runs is not slow.
UNKNOWN_SECONDS = 60.0
# An alert clears at a tenth within the threshold, so that a figure on it does not go to and fro.
MARGIN = 0.1


class Level(NamedTuple):
    """A figure beside its threshold; `is_target` if it has to be above it. `figure` is None while it is unknown."""

    figure: float | None
    threshold: float
    is_target: bool = False

    def is_beyond(self) -> bool:
        """Return whether the figure is on the wrong side."""
        if self.figure is None:
            return False
        return self.figure < self.threshold if self.is_target else self.figure > self.threshold

    def is_well_within(self) -> bool:
        """Return whether the figure is a tenth within the threshold."""
        if self.figure is None:
            return False
        if self.is_target:
            return self.figure >= self.threshold  # a program that reaches its target does so exactly
        return self.figure <= self.threshold * (1 - MARGIN)


class AlertState:
    """Whether an alert is active: after 30 s beyond its threshold, until 30 s well within it."""

    def __init__(self) -> None:
        self.is_active = False
        self.since = 0.0
        self._beyond_since: float | None = None
        self._within_since: float | None = None
        self._known_at: float | None = None

    def update(self, level: Level, now: float) -> bool:
        """Return whether the alert is active at `now` (seconds)."""
        if level.figure is None:
            if self._known_at is not None and now - self._known_at >= UNKNOWN_SECONDS:
                self.is_active, self._beyond_since, self._within_since = False, None, None
            return self.is_active
        self._known_at = now
        self._beyond_since = _since(self._beyond_since, level.is_beyond(), now)
        self._within_since = _since(self._within_since, level.is_well_within(), now)
        if not self.is_active and self._beyond_since is not None and now - self._beyond_since >= RAISE_SECONDS:
            self.is_active, self.since = True, self._beyond_since
        elif self.is_active and self._within_since is not None and now - self._within_since >= CLEAR_SECONDS:
            self.is_active = False
        return self.is_active


def _since(begin: float | None, holds: bool, now: float) -> float | None:
    return None if not holds else now if begin is None else begin
