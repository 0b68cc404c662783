"""Each scenario does to one feed what it says, nothing to the others, and leads to the state that it promises."""

import json
import subprocess
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.analyzers.latency import Latency, Stage
from exporter.feeds.comparison import NoComparison
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.model import Anomaly, FeedKey, Partition, Reason, Record
from exporter.tools.simulate import anomalies
from exporter.tools.simulate.command import OTHERS, SCENARIOS, SUBJECT, feeds, story
from exporter.tools.simulate.market import SimulatedRecord, Simulator
from exporter.tools.simulate.service_scenarios import SERVICE_SCENARIOS
from tests.support.batches import kept
from tests.support.kafka import Broker
from tests.support.pipeline import START, pipeline, start, take
from tests.support.sidecar import PROGRAM

START_MS = 1_760_000_000_000
# How long after the beginning the state is there, with thresholds that are learned.
WITHIN_SECONDS = {"silent": 15, "rejected": 15, "frozen": 130, "partial": 80, "delayed": 140, "flapping": 15}


def begin_ms(name: str) -> float:
    """When the scenario's failure begins."""
    return START_MS + SCENARIOS[name].begins * SCENARIOS[name].seconds * 1000


@cache
def sent(name: str) -> list[tuple[float, SimulatedRecord]]:
    """What is sent in the scenario, and the second in which it is."""
    scenario = SCENARIOS[name]
    simulator = Simulator(1, feeds(scenario, scenario.seconds), START_MS)
    ends = range(START_MS + 1000, START_MS + scenario.seconds * 1000 + 1, 1000)
    return [(end, record) for end in ends for record in simulator.records(end - 1)]


def values(name: str) -> tuple[list[bytes], list[bytes]]:
    """What the subject sends before and after the failure begins."""
    before: list[bytes] = []
    after: list[bytes] = []
    for at_ms, record in sent(name):
        if record.key == str(SUBJECT.key).encode():
            (before if at_ms <= begin_ms(name) else after).append(record.value)
    return before, after


