"""What streams show of a single program that serves the view *Programs* itself."""

from __future__ import annotations

from secrets import token_hex

import orjson

from exporter.model import EventType
from exporter.page.history import STEP_SECONDS
from exporter.page.programs import ProgramRows, Programs
from exporter.page.watch import Tick
from exporter.runtime.clock import Clock


class ProgramWatch:
    """The state of the program as streams show it; see `exporter.page.watch.Watch`."""

    def __init__(self, programs: Programs, clock: Clock, sidecar: dict[str, object]) -> None:
        self.start = token_hex(4)
        self._programs = programs
        self._rows = ProgramRows(programs)
        self._clock = clock
        self._sidecar = sidecar
        self._number = 0
        self._sampled_ms = 0
        self._now: dict[str, object] = {}

    def tick(self, _types: frozenset[EventType], tick_seconds: float) -> Tick:
        """Take the next step; nothing is published here."""
        self._number += 1
        self._now = {"now_ms": self._clock.now_ms(), "tick_seconds": tick_seconds}
        before, self._sampled_ms = self._sampled_ms, self._programs.sampled_ms
        sampled = {"sampled_ms": self._sampled_ms} if self._sampled_ms != before else {}
        return Tick(self._number, orjson.dumps({**self._now, **self._rows.changed(), **sampled}), {})

    def snapshot(self) -> tuple[int, bytes]:
        """Return the number of the last step, and the JSON of the whole state after it."""
        state = {**self._now, "start": self.start, "columns": [], "feeds": [], "sidecar": self._sidecar}
        return self._number, orjson.dumps({**state, **self._rows.all()})

    def close(self) -> None:
        """Do nothing: nothing was begun."""


def described(
    instance: str, version: str, started_ms: int, history_seconds: float, telemetry_path: str
) -> dict[str, object]:
    """Return the section about the program that serves the page; times in Unix milliseconds and seconds."""
    return {
        "instance": instance,
        "version": version,
        "started_ms": started_ms,
        "history_seconds": history_seconds,
        "history_step_seconds": STEP_SECONDS,
        "telemetry_path": telemetry_path,
        "shares": False,
        "views": ["programs"],
        "takes_pushes": True,
    }
