"""The figures from which a bottleneck is named: those of the run, or of the last step that did not hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.loadtest.bottleneck import Evidence
from exporter.loadtest.http.bottleneck import with_usual
from exporter.loadtest.http.figures import HttpFigures
from exporter.loadtest.http.target import HttpTarget
from exporter.loadtest.kafka.target import KafkaTarget
from exporter.loadtest.network import Connect
from exporter.loadtest.redis.target import RedisTarget
from exporter.loadtest.results import GeneratorCost, Sample, TargetResult
from exporter.loadtest.stress import Broken, Window
from exporter.loadtest.target import Target
from exporter.performance import limits


class Beside(NamedTuple):
    """What was measured beside the targets; `window` is what is looked at, `broken` its step, if it is one.

    `waiting` messages had no event at the end of the run.
    """

    window: Window
    broken: Broken | None
    waiting: int
    connects: Iterable[Connect]
    samples: Sequence[Sample]
    cost: GeneratorCost

    def of(self, targets: Sequence[Target], results: Sequence[TargetResult]) -> Evidence:
        """Return the figures of these targets, whose results are in the same order."""
        begin, end = self.window
        plain = Evidence(
            0.0,
            connects_ms=[each.ms for each in self.connects if begin <= each.at < end],
            generator=self.cost,
            machine_ratio=_machine_ratio([each for each in self.samples if begin <= each.at]),
            is_broken=self.broken is not None,
        )
        for target in targets:
            if isinstance(target, KafkaTarget):
                plain = self._with_kafka(plain, target, results)
            elif isinstance(target, HttpTarget):
                plain = plain._replace(http=self._http(target.figures))
            elif isinstance(target, RedisTarget) and self.broken is not None and results:
                plain = plain._replace(connections=results[0].connections or 0)
        return plain

    def _with_kafka(self, plain: Evidence, kafka: KafkaTarget, results: Sequence[TargetResult]) -> Evidence:
        begin, end = self.window
        answers = [each for each in kafka.answers.samples if begin <= each.at < end]
        figures = [] if kafka.sidecar is None else [each for each in kafka.sidecar.figures if begin <= each.at < end]
        whole = next((each.per_second for each in results if each.name == kafka.name), 0.0)
        return plain._replace(
            per_second=whole if self.broken is None else self.broken.rate,
            answers_ms=[each.answer_ms for each in answers],
            queued_ms=[each.queued_ms for each in answers],
            throttled_ms=[each.throttled_ms for each in answers],
            figures=figures,
            waiting=self.waiting if self.broken is None else self.broken.waiting,
        )

    def _http(self, parts: Sequence[HttpFigures]) -> HttpFigures | None:
        if not parts:
            return None
        number = len(parts) - 1 if self.broken is None else min(self.broken.number, len(parts) - 1)
        return with_usual(parts, number)


def _machine_ratio(samples: Sequence[Sample]) -> float | None:
    cores = limits.cores()
    return sum(each.machine.cpu_cores for each in samples) / len(samples) / cores if samples else None
