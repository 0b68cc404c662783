"""A market that crashes on a real broker: the sidecar stops a portfolio once, through SIGKILL and rebalances."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest
import requests

from exporter.config.loader import load
from exporter.risk import Holding, Progress
from exporter.risk.events import STATE_HEADER
from exporter.risk.guard import PortfolioState
from exporter.risk.state_topic import FIRST_RECORDS, StateError, StateTopic
from tests.support.cluster import Record
from tests.support.kafka import Broker
from tests.support.risky_market import (
    SECONDS,
    RiskyMarket,
    is_stopped,
    lift,
    portfolio,
    portfolios,
    unconfirmed,
    valued,
)
from tests.support.sidecar import ANSWER_SECONDS, Deployment, Sidecar
from tests.support.waiting import eventually


@pytest.fixture
def market(deployment: Deployment, tmp_path: Path) -> RiskyMarket:
    """A market, with topics of its own."""
    return RiskyMarket(deployment, tmp_path)


def test_a_crash_is_stopped_once_through_sigkill_and_lifted_by_hand(market: RiskyMarket) -> None:
    sidecar = market.sidecar()
    market.reach(sidecar, 1.0)
    eventually(lambda: sidecar.get("/-/ready/risk").ok, SECONDS, "not ready")
    eventually(lambda: [each["value"] for each in market.events()][-1:] == [1000], SECONDS, "no report")
    # Prices in another unit, and one that a factor of 1000 is missing of.
    for wrong in (100.0, 0.001):
        market.write(wrong)
        eventually(lambda: unconfirmed(sidecar), SECONDS, "not looked at")
        market.reach(sidecar, 1.0)
        eventually(lambda: not unconfirmed(sidecar), SECONDS, "not refuted")
    market.reach(sidecar, 0.95)
    assert market.counted() == {}
    # The worst moment: the position of the record is committed, and the stop that it causes is not evaluated yet.
    market.write(0.8)
    eventually(market.is_committed, SECONDS, "not committed")
    sidecar.kill()
    successor = market.sidecar()
    market.write(100.0)
    fallen = market.reach(successor, 0.8)
    assert fallen["figures"]["daily_profit"]["value"] == pytest.approx(-220)
    assert fallen["figures"]["drawdown"]["value"] == pytest.approx(0.22)
    assert fallen["emergency_stop"]["reasons"] == ["safety:drawdown"]
    assert [each["limit"] for each in fallen["breaches"]] == ["daily_loss"]
    eventually(lambda: market.counted()["emergency_stop"], SECONDS, "no stop")
    successor.kill()
    last = market.sidecar()
    market.reach(last, 0.8)
    refused = last.get("/-/ready/risk")
    assert (refused.status_code, refused.text) == (503, "emergency stop 1 of main: safety:drawdown\n")
    assert last.scrape().total("marketdata_risk_emergency_stop", portfolio="main") == 1
    market.reach(last, 1.0)
    assert lift(last).status_code == 200
    assert market.counted()["emergency_stop_lifted"] == 1
    assert lift(last).status_code == 409
    eventually(lambda: last.get("/-/ready/risk").ok, SECONDS, "not ready")
    last.stop()
    assert market.counted() == {
        "risk_limit_breached": 1,
        "risk_limit_cleared": 1,
        "emergency_stop": 1,
        "emergency_stop_lifted": 1,
    }
    events = market.events()
    assert [each["number"] for each in events] == list(range(1, len(events) + 1))
    assert len({each["ce_id"] for each in events}) == len(events)
    (stop,) = (each for each in events if each["event_type"] == "emergency_stop")
    assert (stop["ce_id"], stop["value"]) == ("risk/main/emergency_stop/1", pytest.approx(780))
    assert [step["symbol"] for step in stop["liquidation_plan"]] == ["B", "A"]


def test_of_two_replicas_the_one_with_the_prices_stops_and_after_a_rebalance_the_other_knows(
    market: RiskyMarket,
) -> None:
    first = market.sidecar("one")
    market.reach(first, 1.0)
    # The fall is measured from the peak that the owner after a rebalance knows, which is the published one.
    eventually(lambda: [each["value"] for each in market.events()][-1:] == [1000], SECONDS, "no report")
    second = market.sidecar("two")
    replicas = [first, second]
    eventually(lambda: all(each.scrape().total("marketdata_exporter_ready") for each in replicas), SECONDS, "not ready")

    def is_told() -> int:
        """Prices go on: a new owner of the partition does not read those again that are committed."""
        market.write(0.8)
        return market.counted()["emergency_stop"]

    eventually(is_told, SECONDS, "no stop")
    eventually(lambda: [bool(valued(each, 780)) for each in replicas].count(True) == 1, SECONDS, "not one evaluates it")
    (owner,) = (each for each in replicas if valued(each, 780))
    (other,) = (each for each in replicas if each is not owner)
    owner.stop()
    assert market.reach(other, 0.79)["emergency_stop"]["number"] == 1
    other.stop()
    assert market.counted() == {"risk_limit_breached": 1, "emergency_stop": 1}
    numbers = [each["number"] for each in market.events()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_positions_are_read_again_and_a_mistake_in_them_changes_nothing(market: RiskyMarket) -> None:
    sidecar = market.sidecar(output__enabled=False)
    market.reach(sidecar, 1.0)
    market.hold({"main": {"positions": {"A": 1, "B": 1}}})
    eventually(lambda: valued(sidecar, 110), SECONDS, "not read again")
    market.file.write_text("portfolios: {main: {positions: {A: many}}}")
    wrong = eventually(lambda: sidecar.get("/api/v1/risk").json()["data"]["errors"], SECONDS, "no error")
    assert wrong["positions"].endswith("Expected `float`, got `str` - at `$.portfolios[...].positions[...]`")
    assert valued(sidecar, 110)
    sidecar.configure(risk__limits=[{"total": 100}])
    assert sidecar.reload().text == "reloaded, changed: risk.limits\n"
    broken = eventually(lambda: portfolio(sidecar)["breaches"], SECONDS, "the limit is not in force")
    assert [each["limit"] for each in broken] == ["total"]
    assert valued(sidecar, 110)
    eventually(lambda: "positions cannot be read" in sidecar.log)
    assert market.events() == []


def test_positions_of_a_topic_are_followed_through_tombstones_and_mistakes(market: RiskyMarket) -> None:
    cluster = market.deployment.cluster
    name = cluster.create_topic(f"positions-{market.deployment.group}", 2, cleanup_policy="compact")

    def hold(symbol: str, value: object) -> None:
        body = None if value is None else json.dumps(value).encode()
        cluster.produce(name, [Record(body, symbol.encode())])  # type: ignore[arg-type] # None is a tombstone

    hold("A", {"quantities": {"main": 6, "short": -1, "idle": 0}})
    hold("B", {"quantities": {"main": 50}})
    hold("X", {"quantities": {"lost": 1}})
    hold("$cash", {"quantities": {"main": -100, "short": 300}})
    sidecar = market.sidecar(output__enabled=False, risk__positions__file=None, risk__positions__topic=name)
    market.reach(sidecar, 1.0)
    values = {each["portfolio"]: each["figures"]["value"] for each in portfolios(sidecar)}
    assert values == {
        "main": {"value": 1000},
        "short": {"value": 200},
        "idle": {"value": 0},
        "lost": {"value": None, "reason": "no fresh price of X"},
    }
    hold("X", None)
    hold("A", {"quantities": {"main": 1}})
    eventually(lambda: valued(sidecar, 500), SECONDS, "not followed")
    assert {each["portfolio"] for each in portfolios(sidecar)} == {"main", "short"}
    hold("B", {"quantities": {"main": "many"}})
    wrong = eventually(lambda: sidecar.get("/api/v1/risk").json()["data"]["errors"], SECONDS, "no error")
    assert wrong["positions"].startswith(f"{name}: the record of 'B' is invalid: the quantity of main is no number")
    assert valued(sidecar, 500)
    hold("B", None)
    eventually(lambda: valued(sidecar, 0), SECONDS, "not corrected")


def test_states_are_found_however_far_behind_they_are(broker: Broker, topic: Callable[..., str]) -> None:
    name = topic("states", 2)
    config = load(
        None, {}, {"kafka.bootstrap_servers": broker.bootstrap, "risk.topic": name}, hostname="b", read_file=str
    )

    def record(portfolio: str, number: int) -> Record:
        state = msgspec.json.encode(PortfolioState(number, Progress(7), {"A": Holding(2.0, 3.0)}))
        return Record(b"{}", portfolio.encode(), {STATE_HEADER: state}, partition=0)

    broker.produce(name, [record("early", 1), *(record("late", number) for number in range(FIRST_RECORDS + 500))])
    unusable = [Record(b"{}", b"late", headers, partition=0) for headers in ({}, {STATE_HEADER: b"no state"})]
    broker.produce(name, unusable)
    found = StateTopic(config).read({"early", "late", "never"})
    assert {portfolio: state.number for portfolio, state in found.items()} == {"early": 1, "late": FIRST_RECORDS + 499}
    assert found["early"].holdings == {"A": Holding(2.0, 3.0)}


def test_nothing_is_evaluated_before_the_topic_exists(broker: Broker) -> None:
    settings = {"kafka.bootstrap_servers": broker.bootstrap, "risk.topic": "no-risk"}
    with pytest.raises(StateError, match="the topic no-risk does not exist"):
        StateTopic(load(None, {}, settings, hostname="b", read_file=str)).read({"main"})


@pytest.mark.chaos
def test_a_stop_that_is_known_and_not_yet_committed_is_made_again_after_sigkill(market: RiskyMarket) -> None:
    """Killed at the sight of the stop, again and again, while its event waits for the next commit."""
    market.reach(market.sidecar(), 1.0)
    eventually(lambda: [each["value"] for each in market.events()][-1:] == [1000], SECONDS, "no report")
    for number in range(6):
        market.kill_all()
        sidecar = market.sidecar(output__commit_interval="3s")
        market.write(0.8 - number / 1000)
        eventually(partial(is_stopped, sidecar), SECONDS, "no stop")
    market.kill_all()
    last = market.sidecar()
    market.reach(last, 0.79)
    eventually(lambda: market.counted()["emergency_stop"], SECONDS, "no stop")
    market.reach(last, 0.78)
    last.stop()
    assert market.counted() == {"risk_limit_breached": 1, "emergency_stop": 1}
    numbers = [each["number"] for each in market.events()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.chaos
def test_a_stop_is_lifted_once_when_the_sidecar_is_killed_while_it_lifts(market: RiskyMarket) -> None:
    """Killed with the request on its way, again and again, until one was committed; its answer is never earlier."""
    sidecar = market.sidecar(output__commit_interval="2s")
    market.reach(sidecar, 1.0)
    eventually(lambda: [each["value"] for each in market.events()][-1:] == [1000], SECONDS, "no report")
    market.reach(sidecar, 0.8)
    eventually(lambda: market.counted()["emergency_stop"], SECONDS, "no stop")
    market.reach(sidecar, 1.0)
    for seconds in (0.1, 0.5, 1.0, 1.5, 2.0, 3.0):
        answers: list[int] = []
        asking = threading.Thread(target=ask, args=(sidecar, answers))
        asking.start()
        asking.join(seconds)
        is_answered = bool(answers)
        market.kill_all()
        asking.join(ANSWER_SECONDS)
        assert market.counted()["emergency_stop_lifted"] == 1 or not is_answered
        sidecar = market.sidecar(output__commit_interval="2s")
        market.reach(sidecar, 1.0)
    assert lift(sidecar).status_code in (200, 409)
    assert not is_stopped(sidecar)
    sidecar.stop()
    lifted = [each["ce_id"] for each in market.events() if each["event_type"] == "emergency_stop_lifted"]
    assert lifted == ["risk/main/emergency_stop_lifted/1"]


def ask(sidecar: Sidecar, answers: list[int]) -> None:
    """Ask to lift the stop, and note the answer if there is one."""
    with suppress(requests.ConnectionError):
        answers.append(lift(sidecar).status_code)


@pytest.mark.chaos
def test_a_lift_while_kafka_hangs_is_accepted_and_committed_once(tmp_path: Path) -> None:
    """The member is given up by the group meanwhile, so the event is lost with its partitions, and made again."""
    broker = Broker(tmp_path / "kafka").start()
    try:
        with Deployment(broker, tmp_path).create_outputs() as deployment:
            market = RiskyMarket(deployment, tmp_path)
            sidecar = market.sidecar()
            market.reach(sidecar, 1.0)
            market.reach(sidecar, 0.8)
            eventually(lambda: market.counted()["emergency_stop"], SECONDS, "no stop")
            market.reach(sidecar, 1.0)
            broker.freeze()
            assert lift(sidecar).status_code == 202
            broker.resume()
            market.reach(sidecar, 1.0)
            eventually(lambda: lift(sidecar).status_code in (200, 409), SECONDS, "not committed")
            assert market.counted()["emergency_stop_lifted"] == 1
            assert not is_stopped(sidecar)
            sidecar.stop()
    finally:
        broker.kill()
