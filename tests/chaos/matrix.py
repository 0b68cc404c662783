"""Faults one after another and in pairs, and what became of the batches: a row for each fault, and a verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.chaos.broker import ProxiedBroker
from tests.chaos.faults import FAULTS
from tests.chaos.stage import BROKER, Stage
from tests.chaos.watch import accepted
from tests.support.traffic import disordered, missing, surplus, totals
from tests.support.waiting import eventually

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
    scrapes: int = 0
    slowest_scrape: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{'fault':20} {'times':>6} {'missing':>8} {'doubled':>8} {'longest recovery':>17}"]
        for name, row in self.rows.items():
            lines.append(f"{name:20} {row.times:6} {row.missing:8} {row.doubled:8} {row.recovery:15.1f} s")
        scrapes = f"{self.scrapes} scrapes, the slowest {self.slowest_scrape:.2f} s"
        return "\n".join([*lines, f"{self.batches} batches; {scrapes}", *self.problems])


@dataclass(frozen=True)
class Plan:
    """What is promised, by which kind of group, and what chance begins with."""

    delivery: str = "exactly_once"
    protocol: str = "classic"
    seed: int = 1

    def __str__(self) -> str:
        return f"{self.delivery}, {self.protocol} group, seed {self.seed}"


def run(broker: ProxiedBroker, directory: Path, plan: Plan, faults: Sequence[str], seconds: float = 0.0) -> Report:
    """Do each fault once, in any order, and go on with faults at random until so much time has passed."""
    report = Report({name: Row() for name in faults})
    stage = Stage(broker, directory, plan.delivery, plan.protocol, plan.seed)
    with stage:
        with stage.flowing():
            for names in _order(stage, faults, monotonic() + seconds):
                _suffer(stage, names, report)
        stage.recovered()
        stage.scale(0)
        _judge(stage, plan, report)
    return report


def broker_properties() -> dict[str, str]:
    """What the broker of a run needs beside the usual."""
    return BROKER


def _order(stage: Stage, faults: Sequence[str], deadline: float) -> Iterator[list[str]]:
    for name in stage.random.sample(faults, len(faults)):
        yield [name]
    while monotonic() < deadline:
        yield stage.random.sample(faults, 2 if stage.random.random() < PAIRS and len(faults) > 1 else 1)


def _suffer(stage: Stage, names: list[str], report: Report) -> None:
    doubled = stage.reader.doubled()
    for name in names:
        FAULTS[name](stage)
    stage.broker.proxy.heal()
    began, ends = monotonic(), stage.ends()
    left = 0
    try:
        stage.recovered()
    except AssertionError:
        left = stage.reader.missing(ends)
        report.problems.append(f"{' and '.join(names)}: {left} events are missing")
    for name in names:
        row = report.rows[name]
        row.times += 1
        row.missing += left
        row.doubled += stage.reader.doubled() - doubled
        row.recovery = max(row.recovery, monotonic() - began)


def _judge(stage: Stage, plan: Plan, report: Report) -> None:
    """Compare what was written, what is told, and what the reader saw while it happened."""
    written, told = stage.written(), stage.deployment.told()
    report.batches = len(written)
    report.scrapes, report.slowest_scrape = stage.scraper.scrapes, stage.scraper.slowest
    eventually(lambda: sum(stage.reader.told.values()) >= len(told.batches), 20, "the reader is behind")
    checks = {
        "batches are not told of": len(missing(told.batches, written)),
        "events tell of nothing": len(set(told.batches) - set(written)),
        "events were seen by the reader but are not there": sum(stage.reader.told.values()) - len(told.batches),
        "scrapes failed": len(stage.scraper.failures),
        "batches are left over by the rule for consumers": _by_the_rule(stage, report),
    }
    if plan.delivery == "exactly_once":
        checks |= {
            "events are surplus": surplus(told.batches, written).total(),
            "events are out of order": len(disordered(told.batches)),
            "feeds have wrong summaries": sum(
                told.summaries.get(feed) != sums for feed, sums in totals(written).items()
            ),
        }
    report.problems += [f"{number} {what}" for what, number in checks.items() if number]


def _by_the_rule(stage: Stage, report: Report) -> int:
    kept = [place for order in stage.reader.order.values() for place in accepted(order)]
    return abs(len(kept) - report.batches) + len(kept) - len(set(kept))
