"""Sidecars that read ingestion events are killed again and again: each event is counted by one, and all rounds pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.ingestion.events import EVENTS
from exporter.tools.simulate.services import COMPLETED, ServiceSimulator, SimulatedService
from exporter.tools.simulate.simulator import Collectors
from tests.support.kafka import Broker
from tests.support.services import ROUNDS, SHOWN_SECONDS, Services, counts, events, now_ms
from tests.support.sidecar import Deployment, Sidecar
from tests.support.waiting import eventually

KILLS = 6
pytestmark = pytest.mark.chaos


def counting(services: Services) -> Sidecar:
    """A sidecar that has counted and committed some rounds."""
    before = {name: services.committed(name) for name in EVENTS}
    sidecar = services.sidecar().start()

    def has_committed() -> bool:
        return all(services.committed(name) > before[name] for name in before)

    eventually(has_committed, SHOWN_SECONDS, "nothing is committed")
    return sidecar


def test_each_event_is_counted_by_one_of_the_killed_processes_and_all_rounds_are_paired(
    broker: Broker, tmp_path: Path
) -> None:
    """Those counted and not committed at a kill are counted by the next: with it, what was committed adds up to all."""
    with Deployment(broker, tmp_path).create_outputs() as deployment:
        services = Services(deployment)
        quick = [
            SimulatedService(name, (code,), 150, 100, topic_prefix=services.prefix)
            for name, code in (("one", "USD"), ("two", "EUR"))
        ]
        simulator = ServiceSimulator(1, quick, now_ms())
        collectors = Collectors(simulator, {"bootstrap.servers": broker.bootstrap})
        collectors.start()
        for _ in range(KILLS):
            counting(services).kill()
        left = {name: services.committed(name) for name in EVENTS}
        last = counting(services)
        collectors.stop()
        sent = dict(simulator.events)

        def counted() -> dict[str, int]:
            found = events(last)
            return {name: left[name] + found[name] for name in sent}

        eventually(lambda: counted() == sent, SHOWN_SECONDS, "not every event is counted once")
        for each in quick:
            rounds = counts(last, each.source)
            assert rounds["open"] <= 1  # the last one, when the services were stopped
            assert rounds["unpaired"] == rounds["mismatched"] == 0
            assert simulator.rounds[each.source, COMPLETED] > KILLS * 10
        reached = {name: sent[name] for name in ROUNDS}

        def is_committed() -> bool:
            return {name: services.committed(name) for name in ROUNDS} == reached

        eventually(is_committed, SHOWN_SECONDS, "not all is committed")
