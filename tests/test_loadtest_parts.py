"""The parts of a load test that compute: schedule, ledger, verdict, cost, bottleneck, search for a breaking point."""

from functools import partial

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.loadtest import bottleneck as bottlenecks
from exporter.loadtest import results, verdict
from exporter.loadtest.bottleneck import Evidence, bottleneck
from exporter.loadtest.cost import generator_cost
from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.http import bottleneck as servers
from exporter.loadtest.http.figures import HttpFigures, Reading
from exporter.loadtest.http.figures import figures as figures_between
from exporter.loadtest.kafka.ledger import EARLY_SECONDS, Ledger
from exporter.loadtest.kafka.records import BatchWriter, feed
from exporter.loadtest.reports.over_time import PLACES
from exporter.loadtest.resources import interval_seconds
from exporter.loadtest.results import Distribution, GeneratorCost, Outcome, Step, TargetResult
from exporter.loadtest.schedule import Pacer, Schedule
from exporter.loadtest.search import TOLERANCE, Search, trend
from exporter.loadtest.settings import Limits, shares
from exporter.loadtest.sidecar_figures import SidecarFigures, read_page
from exporter.loadtest.timeline import Timeline

RATES = st.floats(1, 10_000)


@given(RATES, st.floats(0, 60), st.integers(0, 100_000))
def test_as_many_requests_are_due_before_a_time_as_are_counted(rate: float, ramp: float, number: int) -> None:
    schedule = Schedule(rate, ramp)
    assert abs(schedule.count(schedule.due(number)) - number) <= 1
    assert schedule.due(number) <= schedule.due(number + 1)


def test_the_rate_rises_in_a_line_until_all_users_have_begun() -> None:
    assert [Schedule(100, 10).count(seconds) for seconds in (5, 10, 11)] == [125, 500, 600]


@given(st.integers(1, 5), st.integers(1, 50))
def test_senders_of_one_schedule_send_each_request_once(senders: int, limit: int) -> None:
    schedule = Schedule(10.0)
    pacers = [Pacer(schedule, index, senders, 1000.0, limit) for index in range(senders)]
    sent = [due for pacer in pacers for due in iter(partial(pacer.take, 1000.0), None)]
    assert sorted(sent) == [schedule.due(number) for number in range(limit)]


def test_nothing_is_sent_before_it_is_due_nor_after_the_end() -> None:
    pacer = Pacer(Schedule(10.0), 1, 2, 0.4)
    assert [pacer.take(0.05), pacer.take(0.15), pacer.take(0.2), pacer.take(9.0), pacer.take(9.0)] == [
        None, 0.1, None, pytest.approx(0.3), None,
    ]  # fmt: skip


@given(st.integers(1, 500), st.lists(st.sampled_from(["http", "kafka", "redis"]), unique=True, min_size=1))
def test_users_are_shared_by_weight_and_each_target_has_one(users: int, targets: list[str]) -> None:
    found = shares(users, targets)
    assert min(found.values()) >= 1
    assert sum(found.values()) == max(users, len(targets)) or users < 2 * len(targets)
    assert shares(60, ["http", "kafka", "redis"]) == {"http": 30, "kafka": 20, "redis": 10}


def test_a_record_of_a_load_test_is_a_batch_with_a_fresh_time() -> None:
    batch = orjson.loads(BatchWriter(feed(1), 3).value(0, 1_760_031_213_693))
    assert (batch["region"], batch["exchange"], batch["batch_size"]) == ("loadtest", "exchange-1", 3)
    assert {row["timestamp"] for row in batch["data"]} == {batch["timestamp_ms"]} == {1_760_031_213_693}
    assert len({row["target_currency"] for row in batch["data"]}) == 3


def test_a_message_is_measured_from_when_it_was_due_at_each_place() -> None:
    ledger = Ledger(1, {0: 0})
    message = ledger.begin(0, 1.0, 1.5)
    ledger.delivered(message, 0, 7, 2.0, 100)
    ledger.event(0, 7, 3.0)
    ledger.visible(0, 1, 4.0)
    places = (ledger.lag, ledger.acknowledged.latencies, ledger.events.latencies, ledger.metrics.latencies)
    assert [place.max for place in places] == [500.0, 1000.0, 2000.0, 3000.0]
    assert ledger.outstanding() == (0, 0, 0)


