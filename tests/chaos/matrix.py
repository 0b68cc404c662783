"""Faults one after another and in pairs, and what became of the batches: a row for each fault, and a verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic

from tests.chaos.audits import Audit, audit_group, audit_witness
from tests.chaos.brokers import Brokers
from tests.chaos.faults import ALL
from tests.chaos.stage import Stage
from tests.chaos.watch import accepted
from tests.support.traffic import disordered, missing, surplus, totals
from tests.support.waiting import eventually

PAIRS = 0.25  # of all faults, those that come with another one
# Redis is left alone for a while after failures; see `exporter.performance.circuit`.
REDIS_SECONDS = 30.0


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


def run(directory: Path, plan: Plan, faults: Sequence[str], seconds: float = 0.0) -> Report:
    """Do each fault once, in any order, and go on with faults at random until so much time has passed."""
    report = Report()
    with Brokers(directory, plan.brokers) as brokers:
        if brokers.disk.refusal and "disk full" in faults:
            faults = [name for name in faults if name != "disk full"]
            report.verdicts.append(f"SKIPPED: disk full; no small disk can be mounted: {brokers.disk.refusal}")
        report.rows = {name: Row() for name in faults}
        with Stage(brokers, directory, plan.delivery, plan.protocol, plan.seed) as stage:
            with stage.flowing():
                for names in order(stage.random, faults, monotonic() + seconds):
                    _suffer(stage, names, report)
            try:
                stage.recovered()
            except AssertionError as error:
                report.problems.append(str(error))
            _judge_redis(stage, report)
            _judge_audit(report, plan, "the witness's events and /metrics", audit_witness(stage))
            stage.scale(0)
            _judge(stage, plan, report)
            _judge_audit(report, plan, "the group's events", audit_group(stage))
    return report


def order(chance: Random, faults: Sequence[str], deadline: float) -> Iterator[list[str]]:
    """Yield each fault once, then faults and pairs of them at random until the deadline (monotonic)."""
    for name in chance.sample(faults, len(faults)):
        yield [name]
    while monotonic() < deadline:
        yield chance.sample(faults, 2 if chance.random() < PAIRS and len(faults) > 1 else 1)


def _suffer(stage: Stage, names: list[str], report: Report) -> None:
    doubled = stage.reader.doubled()
    for name in names:
        ALL[name](stage)
    stage.brokers.proxy.heal()
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
    written, told = stage.written(), stage.told()
    report.batches = len(written)
    eventually(lambda: sum(stage.reader.told.values()) >= len(told.batches), 20, "the reader is behind")
    checks = {
        "batches are not told of": len(missing(told.batches, written)),
        "events tell of nothing": len(set(told.batches) - set(written)),
        "events were seen by the reader but are not there": sum(stage.reader.told.values()) - len(told.batches),
        "scrapes failed of processes that were neither dead nor stopped": len(stage.scraper.failures),
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
    if not stage.scraper.failures:
        scrapes = f"{stage.scraper.scrapes} scrapes, the slowest {stage.scraper.slowest:.2f} s"
        report.verdicts.append(f"{scrapes}; they failed only while the process itself was dead or stopped")
    report.verdicts.append(f"{stage.revived} processes ended by themselves and were started again")
    report.problems += [f"{number} {what}" for what, number in checks.items() if number]


def _judge_redis(stage: Stage, report: Report) -> None:
    try:
        eventually(lambda: stage.witness.scrape().total("marketdata_redis_up") == 1, REDIS_SECONDS)
    except AssertionError:
        report.problems.append("Redis is there, and the witness does not see it")


def _judge_audit(report: Report, plan: Plan, what: str, audit: Audit) -> None:
    """Events, and summaries with them, may be doubled when delivery is at least once."""
    report.verdicts.append(f"audit of input and {what}: {audit}")
    allowed = set() if plan.delivery == "exactly_once" else {"doubled", "summary"}
    if audit.differences.keys() - allowed:
        report.problems.append(f"the audit finds that input and {what} differ")


def _by_the_rule(stage: Stage, report: Report) -> int:
    kept = [place for order in stage.reader.order.values() for place in accepted(order)]
    return abs(len(kept) - report.batches) + len(kept) - len(set(kept))
