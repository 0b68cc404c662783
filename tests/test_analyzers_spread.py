"""The spread of an order book is in the histogram as a ratio; a book without one is not."""

from __future__ import annotations

from bisect import bisect_left
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers.spread import SPREAD_BOUNDS, Spread
from exporter.config.schema import Config
from exporter.decoding.batch import Message
from exporter.feeds.feed import Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.metrics.feed_metrics import analyzer_part, feed_texts
from exporter.model import FeedKey
from tests.support.batches import kept, message, observed
from tests.support.pipeline import FIRST

KEY = FeedKey("korea", "upbit", "orderbook")
PRICES = st.floats(0, 1e40) | st.integers(0, 10**9)


def spreads(*books: tuple[float, float], live: bool = True) -> Spread:
    """What is measured of books with these best asks and bids."""
    spread, one = Spread(), observed(live=live)
    one.stats.books = books
    assert spread.observe(*one) == ()
    return spread


def feed(*rows: Message) -> Feed:
    """A feed that has sent one batch of these rows."""
    made = Feed(KEY, HealthFactory(Config())(KEY))
    made.count(*observed(*rows)[1:], (FIRST, 0))
    return made


def shown(feed: Feed) -> str:
    (block,) = feed_texts([analyzer_part(Spread)], "F", feed).blocks
    return block


@given(st.lists(st.tuples(PRICES, PRICES), max_size=5))
def test_each_positive_bid_below_its_ask_has_its_ratio_in_a_bucket(
    books: list[tuple[float, float]],
) -> None:
    spread = spreads(*books)
    ratios = [(ask - bid) / ((ask + bid) / 2) for ask, bid in books if 0 < bid < ask]
    places = [bisect_left(SPREAD_BOUNDS, 2 * (ask - bid) / (ask + bid)) for ask, bid in books if 0 < bid < ask]
    assert kept(spread.histogram).buckets == [places.count(place) for place in range(len(SPREAD_BOUNDS) + 1)]
    assert kept(spread.histogram).sum == pytest.approx(sum(ratios))
    assert isfinite(kept(spread.histogram).sum)


def test_a_crossed_book_has_no_spread() -> None:
    assert kept(spreads((100.0, 100.0), (99.0, 100.0), (1.0, 0.0), (1.0, -1.0)).histogram).count == 0


def test_books_of_old_batches_are_left_out() -> None:
    assert kept(spreads((101.0, 100.0), live=False).histogram).count == 0


def test_one_percent_is_a_hundredth() -> None:
    assert kept(spreads((100.5, 99.5)).histogram).sum == pytest.approx(0.01)


def test_a_feed_of_order_books_shows_its_spreads() -> None:
    books = feed(message("A", asks=[["100.4", "1"]], bids=[["99.6", "1"]]), message("B", units=[{"ap": 2, "bp": 1}]))
    assert 'marketdata_order_book_spread_ratio_bucket{F,le="0.01"} 1\n' in shown(books)
    assert "marketdata_order_book_spread_ratio_count{F} 2\n" in shown(books)


def test_a_feed_without_order_books_pays_nothing_for_spreads() -> None:
    tickers = feed(message("A", last=1.0), message("B", price=1.0))
    assert tickers.analyzers.find(Spread) is None
    assert shown(tickers) == ""
