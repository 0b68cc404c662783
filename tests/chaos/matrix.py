"""Sidecars under faults, and what became of the batches that kept coming: a verdict."""

from collections.abc import Sequence
from pathlib import Path

from tests.chaos.audits import Audit, audit_group, audit_witness
from tests.chaos.stage import Stage
from tests.chaos.trial import Plan, Report, endure, trial
from tests.chaos.watch import accepted
from tests.support.traffic import disordered, missing, surplus, totals
from tests.support.waiting import eventually

# Redis is left alone for a while after failures; see `exporter.performance.circuit`.
REDIS_SECONDS = 30.0


def run(directory: Path, plan: Plan, faults: Sequence[str], seconds: float = 0.0) -> Report:
    """Do each fault once, in any order, and go on with faults at random until so much time has passed."""
    with (
        trial(directory, plan, faults) as (brokers, report),
        Stage(brokers, directory, plan.delivery, plan.protocol, plan.seed) as stage,
    ):
        endure(stage, report, seconds)
        _judge_redis(stage, report)
        _judge_audit(report, plan, "the witness's events and /metrics", audit_witness(stage))
        stage.scale(0)
        _judge(stage, plan, report)
        _judge_audit(report, plan, "the group's events", audit_group(stage))
    return report


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
