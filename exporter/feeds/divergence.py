"""How far the prices of feeds for the same pair are apart: each against the median of all feeds that have the pair."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

from exporter.instrument.families import Row, gauge
from exporter.model import FeedKey


class Pair(NamedTuple):
    """The two sides of a price: BTC in KRW."""

    base: str
    quote: str


class Divergence(NamedTuple):
    """The prices of one feed against those of others, over the pairs that they share.

    Ratios are price / median less 1: 0.01 is 1 % above. `typical` is the median over pairs; `widest`, that of `pair`,
    is the farthest from 0.
    """

    feed: FeedKey
    pairs: int
    typical: float
    widest: float
    pair: Pair


class PairNames:
    r"""The pairs that symbols of exchanges name, by patterns; the first pattern that fits the whole symbol counts.

    Each pattern has the groups `base` and `quote`, such as `(?P<quote>KRW)-(?P<base>\w+)`; case does not matter.
    The pairs of up to `limit` symbols are kept.
    """

    def __init__(self, patterns: Iterable[str], limit: int) -> None:
        self._patterns = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
        self._limit = limit
        self._pairs: dict[str, Pair | None] = {}

    def pair(self, symbol: str) -> Pair | None:
        """Return the pair that a symbol names; None when no pattern fits."""
        if symbol in self._pairs:
            return self._pairs[symbol]
        pair = self._read(symbol)
        if len(self._pairs) < self._limit:
            self._pairs[symbol] = pair
        return pair

    def _read(self, symbol: str) -> Pair | None:
        for pattern in self._patterns:
            match = pattern.fullmatch(symbol)
            if match and match["base"] and match["quote"]:
                return Pair(match["base"].upper(), match["quote"].upper())
        return None


def divergences(
    prices: Mapping[FeedKey, Mapping[str, float]], names: PairNames, least_feeds: int = 3
) -> list[Divergence]:
    """Compare feeds on each pair that at least `least_feeds` of them have; a feed that shares none is left out.

    `prices` are positive and current: the caller leaves out those that are too old.
    """
    by_pair: dict[Pair, list[tuple[FeedKey, float]]] = defaultdict(list)
    for feed, symbols in prices.items():
        for pair, price in _priced(symbols, names).items():
            by_pair[pair].append((feed, price))
    ratios: dict[FeedKey, list[tuple[float, Pair]]] = defaultdict(list)
    for pair, quotes in by_pair.items():
        if len(quotes) >= least_feeds:
            middle = median(price for _, price in quotes)
            for feed, price in quotes:
                ratios[feed].append((price / middle - 1, pair))
    return [_summed_up(feed, found) for feed, found in ratios.items()]


def _priced(symbols: Mapping[str, float], names: PairNames) -> dict[Pair, float]:
    """Return one price for each pair: of several symbols for it the first by name, so that it is always the same."""
    found: dict[Pair, float] = {}
    for symbol in sorted(symbols):
        pair = names.pair(symbol)
        if pair is not None:
            found.setdefault(pair, symbols[symbol])
    return found


def _summed_up(feed: FeedKey, ratios: list[tuple[float, Pair]]) -> Divergence:
    widest, pair = max(ratios, key=lambda found: (abs(found[0]), found[1]))
    return Divergence(feed, len(ratios), median(ratio for ratio, _ in ratios), widest, pair)


DIVERGENCE_ROWS: tuple[Row[Divergence], ...] = (
    Row(
        "marketdata_feed_price_divergence_ratio",
        "gauge",
        "Price / median of all feeds minus 1, as the median over the pairs of the feed.",
        gauge(lambda divergence: divergence.typical),
        "ratio",
    ),
    Row(
        "marketdata_feed_price_divergence_max_ratio",
        "gauge",
        "Price / median of all feeds minus 1, of the pair with the largest divergence.",
        gauge(lambda divergence: divergence.widest),
        "ratio",
    ),
)