def test_an_event_may_come_before_the_acknowledgement_of_its_message_and_is_repeated_if_it_comes_again() -> None:
    ledger = Ledger(1, {0: 0})
    message = ledger.begin(0, 0.0, 0.0)
    ledger.event(0, 7, 1.0)
    assert ledger.outstanding() == (1, 0, 0)
    ledger.delivered(message, 0, 7, 2.0, 100)
    ledger.event(0, 7, 3.0)
    assert (ledger.events.count, ledger.events.repeated, ledger.events.latencies.max) == (1, 1, 1000.0)


def test_what_waits_for_the_client_to_have_room_is_no_lag_of_the_load_test() -> None:
    ledger = Ledger(1, {0: 0})
    ledger.begin(0, 1.0, 5.0, free=4.9)
    assert ledger.lag.max == pytest.approx(100.0)


def test_brokers_are_silent_as_long_as_something_waits_since_their_last_answer() -> None:
    ledger = Ledger(1, {0: 0})
    assert ledger.silent_seconds(9.0) == 0.0
    first, second = ledger.begin(0, 1.0, 1.0), ledger.begin(0, 2.0, 2.0)
    assert ledger.silent_seconds(9.0) == 8.0
    ledger.delivered(first, 0, 0, 5.0, 1)
    assert ledger.silent_seconds(9.0) == 4.0
    ledger.undelivered("_MSG_TIMED_OUT", 6.0)
    assert ledger.silent_seconds(9.0) == 0.0
    assert (second.number, dict(ledger.errors)) == (1, {"_MSG_TIMED_OUT": 1})


def test_a_sidecar_is_silent_as_long_as_an_event_is_missing_since_the_last_one_or_since_nothing_was() -> None:
    ledger = Ledger(1, {0: 0})
    for number, at in enumerate((1.0, 30.0)):
        ledger.delivered(ledger.begin(0, at, at), 0, number, at, 1)
        assert ledger.eventless_seconds(at + 4.0) == 4.0
        ledger.event(0, number, at + 5.0)
        assert ledger.eventless_seconds(at + 20.0) == 0.0


def test_events_of_records_that_others_write_to_the_topic_are_forgotten_after_a_while() -> None:
    ledger = Ledger(1, {0: 0})
    for offset in range(1000):
        ledger.event(0, offset, float(offset))
    message = ledger.begin(0, 1000.0, 1000.0)
    for at in (1000.0, 1000.1):  # its own event, twice before its acknowledgement
        ledger.event(0, 1000, at)
    assert len(ledger._early) <= EARLY_SECONDS + 1
    ledger.delivered(message, 0, 1000, 1000.2, 1)
    assert (ledger.events.count, ledger.events.repeated) == (1, 1)
    assert ledger.missing_events(0) == 0


def test_a_run_of_days_has_intervals_of_some_seconds_and_few_samples() -> None:
    timeline = Timeline(7 * 86_400.0)
    for minute in range(24 * 60):
        timeline.answered(60.0 * minute, 5.0)
    intervals = timeline.intervals(86_400.0)
    assert {each.seconds for each in intervals} == {168.0}
    assert sum(each.count for each in intervals) == 24 * 60
    assert [each.at for each in intervals[:3]] == [0.0, 168.0, 336.0]
    assert Timeline(3600.0).intervals(2.0) == Timeline().intervals(2.0)
    assert (interval_seconds(60.0), interval_seconds(86_400.0)) == (5.0, 43.2)


def test_events_of_the_warm_up_are_not_waited_for_and_not_counted_if_they_are_late() -> None:
    ledger = Ledger(1, {0: 0})
    ledger.delivered(ledger.begin(0, None, 0.0), 0, 0, 0.1, 1)
    ledger.end_warm_up()
    assert ledger.outstanding().events == 0
    ledger.event(0, 0, 5.0)
    assert (ledger.events.count, ledger.events.repeated, ledger.events.latencies.count) == (1, 0, 0)


def distribution(*values: float) -> Distribution:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    found = histogram.distribution()
    assert found is not None
    return found


