"""A failure is played against a real broker, and a real Prometheus fires its alert and no other, until it is over.

The long cases are judged by a copy of the shipped rules in which every duration is a fifth of what it is: a minute that
an alert waits takes 12 s. What the sidecar waits for (a minute of calm, five minutes to know the symbols) is as ever.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.runtime.clock import now_ms
from exporter.tools.simulate.command import SCENARIOS, SUBJECT
from exporter.tools.simulate.market import SimulatedFeed, Simulator
from exporter.tools.simulate.simulator import Collectors, create_topics
from tests.support.alerts import RULE_FILES, Alert, Alerts, all_rules, hastened
from tests.support.failures import (
    ALL_BACK,
    ALL_SILENT,
    END,
    PARTIAL_BEGIN,
    PARTIAL_END,
    beside,
    first_alerts,
    market,
    subject,
)
from tests.support.kafka import Broker
from tests.support.process import Part
from tests.support.prometheus import promtool
from tests.support.sidecar import PROGRAM, Deployment, Sidecar
from tests.support.waiting import eventually

FACTOR = 5
THRESHOLDS = [{"feeds": ["*"], "silent": "10s", "frozen": "20s"}]
# Twice the thresholds, five intervals of a feed that is seven times as slow, and what the rules wait.
FIRING_SECONDS = 150.0
# A minute of calm, and what a busy machine takes.
RESOLVED_SECONDS = 100.0
# What is about all failures together: where there are many, the budget burns as it should.
BUDGET = "MarketdataFreshnessBudgetBurnsFast"
FAILURES = "marketdata_consumer_commit_failures_total"
# As in `Deployment`, but for sessions.
CONSUMER = {"heartbeat.interval.ms": "300", "fetch.wait.max.ms": "20", "topic.metadata.refresh.interval.ms": "500"}


class Simulation(Part):
    """`marketdata-exporter simulate`."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        super().__init__(directory)
        self._arguments = arguments

    def command(self) -> Sequence[str]:
        """See Part."""
        return [str(PROGRAM), "simulate", *self._arguments]

    def ready(self) -> bool:
        """See Part: it has printed what it plays."""
        return "All feeds are healthy" in self.log


def name_of(deployment: Deployment) -> str:
    """What no other test has."""
    return deployment.topic.removeprefix("ticker-data.")


def watcher(deployment: Deployment, instance: str, session: str = "10000", **settings: object) -> Sidecar:
    """A sidecar with small thresholds, that reads every topic with the name of this test; it is not started yet."""
    topics = [f"^{name_of(deployment)}.*", f"^ticker-data.{name_of(deployment)}.*"]
    usual: dict[str, object] = {
        "feeds__thresholds": THRESHOLDS,
        "input__topics": topics,
        "input__warm_start": 1000,
        "kafka__consumer_properties": CONSUMER | {"session.timeout.ms": session},
    }
    return deployment.sidecar(instance, **(usual | settings))


@contextmanager
def simulated(deployment: Deployment, directory: Path, *arguments: str) -> Iterator[None]:
    """A scenario is played within this, on topics of its own."""
    where = (f"--bootstrap-servers={deployment.cluster.bootstrap}", f"--topic-prefix={name_of(deployment)}.")
    simulation = Simulation(directory / "simulate", *arguments, *where).start()
    try:
        yield
    finally:
        simulation.stop()


def test_the_hastened_rules_are_the_shipped_ones_but_for_their_durations(tmp_path: Path) -> None:
    """Prometheus takes them, thresholds stay, and an hour in steps of a minute has as many steps as before."""
    files = hastened(tmp_path, FACTOR)
    assert "SUCCESS" in promtool("check", "rules", *files)
    shipped, hasty = all_rules(RULE_FILES), all_rules(files)
    assert list(map(without_durations, hasty)) == list(map(without_durations, shipped))
    burns = next(rule for rule in hasty if rule.get("alert") == BUDGET)
    assert set(re.findall(r"\[.+?\]", burns["expr"])) == {
        "[720000ms:12000ms]",
        "[60000ms:12000ms]",
        "[4320000ms:12000ms]",
        "[360000ms:12000ms]",
    }
    waits = {rule["alert"]: rule["for"] for rule in hasty if "for" in rule}
    assert waits["MarketdataFeedSilent"] == "12000ms"


def without_durations(rule: dict[str, Any]) -> dict[str, Any]:
    """What is left of a rule."""
    return rule | {"expr": re.sub(r"\[.+?\]", "[]", rule["expr"]), "for": "for" in rule}


