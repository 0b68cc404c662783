"""Events about risk: their key, identity and state, and what is left of them when a partition is lost."""

from __future__ import annotations

import json

import msgspec
import orjson
import pytest

from exporter.events.encoding import AvroEncoder, JsonEncoder
from exporter.model import EventType, Partition, RiskEventType
from exporter.risk import Portfolio
from exporter.risk.engine import News, RiskEngine
from exporter.risk.events import STATE_HEADER, RiskEventFactory, identity, value
from exporter.risk.guard import PortfolioState
from tests.support.risk import CONFIG, NEWS, told

PARTITIONS = (Partition("ticker-data.korea", 2), Partition("ticker-data.korea", 1))


@pytest.fixture
def engine() -> RiskEngine:
    """An engine with one portfolio."""
    made = RiskEngine(CONFIG)
    made.hold([Portfolio("main", {"A": 10.0}, cash=50.0)])
    return made


@pytest.fixture
def news(engine: RiskEngine) -> list[News]:
    """News of a fall and a recovery."""
    return told(engine, [1.0, 0.8, 1.0])


def test_each_type_has_happened() -> None:
    assert NEWS.keys() == set(RiskEventType)


def test_an_event_is_named_by_what_it_is_about(news: list[News]) -> None:
    assert [identity(each) for each in news] == [
        "risk/main/risk_limit_breached/position/A/1",
        "risk/main/risk_report/2",
        "risk/main/risk_limit_breached/daily_loss/1",
        "risk/main/risk_limit_cleared/position/A/1",
        "risk/main/emergency_stop/1",
        "risk/main/risk_report/6",
        "risk/main/risk_limit_cleared/daily_loss/1",
        "risk/main/risk_limit_breached/position/A/2",
        "risk/main/emergency_stop_lifted/1",
        "risk/main/risk_report/10",
    ]


def test_the_same_news_have_the_same_names_in_another_process(engine: RiskEngine) -> None:
    first = told(engine, [1.0])
    successor = RiskEngine(CONFIG)
    successor.restore({"main": engine.state("main")})
    successor.hold([Portfolio("main", {"A": 10.0}, cash=50.0)])
    again = RiskEngine(CONFIG)
    again.restore({"main": engine.state("main")})
    again.hold([Portfolio("main", {"A": 10.0}, cash=50.0)])
    assert first
    assert list(map(identity, told(successor, [0.8]))) == list(map(identity, told(again, [0.8])))


def test_an_event_has_the_portfolio_as_its_key_and_the_state_as_a_header(engine: RiskEngine, news: list[News]) -> None:
    factory = RiskEventFactory(AvroEncoder((*EventType, *RiskEventType)), "one", "monitoring.risk")
    event = factory.event(news[0], engine.state("main"), PARTITIONS)
    headers = dict(event.headers)
    assert (event.topic, event.key, event.source) == ("monitoring.risk", b"main", min(PARTITIONS))
    assert headers["ce_type"] == b"marketdata.monitoring.risk_limit_breached"
    assert headers["ce_id"] == identity(news[0]).encode()
    assert msgspec.json.decode(headers[STATE_HEADER], type=PortfolioState) == engine.state("main")
    assert STATE_HEADER not in dict(factory.event(news[0], None, PARTITIONS).headers)


def test_an_event_goes_with_any_of_the_partitions_that_it_came_from(news: list[News]) -> None:
    event = RiskEventFactory(JsonEncoder(), "one", "risk").event(news[0], None, PARTITIONS)
    kept = event.without({Partition("other", 0)})
    assert kept is not None
    assert (kept.body, kept.headers) == (event.body, event.headers)
    for partition in PARTITIONS:
        assert event.without({partition}) is None
        assert kept.without({partition}) is None


def test_a_report_tells_why_figures_are_unknown(engine: RiskEngine) -> None:
    (report,) = (each for each in engine.evaluate({}, 1_760_000_400_000)[1])
    found = value(report)
    assert found["value"] is None
    assert found["unknown"] == ["no fresh price of A", "no program reports it"]
    body = RiskEventFactory(JsonEncoder(), "one", "risk").event(report, None, ()).body
    assert json.loads(body) == orjson.loads(orjson.dumps(found))


def test_the_report_of_a_fall_has_what_was_broken() -> None:
    report = NEWS[RiskEventType.REPORT]
    assert (report["breaches"], report["emergency_stop"]) == (["position/A"], False)
    stop = NEWS[RiskEventType.STOP]
    assert stop["reasons"] == ["safety:drawdown"]
    assert [step["symbol"] for step in stop["liquidation_plan"]] == ["A"]
