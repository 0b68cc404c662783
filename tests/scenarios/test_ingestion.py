"""Ingesting services over hours: what goes wrong is named in time and rightly, and nothing else is."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from exporter.ingestion.events import Event
from exporter.ingestion.view.rounds import GRACE_MS
from exporter.ingestion.view.states import SILENT_FACTOR, SourceState
from exporter.ingestion.view.usual import UNLEARNED_MS
from exporter.ingestion.view.view import IngestionView, OverdueRound, ViewLimits
from tests.support.rounds import START_MS, begun, completed, live, old, rate

TURN_MS = 250
OK, DELAYED, SILENT, PARTIAL, UNKNOWN = (
    SourceState.OK, SourceState.DELAYED, SourceState.SILENT, SourceState.PARTIAL, SourceState.UNKNOWN
)  # fmt: skip


class Service:
    """An ingesting service: a round every `period_ms`, `duration_ms` long, by a clock that is `ahead_ms`."""

    def __init__(self, name: str, period_ms: int = 60_000, duration_ms: int = 10_000, ahead_ms: int = 0) -> None:
        self.name = name
        self.period_ms = period_ms
        self.duration_ms = duration_ms
        self.ahead_ms = ahead_ms
        self.jitter = 0.0
        self.is_running = True
        self.completes = True
        self.repeats = 1
        self.processed = 60
        self._random = Random(7)
        self._next_ms = START_MS
        self._number = 0
        self._ends: dict[str, int] = {}

    def events(self, now_ms: int) -> list[Event]:
        """What it sends until now."""
        sent: list[Event] = []
        while self.is_running and self._next_ms <= now_ms:
            name = f"{self.name}-{self._number}"
            stretch = 1 + self.jitter * self._random.uniform(-1, 1)
            sent += [begun(self.name, name, self._next_ms + self.ahead_ms)]
            if self.completes:
                self._ends[name] = self._next_ms + round(self.duration_ms * stretch)
            self._next_ms, self._number = self._next_ms + self.period_ms, self._number + 1
        for name in [each for each, end_ms in self._ends.items() if end_ms <= now_ms]:
            stamp_ms = self._ends.pop(name) + self.ahead_ms
            sent += [rate(self.name, "USD", stamp_ms), completed(self.name, name, stamp_ms, self.processed)]
        return [event for event in sent for _ in range(self.repeats)]


class World:
    """A view that reads services as they send, evaluated once a second; `log` has each change of a state."""

    def __init__(self, *services: Service) -> None:
        self.services = services
        self.now_ms = START_MS
        self.view = IngestionView(ViewLimits(), START_MS)
        self.is_reading = True
        self.overdue: list[tuple[int, OverdueRound]] = []
        self.log: dict[str, list[tuple[int, SourceState]]] = {each.name: [] for each in services}
        self._unread: list[tuple[int, Event]] = []

    def run(self, seconds: float) -> None:
        end_ms = self.now_ms + round(seconds * 1000)
        while self.now_ms < end_ms:
            self.now_ms += TURN_MS
            self._turn()
            if self.now_ms % 1000 == 0:
                self._evaluate()

    def _turn(self) -> None:
        for service in self.services:
            sent = [(self.now_ms + service.ahead_ms, event) for event in service.events(self.now_ms)]
            self._unread += sent
        if self.is_reading:
            for record_ms, event in self._unread:
                is_current = record_ms > self.now_ms - 2 * TURN_MS or len(self._unread) <= 2 * len(self.services)
                self.view.apply(event, live(self.now_ms, record_ms) if is_current else old(record_ms, self.now_ms))
            self._unread = []

    def _evaluate(self) -> None:
        found = self.view.evaluate(self.now_ms, "" if self.is_reading else "the broker does not answer")
        self.overdue += [(self.now_ms, each) for each in found]
        for name, source in self.view.sources.items():
            states = self.log[name]
            if not states or states[-1][1] is not source.diagnosis.state:
                states.append((self.now_ms, source.diagnosis.state))

    def states(self, name: str, since_ms: int = 0) -> list[SourceState]:
        """The states since then, that in which it was included."""
        before = [state for at_ms, state in self.log[name] if at_ms <= since_ms][-1:]
        return before + [state for at_ms, state in self.log[name] if at_ms > since_ms]


def healthy(service: Service) -> World:
    world = World(service)
    world.run(20 * service.period_ms / 1000 - 5)
    assert world.states(service.name) == [UNKNOWN, OK]
    assert world.overdue == []
    return world


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000, -3_600_000, 86_400_000, 900])
@pytest.mark.parametrize("duration_ms", [2000, 4000, 10_000, 45_000, 600_000])
def test_a_round_that_never_completes_is_named_within_twice_its_usual_duration(duration_ms: int, ahead_ms: int) -> None:
    service = Service("api", 6 * duration_ms, duration_ms, ahead_ms)
    world = healthy(service)
    service.completes = False
    stopped_ms = service._next_ms
    world.run(service.period_ms / 1000)
    ((named_ms, overdue),) = world.overdue
    assert overdue.source == "api"
    assert overdue.correlation_id == "api-20"
    assert 1.25 * duration_ms <= named_ms - stopped_ms <= 2 * duration_ms
    assert world.states("api", stopped_ms) == [OK, DELAYED]
    assert "round api-20 is open for" in world.view.sources["api"].diagnosis.reason


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000, -3_600_000])
def test_a_service_whose_rounds_vary_by_a_third_is_ok_for_six_hours_however_its_clock_is_off(ahead_ms: int) -> None:
    service = Service("api", 120_000, 20_000, ahead_ms)
    service.jitter = 0.33
    world = World(service)
    world.run(6 * 3600)
    assert world.states("api") == [UNKNOWN, OK]
    assert world.overdue == []
    assert world.view.sources["api"].rounds.counts.unpaired == 0
    assert abs((world.view.sources["api"].clock_offset_ms or 0) - ahead_ms) <= 2 * TURN_MS


def test_a_service_that_goes_on_after_a_round_without_end_is_ok_and_the_round_stays_open() -> None:
    service = Service("api")
    world = healthy(service)
    service.completes = False
    world.run(60)
    service.completes, since_ms = True, world.now_ms
    world.run(300)
    assert world.states("api", since_ms) == [DELAYED, OK]
    assert list(world.view.sources["api"].rounds.open) == ["api-20"]
    assert world.view.sources["api"].rounds.counts.overdue == 1


def test_a_late_end_completes_its_round_and_the_source_is_ok_again() -> None:
    service = Service("api")
    world = healthy(service)
    service.completes = False
    world.run(50)
    assert world.states("api")[-1] is DELAYED
    world.view.apply(completed("api", "api-20", world.now_ms), live(world.now_ms))
    service.is_running = False
    world.run(2)
    counts = world.view.sources["api"].rounds.counts
    assert world.states("api")[-1] is OK
    assert (counts.overdue, counts.late, counts.completed) == (1, 1, 21)


def test_a_service_that_stops_between_rounds_is_silent_and_no_round_is_overdue() -> None:
    service = Service("api")
    world = healthy(service)
    service.is_running, since_ms = False, world.now_ms
    world.run(SILENT_FACTOR * 60 + 2)
    assert world.states("api", since_ms) == [OK, SILENT]
    assert world.overdue == []
    service.is_running, service._next_ms = True, world.now_ms
    world.run(30)
    assert world.states("api", since_ms) == [OK, SILENT, OK]


def test_a_service_that_stops_within_a_round_is_delayed_and_then_silent_with_both_reasons() -> None:
    service = Service("api")
    world = healthy(service)
    service.completes = False
    world.run(20)
    service.is_running = False
    since_ms = world.now_ms
    world.run(SILENT_FACTOR * 60)
    assert world.states("api", since_ms) == [OK, DELAYED, SILENT]
    assert "no event for 195 s, the limit is 180 s" in world.view.sources["api"].diagnosis.reason
    assert "round api-20 is open" in world.view.sources["api"].diagnosis.reason


def test_counts_that_disagree_are_partial_until_a_round_agrees() -> None:
    service = Service("api")
    world = healthy(service)
    service.processed, since_ms = 59, world.now_ms
    world.run(120)
    assert world.view.sources["api"].diagnosis == (PARTIAL, "59 of 60 were processed in round api-21")
    service.processed = 60
    world.run(60)
    assert world.states("api", since_ms) == [OK, PARTIAL, OK]
    assert world.view.sources["api"].rounds.counts.mismatched == 2


def test_a_service_that_sends_all_events_three_times_differs_in_nothing_but_repetitions() -> None:
    once, thrice = World(Service("api")), World(Service("api"))
    thrice.services[0].repeats = 3
    for world in (once, thrice):
        world.run(1200)
    first, second = (world.view.sources["api"] for world in (once, thrice))
    assert first.rounds.counts == second.rounds.counts
    assert first.rounds.durations.buckets == second.rounds.durations.buckets
    assert (first.updates, first.outdated) == (second.updates, second.outdated)
    assert once.view.rates.known == thrice.view.rates.known
    assert once.log == thrice.log
    assert thrice.view.repeated == Counter({topic: 2 * n for topic, n in once.view.events.items()})


@pytest.mark.parametrize("away_seconds", [30, 600, 7200])
def test_while_the_broker_is_away_nothing_is_overdue_or_silent_nor_afterwards(away_seconds: int) -> None:
    service = Service("api")
    world = healthy(service)
    world.is_reading, since_ms = False, world.now_ms
    world.run(away_seconds)
    world.is_reading = True
    world.run(900)
    counts = world.view.sources["api"].rounds.counts
    assert set(world.states("api", since_ms)) <= {OK, UNKNOWN}
    assert world.states("api")[-1] is OK
    assert world.overdue == []
    assert counts.unpaired == 0
    assert counts.begun - counts.completed == len(world.view.sources["api"].rounds.open)


def test_a_round_that_begins_just_after_the_broker_is_back_is_named_as_soon_as_any_other() -> None:
    service = Service("api", 60_000, 4000)
    world = healthy(service)
    world.is_reading = False
    world.run(4)
    world.is_reading, service.completes, back_ms = True, False, world.now_ms
    world.run(12)
    ((named_ms, overdue),) = world.overdue
    assert overdue.correlation_id == "api-20"
    assert named_ms - back_ms < GRACE_MS
    assert overdue.age_ms <= 8000
    assert world.states("api", named_ms) == [DELAYED]


def test_a_process_that_was_stopped_for_an_hour_names_nothing_before_it_has_read_again() -> None:
    world = healthy(Service("api"))
    world.view.apply(begun("api", "x", world.now_ms), live(world.now_ms))
    resumed_ms = world.now_ms + 3_600_000
    assert world.view.evaluate(resumed_ms) == []
    assert world.view.sources["api"].diagnosis.state is UNKNOWN
    world.view.apply(completed("api", "x", world.now_ms + 5), old(world.now_ms + 5000, resumed_ms + 500))
    for second in range(1, 30):
        assert world.view.evaluate(resumed_ms + second * 1000) == []


def test_a_clock_of_the_sidecar_that_is_set_back_delays_the_naming_by_no_more_than_one_limit() -> None:
    service = Service("api")
    world = healthy(service)
    service.completes = False
    world.run(15)
    back_ms = world.now_ms - 3_600_000
    found = [each for second in range(21) for each in world.view.evaluate(back_ms + second * 1000)]
    assert [each.correlation_id for each in found] == ["api-20"]


def test_of_two_services_only_the_one_that_stops_is_named() -> None:
    good, bad = Service("good"), Service("bad")
    world = World(good, bad)
    world.run(1195)
    bad.completes = False
    world.run(300)
    assert {overdue.source for _, overdue in world.overdue} == {"bad"}
    assert world.states("good") == [UNKNOWN, OK]


def test_after_a_restart_ends_of_rounds_begun_before_are_not_unpaired_and_later_ones_are() -> None:
    view = IngestionView(ViewLimits(), START_MS)
    view.apply(completed("api", "before"), live(START_MS + 1000))
    view.evaluate(START_MS + 1000)
    for second in range(2, UNLEARNED_MS // 1000 + 1):
        view.evaluate(START_MS + second * 1000)
    assert view.sources["api"].rounds.counts.unpaired == 0
    late_ms = START_MS + UNLEARNED_MS
    view.apply(completed("api", "without"), live(late_ms))
    for second in range(GRACE_MS // 1000 + 1):
        view.evaluate(late_ms + second * 1000)
    assert view.sources["api"].rounds.counts.unpaired == 1
