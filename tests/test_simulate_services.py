"""Simulated ingesting services: each scenario does what it promises to one of them, and leads to the promised state."""

from __future__ import annotations

from functools import cache

import pytest

from exporter.ingestion.encodings import decode
from exporter.ingestion.events import EVENTS
from exporter.ingestion.view.states import SourceState
from exporter.ingestion.view.view import IngestionView, OverdueRound, ViewLimits
from exporter.model import Arrival
from exporter.tools.simulate.service_scenarios import OTHER, SERVICE_SCENARIOS, SUBJECT, service_story, services
from exporter.tools.simulate.services import BEGUN, CLOCK_MS, COMPLETED, ServiceSimulator

START_MS = 1_760_000_400_000
PREFIX = "play."


class Seen:
    """What a sidecar makes of a scenario: the states of each source one after the other, and what it counts."""

    def __init__(self, name: str) -> None:
        self.scenario = SERVICE_SCENARIOS[name]
        self.simulator = ServiceSimulator(1, services(self.scenario, self.scenario.seconds, PREFIX), START_MS)
        self.view = IngestionView(ViewLimits(), START_MS)
        self.overdue: list[tuple[int, OverdueRound]] = []
        self.states: dict[str, list[SourceState]] = {SUBJECT.source: [], OTHER.source: []}
        for now_ms in range(START_MS, START_MS + self.scenario.seconds * 1000 + 1, 200):
            self._turn(now_ms)
            if now_ms % 1000 == 0:
                self._evaluate(now_ms)

    def _turn(self, now_ms: int) -> None:
        for record in self.simulator.records(now_ms):
            event = decode(record.topic.removeprefix(PREFIX), record.value)
            self.view.apply(event, Arrival(record.timestamp_ms, now_ms, is_live=True))

    def _evaluate(self, now_ms: int) -> None:
        self.overdue += [(now_ms, each) for each in self.view.evaluate(now_ms)]
        for name, source in self.view.sources.items():
            states = self.states[name]
            if not states or states[-1] is not source.diagnosis.state:
                states.append(source.diagnosis.state)


seen = cache(Seen)
OK = [SourceState.UNKNOWN, SourceState.OK]


@pytest.mark.parametrize("name", SERVICE_SCENARIOS)
def test_the_scenario_of_services_leads_to_the_state_that_it_promises(name: str) -> None:
    promised = SERVICE_SCENARIOS[name].state
    states = seen(name).states
    assert states[OTHER.source] == OK
    assert states[SUBJECT.source][:3] == [*OK, *([] if promised is SourceState.OK else [promised])]


@pytest.mark.parametrize("name", SERVICE_SCENARIOS)
def test_what_is_counted_is_what_services_have_sent(name: str) -> None:
    simulator, view = seen(name).simulator, seen(name).view
    assert view.events == simulator.events
    assert simulator.events.keys() == EVENTS.keys()
    for source in (SUBJECT.source, OTHER.source):
        counts = view.sources[source].rounds.counts
        assert (counts.begun, counts.completed) == (
            simulator.rounds[source, BEGUN],
            simulator.rounds[source, COMPLETED],
        )


def test_a_service_that_stops_within_a_round_is_named_within_twice_the_usual_duration() -> None:
    stopped = seen("round_open")
    ((named_ms, overdue),) = stopped.overdue
    assert overdue.source == SUBJECT.source
    begun_ms = START_MS + SERVICE_SCENARIOS["round_open"].seconds * 500
    assert SUBJECT.duration_ms < named_ms - begun_ms <= 2 * SUBJECT.duration_ms
    assert stopped.states[SUBJECT.source] == [*OK, SourceState.DELAYED, SourceState.SILENT]


def test_repeated_events_are_half_of_what_a_repeating_service_sends_from_then_on() -> None:
    twice, once = seen("round_twice").view, seen("rounds").view
    assert sum(once.repeated.values()) == 0
    assert twice.events - once.events == twice.repeated
    assert min(twice.repeated.values()) > 5


def test_the_offset_of_a_wrong_clock_is_known() -> None:
    sources = seen("round_clock").view.sources
    assert sources[SUBJECT.source].clock_offset_ms == pytest.approx(-CLOCK_MS, abs=1000)
    assert sources[OTHER.source].clock_offset_ms == pytest.approx(0, abs=1000)


def test_the_story_of_services_tells_failure_state_and_end() -> None:
    lines = list(service_story(SERVICE_SCENARIOS["round_open"], 100))
    assert [at for at, _ in lines] == [0, 50, 50, 100]
    assert "delayed" in lines[2][1]
    assert "MarketdataIngestionRoundOverdue" in lines[2][1]
