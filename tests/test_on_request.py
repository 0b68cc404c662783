"""What is looked at only on request: symbols by name, prices of feeds beside each other, and duplicates."""

from __future__ import annotations

import json

import pytest

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config, FeedsConfig, Limits, SymbolsConfig
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.feeds.comparison import COMPARE_MS, comparison
from exporter.feeds.divergence import Divergence, Pair
from exporter.feeds.evaluator import Evaluator
from exporter.feeds.feed import Feed
from exporter.feeds.health import STALE_SYMBOL_MS
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.states import FeedState
from exporter.feeds.table import FeedTable
from exporter.metrics.feed_metrics import FEED_PARTS, feed_texts
from exporter.model import Anomaly, Arrival, FeedKey
from tests.support.pipeline import FIRST, NOW_MS

ON_REQUEST = ("marketdata_symbol_", "marketdata_feed_price_divergence_")
PAIRS = FeedsConfig(pairs=(r"(?P<quote>KRW)-(?P<base>\w+)",))
NAMES = FeedsConfig(symbols=SymbolsConfig(shown=("A",), stalest=1))


class Feeds:
    """Owned feeds and their evaluation; `now_ms` advances with it."""

    def __init__(self, config: FeedsConfig) -> None:
        self.now_ms = NOW_MS
        self._rounds = Evaluator(comparison(Config(feeds=config)))
        self._table = FeedTable(Limits(), FeedFilter(["*"], []), HealthFactory(Config(feeds=config)))

    def __getitem__(self, exchange: str) -> Feed:
        key = FeedKey("korea", exchange, "ticker")
        if key not in self._table.feeds:
            self._table.expect(key)
            self._table.feeds[key].hold(FIRST, self.now_ms)
        return self._table.feeds[key]

    def hear(self, exchange: str, *messages: tuple[str, float]) -> None:
        """Let a batch come."""
        feed = self[exchange]
        rows = [{"target_currency": symbol, "last": price, "timestamp": self.now_ms} for symbol, price in messages]
        content = {**feed.key._asdict(), "timestamp_ms": self.now_ms, "data": rows}
        batch = Decoder(Limits()).decode(json.dumps(content).encode())
        stats = BatchStats(batch)
        feed.count(stats, Arrival(self.now_ms, self.now_ms, is_live=True), (FIRST, 0))
        feed.remember(stats, self.now_ms)

    def look(self, milliseconds: int = 0) -> None:
        """Look at all feeds, so much later."""
        self.now_ms += milliseconds
        self._rounds.evaluate(
            list(self._table.feeds.values()), {}, self.now_ms, is_reachable=True, is_sole_reader=False
        )


def shown(feed: Feed) -> dict[str, float]:
    """The series on request of a feed."""
    lines = "".join(feed_texts(FEED_PARTS, "F", feed).blocks).splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(ON_REQUEST))
    return {series: float(value) for series, _, value in found}


def messages(symbol: str) -> str:
    return f'marketdata_symbol_messages_total{{F,symbol="{symbol}"}}'


def last_seen(symbol: str) -> str:
    return f'marketdata_symbol_last_seen_timestamp_seconds{{F,symbol="{symbol}"}}'


def test_without_a_request_nothing_is_shown() -> None:
    feeds = Feeds(FeedsConfig())
    for exchange in ("upbit", "bithumb", "okx"):
        feeds.hear(exchange, ("KRW-BTC", 1.0), ("KRW-BTC", 1.0))
    feeds.look(1000)
    assert shown(feeds["upbit"]) == {}
    assert Anomaly.DUPLICATE_MESSAGES not in feeds["upbit"].anomalies


def test_duplicates_are_counted_on_request() -> None:
    feeds = Feeds(FeedsConfig(find_duplicates=True))
    feeds.hear("upbit", ("A", 1.0), ("A", 1.0))
    assert feeds["upbit"].anomalies[Anomaly.DUPLICATE_MESSAGES] == 1


def test_listed_symbols_and_the_stalest_are_shown_by_name_and_the_rest_together() -> None:
    """B was not seen for a minute; its messages until then stay with the rest."""
    feeds = Feeds(NAMES)
    feeds.hear("upbit", ("A", 1.0), ("A", 1.0), ("B", 1.0), ("C", 1.0))
    feeds.look()
    assert shown(feeds["upbit"]) == {messages("A"): 2, messages("__other__"): 2, last_seen("A"): NOW_MS / 1000}
    feeds.now_ms += STALE_SYMBOL_MS
    feeds.hear("upbit", ("A", 1.0), ("C", 1.0))
    feeds.look()
    assert shown(feeds["upbit"]) == {
        messages("A"): 3,
        messages("B"): 0,
        messages("__other__"): 3,
        last_seen("A"): feeds.now_ms / 1000,
        last_seen("B"): NOW_MS / 1000,
    }


