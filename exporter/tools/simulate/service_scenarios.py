"""The scenarios of ingesting services: one of two fails, and what the sidecar should show then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from exporter.ingestion.view.states import SourceState
from exporter.tools.simulate.services import Failure, SimulatedService

SUBJECT = SimulatedService("simulated", ("USD", "EUR", "JPY"))
OTHER = SimulatedService("simulated-other", ("GBP", "CNY", "CHF"), period_ms=15_000, duration_ms=5_000)


class ServiceScenario(NamedTuple):
    """What fails, the resulting state and alert, if any, and when, or what else to check.

    It takes `seconds` by default, and the service fails after half of them.
    """

    failure: Failure
    state: SourceState
    alert: str
    hint: str
    seconds: int = 180

    @property
    def text(self) -> str:
        """What happens."""
        return "nothing fails" if self.failure is Failure.NONE else f"the ingesting service {self.failure}"


SERVICE_SCENARIOS: dict[str, ServiceScenario] = {
    "rounds": ServiceScenario(Failure.NONE, SourceState.OK, "", "nothing changes"),
    "round_open": ServiceScenario(
        Failure.STOPS,
        SourceState.DELAYED,
        "MarketdataIngestionRoundOverdue",
        "6 s later, within twice the usual duration, and a log line names the round; after a minute it is silent",
        seconds=160,
    ),
    "round_twice": ServiceScenario(
        Failure.REPEATS,
        SourceState.OK,
        "",
        "marketdata_ingestion_events_repeated_total rises, numbers of rounds do not",
    ),
    "round_clock": ServiceScenario(
        Failure.CLOCK,
        SourceState.OK,
        "MarketdataIngestionClockOff",
        "marketdata_ingestion_source_clock_offset_seconds is about -3600; the alert follows after 6 min",
        seconds=900,
    ),
}


def services(scenario: ServiceScenario, seconds: float, prefix: str = "") -> list[SimulatedService]:
    """Return the services of a scenario of that length."""
    fails_after_ms = seconds * 500
    return [
        SimulatedService(
            each.source, each.codes, each.period_ms, each.duration_ms, failure, fails_after_ms, topic_prefix=prefix
        )
        for each, failure in ((SUBJECT, scenario.failure), (OTHER, Failure.NONE))
    ]


def service_story(scenario: ServiceScenario, seconds: float) -> Iterator[tuple[float, str]]:
    """Yield what happens and what to expect, with the seconds from the start."""
    yield 0, "Both services are healthy, and the sidecar learns how long a round takes: every state is ok."
    if scenario.failure is not Failure.NONE:
        yield seconds / 2, f"From the next round on {scenario.text}: {SUBJECT.source}."
    alert = f"the alert {scenario.alert}" if scenario.alert else "no alert"
    yield seconds / 2, f"Expect {SUBJECT.source} to be {scenario.state}, the other ok, and {alert}: {scenario.hint}."
    yield seconds, "The end. Both services become silent now; `simulate rounds` makes them send again."
