"""The command `risk`: tables and JSON from a recording or from topics, and quiet recordings raise nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli import main
from exporter.config.loader import load
from exporter.config.risk_schema import LimitRule, RiskConfig, SafetyLimits, StopRule
from exporter.loop_settings import loop_settings
from exporter.model import RiskEventType
from exporter.risk.engine import RiskEngine
from exporter.risk.portfolios import Portfolio
from exporter.tools.risk.prices import Priced, priced, recorded
from tests.support.kafka import Broker
from tests.support.recordings import NAMES, RECORDINGS, recording

PORTFOLIOS = {"portfolios": {"main": {"cash": 100, "positions": {"A": 10, "B": -5}}, "lost": {"positions": {"X": 1}}}}
SCENARIOS = {"scenarios": [{"name": "own", "prices": {"*": -0.1, "B": 0.5}, "liquidity": 0.02}]}
START_MS = 1_760_000_400_000


def batch(minute: int) -> dict[str, Any]:
    """One minute of a market whose A rises and falls by 1 %."""
    prices = {"A": 100.0 if minute % 2 else 101.0, "B": 20.0}
    rows = [{"target_currency": symbol, "last": price} for symbol, price in prices.items()]
    stamp = START_MS + 60_000 * minute
    return {"region": "korea", "exchange": "upbit", "request_type": "ticker", "timestamp_ms": stamp, "data": rows}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """What runs the command with portfolios and scenarios, and returns its exit code, output and errors."""
    positions, what_if = tmp_path / "positions.yml", tmp_path / "what-if.yml"
    positions.write_text(yaml.safe_dump(PORTFOLIOS, sort_keys=False))
    what_if.write_text(yaml.safe_dump(SCENARIOS))

    def run(*arguments: str, scenarios: str | None = None) -> tuple[int, str, str]:
        if scenarios is not None:
            what_if.write_text(scenarios)
        flags = ["--risk.positions.file", str(positions), "--risk.interval", "1m", "--what-if", str(what_if)]
        code = main(["risk", *flags, *arguments])
        return code, *capsys.readouterr()

    return run


def recorded_in(file: Path, batches: Iterable[dict[str, Any]]) -> str:
    lines = [
        {"topic": "ticker-data.korea", "received_ms": each["timestamp_ms"], "value": json.dumps(each)}
        for each in batches
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return str(file)


@pytest.fixture
def recording_file(tmp_path: Path) -> str:
    """A recording of 200 minutes."""
    return recorded_in(tmp_path / "recording.jsonl", map(batch, range(200)))


def test_scenarios_are_told_as_computed_by_hand(run: Callable[..., tuple[int, str, str]], recording_file: str) -> None:
    code, out, _ = run("--recording", recording_file)
    main_, lost = out.split("\n\n")
    assert [line.split() for line in main_.splitlines()[2:]] == [
        # Worth 100 + 1000 - 100, after 199 moves of 1000 by -1 / 101 or 1 / 100.
        ["now", "1,000.00", "1.10", "9.90", "9.90"],
        ["market_crash", "180.00", "820.00", "1.07", "7.92", "7.92"],
        ["volatility_spike", "0.00", "1,000.00", "1.10", "29.70", "29.70"],
        ["liquidity_crisis", "55.00", "945.00", "1.16", "9.90", "9.90"],
        ["correlation_breakdown", "0.00", "1,000.00", "1.10", "9.90", "9.90"],
        # 100 + 50 by prices, and 2 % of 900 + 150.
        ["own", "171.00", "829.00", "1.27", "8.91", "8.91"],
    ]
    assert lost.splitlines()[-1] == "unknown: no fresh price of X"
    assert code == 1


@pytest.mark.parametrize("minutes", [(0,), (150,), (0, 50, 100)])
def test_wrong_prices_of_a_recording_change_no_figure(
    run: Callable[..., tuple[int, str, str]], recording_file: str, tmp_path: Path, minutes: tuple[int, ...]
) -> None:
    _, right, _ = run("--recording", recording_file)
    batches = list(map(batch, range(200)))
    for minute in minutes:
        batches[minute]["data"][0]["last"] *= 100
    _, found, _ = run("--recording", recorded_in(tmp_path / "wrong.jsonl", batches))
    assert found == right


def test_the_same_is_told_in_json(run: Callable[..., tuple[int, str, str]], recording_file: str) -> None:
    _, out, _ = run("--recording", recording_file, "--json")
    main_, lost = json.loads(out)["portfolios"]
    assert main_["value"] == {"value": 1000.0}
    assert {each["scenario"]: each["loss"]["value"] for each in main_["scenarios"]}["own"] == pytest.approx(171)
    assert lost["value"] == {"value": None, "reason": "no fresh price of X"}


@pytest.mark.parametrize(
    ("scenarios", "error"),
    [
        (
            "scenarios: [{name: own, prices: {A: -2}}]",
            "risk.scenarios[0].prices.A: got -2, expected a change of a price",
        ),
        ("other: []", "the file has one key, scenarios"),
        ("{", "the file cannot be read"),
    ],
)
def test_mistakes_in_scenarios_are_named(
    run: Callable[..., tuple[int, str, str]], recording_file: str, scenarios: str, error: str
) -> None:
    code, out, errors = run("--recording", recording_file, scenarios=scenarios)
    assert (code, out) == (2, "")
    assert error in errors


def test_a_file_that_is_no_recording_is_named(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "none").write_text('{"topic": 1}\n')
    code, _, errors = run("--recording", str(tmp_path / "none"))
    assert (code, errors) == (1, f"risk: line 1 of {tmp_path / 'none'} is no record: 'value'\n")


def test_topics_are_read_and_nothing_is_left_there(
    run: Callable[..., tuple[int, str, str]], broker: Broker, topic: Callable[..., str]
) -> None:
    name = topic("ticker-data")
    broker.produce(name, [json.dumps(batch(minute)).encode() for minute in range(30)])
    flags = ["--kafka.bootstrap-servers", broker.bootstrap, "--input.topics", f"[{name}]", "--input.group", f"g-{name}"]
    _, out, errors = run(*flags)
    assert errors == ""
    assert out.splitlines()[2].split() == ["now", "1,000.00", "1.10", "-", "-"]
    assert broker.committed(f"g-{name}", name) == {}
    assert len(broker.read_all(name)) == 30


# Quiet markets.


def quiet_portfolio(found: Iterable[Priced]) -> Portfolio:
    """Ten positions of 1,000 each, of the symbols with the most prices.

    In the recording of bithumb some symbols have prices in two currencies: those are no quiet market.
    """
    prices: dict[str, list[float]] = defaultdict(list)
    for _, _, changed in found:
        for symbol, price in changed.items():
            prices[symbol].append(price)
    quiet = [symbol for symbol, each in prices.items() if max(each) < 2 * min(each)]
    quiet.sort(key=lambda symbol: -len(prices[symbol]))
    return Portfolio("quiet", {symbol: 1000 / prices[symbol][0] for symbol in quiet[:10]})


@pytest.mark.captures
@pytest.mark.parametrize("name", NAMES)
def test_a_quiet_recording_raises_nothing(name: str) -> None:
    decoder = loop_settings(load(None, {}, {}, hostname="box", read_file=str), None).pipeline.decoder
    recording(name)  # skips without recordings
    found = priced(recorded(str(RECORDINGS / f"{name}.jsonl.gz")), decoder)
    portfolio = quiet_portfolio(found)
    config = RiskConfig(
        interval=1.0,
        limits=(LimitRule(daily_loss=500.0, total=12_000.0, leverage=1.1),),
        safety=SafetyLimits(drawdown=0.05),
        emergency_stop=StopRule(),
    )
    engine, prices, told = RiskEngine(config), dict[str, float](), set[RiskEventType]()
    engine.hold([portfolio])
    for time_ms, _, changed in found:
        prices |= changed
        snapshot, news = engine.evaluate(prices, time_ms)
        told |= {each.type for each in news}
    assert portfolio.quantities
    assert told == {RiskEventType.REPORT}
    assert snapshot.portfolios["quiet"].risk.value.is_known
