"""The real sidecar names what fails, on a real broker: the decisive failures, with small thresholds."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from exporter.model import FeedKey
from exporter.runtime.clock import now_ms
from exporter.tools.simulate.market import SimulatedFeed, Simulator
from exporter.tools.simulate.simulator import Collectors
from tests.support.sidecar import Deployment, Scrape, Sidecar
from tests.support.waiting import eventually

# Twice the thresholds, the time that is given to those who have just begun to listen, and what a busy machine takes.
NAMED_SECONDS = 40.0
THRESHOLDS = [{"silent": "5s", "frozen": "5s"}]
DAY_MS = 86_400_000
# More than the threshold on silence, at ten batches a second.
ENOUGH_BATCHES = 90
HEALTHY, BESIDE, DEAD, FROZEN, PLANNED = "upbit", "bithumb", "okx", "gopax", "coinone"
CHANGED, NEVER_VALID = "korbit", "probit"


def collector(deployment: Deployment, exchange: str) -> SimulatedFeed:
    """One that writes ten small batches a second to the input."""
    region = deployment.topic.removeprefix("ticker-data.")
    key = FeedKey(region, exchange, "ticker")
    return SimulatedFeed(key, symbols=5, batch_messages=(5, 9), interval_ms=100)


@contextmanager
def collecting(deployment: Deployment, *feeds: SimulatedFeed) -> Iterator[Collectors[Simulator]]:
    """The collectors work within this."""
    simulator = Simulator(1, feeds, now_ms())
    collectors = Collectors(simulator, {"bootstrap.servers": deployment.cluster.bootstrap})
    collectors.start()
    try:
        yield collectors
    finally:
        collectors.stop()


def watcher(deployment: Deployment, instance: str = "one", **settings: object) -> Sidecar:
    """A sidecar with small thresholds that is not started yet."""
    return deployment.sidecar(instance, feeds__thresholds=THRESHOLDS, input__warm_start=1000, **settings)


def rows(sidecar: Sidecar) -> dict[str, dict[str, Any]]:
    """What `/api/v1/feeds` says of each exchange."""
    return {row["exchange"]: row for row in sidecar.get("/api/v1/feeds").json()["data"]}


def states(*sidecars: Sidecar) -> dict[str, str]:
    """The state of each exchange; no two sidecars say one."""
    said = [(exchange, row["state"]) for each in sidecars for exchange, row in rows(each).items() if "state" in row]
    assert len(said) == len(dict(said))
    return dict(said)


def scraped(*sidecars: Sidecar) -> dict[str, str]:
    """The same, from `/metrics`: of all states of a feed one is 1."""
    scrapes = [sidecar.scrape() for sidecar in sidecars]
    series = [one for scrape in scrapes for one in scrape.series("marketdata_feed_state") if one.value]
    assert len(series) == len({one["exchange"] for one in series})
    return {one["exchange"]: one["state"] for one in series}


def eventually_says(sidecars: Sequence[Sidecar], wanted: dict[str, str], *, on_the_way: dict[str, set[str]]) -> None:
    """Wait until these are the states in both places; until then no feed may have one that is not allowed."""

    def is_said() -> bool:
        said = states(*sidecars)
        for exchange, state in said.items():
            allowed = on_the_way.get(exchange, set()) | {"ok", "unknown", wanted[exchange]}
            assert state in allowed or pytest.fail(f"{exchange} is {state}: {[rows(each) for each in sidecars]}")
        return said == wanted and scraped(*sidecars) == wanted

    eventually(is_said, NAMED_SECONDS, f"not {wanted}")


def test_each_failure_is_named_and_nothing_else(deployment: Deployment) -> None:
    """A collector dies, an exchange freezes, a market is closed, and somebody replays yesterday; one feed is well."""
    healthy, dead, frozen, planned = (collector(deployment, name) for name in (HEALTHY, DEAD, FROZEN, PLANNED))
    replayed = replace(healthy, age_ms=DAY_MS)
    closed = {"feeds": [str(planned.key)], "maintenance": ["2020-01-01T00:00/2099-01-01T00:00"]}
    sidecar = watcher(deployment, feeds__calendar=[closed]).start()
    failing = (replace(dead, silent_after_ms=3000), replace(frozen, frozen_after_ms=3000))
    with collecting(deployment, healthy, replayed, *failing, replace(planned, silent_after_ms=3000)):
        wanted = {HEALTHY: "ok", DEAD: "silent", FROZEN: "frozen", PLANNED: "maintenance"}
        eventually_says([sidecar], wanted, on_the_way={})
        silent = rows(sidecar)[DEAD]
    assert silent["scope"] == "feed"
    assert silent["silent_limit_seconds"] == 5
    assert silent["reasons"][0].startswith("no batch for ")
    assert silent["state_since_ms"] > silent["last_received_ms"]
    scrape = sidecar.scrape()
    assert scrape.total("marketdata_feed_expected", exchange=PLANNED) == 0
    assert scrape.total("marketdata_feed_expected", exchange=HEALTHY) == 1
    _assert_replay_left_no_trace(scrape)


def _assert_replay_left_no_trace(scrape: Scrape) -> None:
    caught_up = scrape.total("marketdata_catch_up_batches_total", exchange=HEALTHY)
    assert caught_up > 50
    latency = "marketdata_end_to_end_latency_seconds"
    live = scrape.total("marketdata_batches_total", exchange=HEALTHY) - caught_up
    assert scrape.total(f"{latency}_count", exchange=HEALTHY) == live
    assert scrape.total(f"{latency}_sum", exchange=HEALTHY) / live < 60


def test_a_collector_that_changes_its_format_is_told_from_one_that_stops(deployment: Deployment) -> None:
    """By state, page, readiness and log; so is one of which nothing was ever valid."""
    dead = replace(collector(deployment, DEAD), silent_after_ms=3000)
    never = replace(collector(deployment, NEVER_VALID), invalid_ratio=1.0, invalid_kind="timestamp_is_text")
    sidecar = watcher(deployment, feeds__expected=[str(never.key)]).start()
    wanted = {HEALTHY: "ok", DEAD: "silent", CHANGED: "rejected", NEVER_VALID: "rejected"}
    with collecting(deployment, collector(deployment, HEALTHY), dead, changing(deployment), never):
        eventually_says([sidecar], wanted, on_the_way={})
        _assert_rejections_are_told(sidecar, deployment.topic)


def changing(deployment: Deployment) -> SimulatedFeed:
    """A collector that leaves out a field from the third second on."""
    feed = collector(deployment, CHANGED)
    return replace(feed, then=((3000, replace(feed, invalid_ratio=1.0, invalid_kind="no_data")),))


def _assert_rejections_are_told(sidecar: Sidecar, topic: str) -> None:
    reasons = {exchange: row["reasons"][0] for exchange, row in rows(sidecar).items() if row["reasons"]}
    place = rf"for example {topic}/\d/\d+: "
    assert re.match(rf"no valid batch for .+, its records are rejected: missing_field, {place}", reasons[CHANGED])
    assert re.match(rf"no valid batch yet, its records are rejected: wrong_type, {place}", reasons[NEVER_VALID])
    ready = sidecar.get("/-/ready")
    of_topic, of_feeds = ready.text.splitlines()
    assert ready.status_code == 200
    assert re.match(rf"ready; warning: \d+ % of the records of {topic} are rejected: mostly \w+, {place}", of_topic)
    assert of_feeds.startswith("ready; warning: all records of these feeds are rejected: ")
    warnings = json.loads(sidecar.snapshot())["ready"]["warnings"]
    assert [re.sub(r"^\d+", "", text) for text in warnings] == [
        re.sub(r"^\d+", "", line.removeprefix("ready; warning: ")) for line in (of_topic, of_feeds)
    ]
    logged = [line for line in sidecar.log.splitlines() if '"a record is rejected"' in line]
    assert sorted(re.findall(r"reason=(\w+)", line)[0] for line in logged) == ["missing_field", "wrong_type"]
    assert all("level=warn" in line and f"topic={topic}" in line and "feed=" in line for line in logged)


@pytest.mark.chaos
@pytest.mark.parametrize("session", ["2000", "45000"], ids=["replaced in the group", "still in the group"])
def test_a_sidecar_that_was_stopped_blames_nobody(deployment: Deployment, session: str) -> None:
    """When it goes on, it knows that it did not listen."""
    sidecar = watcher(deployment, kafka__consumer_properties={"session.timeout.ms": session}).start()
    with collecting(deployment, collector(deployment, HEALTHY), collector(deployment, BESIDE)) as collectors:
        well = {HEALTHY: "ok", BESIDE: "ok"}
        eventually_says([sidecar], well, on_the_way={})
        sidecar.freeze()
        before = collectors.sent
        eventually(lambda: collectors.sent > before + 2 * ENOUGH_BATCHES, NAMED_SECONDS)
        sidecar.resume()
        counted = sidecar.batches()
        stalled = {"sidecar_stalled"}
        eventually_says([sidecar], well, on_the_way={HEALTHY: stalled, BESIDE: stalled})
        eventually(lambda: sidecar.batches() > counted + ENOUGH_BATCHES, NAMED_SECONDS)
        eventually_says([sidecar], well, on_the_way={})


@pytest.mark.chaos
def test_the_next_owner_of_a_partition_reports_what_was_silent_before_it_came(deployment: Deployment) -> None:
    """The replica that held it goes; the other reads the tail, without counting it. Then nobody says it twice."""
    first, second = watcher(deployment, "one"), watcher(deployment, "two")
    dead = replace(collector(deployment, DEAD), silent_after_ms=2000)
    wanted = {HEALTHY: "ok", DEAD: "silent"}
    first.start()
    with collecting(deployment, collector(deployment, HEALTHY), dead):
        eventually_says([first], wanted, on_the_way={})
        counted = rows(first)[DEAD]["batches"]
        second.start()
        eventually_says([first, second], wanted, on_the_way={})
        first.stop()
        eventually_says([second], wanted, on_the_way={})
    assert counted > 0
    assert rows(second)[DEAD]["batches"] == 0


@pytest.mark.chaos
def test_the_next_owner_of_a_partition_knows_what_is_rejected_and_so_does_a_sidecar_that_restarts(
    deployment: Deployment,
) -> None:
    """From the valid batches in the tail, and from what is rejected now. No two replicas say it."""
    first, second = watcher(deployment, "one"), watcher(deployment, "two")
    wanted = {HEALTHY: "ok", CHANGED: "rejected"}
    first.start()
    with collecting(deployment, collector(deployment, HEALTHY), changing(deployment)):
        eventually_says([first], wanted, on_the_way={})
        first.restart()
        eventually_says([first], wanted, on_the_way={})
        second.start()
        eventually_says([first, second], wanted, on_the_way={})
        first.stop()
        eventually_says([second], wanted, on_the_way={})
    assert rows(second)[CHANGED]["batches"] == 0