def result(**fields: object) -> TargetResult:
    seconds = [results.Interval(at=float(at), count=300) for at in range(10)]
    plain = {
        "name": "kafka", "unit": "messages", "seconds": 10.0, "sent": 3000, "answered": 3000, "errors": {}, "lost": 0,
        "is_open": True, "wanted_per_second": 300.0, "timeline": tuple(seconds),
        "latency": distribution(*[10.0] * 3000),
    }  # fmt: skip
    return TargetResult(**(plain | fields))  # type: ignore[arg-type]


def outcomes(*targets: TargetResult) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in verdict.checks(targets, Limits())}


def test_all_that_is_well_is_met() -> None:
    assert set(outcomes(result(events_missing=0)).values()) == {Outcome.MET}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"latency": distribution(*[501.0] * 3000)}, {"mean"}),
        ({"latency": distribution(*[1.0] * 2800, *[1200.0] * 200)}, {"p95"}),
        ({"answered": 900, "sent": 900}, {"throughput"}),
        ({"errors": {"timed out": 31}}, {"errors"}),
        ({"unanswered": 40}, {"errors"}),
        ({"lost": 1}, {"lost"}),
        ({"events_missing": 1}, {"lost"}),
        ({"end_to_end": {"event": distribution(700.0)}}, {"mean to the committed event"}),
        ({"timeline": tuple(results.Interval(at=float(at), count=at % 2) for at in range(10))}, {"availability"}),
    ],
)
def test_each_figure_that_is_beyond_its_limit_is_missed(fields: dict[str, object], names: set[str]) -> None:
    assert {name for name, outcome in outcomes(result(**fields)).items() if outcome is Outcome.MISSED} == names


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    found = outcomes(result(sent=0, answered=0, latency=None, timeline=(), lost=None))
    assert {name for name, outcome in found.items() if outcome is Outcome.NOT_MEASURED} == {
        "throughput", "mean", "p95", "errors", "availability", "lost",
    }  # fmt: skip


def test_a_sidecar_that_reads_nothing_of_the_topic_leaves_a_run_without_its_verdict() -> None:
    silent = result(not_reached=("event", "metrics"))
    not_measured = {name for name, outcome in outcomes(silent).items() if outcome is Outcome.NOT_MEASURED}
    assert not_measured == {f"{name} to {place}" for name in ("mean", "p95") for place in PLACES.values()}
    point = results.BreakingPoint(held_per_second=500.0, broke_per_second=None, steps=())
    found = verdict.stress_checks(silent, point, Limits())
    assert verdict.exit_code(found, results.Ended.FINISHED) == verdict.NOT_MEASURED
    assert verdict.exit_code(verdict.stress_checks(result(), point, Limits()), results.Ended.FINISHED) == verdict.MET


def test_a_rate_that_is_asked_for_need_not_be_exceeded() -> None:
    slow = result(wanted_per_second=20.0, sent=200, answered=196)
    [check] = [check for check in verdict.checks([slow], Limits()) if check.name == "throughput"]
    assert (check.wanted, check.outcome) == ("≥ 19/s", Outcome.MET)


def test_a_limit_that_is_reached_is_met_so_that_no_error_and_no_gap_can_be_asked_for() -> None:
    limits = Limits(errors_percent=0, availability_percent=100)
    found = verdict.checks([result(events_missing=0)], limits)
    assert {check.outcome for check in found} == {Outcome.MET}


@pytest.mark.parametrize(
    ("per_second", "answered", "measured"),
    [
        (2, [2] * 30, 100.0),
        (2, [2] * 15 + [0] * 15, 50.0),
        (0.5, [1, 0] * 15, 100.0),
        (0.1, [1, 0, 0], None),  # too few for one piece
        (5, [5] * 29 + [0], 100 * 29 / 30),
    ],
)
def test_of_few_requests_a_second_the_availability_is_that_of_some_seconds_each(
    per_second: float, answered: list[int], measured: float | None
) -> None:
    seconds = tuple(results.Interval(at=float(at), count=count) for at, count in enumerate(answered))
    few = result(seconds=float(len(answered)), sent=round(per_second * len(answered)), timeline=seconds)
    assert verdict.availability(few) == (measured if measured is None else pytest.approx(measured))


def sample(own: float, machine: float = 1.0) -> results.Sample:
    used = results.MachineSample(cpu_cores=machine, memory_used_bytes=1, memory_total_bytes=2)
    return results.Sample(
        at=5.0, machine=used, processes={"load test": results.ProcessSample(cpu_cores=own, memory_bytes=7)}
    )


