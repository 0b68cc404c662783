"""What is shown of programs: the figures are those of their metrics, whatever their names, and history is bounded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from exporter.config.schema import Config
from exporter.config.web_schema import PushConfig, WebConfig
from exporter.instrument import MetricsCollector
from exporter.instrument.groups import Group
from exporter.page.programs import COLUMNS, HISTORIES_MAX, ProgramRows, Programs, id_of
from exporter.performance.counters import counters, growth
from exporter.performance.figures import NAMES_MAX, Figures
from exporter.performance.history import VALUES_MAX
from exporter.performance.program import SAMPLES_MAX, program_view
from exporter.pushes.text_reader import read_text
from tests.support.programs import MIB, SLOW, STAGES, count, drop, gauge, measured, operate, used
from tests.support.unrun import UnrunSidecar

JOB = {"job": "signals", "instance": "a"}
ID = "signals/instance/a"


class Pushed:
    """Groups of one program, as of its last push."""

    def __init__(self, collector: MetricsCollector, labels: dict[str, str] = JOB) -> None:
        self.collector = collector
        self.labels = labels
        self.push(0.0)

    def push(self, seconds: float) -> None:
        """Push at this time."""
        families = list(self.collector.registry.collect())
        self._groups = [Group(self.labels, families, 1000 + seconds, 0.0, 1300 + seconds)]

    def groups(self) -> Sequence[Group]:
        """See Groups."""
        return self._groups

    def expire(self) -> None:
        """Lose all groups."""
        self._groups = []


def view_of(programs: Programs, program: str = ID) -> dict[str, Any]:
    found = programs.view(program)
    assert found is not None
    return found


def test_stages_have_the_quantiles_of_their_summaries_and_shares_of_the_whole() -> None:
    stages = {row["stage"]: row for row in program_view(list(measured().registry.collect()), {})["stages"]}
    assert stages.keys() == STAGES.keys()
    assert stages[SLOW]["p95_seconds"] == pytest.approx(0.03 * 1.45, rel=0.02)
    assert stages[SLOW]["threshold_seconds"] == 0.02
    assert stages[SLOW]["share"] == pytest.approx(0.03 / 0.06)
    assert stages["total_pipeline"]["share"] is None


@given(st.dictionaries(st.text(max_size=8), st.floats(0.001, 10), min_size=1, max_size=6))
def test_without_a_whole_the_shares_of_stages_add_up_to_one(seconds: dict[str, float]) -> None:
    seconds.pop("total_pipeline", None)
    collector = MetricsCollector(registry=CollectorRegistry())
    for stage, value in seconds.items():
        collector.summary("program_stage_duration_seconds", "Time.", labels={"stage": stage}).observe(value)
    rows = program_view(list(collector.registry.collect()), {})["stages"]
    assert not rows or sum(row["share"] for row in rows) == pytest.approx(1)


def test_throughput_and_hit_rates_are_those_of_the_last_minute() -> None:
    collector = measured()
    pushed = Pushed(collector)
    programs = Programs(pushed, 900)
    programs.sample(1000)
    for number in range(1, 21):
        operate(collector, 100 * number, 1)
        pushed.push(10 * number)
        programs.sample(1000 + 10_000 * number)
    (operation,) = view_of(programs)["operations"]
    assert operation["items_per_second"] == pytest.approx(100 * (15 + 20) / 2)
    assert operation["history"][1:] == [100.0 * number for number in range(1, 21)]
    assert operation["history"][0] is None


@pytest.mark.parametrize(("seconds", "is_busy"), [(4.9, False), (5, True), (12, True)])
def test_only_a_busy_operation_is_under_its_target_as_for_the_alert(seconds: float, is_busy: bool) -> None:
    """How long it worked is not known before the second push."""
    collector = measured()
    pushed = Pushed(collector)
    programs = Programs(pushed, 900)
    programs.sample(0)

    def shown() -> tuple[bool, object]:
        view = view_of(programs)
        return view["operations"][0]["is_busy"], view["row"][COLUMNS.index("under")]

    assert shown() == (False, 0)
    operate(collector, 10, seconds)
    pushed.push(10)
    programs.sample(10_000)
    assert shown() == (is_busy, int(is_busy))


def test_handlers_are_told_apart_by_their_bus_and_marked_while_they_lose_events() -> None:
    collector = measured()
    gauge(collector, "program_bus_queue_length", 7, bus="prices", handler="risk")
    pushed = Pushed(collector)
    programs = Programs(pushed, 900)
    programs.sample(0)

    def shown() -> dict[tuple[str, str], tuple[Any, Any, Any]]:
        rows = view_of(programs)["handlers"]
        return {(row["bus"], row["handler"]): (row["queue_length"], row["dropped"], row["is_dropping"]) for row in rows}

    others = {("orders", "audit"): (0, 0, False), ("prices", "risk"): (7, 0, False)}
    assert shown() == {("orders", "risk"): (990, 3, False)} | others
    drop(collector, "risk", 2)
    pushed.push(10)
    programs.sample(10_000)
    assert shown() == {("orders", "risk"): (990, 5, True)} | others
    assert view_of(programs)["handlers"][0]["dropped_by_reason"] == {"full": 5}
    pushed.push(71)
    programs.sample(71_000)
    pushed.push(100)
    programs.sample(100_000)
    assert shown() == {("orders", "risk"): (990, 5, False)} | others


def test_handlers_of_a_program_whose_buses_have_no_name_are_shown() -> None:
    collector = MetricsCollector(registry=CollectorRegistry())
    gauge(collector, "program_bus_queue_length", 7, handler="risk")
    count(collector, "program_bus_events_total", 9, event="order", handler="risk", result="handled")
    (row,) = program_view(list(collector.registry.collect()), {})["handlers"]
    assert (row["bus"], row["handler"], row["queue_length"], row["handled"]) == ("", "risk", 7, 9)


def test_a_sample_without_a_new_push_repeats_the_one_before() -> None:
    collector = measured()
    pushed = Pushed(collector)
    programs = Programs(pushed, 900)
    programs.sample(0)
    used(collector, program_memory_bytes=800 * MIB)
    pushed.push(20)
    programs.sample(10_000)
    programs.sample(20_000)
    history = view_of(programs)["history"]
    assert history["memory_bytes"] == [700 * MIB, 800 * MIB, 800 * MIB]
    assert history["disk_read"] == [None, 3 * MIB / 20, 3 * MIB / 20]


def test_the_history_keeps_the_last_samples_and_goes_with_its_program() -> None:
    pushed = Pushed(measured())
    programs = Programs(pushed, 50)
    for number in range(12):
        programs.sample(number)
    assert view_of(programs)["times_ms"] == [7, 8, 9, 10, 11]
    pushed.expire()
    programs.sample(12)
    assert programs.view(ID) is None
    pushed.push(1)
    programs.sample(13)
    assert view_of(programs)["times_ms"] == [13]


def test_without_history_the_figures_are_shown() -> None:
    programs = Programs(Pushed(measured()), 0)
    programs.sample(0)
    view = view_of(programs)
    assert view["times_ms"] == []
    assert view["caches"][0]["hit_rate"] == 0.96


def test_names_values_and_programs_are_bounded() -> None:
    collector = MetricsCollector(registry=CollectorRegistry())
    for number in range(700):
        gauge(collector, "program_stage_threshold_seconds", 1, stage=str(number))
        durations = collector.summary("program_stage_duration_seconds", "Time.", labels={"stage": str(number)})
        durations.observe(1)
    families = list(collector.registry.collect())
    many = [Group({"job": str(number)}, families, 1, 0, 2) for number in range(HISTORIES_MAX + 1)]

    class Many:
        def groups(self) -> Sequence[Group]:
            return many

    programs = Programs(Many(), 900)
    programs.sample(0)
    first, last = view_of(programs, "0"), view_of(programs, str(HISTORIES_MAX))
    assert len(first["stages"]) == NAMES_MAX
    assert len(first["metrics"]) == SAMPLES_MAX
    assert sum(bool(stage["history"]) for stage in first["stages"]) == VALUES_MAX
    assert not any(stage["history"] for stage in last["stages"])


@given(st.dictionaries(st.text(), st.floats(0, 1e9)), st.dictionaries(st.text(), st.floats(0, 1e9)))
def test_counters_never_shrink(before: dict[str, float], after: dict[str, float]) -> None:
    grown = growth(before, after)
    assert grown.keys() == after.keys()
    assert all(0 <= grown[name] <= after[name] for name in after)


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=3))
def test_ids_of_programs_differ_and_survive_a_browser(labels: dict[str, str]) -> None:
    found = id_of(labels)
    assert all(part not in ("", ".", "..") for part in found.split("/"))
    assert found.isascii()
    other = id_of(labels | {"job": labels.get("job", "") + "x"})
    assert other != found


@given(st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.0, 1e308]))
def test_values_that_are_no_measurements_break_nothing(value: float) -> None:
    collector = measured()
    for name in ("program_memory_limit_bytes", "program_memory_growth_bytes_per_second", "program_cpu_usage_ratio"):
        gauge(collector, name, value)
    gauge(collector, "program_breaker_state", value, breaker="b")
    view = program_view(list(collector.registry.collect()), counters(Figures(collector.registry.collect())))
    left = view["process"]["seconds_to_limit"]
    assert left is None or left >= 0
    assert view["breakers"][-1]["state"] == "unknown" or value != value or abs(value) == float("inf")


def test_rows_change_with_a_push_and_go_with_their_program() -> None:
    pushed = Pushed(measured())
    rows = ProgramRows(Programs(pushed, 900))
    (row,) = rows.changed()["programs"]
    shown = dict(zip(COLUMNS, row, strict=True))
    assert (shown["id"], shown["bottleneck"], shown["over"], shown["alerts"]) == (ID, SLOW, 1, 2)
    assert (shown["under"], shown["breakers_open"], shown["pushed_ms"]) == (0, 1, 1_000_000)
    assert rows.changed() == {}
    pushed.push(5)
    assert rows.changed()["programs"][0][COLUMNS.index("expires_ms")] == 1_305_000
    pushed.expire()
    assert rows.changed() == {"programs_removed": [ID]}


def test_a_sidecar_shows_what_was_pushed_to_it_and_without_pushes_nothing() -> None:
    assert UnrunSidecar(Config()).app.queries.programs(None) is None
    app = UnrunSidecar(Config(web=WebConfig(push=PushConfig(enabled=True)))).app
    assert app.pushes is not None
    body = generate_latest(measured().registry).decode()
    app.pushes.push(JOB, lambda: read_text(body), replaces=True)
    watch = app.queries.watch()
    update = json.loads(watch.tick(frozenset(), 1.0).update)
    state = json.loads(watch.snapshot()[1])
    assert update["programs"] == state["programs"]
    assert dict(zip(state["program_columns"], state["programs"][0], strict=True))["bottleneck"] == SLOW
    assert "programs" not in json.loads(watch.tick(frozenset(), 1.0).update)
    view = app.queries.programs(ID)
    assert view is not None
    own = program_view(list(measured().registry.collect()), {})
    assert [row["p95_seconds"] for row in view["stages"]] == [row["p95_seconds"] for row in own["stages"]]  # type: ignore[attr-defined]
    assert app.queries.programs("signals") is None
