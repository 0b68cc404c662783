"""Load tests of a real broker, sidecar and Redis: what they measure is so, and nothing of them is left."""

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import pytest
import requests
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from exporter.loadtest import results, verdict
from exporter.loadtest.bottleneck import LOOP, WAITING
from exporter.loadtest.http.bottleneck import CONNECTIONS, MACHINE, SERVER, SERVER_WAITS
from exporter.loadtest.results import Ended, Outcome, Run
from exporter.loadtest.target import Patience, TargetError
from tests.support.cluster import Cluster
from tests.support.disk import SmallDisk
from tests.support.kafka import Broker
from tests.support.loadtest import (
    Slowed,
    SlowScrapes,
    Started,
    configured,
    files,
    reading_load,
    running,
    settings,
    threads,
)
from tests.support.redis import RedisServer
from tests.support.sidecar import PROGRAM, Deployment, Scrape, Sidecar
from tests.support.waiting import eventually

RATE = 200.0


class Story(NamedTuple):
    """One run of Kafka and Redis beside a sidecar, and what was seen of it."""

    run: Run
    metrics: Scrape
    log: list[dict[str, object]]
    folder: Path


@pytest.fixture(scope="module")
def deployment(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(broker, tmp_path_factory.mktemp("loadtest"), 1) as one:
        yield one.create_outputs()


@pytest.fixture(scope="module")
def sidecar(deployment: Deployment) -> Sidecar:
    return reading_load(deployment).start()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def story(
    deployment: Deployment, sidecar: Sidecar, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    folder = tmp_path_factory.mktemp("report")
    config = configured(deployment.cluster.bootstrap, output__topic=deployment.events, redis__url=redis.url)
    given = settings(targets=("kafka", "redis"), rate=RATE, url=url(sidecar), processes={"sidecar": sidecar.pid})
    started = Started(folder, given, config)
    page = eventually(lambda: answered(started), 40, "it did not begin")
    assert page is not None
    run = started.result()
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return Story(run, page, log, folder)


def url(sidecar: Sidecar) -> str:
    return f"http://127.0.0.1:{sidecar.port}"


def answered(started: Started) -> Scrape | None:
    """Its own metrics, once both targets have answered; what it failed with, if it has."""
    if not started.metrics_url:
        assert started.targets, "no target is left"
        return None
    page = Scrape(requests.get(started.metrics_url, timeout=5).text)
    kinds = ("kafka", "redis")
    return (
        page if all(page.total("loadtest_requests_total", target=kind, result="answered") for kind in kinds) else None
    )


def names(broker: Cluster) -> set[str]:
    return set(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics)


def test_each_message_is_counted_from_its_sending_to_the_topic_the_event_and_the_metrics(story: Story) -> None:
    kafka = story.run.target("kafka")
    assert kafka is not None
    assert (kafka.lost, kafka.repeated, kafka.events_missing, kafka.events_repeated) == (0, 0, 0, 0)
    assert kafka.answered == kafka.sent > 2 * RATE
    assert {place: one.count for place, one in kafka.end_to_end.items()} == dict.fromkeys(
        ("event", "metrics"), kafka.sent
    )
    assert kafka.latency is not None
    assert kafka.latency.mean < kafka.end_to_end["event"].mean
    assert sum(each.count for each in kafka.timeline) == kafka.answered


def test_operations_of_the_store_are_measured_by_kind_on_connections_of_their_own(story: Story) -> None:
    redis = story.run.target("redis")
    assert redis is not None
    assert (redis.errors, redis.connections) == ({}, 2)
    assert [part.name for part in redis.parts] == ["ping", "read", "write"]
    assert sum(part.answered for part in redis.parts) == redis.answered > 0


def test_nothing_is_left_in_the_services_nor_in_the_process(
    story: Story, deployment: Deployment, redis: RedisServer
) -> None:
    assert not [name for name in names(deployment.cluster) if "loadtest" in name]
    with redis.client() as client:
        assert list(client.scan_iter("*")) == []
    assert threads() == set()
    assert files(story.folder) == ["log.jsonl"]


def test_its_own_metrics_have_both_targets_and_its_process(story: Story) -> None:
    page = story.metrics
    assert page.total("loadtest_requests_total", target="kafka", result="answered") > 0
    assert page.total("loadtest_kafka_messages_total", result="answered") > 0
    assert page.total("loadtest_store_operations_total", result="answered") > 0
    assert page.total("loadtest_request_duration_seconds_count", target="redis") > 0
    assert page.total("process_cpu_seconds_total") > 0
    assert page.total("process_resident_memory_bytes") > 0


def test_each_line_of_the_log_has_time_level_and_event(story: Story) -> None:
    assert all(re.fullmatch(r"[\d-]{10}T[\d:.]{12}Z", str(line["timestamp"])) for line in story.log)
    assert [line["event"] for line in story.log if line["event"] != "progress"] == ["preparing", "started", "ended"]
    assert {line["level"] for line in story.log} == {"info"}


def test_the_run_has_machine_processes_cost_and_a_check_for_each_figure(story: Story) -> None:
    run = story.run
    assert run.ended is Ended.FINISHED
    assert run.machine.cores > 0
    assert run.samples[-1].processes.keys() == {"load test", "sidecar"}
    assert run.generator is not None
    assert run.generator.cpu_cores > 0
    assert run.generator.lag is not None
    assert run.bottleneck is not None
    assert run.bottleneck.evidence
    assert Outcome.NOT_MEASURED not in {check.outcome for check in run.checks}
    assert {check.name for check in run.checks if check.target == "kafka"} >= {"mean", "p95", "errors", "lost"}
    assert results.decode(results.encode(run)) == run


def test_a_topic_with_records_of_others_is_refused_and_neither_written_nor_deleted_when_allowed(
    broker: Broker, topic: Callable[..., str], tmp_path: Path
) -> None:
    name = topic("ticker-data.theirs")
    broker.produce(name, [b"{}"])
    config = configured(broker.bootstrap, output__topic="no-events")
    refused = Started(tmp_path, settings(topic=name), config)
    with pytest.raises(TargetError, match=r"has 1 records already; --allow-existing"):
        refused.result()
    assert len(broker.read_all(name)) == 1
    allowed = Started(tmp_path, settings(topic=name, allow_existing=True, messages=10, rate=100.0), config).result()
    found = allowed.target("kafka")
    assert found is not None
    assert (found.lost, found.events_missing, found.end_to_end) == (0, None, {})
    assert len(broker.read_all(name)) == 1 + found.sent + 2
    assert "no topic of events" in found.notes[0]


def test_a_full_disk_ends_the_run(broker: Broker, tmp_path: Path) -> None:
    config = configured(broker.bootstrap, output__topic="no-events")
    run = Started(tmp_path, settings(seconds=60.0), config, log=Path("/dev/full")).result()
    assert run.ended is Ended.DISK_FULL
    assert run.ended_because == "the log: No space left on device"
    assert verdict.exit_code(run.checks, run.ended) == 1


def test_a_sidecar_that_is_killed_ends_the_run_and_its_events_are_missing(
    deployment: Deployment, tmp_path: Path
) -> None:
    victim = deployment.sidecar("victim", input__group=f"{deployment.group}-victim").start()
    config = configured(deployment.cluster.bootstrap, output__topic=deployment.events)
    given = settings(seconds=60.0, topic=deployment.topic, rate=RATE, url=url(victim), allow_existing=True)
    started = Started(tmp_path, given, config)
    eventually(lambda: started.targets[0].counts().answered > 50, 30, "nothing was sent")
    victim.kill()
    run = started.result()
    kafka = run.target("kafka")
    assert run.ended is Ended.SIDECAR_DIED
    assert "/metrics has not answered for" in run.ended_because
    assert kafka is not None
    assert (kafka.lost, verdict.exit_code(run.checks, run.ended)) == (0, 1)
    assert kafka.events_missing


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path_factory.mktemp("own-kafka") / "disk", 200) as disk:
        yield disk


@pytest.fixture(scope="module")
def own_broker(disk: SmallDisk) -> Iterator[Broker]:
    broker = Broker(disk.folder / "kafka", heap="256m").start()
    yield broker
    broker.kill()


def test_a_stall_of_two_seconds_is_in_the_latencies_of_all_that_was_due_then(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Of 4 s at 200/s, half of the messages are due while the broker stands still: they wait 1 s on average."""
    # A controller that was frozen as well may fence the broker, which is back some time later: no sign of its end.
    given, patience = settings(seconds=4.0, rate=RATE), Patience()
    started = Started(tmp_path, given, configured(own_broker.bootstrap), patience=patience)
    eventually(lambda: started.targets[0].counts().answered > RATE / 2, 30, "nothing was sent")
    own_broker.freeze()
    still = frozen_for(started, 2.0)
    own_broker.resume()
    run = started.result()
    kafka = run.target("kafka")
    assert kafka is not None
    assert kafka.latency is not None
    assert run.ended is Ended.FINISHED, run.ended_because
    assert kafka.latency.p99_9 > 1000 * still * 0.95
    assert (kafka.lost, kafka.sent) == (0, kafka.answered)
    assert sum(bucket.count for bucket in kafka.latency.buckets) > 2 * RATE
    late = sum(bucket.count for bucket in kafka.latency.buckets if bucket.upper_ms > 500)
    assert late > RATE
    assert min(each.count for each in kafka.timeline) == 0


def frozen_for(started: Started, seconds: float) -> float:
    """Wait until the load test was due to send for so long, and return for how long by its clock."""
    target = started.targets[0]
    begin = target.counts().sent
    eventually(lambda: target.counts().sent >= begin + seconds * RATE, 30, "the schedule stands still as well")
    return seconds


def test_a_broker_that_dies_ends_the_run_with_what_was_measured_until_then(own_broker: Broker, tmp_path: Path) -> None:
    started = Started(tmp_path, settings(seconds=60.0, rate=RATE), configured(own_broker.bootstrap))
    eventually(lambda: started.targets[0].counts().answered > 50, 30, "nothing was sent")
    own_broker.kill()
    run = started.result()
    kafka = run.target("kafka")
    assert run.ended is Ended.BROKER_DIED
    assert "no broker has acknowledged a message for" in run.ended_because
    assert kafka is not None
    assert kafka.answered > 50
    assert kafka.lost is None
    assert "could not be deleted" in kafka.notes[-1]
    assert verdict.exit_code(run.checks, run.ended) == 1
    assert threads() == set()


def test_ctrl_c_ends_the_command_with_a_report_and_without_its_topic(broker: Broker, tmp_path: Path) -> None:
    options = ["--target", "kafka", "--bootstrap-servers", broker.bootstrap, "--event-topic", "no-events"]
    command = [str(PROGRAM), "loadtest", "load", *options, "--report-folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "own metrics" in line)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode in (1, 2), out
    assert "interrupted: The run was interrupted after" in out
    assert not [name for name in names(broker) if "loadtest" in name]
    [report] = tmp_path.glob("load_test_results_*.json")
    assert results.decode(report.read_bytes()).ended is Ended.INTERRUPTED


def test_a_full_disk_of_a_broker_ends_the_run_with_a_report_that_says_so(
    own_broker: Broker, disk: SmallDisk, tmp_path: Path
) -> None:
    if disk.refusal:
        pytest.skip(f"no small disk can be mounted: {disk.refusal}")
    if not own_broker.is_running:
        own_broker.start()
    started = Started(tmp_path, settings(seconds=60.0, rate=RATE), configured(own_broker.bootstrap))
    eventually(lambda: started.targets[0].counts().answered > 50, 30, "nothing was sent")
    disk.fill()
    run = started.result()
    disk.free()
    kafka = run.target("kafka")
    assert run.ended is Ended.DISK_FULL
    assert "a broker reported an error of its storage, as with a full disk" in run.ended_because
    assert kafka is not None
    assert kafka.answered > 50
    assert "could not be deleted" in kafka.notes[-1]
    assert verdict.exit_code(run.checks, run.ended) == 1
    assert threads() == set()


def test_a_full_disk_of_the_report_ends_the_run_and_leaves_room_for_the_report(broker: Broker, disk: SmallDisk) -> None:
    if disk.refusal:
        pytest.skip(f"no small disk can be mounted: {disk.refusal}")
    folder = disk.folder / "reports"
    options = ["--target", "kafka", "--bootstrap-servers", broker.bootstrap, "--event-topic", "no-events"]
    command = [str(PROGRAM), "loadtest", "load", *options, "--report-folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if " s  kafka: " in line)
        disk.fill()
        out, _ = process.communicate(timeout=60)
    disk.fill()
    never = disk.folder / "never"
    late = subprocess.run([*command[:-1], str(never)], capture_output=True, text=True, check=False)
    disk.free()
    assert process.returncode == 1, out
    assert "disk full: " in out
    assert (late.returncode, late.stderr) == (1, f"loadtest: {never}: No space left on device\n")
    assert not never.exists() or files(never) == []
    assert not [name for name in names(broker) if "loadtest" in name]
    [report] = folder.glob("load_test_results_*.json")
    assert results.decode(report.read_bytes()).ended is Ended.DISK_FULL
    assert {path.suffix for path in folder.iterdir()} >= {".html", ".md", ".csv", ".json"}
    assert not list(folder.glob(".load_test_reserved*"))


@pytest.mark.stress
@pytest.mark.parametrize(("computes", "name"), [(True, LOOP), (False, WAITING)])
def test_stress_finds_the_rate_that_a_slow_sidecar_holds_and_why(
    deployment: Deployment, tmp_path: Path, computes: bool, name: str
) -> None:
    """Its batches take 20 ms more than its own time: it holds less than 50 a second, what its loop has time for."""
    config = configured(deployment.cluster.bootstrap, output__topic=deployment.events)
    steps = settings(profile="stress", seconds=300.0, step_seconds=10.0, rate=20.0, topic=deployment.topic)
    with running(Slowed(deployment, 0.02, computes=computes)) as slow:
        given = replace(steps, url=url(slow), allow_existing=True)
        started = Started(tmp_path, given, config, patience=Patience())
        capacities = slow.capacities(started)
        run = started.result()
    assert run.ended is Ended.FINISHED, run.ended_because
    point = run.breaking_point
    assert point is not None
    assert point.held_per_second is not None
    assert point.broke_per_second is not None
    assert max(capacities) < 50.0
    # A machine that other programs use as well does not give the same to each step.
    assert 0.9 * min(capacities) < point.held_per_second < point.broke_per_second < 1.1 * max(capacities)
    assert run.bottleneck is not None
    assert run.bottleneck.name in limits(run, name, LOOP), run.bottleneck.evidence


def limits(run: Run, name: str, computing: str) -> set[str]:
    """What may be named: what computes lacks a processor where other programs have them all."""
    is_crowded = name == computing and mean(each.machine.cpu_cores for each in run.samples) > 0.95 * run.machine.cores
    return {name, MACHINE} if is_crowded else {name}


@pytest.mark.stress
@pytest.mark.parametrize(
    ("seconds", "how", "name"),
    [(0.02, (), SERVER_WAITS), (0.02, ("SLOW_COMPUTES",), SERVER), (0.2, ("SLOW_APART",), CONNECTIONS)],
)
def test_stress_finds_the_rate_of_scrapes_that_a_slow_sidecar_holds_and_why(
    tmp_path: Path, seconds: float, how: Sequence[str], name: str
) -> None:
    with running(SlowScrapes(tmp_path / "slow", seconds, *how)) as slow:
        plain = settings(profile="stress", targets=("http",), users=20, seconds=300.0, step_seconds=10.0)
        before = slow.capacity(20, 5.0)
        run = Started(tmp_path, replace(plain, url=url(slow)), configured("127.0.0.1:1")).result()
        after = slow.capacity(20, 5.0)
    assert run.ended is Ended.FINISHED, run.ended_because
    point = run.breaking_point
    assert point is not None
    assert point.held_per_second is not None
    assert point.broke_per_second is not None
    # What clients get that never pause, before, after, and in the first step, which asks for far too much.
    capacities = before, after, point.steps[0].arrived_per_second
    assert point.steps[0].wanted_per_second > 5 * before
    assert 0.9 * min(capacities) < point.held_per_second < point.broke_per_second < 1.1 * max(capacities)
    assert run.bottleneck is not None
    assert run.bottleneck.name in limits(run, name, SERVER), run.bottleneck.evidence


def test_a_redis_that_dies_ends_the_run(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis").start()
    config = configured("127.0.0.1:1", redis__url=server.url)
    started = Started(tmp_path, settings(targets=("redis",), seconds=60.0), config)
    eventually(lambda: started.targets[0].counts().answered > 50, 30, "nothing was sent")
    server.kill()
    run = started.result()
    redis = run.target("redis")
    assert run.ended is Ended.STORE_DIED
    assert "Redis has answered no operation for" in run.ended_because
    assert redis is not None
    assert redis.errors
    assert "could not be deleted" in redis.notes[-1]
    assert verdict.exit_code(run.checks, run.ended) == 1