def test_a_load_test_that_is_busy_or_late_is_the_limit_and_says_why() -> None:
    calm = generator_cost([sample(0.3)], {"load test"}, distribution(1.0), [result()])
    assert (calm.is_limit, calm.cpu_cores, calm.memory_bytes) == (False, 0.3, 7)
    busy = generator_cost([sample(0.97)], {"load test"}, distribution(1.0), [result()])
    assert busy.evidence == ("a process of the load test used 0.97 cores; an interpreter cannot use more than one",)
    late = generator_cost([sample(0.3)], {"load test"}, distribution(*[30.0] * 9), [result(sent=1000)])
    assert [line.split(" ")[0] for line in late.evidence] == ["requests", "kafka:"]


def figures(at: float, **fields: float) -> SidecarFigures:
    return SidecarFigures(at, **fields)


BUSY = (figures(0.0), figures(10.0, poll_seconds=0.5, decode_seconds=1.0, analyze_seconds=8.5, cpu_seconds=9.8))
WAITS = (figures(0.0), figures(10.0, poll_seconds=0.5, analyze_seconds=9.5, cpu_seconds=0.4))
HUNGRY = (figures(0.0), figures(10.0, poll_seconds=0.5, analyze_seconds=9.5, cpu_seconds=4.0))
FULL = (figures(0.0), figures(10.0, poll_seconds=9.0, decode_seconds=1.0, backlog=95.0, backlog_limit=100.0))
STARVED = (figures(0.0), figures(10.0, poll_seconds=9.0, decode_seconds=1.0, backlog=9.0, backlog_limit=1000.0))
IDLE = {"poll_seconds": 9.0, "decode_seconds": 1.0}
UNCOMMITTED = (
    figures(0.0),
    figures(10.0, **IDLE, backlog=400.0, backlog_limit=1000.0, deliveries=500.0, delivery_seconds=1000.0),
)
BURST = (
    figures(0.0),
    figures(10.0, **IDLE, backlog=400.0, backlog_limit=1000.0, deliveries=900.0, delivery_seconds=90.0),
)
CALM = (figures(0.0), figures(10.0, poll_seconds=9.0, decode_seconds=1.0, backlog_limit=100.0))
LATE = GeneratorCost(cpu_cores=1.0, cpu_cores_max=1.0, memory_bytes=1, lag=None, is_limit=True, evidence=("late",))


@pytest.mark.parametrize(
    ("evidence", "name", "word"),
    [
        (Evidence(100, figures=BUSY), bottlenecks.LOOP, "95% of its time on records"),
        (Evidence(100, figures=WAITS, machine_ratio=0.2), bottlenecks.WAITING, "uses 0.04 cores"),
        (Evidence(100, figures=WAITS, machine_ratio=0.99), bottlenecks.WAITING, "99% of the processors"),
        (Evidence(100, figures=HUNGRY, machine_ratio=0.99), bottlenecks.MACHINE, "uses 0.40 cores"),
        (Evidence(100, figures=FULL), bottlenecks.BACKLOG, "95% of its limit"),
        (Evidence(100, figures=UNCOMMITTED, waiting=500), bottlenecks.BACKLOG, "40% of its limit, for want of commits"),
        (Evidence(100, figures=UNCOMMITTED, waiting=500, machine_ratio=0.99), bottlenecks.MACHINE, "event: 500"),
        (Evidence(100, figures=BURST, waiting=500, machine_ratio=0.98), bottlenecks.MACHINE, "98% of the processors"),
        (Evidence(100, figures=STARVED, waiting=500), bottlenecks.NETWORK, "waits for records for 90% of its time"),
        (Evidence(100, figures=BUSY, answers_ms=[400.0], connects_ms=[0.3]), bottlenecks.LOOP, "95% of its time"),
        (Evidence(100, figures=FULL, answers_ms=[400.0], connects_ms=[0.3]), bottlenecks.BROKER, "400 ms to answer"),
        (Evidence(100, answers_ms=[5.0], throttled_ms=[0.0, 90.0]), bottlenecks.BROKER, "a quota"),
        (Evidence(100, answers_ms=[210.0], connects_ms=[200.0]), bottlenecks.NETWORK, "takes 200 ms"),
        (Evidence(100, answers_ms=[150.0], queued_ms=[300.0]), bottlenecks.NETWORK, "wait 300 ms for the socket"),
        (Evidence(100, figures=BUSY, generator=LATE), bottlenecks.LOAD_TEST, "late"),
        (Evidence(100, figures=CALM, answers_ms=[5.0], connects_ms=[0.3]), bottlenecks.NONE, "10% of its time"),
        (Evidence(0, connections=3, machine_ratio=0.5), bottlenecks.REDIS, "on 3 connections"),
        (Evidence(0, connections=3, machine_ratio=1.0, is_broken=True), bottlenecks.MACHINE, "100% of the processors"),
        (Evidence(100), bottlenecks.NONE, ""),
    ],
)  # fmt: skip
def test_the_bottleneck_is_named_by_the_figures_that_show_it(evidence: Evidence, name: str, word: str) -> None:
    found = bottleneck(evidence)
    assert found.name == name
    assert word in "; ".join(found.evidence)