def batches(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same as batches."""
    before, after = values(name)
    return list(map(json.loads, before)), list(map(json.loads, after))


class Seen:
    """What a sidecar makes of a scenario: the states of each feed with the time that they came, and its feeds."""

    def __init__(self, name: str) -> None:
        self._pipeline = pipeline(batch_events=False)
        self._rounds = Evaluator(NoComparison())
        self._offsets: dict[Partition, int] = defaultdict(int)
        self.timelines: dict[FeedKey, list[tuple[int, FeedState]]] = defaultdict(list)
        due: dict[float, list[SimulatedRecord]] = defaultdict(list)
        for at_ms, record in sent(name):
            due[at_ms].append(record)
        for now_ms in range(START_MS + 1000, START_MS + SCENARIOS[name].seconds * 1000 + 1, 1000):
            take(self._pipeline, *map(self._record, due[now_ms]), now_ms=now_ms)
            self._look(now_ms)

    def _record(self, record: SimulatedRecord) -> Record:
        partition = Partition(record.topic, 0)
        if partition not in self._pipeline.partitions:
            self._pipeline.assign(partition, start(START, 0))
            self._pipeline.partitions[partition].is_behind = False
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        return Record(partition, offset, record.timestamp_ms, record.value)

    def _look(self, now_ms: int) -> None:
        known = list(self._pipeline.table.feeds.values())
        topics = self._pipeline.traffic(now_ms)
        self._rounds.evaluate(known, {}, now_ms, is_reachable=True, is_sole_reader=True, topics=topics)
        for feed in known:
            state, timeline = feed.health.state, self.timelines[feed.key]
            if not timeline or timeline[-1][1] is not state:
                timeline.append((now_ms, state))

    @property
    def subject(self) -> Feed:
        """The feed that fails."""
        return self._pipeline.table.feeds[SUBJECT.key]

    @property
    def rejected(self) -> dict[Reason, int]:
        """What was rejected on the topic of the subject."""
        return self._pipeline.topics[SUBJECT.topic].rejected


seen = cache(Seen)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_scenario_leads_to_the_state_that_it_promises(name: str) -> None:
    """With learned thresholds, and no other state on the way; the feeds beside are ok all the time."""
    timeline = seen(name).timelines[SUBJECT.key]
    promised = SCENARIOS[name].state
    assert [state for _, state in timeline] == [FeedState.OK] + [promised] * (promised is not FeedState.OK)
    if promised is not FeedState.OK:
        assert 0 < timeline[-1][0] - begin_ms(name) <= WITHIN_SECONDS[name] * 1000
    for other in OTHERS:
        assert [state for _, state in seen(name).timelines[other.key]] == [FeedState.OK]


@pytest.mark.parametrize("name", SCENARIOS)
def test_only_one_feed_fails_and_only_from_then_on(name: str) -> None:
    """All before, and all of the others, is as if nothing failed."""
    quiet = {other: [record for _, record in sent(name) if record.key == other] for other in other_keys()}
    simulator = Simulator(1, feeds(SCENARIOS["healthy"], 1), START_MS)
    healthy = list(simulator.records(START_MS + SCENARIOS[name].seconds * 1000))
    assert quiet == {other: [record for record in healthy if record.key == other] for other in other_keys()}
    before, _ = values(name)
    assert before == [record.value for record in healthy if record.key == str(SUBJECT.key).encode()][: len(before)]


def other_keys() -> list[bytes]:
    """The keys of the records that nothing happens to."""
    return [str(other.key).encode() for other in OTHERS]


def test_a_collector_that_dies_sends_nothing() -> None:
    """From the moment on."""
    before, after = batches("silent")
    assert before
    assert not after


def test_a_frozen_exchange_sends_the_same_rows() -> None:
    """In batches that go on."""
    before, after = batches("frozen")
    assert len({json.dumps(batch["data"]) for batch in (before[-1], *after)}) == 1
    assert len({batch["timestamp_ms"] for batch in after}) == len(after) > 100


def test_a_collector_that_changes_its_format_goes_on_sending() -> None:
    """As often as before, and nothing that is a batch."""
    before, after = values("rejected")
    assert len(after) == pytest.approx(len(before), rel=0.1)
    assert seen("rejected").rejected[Reason.MISSING_FIELD] == len(after)


def test_half_of_the_symbols_vanish() -> None:
    """The other half goes on."""
    before, after = ({row["target_currency"] for batch in some for row in batch["data"]} for some in batches("partial"))
    assert after < before
    assert 2 * len(after) == len(before) == SUBJECT.symbols


@pytest.mark.parametrize(("name", "factor"), [("delayed", 1 / 7), ("burst", 20)])
def test_the_pace_becomes_another(name: str, factor: float) -> None:
    """Measured where it has settled."""
    stamps = [batch["timestamp_ms"] for batch in batches(name)[1]]
    intervals = [later - earlier for earlier, later in pairwise(stamps)][-20:]
    assert sum(intervals) / len(intervals) == pytest.approx(SUBJECT.interval_ms / factor, rel=0.15)


@pytest.mark.parametrize(
    ("name", "clock_ms", "stage"),
    [("skew_ahead", 90_000, Stage.BROKER_TO_SIDECAR), ("skew_behind", -90_000, Stage.EXCHANGE_TO_COLLECTOR)],
)
def test_a_clock_that_jumps_shows_as_skew_of_one_stage(name: str, clock_ms: int, stage: Stage) -> None:
    """The stamps of messages are the exchange's, and stay right."""
    before, after = batches(name)
    assert after[0]["timestamp_ms"] - before[-1]["timestamp_ms"] == pytest.approx(clock_ms + 1000, abs=300)
    assert after[0]["data"][-1]["timestamp"] >= before[-1]["data"][-1]["timestamp"]
    hops = seen(name).subject.analyzers.get(Latency).hops
    skewed = {each: hop.skew_seconds for each, hop in hops.items() if hop.skewed}
    assert skewed == {stage: pytest.approx(90, abs=2)}


def test_a_replay_is_counted_as_catching_up() -> None:
    """It has the age of a day, and leaves no trace in latencies."""
    latency = seen("replay").subject.analyzers.get(Latency)
    old = [record for _, record in sent("replay") if record.timestamp_ms < START_MS]
    assert latency.catch_up == len(old) > 1000
    for stage, hop in latency.hops.items():
        healthy = seen("healthy").subject.analyzers.get(Latency).hops[stage]
        assert kept(hop.histogram).buckets == kept(healthy.histogram).buckets


def test_a_flapping_feed_comes_back_for_less_than_it_takes_to_be_believed() -> None:
    """Gaps of 20 s, and batches between them."""
    stamps = [batch["timestamp_ms"] for batch in batches("flapping")[1]]
    gaps = [later - earlier for earlier, later in pairwise(stamps) if later - earlier > 5000]
    assert len(gaps) >= 3
    assert gaps == [pytest.approx(20_000, abs=2500)] * len(gaps)


def test_garbage_is_rejected() -> None:
    """Three of ten records, for many reasons; nothing is rejected before."""
    rejected = seen("garbage").rejected
    assert sum(count > 0 for count in rejected.values()) >= 5
    assert sum(rejected.values()) == pytest.approx(0.3 * len(values("garbage")[1]), rel=0.2)


def test_every_oddity_is_counted_as_the_anomaly_it_names() -> None:
    """In the scenario, all of them are met."""
    met = {kind for kind, count in seen("anomalies").subject.anomalies.items() if count}
    assert {kind for kind, _ in anomalies.KINDS} | {Anomaly.SIZE_MISMATCH} <= met


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - {"anomalies", "frozen", "skew_ahead", "replay"}))
def test_nothing_else_is_suspicious(name: str) -> None:
    """What is no anomaly raises none."""
    assert not any(seen(name).subject.anomalies.values())


