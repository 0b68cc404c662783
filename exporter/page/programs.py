"""The programs that the page shows: a row for each, and all of one with its last minutes."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from exporter.instrument.groups import Group, Groups
from exporter.page.history import STEP_SECONDS
from exporter.performance.counters import MACHINE
from exporter.performance.figures import Figures
from exporter.performance.history import GAUGES, ProgramHistory
from exporter.performance.program import (
    TOTAL,
    alerts,
    bottleneck,
    is_over,
    is_under,
    operations,
    process,
    program_view,
    stages,
)

# Programs with a history; each has at most 64 values of 15 minutes.
HISTORIES_MAX = 100
COLUMNS = (
    "id",
    "name",
    "labels",
    "pushed_ms",
    "failed_ms",
    "expires_ms",
    "bottleneck",
    "over",
    "alerts",
    "breakers_open",
    "latency_seconds",
    "under",
    "cpu_ratio",
    "memory_bytes",
    "memory_limit_bytes",
    "series",
)

Row = list[object]
Shown = dict[str, Any]


class KnownRow(NamedTuple):
    """A row in the order of `COLUMNS`, and the times of pushes between which it stays the same."""

    times: tuple[float, float]
    row: Row


class Programs:
    """Programs of `groups` with `seconds` of history, 0 for none; any thread may ask."""

    def __init__(self, groups: Groups, seconds: float) -> None:
        self._groups = groups
        self._capacity = int(seconds // STEP_SECONDS)
        self._lock = threading.Lock()  # held for milliseconds
        self._times = array("q", bytes(8 * self._capacity))
        self._taken = 0
        self.sampled_ms = 0
        self._histories: dict[str, tuple[int, ProgramHistory]] = {}

    def sample(self, now_ms: int) -> None:
        """Add a sample of each program to its history."""
        if not self._capacity:
            return
        found = {id_of(group.labels): group for group in self._groups.groups()}
        with self._lock:
            slot = self._taken % self._capacity
            self._times[slot] = now_ms
            self._taken += 1
            self.sampled_ms = now_ms
            for gone in self._histories.keys() - found.keys():
                del self._histories[gone]
            for each, group in found.items():
                if each not in self._histories and len(self._histories) < HISTORIES_MAX:
                    self._histories[each] = self._taken - 1, ProgramHistory(self._capacity)
                if each in self._histories:
                    self._histories[each][1].add(slot, group.families, group.pushed_seconds)

    def rows(self, known: Mapping[str, KnownRow]) -> dict[str, KnownRow]:
        """Return the row of each program by its id; those that are known are not read again before the next push."""
        found: dict[str, KnownRow] = {}
        for group in self._groups.groups():
            each, times = id_of(group.labels), (group.pushed_seconds, group.failed_seconds)
            before = known.get(each)
            is_same = before is not None and before.times == times
            found[each] = before if before and is_same else KnownRow(times, self._row(each, group))
        return found

    def view(self, text: str) -> Shown | None:
        """Return all that is shown of the program with an id, None for an unknown one."""
        wanted = "/".join(quote(unquote(part), safe="") for part in text.split("/"))
        group = next((each for each in self._groups.groups() if id_of(each.labels) == wanted), None)
        if group is None:
            return None
        with self._lock:
            first, history = self._histories.get(wanted, (self._taken, ProgramHistory(0)))
            begin = max(first, self._taken - self._capacity)
            slots = [number % self._capacity for number in range(begin, self._taken)] if self._capacity else []
            view = program_view(group.families, history.recent(group.families, group.pushed_seconds))
            _add_series(view, history, slots)
            times = [self._times[slot] for slot in slots]
        return {"columns": COLUMNS, "row": self._row(wanted, group), "times_ms": times, **view}

    def _row(self, each: str, group: Group) -> Row:
        figures, labels = Figures(group.families), group.labels
        with self._lock:
            _, history = self._histories.get(each, (0, ProgramHistory(0)))
            recent = history.recent(group.families, group.pushed_seconds)
        found, used, worked = stages(figures, recent), process(figures), operations(figures, recent)
        open_breakers = sum(value == 2 for value in figures.by("program_breaker_state", "breaker").values())
        whole = next((row["p95_seconds"] for row in found if row["stage"] == TOTAL), None)
        return [
            each,
            labels.get("job", ""),
            dict(labels),
            *map(_ms, (group.pushed_seconds, group.failed_seconds, group.expires_seconds)),
            bottleneck(found),
            sum(map(is_over, found)),
            len(alerts(figures)),
            open_breakers,
            whole,
            sum(map(is_under, worked)),
            used["cpu_ratio"],
            used["memory_bytes"],
            used["memory_limit_bytes"],
            sum(len(family.samples) for family in group.families),
        ]


class ProgramRows:
    """The rows of all programs as streams show them; belongs to one thread at a time."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._known: dict[str, KnownRow] = {}

    def changed(self) -> Shown:
        """Read the programs; return the rows that have changed since, and the ids of programs that are gone."""
        before, self._known = self._known, self._programs.rows(self._known)
        changed = [known.row for each, known in self._known.items() if before.get(each) is not known]
        removed = sorted(before.keys() - self._known.keys())
        return ({"programs": changed} if changed else {}) | ({"programs_removed": removed} if removed else {})

    def all(self) -> Shown:
        """Return the rows as they were read last."""
        return {"program_columns": COLUMNS, "programs": [known.row for known in self._known.values()]}


def id_of(labels: Mapping[str, str]) -> str:
    """Return the id of a program, which follows `/programs/` in the address of its view: JOB/LABEL/VALUE...

    Segments that browsers would take for a step up or for none begin with `~`.
    """
    others = sorted((name, value) for name, value in labels.items() if name != "job")
    parts = [labels.get("job", ""), *(part for pair in others for part in pair)]
    return "/".join(quote(f"~{part}" if part in ("", ".", "..") or part[0] == "~" else part, safe="") for part in parts)


def _ms(seconds: float) -> int | None:
    return round(seconds * 1000) if seconds else None


def _add_series(view: Shown, history: ProgramHistory, slots: list[int]) -> None:
    """Add the last minutes to what has some."""
    for kind, rows in (("stage", view["stages"]), ("operation", view["operations"]), ("cache", view["caches"])):
        for row in rows:
            row["history"] = history.series(f"{kind}:{row[kind]}", slots)
    view["history"] = {name: history.series(name, slots) for name in (*GAUGES, *MACHINE)}
