"""Where positions and prices come from: the file of portfolios, feeds that are healthy, and models that report."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client import Metric

from exporter.app import App
from exporter.config.loader import ConfigError, load
from exporter.decoding.batch import Batch, Message
from exporter.decoding.batch_stats import BatchStats
from exporter.feeds.feed import Feed
from exporter.feeds.states import Diagnosis, FeedState
from exporter.feeds.table import FeedTable
from exporter.instrument.groups import Group
from exporter.loop_settings import loop_settings
from exporter.model import Arrival, FeedKey, Partition
from exporter.risk.figure import Figure
from exporter.risk.models import model_figures
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionFile, PositionsError, parse
from exporter.risk.prices import FeedPrices, Prices
from tests.support.documents import blocks

NOW_MS = 1_760_000_400_000
MINUTE = 60_000
T = TypeVar("T")
R = TypeVar("R")


# The file of portfolios.


def test_the_example_of_the_page_is_a_file_of_portfolios() -> None:
    (text,) = (block for block in blocks("yaml") if block.startswith("portfolios:"))
    assert parse(text) == [
        Portfolio("main", {"KRW-BTC": 0.5, "korea:bithumb:ticker/KRW-ETH": -10.0}, 20_000_000.0, {"KRW-BTC": 1.2})
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "Expected `object`, got `null`"),
        ("portfolios: {main: {cash: much}}", "Expected `float`, got `str` - at `$.portfolios[...].cash`"),
        ("portfolios: {main: {position: {A: 1}}}", "Object contains unknown field `position` - at `$.portfolios[...]`"),
        (
            "portfolios: {main: {positions: {A: .nan}}}",
            "Expected a number from -1e+18 to 1e+18 - at `$.portfolios.main.positions.A`",
        ),
        ("portfolios: {main: {positions: {A: 2.0e+18}}}", "Expected a number from -1e+18 to 1e+18"),
        ("portfolios: {main: {positions: {A: 1, B: 2, A: 3}}}", "'A' is there twice"),
        ("portfolios: {main: {cash: 1}, main: {cash: 2}}", "'main' is there twice"),
        ("portfolios: {main: {cash: .inf}}", "Expected a number from -1e+18 to 1e+18 - at `$.portfolios.main.cash`"),
        (
            "portfolios: {a: {volumes: {A: -1}}}",
            "Expected a number from 0 to 1e+18 - at `$.portfolios.a.volumes.A`",
        ),
        ("portfolios: {'': {}}", "the name of a portfolio has 1 to 64 printable characters"),
        ("portfolios: {", "while parsing a flow node did not find expected node content"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(text: str, error: str) -> None:
    with pytest.raises(PositionsError, match=re.escape(error)):
        parse(text)


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "positions.yml"
    file = PositionFile(str(path))
    with pytest.raises(PositionsError, match="No such file"):
        file.read()
    path.write_text("portfolios: {main: {positions: {A: 1}}}")
    assert file.read() == [Portfolio("main", {"A": 1.0})]
    assert file.read() is None
    path.write_text("portfolios: {main: {positions: {A: 10}}}")
    assert file.read() == [Portfolio("main", {"A": 10.0})]
    path.write_text("portfolios: [")
    for _ in range(2):
        with pytest.raises(PositionsError, match=re.escape(str(path))):
            file.read()
    path.unlink()
    with pytest.raises(PositionsError, match="No such file"):
        file.read()


# Prices of feeds.


def each(items: Iterable[T], read: Callable[[T], R]) -> Iterator[R]:
    """Reads what no other thread writes."""
    return map(read, items)


class Feeds:
    """Feeds with one price for each symbol, which are ok unless said otherwise."""

    def __init__(self) -> None:
        config = load(None, {}, {}, hostname="box", read_file=str)
        self._table = FeedTable(*loop_settings(config).pipeline.table)
        self.feeds: dict[str, Feed] = {}

    def add(self, name: str, state: FeedState = FeedState.OK, partition: int = 0, **prices: float) -> Feed:
        key = FeedKey(*name.split(":"))
        feed = self._table.find(key, NOW_MS, lambda _: False)
        assert feed is not None
        rows = [Message(symbol, last=price) for symbol, price in prices.items()]
        batch = Batch(*key, timestamp_ms=NOW_MS, data=rows)
        stats = BatchStats(batch)
        feed.hold(Partition("topic", partition), NOW_MS)
        feed.count(stats, Arrival(NOW_MS, NOW_MS, is_live=True), (Partition("topic", partition), 0))
        feed.health.tracker.diagnosis = Diagnosis(state)
        self.feeds[name] = feed
        return feed


@pytest.fixture
def feeds() -> Feeds:
    """No feeds yet."""
    return Feeds()


def known(found: Prices) -> dict[str, float]:
    """The prices of fresh quotes, all of which came now."""
    assert all(quote.seen_ms == NOW_MS for quote in found.fresh.values())
    return {symbol: quote.price for symbol, quote in found.fresh.items()}


def take(prices: FeedPrices, feeds: Feeds, *symbols: str, now_ms: int = NOW_MS) -> Prices:
    return prices.take(symbols, feeds.feeds.values(), each, now_ms)


def test_a_symbol_has_the_price_of_the_first_feed_that_carries_it(feeds: Feeds) -> None:
    feeds.add("korea:upbit:ticker", partition=1, A=1.0, B=2.0)
    feeds.add("korea:bithumb:ticker", partition=2, A=10.0, C=30.0)
    found = take(FeedPrices(["*:upbit:*", "*"], MINUTE), feeds, "A", "B", "C", "D")
    assert known(found) == {"A": 1.0, "B": 2.0, "C": 30.0}
    assert found.partitions == {Partition("topic", 1), Partition("topic", 2)}
    assert found.elsewhere == {"D"}
    assert known(take(FeedPrices(["*"], MINUTE), feeds, "A")) == {"A": 10.0}
    assert take(FeedPrices(["*:upbit:*"], MINUTE), feeds, "C").elsewhere == {"C"}


def test_a_position_may_name_its_feed(feeds: Feeds) -> None:
    feeds.add("korea:upbit:ticker", A=1.0)
    feeds.add("korea:bithumb:ticker", A=10.0)
    names = ("korea:upbit:ticker/A", "korea:bithumb:ticker/A", "korea:gopax:ticker/A", "A/B")
    found = take(FeedPrices(["*"], MINUTE), feeds, *names)
    assert known(found) == {"korea:upbit:ticker/A": 1.0, "korea:bithumb:ticker/A": 10.0}
    assert found.elsewhere == {"korea:gopax:ticker/A", "A/B"}


@pytest.mark.parametrize("state", FeedState)
def test_only_feeds_that_are_ok_or_partial_have_prices(feeds: Feeds, state: FeedState) -> None:
    feeds.add("korea:upbit:ticker", state, A=1.0)
    found = take(FeedPrices(["*"], MINUTE), feeds, "A")
    assert known(found) == ({"A": 1.0} if state in (FeedState.OK, FeedState.PARTIAL) else {})
    assert found.elsewhere == frozenset()


def test_a_price_is_fresh_for_its_age(feeds: Feeds) -> None:
    feeds.add("korea:upbit:ticker", A=1.0)
    prices = FeedPrices(["*"], MINUTE)
    assert known(take(prices, feeds, "A", now_ms=NOW_MS + MINUTE)) == {"A": 1.0}
    assert known(take(prices, feeds, "A", now_ms=NOW_MS + MINUTE + 1)) == {}


def test_a_symbol_keeps_its_feed_while_that_is_unhealthy(feeds: Feeds) -> None:
    feeds.add("korea:upbit:ticker", A=1.0)
    prices = FeedPrices(["*"], MINUTE)
    take(prices, feeds, "A")
    feeds.add("korea:bithumb:ticker", A=10.0)
    feeds.feeds["korea:upbit:ticker"].health.tracker.diagnosis = Diagnosis(FeedState.SILENT)
    assert known(take(prices, feeds, "A")) == {}
    del feeds.feeds["korea:upbit:ticker"]
    assert known(take(prices, feeds, "A")) == {"A": 10.0}


def test_a_feed_that_is_read_elsewhere_has_no_prices(feeds: Feeds) -> None:
    feeds.add("korea:upbit:ticker", A=1.0).release(Partition("topic", 0))
    found = take(FeedPrices(["*"], MINUTE), feeds, "A")
    assert found == Prices({}, frozenset(), frozenset({"A"}))


# Models.


def pushed(**values: Any) -> Group:
    families = []
    for name, value in values.items():
        family = Metric(name, "", "gauge")
        family.add_sample(name, {"job": "signals"}, value)
        families.append(family)
    return Group({"job": "signals"}, families, 1.0, 0.0, 1e12)


class Pushes:
    """Programs that have pushed."""

    def __init__(self, *groups: Group) -> None:
        self._groups = groups

    def groups(self) -> tuple[Group, ...]:
        """See Groups."""
        return self._groups


def test_the_most_uncertain_program_counts() -> None:
    found = model_figures(
        Pushes(
            pushed(model_prediction_uncertainty=0.2, model_prediction_confidence=0.9),
            pushed(model_prediction_uncertainty=0.3, model_prediction_confidence=float("nan")),
            pushed(other=5.0),
        )
    )
    assert found == (Figure(0.3), Figure(0.9))


@pytest.mark.parametrize("groups", [None, Pushes(), Pushes(pushed(other=1.0))])
def test_without_a_report_models_are_unknown(groups: Pushes | None) -> None:
    assert model_figures(groups) == (Figure(None, "no program reports it"),) * 2


# In the sidecar.


def test_without_numpy_the_sidecar_tells_in_one_line_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    settings = {"risk.enabled": True, "risk.positions.file": "/etc/positions.yml"}
    with pytest.raises(ConfigError) as error:
        App(load(None, {}, settings, hostname="box", read_file=str))
    assert str(error.value) == (
        "risk.enabled: NumPy is not installed, expected the extra: pip install 'marketdata-exporter[risk]', "
        "for the image: docker build --build-arg EXTRA=risk"
    )


def test_nothing_is_imported_while_risk_is_off() -> None:
    code = """
import sys
from exporter.app import App
from exporter.app import App
from exporter.config.loader import ConfigError, load
App(load(None, {}, {}, hostname="box", read_file=str))
print(sorted(name for name in sys.modules if name == "numpy" or name.startswith("exporter.risk")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