def test_the_story_tells_failure_state_and_end() -> None:
    """In the order of time."""
    lines = list(story(SCENARIOS["silent"], 100))
    assert [at for at, _ in lines] == [0, 50, 50, 100]
    assert "silent" in lines[2][1]
    assert "MarketdataFeedSilent" in lines[2][1]


def test_alerts_that_are_promised_exist() -> None:
    """Among the rules that come with the sidecar."""
    rules = Path(__file__).parents[1] / "grafana" / "rules"
    groups = [group for file in rules.glob("*.yml") for group in yaml.safe_load(file.read_text())["groups"]]
    alerts = {rule.get("alert") for group in groups for rule in group["rules"]}
    promised = {each.alert for each in SCENARIOS.values()} | {each.alert for each in SERVICE_SCENARIOS.values()}
    assert promised - {""} <= alerts


def test_a_scenario_is_played_to_a_broker(broker: Broker) -> None:
    """To topics of its own, with the number of records told at the end."""
    done = simulate("garbage", f"--bootstrap-servers={broker.bootstrap}", "--seconds=2", "--topic-prefix=play.")
    assert done.returncode == 0, done.stderr
    records = sum(len(broker.read_all(f"play.{kind}-data.simulated")) for kind in ("ticker", "trade", "orderbook"))
    assert records > 4
    assert done.stdout.splitlines()[-1] == f"{records} records were sent, 0 did not reach the broker."


def test_scenarios_are_listed() -> None:
    """With what they do."""
    assert [line.split()[0] for line in simulate("--list").stdout.splitlines()] == [
        *SCENARIOS,
        *SERVICE_SCENARIOS,
    ]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, to its end."""
    command = [str(PROGRAM), "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