def test_a_frozen_exchange_fires_its_alert_and_no_other(deployment: Deployment, tmp_path: Path) -> None:
    """As a user would try it: the command, the sidecar, the rules as they are shipped."""
    frozen = [{"feeds": ["*"], "frozen": "5s"}]
    sidecar = watcher(deployment, "one", feeds__thresholds=frozen)
    wanted = {Alert(SCENARIOS["frozen"].alert, str(SUBJECT.key))}
    with Alerts(tmp_path / "prometheus", [sidecar], RULE_FILES) as alerts:
        sidecar.start()
        with simulated(deployment, tmp_path, "frozen", "--seconds=12", "--rate=5"):
            alerts.eventually_are(wanted, FIRING_SECONDS)
        assert alerts.fired() == wanted


@contextmanager
def collecting(deployment: Deployment, feeds: Sequence[SimulatedFeed]) -> Iterator[Collectors[Simulator]]:
    """The collectors work within this."""
    kafka = {"bootstrap.servers": deployment.cluster.bootstrap}
    simulator = Simulator(1, feeds, now_ms())
    create_topics(kafka, simulator.topics, 2)
    collectors = Collectors(simulator, kafka)
    collectors.start()
    try:
        yield collectors
    finally:
        collectors.stop()


def ready(*sidecars: Sidecar) -> None:
    """Start sidecars, and wait until all of them have partitions."""
    for sidecar in sidecars:
        sidecar.start()
    for sidecar in sidecars:
        eventually(lambda sidecar=sidecar: sidecar.get("/-/ready").ok, 60, "not ready")  # type: ignore[misc]


@pytest.mark.chaos
def test_each_failure_fires_its_alert_and_no_other_until_it_is_over(deployment: Deployment, tmp_path: Path) -> None:
    """Every scenario of `simulate` and some more, side by side, before two replicas."""
    name = name_of(deployment)
    expected = [f"{name}-missing:subject:ticker"]
    sidecars = [watcher(deployment, instance, feeds__expected=expected) for instance in ("one", "two")]
    first = first_alerts(name)
    everything = {Alert("MarketdataEverythingSilent", "")}
    partial = {Alert(SCENARIOS["partial"].alert, f"{name}-partial:subject:ticker")}

    with Alerts(tmp_path / "prometheus", sidecars, hastened(tmp_path / "rules", FACTOR)) as alerts:
        ready(*sidecars)
        with collecting(deployment, market(name)):
            started = time.monotonic()

            def fires(wanted: set[Alert], until: float) -> None:
                alerts.eventually_are(wanted, until - (time.monotonic() - started), besides=BUDGET)

            fires(first, END)
            fires(set(), ALL_SILENT)
            fires(everything, ALL_BACK)
            fires(set(), PARTIAL_BEGIN + 70)
            fires(partial, PARTIAL_END)
            fires(set(), PARTIAL_END + RESOLVED_SECONDS)
        assert alerts.fired() == first | everything | partial | {Alert(BUDGET, "")}


# The sidecars and the broker.


def well(deployment: Deployment) -> list[SimulatedFeed]:
    """Feeds of two topics, of which none fails."""
    return [made(f"{name_of(deployment)}-{region}") for region in ("a", "b") for made in (subject, beside)]


@pytest.fixture
def rules(tmp_path: Path) -> list[Path]:
    """The shipped rules, hastened."""
    return hastened(tmp_path / "rules", FACTOR)


@pytest.mark.chaos
@pytest.mark.parametrize("session", ["6000", "45000"], ids=["replaced in the group", "still in the group"])
def test_a_replica_that_stands_still_is_the_only_one_to_blame(
    deployment: Deployment, tmp_path: Path, rules: list[Path], session: str
) -> None:
    """It answers no scrapes; when it goes on, nobody is blamed for what it has missed."""
    one, two = (watcher(deployment, name, session) for name in ("one", "two"))
    down = {Alert("MarketdataExporterDown", f"127.0.0.1:{one.port}")}
    with Alerts(tmp_path / "prometheus", [one, two], rules) as alerts:
        with collecting(deployment, well(deployment)):
            ready(one, two)
            told = one.batches()
            eventually(lambda: one.batches() > told + 20, 60, "it reads nothing")
            one.freeze()
            alerts.eventually_are(down, FIRING_SECONDS)
            one.resume()
            alerts.eventually_are(set(), RESOLVED_SECONDS)
            told = one.batches() + two.batches()
            eventually(lambda: one.batches() + two.batches() > told + 200, 120, "they read nothing")
        assert alerts.fired() == down