def http(**fields: float | None) -> HttpFigures:
    """Figures of an HTTP server at half of what it can."""
    plain = HttpFigures(20, 100.0, 0.0, 20.0, 1.0, busy_connections=2.0, usual_ms=20.0, cores=0.3, own_cores=0.3)
    return plain._replace(**fields)  # type: ignore[arg-type]


FULL_HTTP: dict[str, float] = {"busy_connections": 19.5, "served_ms": 195.0}


@pytest.mark.parametrize(
    ("found", "beside", "name", "word"),
    [
        (http(), {}, None, ""),
        (http(cores=0.9), {}, servers.SERVER, "uses 0.90 cores"),
        (http(cores=0.5, own_cores=0.5, **FULL_HTTP), {}, servers.SERVER, "0.50 more than before the run"),
        (http(cores=0.5, own_cores=0.1, **FULL_HTTP), {}, servers.SERVER_WAITS, "and 20.0 ms at the rate"),
        (http(cores=None, own_cores=None, **FULL_HTTP), {}, servers.SERVER_WAITS, "does not show"),
        (http(busy_connections=19.5), {}, servers.CONNECTIONS, "19.5 of 20 connections"),
        (http(busy_connections=19.5), {"connect_ms": 15.0}, servers.CONNECTIONS, "connections"),
        (http(busy_connections=19.5, served_ms=30.0), {"connect_ms": 25.0}, servers.NETWORK, "takes 25.0 ms"),
        (http(**FULL_HTTP, transfer_ms=150.0), {}, servers.NETWORK, "150.0 ms are from the head"),
        (http(**FULL_HTTP), {"machine_ratio": 0.99}, servers.MACHINE, "99% of the processors"),
        (http(**FULL_HTTP, failed_per_second=5.0), {}, servers.REFUSED, "5.0 requests a second failed"),
        (http(failed_per_second=0.5), {}, None, ""),
        (http(cores=0.2, own_cores=0.2, served_ms=90.0), {"is_broken": True}, servers.SERVER_WAITS, "90.0 ms"),
    ],
)
def test_what_limits_an_http_server_is_named_by_the_figures_that_show_it(
    found: HttpFigures, beside: dict[str, float], name: str | None, word: str
) -> None:
    given = {"connect_ms": None, "machine_ratio": None, "is_broken": False} | beside
    limit = servers.http_bottleneck(found, **given)  # type: ignore[arg-type]
    assert (None if limit is None else limit.name) == name
    assert word in ("" if limit is None else "; ".join(limit.evidence))


def test_the_load_test_is_named_before_the_server_and_a_calm_server_by_its_figures() -> None:
    busy = http(cores=1.0, own_cores=1.0, **FULL_HTTP)
    assert bottleneck(Evidence(0, http=busy, generator=LATE)).name == bottlenecks.LOAD_TEST
    assert bottleneck(Evidence(0, http=busy)).name == servers.SERVER
    calm = bottleneck(Evidence(0, http=http(), connects_ms=[0.3]))
    assert calm.name == bottlenecks.NONE
    assert "a TCP connection to the server takes 0.3 ms" in calm.evidence


