"""Faults one after another and in pairs, and what became of the records that kept coming: a row for each fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic
from typing import Protocol, TypeVar

from tests.chaos.brokers import Brokers
from tests.chaos.faults import ALL

PAIRS = 0.25  # of all faults, those that come with another one


@dataclass
class Row:
    """One kind of fault: how often it was, what was missing or doubled after it, and the longest time to catch up."""

    times: int = 0
    missing: int = 0
    doubled: int = 0
    recovery: float = 0.0


@dataclass
class Report:
    """What a run showed; `problems` is empty when all that was promised held."""

    rows: dict[str, Row] = field(default_factory=dict)
    batches: int = 0
    verdicts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{'fault':20} {'times':>6} {'missing':>8} {'doubled':>8} {'longest recovery':>17}"]
        for name, row in self.rows.items():
            lines.append(f"{name:20} {row.times:6} {row.missing:8} {row.doubled:8} {row.recovery:15.1f} s")
        problems = [f"PROBLEM: {problem}" for problem in self.problems]
        return "\n".join([*lines, f"{self.batches} records", *self.verdicts, *problems])


@dataclass(frozen=True)
class Plan:
    """What is promised, by which kind of group, on how many brokers, and what chance begins with."""

    delivery: str = "exactly_once"  # or consumers, for members of a MessageConsumer's group
    protocol: str = "classic"
    brokers: int = 1
    seed: int = 1

    def __str__(self) -> str:
        brokers = "1 broker" if self.brokers == 1 else f"{self.brokers} brokers"
        return f"{self.delivery}, {self.protocol} group, {brokers}, seed {self.seed}"


Input = TypeVar("Input")


class Stand(Protocol[Input]):
    """Processes that read while `flowing`, and what is known of the records that were written and handled."""

    brokers: Brokers
    random: Random

    def flowing(self) -> AbstractContextManager[None]:
        """Records keep coming within this."""
        ...

    def input(self) -> Input:
        """What is written until now."""
        ...

    def missing(self, written: Input) -> int:
        """How many records of these were not handled yet."""
        ...

    def doubled(self) -> int:
        """How many records were handled again."""
        ...

    def recovered(self) -> None:
        """Wait until all that is written now is handled."""
        ...


@contextmanager
def trial(directory: Path, plan: Plan, faults: Sequence[str]) -> Iterator[tuple[Brokers, Report]]:
    """Brokers that run within this, and a report with a row for each fault that can be had."""
    report = Report()
    with Brokers(directory, plan.brokers) as brokers:
        if brokers.disk.refusal and "disk full" in faults:
            faults = [name for name in faults if name != "disk full"]
            report.verdicts.append(f"SKIPPED: disk full; no small disk can be mounted: {brokers.disk.refusal}")
        report.rows = {name: Row() for name in faults}
        yield brokers, report


def endure(stand: Stand[Input], report: Report, seconds: float) -> None:
    """Do each fault of the report once, in any order, and go on with faults at random until so much time has passed."""
    with stand.flowing():
        for names in _order(stand.random, list(report.rows), monotonic() + seconds):
            _suffer(stand, names, report)
    try:
        stand.recovered()
    except AssertionError as error:
        report.problems.append(str(error))


def _order(chance: Random, faults: Sequence[str], deadline: float) -> Iterator[list[str]]:
    """Yield each fault once, then faults and pairs of them at random until the deadline (monotonic)."""
    for name in chance.sample(faults, len(faults)):
        yield [name]
    while monotonic() < deadline:
        yield chance.sample(faults, 2 if chance.random() < PAIRS and len(faults) > 1 else 1)


def _suffer(stand: Stand[Input], names: list[str], report: Report) -> None:
    doubled = stand.doubled()
    for name in names:
        ALL[name](stand)
    stand.brokers.proxy.heal()
    began, written = monotonic(), stand.input()
    left = 0
    try:
        stand.recovered()
    except AssertionError:
        left = stand.missing(written)
        report.problems.append(f"{' and '.join(names)}: {left} records are missing")
    for name in names:
        row = report.rows[name]
        row.times += 1
        row.missing += left
        row.doubled += stand.doubled() - doubled
        row.recovery = max(row.recovery, monotonic() - began)