def test_a_name_shown_without_a_batch_changes_the_text_of_the_feed() -> None:
    feeds = Feeds(NAMES)
    feeds.hear("upbit", ("B", 1.0))
    feeds.look()
    version = feeds["upbit"].version
    feeds.look(1000)
    assert feeds["upbit"].version == version
    feeds.look(STALE_SYMBOL_MS)
    assert messages("B") in shown(feeds["upbit"])
    assert feeds["upbit"].version > version


def test_a_symbol_that_is_called_as_the_rest_is_part_of_it() -> None:
    """No series stands twice on the page."""
    feeds = Feeds(FeedsConfig(symbols=SymbolsConfig(shown=("__other__",), stalest=2)))
    feeds.hear("upbit", ("__other__", 1.0))
    feeds.look(STALE_SYMBOL_MS)
    assert shown(feeds["upbit"]) == {messages("__other__"): 1}


def test_a_feed_of_another_replica_keeps_its_counts_but_no_times_of_symbols() -> None:
    feeds = Feeds(NAMES)
    feeds.hear("upbit", ("A", 1.0))
    feeds.look()
    feeds["upbit"].release(FIRST)
    assert shown(feeds["upbit"]) == {messages("A"): 1, messages("__other__"): 0}


def quoted(**prices: float) -> Feeds:
    """Feeds that have been compared, one an exchange, with a price of 1 BTC and one that all agree on."""
    feeds = Feeds(PAIRS)
    for exchange, price in prices.items():
        feeds.hear(exchange, ("KRW-BTC", price), ("KRW-ETH", 5.0), ("unread", 1.0))
    feeds.look(1000)
    return feeds


def test_prices_are_compared_with_the_median_of_all_feeds() -> None:
    feed = quoted(upbit=100.0, bithumb=100.0, okx=102.0)["okx"]
    assert feed.health.divergence is not None
    assert (feed.health.divergence.pairs, feed.health.divergence.pair) == (2, Pair("BTC", "KRW"))
    assert shown(feed) == {
        "marketdata_feed_price_divergence_ratio{F}": pytest.approx(0.01),
        "marketdata_feed_price_divergence_max_ratio{F}": pytest.approx(0.02),
    }


def test_two_feeds_do_not_tell_which_of_them_is_off() -> None:
    assert shown(quoted(upbit=100.0, okx=102.0)["okx"]) == {}


def test_feeds_are_compared_every_ten_seconds() -> None:
    feeds = quoted(upbit=100.0, bithumb=100.0, okx=102.0)
    feeds.hear("okx", ("KRW-BTC", 100.0))
    before, version = feeds["okx"].health.divergence, feeds["okx"].version
    feeds.look(COMPARE_MS - 1)
    assert feeds["okx"].health.divergence is before
    feeds.look(1)
    assert feeds["okx"].health.divergence == Divergence(feeds["okx"].key, 2, 0.0, 0.0, Pair("ETH", "KRW"))
    assert feeds["okx"].version > version


def test_a_clock_that_was_set_back_does_not_end_the_comparison() -> None:
    feeds = quoted(upbit=100.0, bithumb=100.0, okx=102.0)
    feeds.now_ms -= 3_600_000
    for exchange in ("upbit", "bithumb", "okx"):
        feeds.hear(exchange, ("KRW-BTC", 7.0))
    feeds.look()
    assert feeds["okx"].health.divergence == Divergence(feeds["okx"].key, 2, 0.0, 0.0, Pair("ETH", "KRW"))


def test_prices_of_symbols_that_are_stale_are_not_compared() -> None:
    """KRW-ETH was not in a batch for a minute."""
    feeds = quoted(upbit=100.0, bithumb=100.0, okx=102.0)
    feeds.now_ms += STALE_SYMBOL_MS
    for exchange in ("upbit", "bithumb", "okx"):
        feeds.hear(exchange, ("KRW-BTC", 7.0))
    feeds.look()
    assert feeds["okx"].health.divergence == Divergence(feeds["okx"].key, 1, 0.0, 0.0, Pair("BTC", "KRW"))


def test_only_feeds_of_ours_that_are_ok_are_compared() -> None:
    """Those that are left are too few."""
    feeds = quoted(upbit=100.0, bithumb=100.0, okx=102.0)
    assert feeds["okx"].health.state is FeedState.OK
    feeds["upbit"].release(FIRST)
    feeds.look(COMPARE_MS)
    assert shown(feeds["okx"]) == {}
