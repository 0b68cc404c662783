"""How far feeds are apart on the same pair, against the median of those that have it."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.divergence import Divergence, Pair, PairNames, divergences
from exporter.model import FeedKey

UPBIT, BITHUMB, HITBTC, OKX = (FeedKey("r", name, "ticker") for name in ("upbit", "bithumb", "hitbtc", "okx"))
PATTERNS = [
    r"(?P<quote>KRW)-(?P<base>\w+)",
    r"(?P<base>\w+)[-_](?P<quote>\w+)",
    r"(?P<base>\w+?)(?P<quote>USDT?|BTC|KRW)",
    r"(?P<quote>KRW)\.(?P<base>\w+)?",
]
BTC = Pair("BTC", "KRW")


def names(limit: int = 100) -> PairNames:
    return PairNames(PATTERNS, limit)


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("KRW-BTC", BTC),
        ("BTC-KRW", BTC),
        ("btc_krw", BTC),
        ("BTCKRW", BTC),
        ("ETHUSDT", Pair("ETH", "USDT")),
        ("BTC", None),
        ("BTC/KRW", None),
        ("KRW-BTC:1", None),
        ("KRW.", None),
    ],
)
def test_a_pair_is_read_by_the_first_pattern_that_fits_the_whole_symbol(symbol: str, pair: Pair | None) -> None:
    known = names()
    assert known.pair(symbol) == known.pair(symbol) == pair


def test_what_was_read_of_symbols_is_kept_within_bounds() -> None:
    known = names(limit=3)
    assert [known.pair(f"KRW-{n}") for n in range(10)] == [Pair(str(n), "KRW") for n in range(10)]
    assert len(known._pairs) == 3


def test_the_feed_with_other_prices_has_the_divergence() -> None:
    prices = {UPBIT: {"KRW-BTC": 100.0}, BITHUMB: {"BTC_KRW": 110.0}, HITBTC: {"BTCKRW": 100.0, "ETHUSD": 5.0}}
    found = {one.feed: one for one in divergences(prices, names())}
    assert found.keys() == prices.keys()
    assert found[UPBIT] == Divergence(UPBIT, 1, 0.0, 0.0, BTC)
    assert found[BITHUMB].widest == found[BITHUMB].typical == pytest.approx(0.1)


def test_a_pair_of_too_few_feeds_is_not_compared() -> None:
    prices = {UPBIT: {"KRW-BTC": 100.0}, BITHUMB: {"BTC_KRW": 300.0}, HITBTC: {"other": 1.0}}
    assert divergences(prices, names()) == []
    assert [one.widest for one in divergences(prices, names(), least_feeds=2)] == [-0.5, 0.5]


def test_of_a_feed_that_has_a_pair_twice_one_price_counts() -> None:
    prices = {feed: {"BTC-KRW": 100.0} for feed in (UPBIT, BITHUMB, HITBTC)}
    prices[OKX] = {"KRW-BTC": 500.0, "BTC-KRW": 100.0}
    assert {one.widest for one in divergences(prices, names())} == {0.0}


PRICES = st.dictionaries(
    st.sampled_from([UPBIT, BITHUMB, HITBTC, OKX]),
    st.dictionaries(st.sampled_from(["KRW-BTC", "KRW-ETH", "KRW-XRP", "junk"]), st.floats(1e-6, 1e9)),
)


@given(prices=PRICES, least=st.integers(2, 4))
def test_ratios_are_those_of_a_plain_recomputation(prices: dict[FeedKey, dict[str, float]], least: int) -> None:
    expected: dict[FeedKey, dict[Pair, float]] = {}
    for base in ("BTC", "ETH", "XRP"):
        having = {feed: symbols[f"KRW-{base}"] for feed, symbols in prices.items() if f"KRW-{base}" in symbols}
        for feed in having if len(having) >= least else ():
            ratio = having[feed] / median(having.values()) - 1
            expected.setdefault(feed, {})[Pair(base, "KRW")] = ratio
    found = {one.feed: one for one in divergences(prices, names(), least)}
    assert found.keys() == expected.keys()
    for feed, ratios in expected.items():
        assert found[feed].pairs == len(ratios)
        assert found[feed].typical == pytest.approx(median(ratios.values()))
        assert abs(found[feed].widest) == pytest.approx(max(map(abs, ratios.values())))
        assert ratios[found[feed].pair] == pytest.approx(found[feed].widest)


@given(prices=PRICES, factor=st.floats(0.001, 1000))
def test_what_counts_is_the_proportion_not_the_unit(prices: dict[FeedKey, dict[str, float]], factor: float) -> None:
    scaled = {feed: {symbol: price * factor for symbol, price in all_.items()} for feed, all_ in prices.items()}
    widest = [abs(one.widest) for one in divergences(prices, names())]
    assert [abs(one.widest) for one in divergences(scaled, names())] == pytest.approx(widest, rel=1e-6, abs=1e-9)