@pytest.mark.chaos
def test_a_sidecar_alone_that_stands_still_leaves_all_unwatched(
    deployment: Deployment, tmp_path: Path, rules: list[Path]
) -> None:
    """Two alerts say so, of which Alertmanager tells the worse; afterwards nobody is blamed."""
    sidecar = watcher(deployment, "one")
    unwatched = {
        Alert("MarketdataExporterAbsent", ""),
        Alert("MarketdataExporterDown", f"127.0.0.1:{sidecar.port}"),
    }
    with Alerts(tmp_path / "prometheus", [sidecar], rules) as alerts:
        with collecting(deployment, well(deployment)):
            ready(sidecar)
            eventually(lambda: sidecar.batches() > 20, 60, "it reads nothing")
            sidecar.freeze()
            alerts.eventually_are(unwatched, FIRING_SECONDS)
            sidecar.resume()
            alerts.eventually_are(set(), RESOLVED_SECONDS)
            told = sidecar.batches()
            eventually(lambda: sidecar.batches() > told + 200, 120, "it reads nothing")
        assert alerts.fired() == unwatched


@pytest.mark.chaos
def test_a_broker_that_is_away_is_not_the_collectors_fault(tmp_path: Path, rules: list[Path]) -> None:
    """The sidecar says that it cannot tell; no feed has an alert, neither then nor when the broker is back."""
    broker = Broker(tmp_path / "kafka").start()
    try:
        with Deployment(broker, tmp_path) as deployment:
            deployment.create_outputs()
            sidecar = watcher(deployment, "one")
            away = {Alert("MarketdataExporterNotReady", f"127.0.0.1:{sidecar.port}")}
            with Alerts(tmp_path / "prometheus", [sidecar], rules) as alerts:
                with collecting(deployment, well(deployment)):
                    ready(sidecar)
                    eventually(lambda: sidecar.batches() > 100, 60, "it reads nothing")
                    broker.kill()
                    alerts.eventually_are(away, FIRING_SECONDS)
                    eventually(lambda: sidecar.scrape().total(FAILURES) > 0, 300, "it does not try to publish")
                    assert alerts.firing() == away
                    broker.start()
                    alerts.eventually_are(set(), RESOLVED_SECONDS)
                    told = sidecar.batches()
                    eventually(lambda: sidecar.batches() > told + 400, 200, "it reads nothing")
                assert alerts.fired() == away
    finally:
        broker.kill()


@pytest.mark.chaos
def test_a_sidecar_that_may_not_publish_stalls_and_says_so(broker: Broker, tmp_path: Path, rules: list[Path]) -> None:
    """The topic of the events is missing: the backlog fills, reading pauses; then the topic is there."""
    with Deployment(broker, tmp_path) as deployment:
        broker.create_topic(deployment.errors)
        sidecar = watcher(deployment, "one", output__backlog={"age": "2s"})
        one = f"127.0.0.1:{sidecar.port}"
        stalled = {
            Alert(f"Marketdata{name}", one)
            for name in ("SidecarStalled", "EventBacklogNearLimit", "EventsFailing", "ExporterNotReady")
        }
        with Alerts(tmp_path / "prometheus", [sidecar], rules) as alerts:
            with collecting(deployment, well(deployment)):
                sidecar.start()
                alerts.eventually_are(stalled, FIRING_SECONDS, besides=BUDGET)
                broker.create_topic(deployment.events, 2)
                alerts.eventually_are(set(), RESOLVED_SECONDS + 60, besides=BUDGET)
            assert alerts.fired() - {Alert(BUDGET, "")} == stalled


@pytest.mark.chaos
def test_nothing_fires_while_nothing_fails(deployment: Deployment, tmp_path: Path) -> None:
    """Nor is any feed suspected, while replicas come and go: a start, a rebalance, a restart, and a while after it."""
    one, two = (watcher(deployment, name) for name in ("one", "two"))
    with Alerts(tmp_path / "prometheus", [one, two], RULE_FILES) as alerts:
        with simulated(deployment, tmp_path, "healthy"):
            ready(one)
            eventually(lambda: one.batches() > 100, 100, "it reads nothing")
            ready(two)
            one.restart()
            told = one.batches() + two.batches()
            eventually(lambda: one.batches() + two.batches() > told + 400, 300, "they read nothing")
            suspected = 'max_over_time(marketdata_feed_state{state!~"ok|unknown"}[1h]) == 1'
            assert alerts.prometheus.query(suspected) == []
        assert alerts.fired() == set()