def test_figures_of_a_server_are_means_of_the_time_between_two_readings() -> None:
    before, after = Reading(10.0, 5.0, 100, 2000.0, 50.0, 1), Reading(20.0, 9.0, 300, 8000.0, 250.0, 3)
    found = figures_between(before, after, 0.1, 4)
    assert found._replace(own_cores=None) == HttpFigures(4, 20.0, 0.2, 30.0, 1.0, busy_connections=0.6, cores=0.4)
    assert found.own_cores == pytest.approx(0.3)
    assert figures_between(before, after._replace(cpu_seconds=1.0), 0.1, 4).cores is None  # it was started again
    assert figures_between(before, before._replace(at=11.0), None, 4).served_ms == 0.0


def test_a_page_of_a_sidecar_gives_the_batches_of_the_load_test_and_the_figures_of_the_loop() -> None:
    lines = (
        "# TYPE marketdata_batches_total counter",
        'marketdata_batches_total{region="loadtest",exchange="exchange-0",request_type="ticker"} 7.0',
        'marketdata_batches_total{region="korea",exchange="upbit",request_type="ticker"} 900.0',
        "# TYPE marketdata_processing_seconds histogram",
        'marketdata_processing_seconds_bucket{stage="decode",le="+Inf"} 4.0',
        'marketdata_processing_seconds_sum{stage="decode"} 1.5',
        "# TYPE marketdata_event_delivery_seconds histogram",
        'marketdata_event_delivery_seconds_count{event_type="batch_collected"} 2.0',
        'marketdata_event_delivery_seconds_count{event_type="error"} 3.0',
    )
    assert read_page("\n".join(lines), "loadtest") == ({"exchange-0": 7}, {"decode_seconds": 1.5, "deliveries": 5.0})


def latencies(rate: float, capacity: float, seconds: float, service_s: float = 0.1) -> tuple[list[float], list[float]]:
    """Due times and latencies at a queue with one server."""
    due = [number / rate for number in range(int(rate * seconds))]
    free, found = 0.0, []
    for at in due:
        free = max(free, at) + 1 / capacity
        found.append(1000 * (free + service_s - at))
    return due, found


@given(st.floats(50, 500), st.floats(1.05, 4))
def test_latencies_of_a_queue_rise_as_much_as_it_is_overloaded(capacity: float, overload: float) -> None:
    due, ms = latencies(capacity * overload, capacity, 10.0)
    found = trend(due, ms, 0.0, 10.0)
    assert found is not None
    assert found.is_rising
    assert found.rise == pytest.approx(overload - 1, rel=0.05)


@given(st.floats(50, 500), st.floats(0.1, 0.99))
def test_latencies_of_a_queue_that_is_not_full_do_not_rise(capacity: float, load: float) -> None:
    found = trend(*latencies(capacity * load, capacity, 10.0), 0.0, 10.0)
    assert found is not None
    assert not found.is_rising


def test_too_few_requests_have_no_trend() -> None:
    assert trend([1.0, 2.0], [5.0, 5.0], 0.0, 10.0) is None


@given(st.floats(10, 5000), st.floats(5, 20_000))
def test_the_search_ends_within_a_tenth_of_the_capacity(first: float, capacity: float) -> None:
    search = Search(first)
    while (rate := search.next_rate()) is not None:
        search.add(step(rate, capacity))
    point = search.point()
    assert point.held_per_second is not None
    assert point.broke_per_second is not None
    assert point.held_per_second <= capacity < point.broke_per_second
    assert point.broke_per_second / point.held_per_second <= TOLERANCE
    assert len(point.steps) <= 20


def step(rate: float, capacity: float) -> Step:
    held = rate <= capacity
    arrived = min(rate, capacity)
    return Step(wanted_per_second=rate, sent_per_second=rate, arrived_per_second=arrived, p99=1.0, held=held)


def test_a_search_in_which_nothing_holds_ends_before_less_than_one_a_second() -> None:
    search = Search(20.0)
    for rate in iter(search.next_rate, None):
        search.add(step(rate, 0.0))
    assert [each.wanted_per_second for each in search.steps][-1] == 0.625
    assert search.point().held_per_second is None


def test_a_search_in_which_nothing_broke_has_no_breaking_point_and_ends() -> None:
    search = Search(1.0)
    for rate in iter(search.next_rate, None):
        search.add(step(rate, 1e99))
    assert len(search.steps) == 24
    assert (search.point().held_per_second, search.point().broke_per_second) == (2.0**23, None)
