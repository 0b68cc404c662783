"""Comparison of the prices of all feeds: which feeds are compared, how often, and which prices are current. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.config.schema import Config
from exporter.feeds.divergence import Divergence, PairNames, divergences
from exporter.feeds.feed import Feed
from exporter.feeds.health import STALE_SYMBOL_MS
from exporter.feeds.states import FeedState
from exporter.model import FeedKey
from exporter.steps import RunSteps

COMPARE_MS = 10_000


class NoComparison:
    """Compares nothing."""

    def update(self, feeds: Sequence[Feed], now_ms: int, run_steps: RunSteps) -> None:
        """See Comparison."""


class Comparison:
    """Compares the current prices of the owned feeds that are ok, every `COMPARE_MS`."""

    def __init__(self, patterns: Iterable[str], limit: int) -> None:
        self._names = PairNames(patterns, limit)
        self._compared_ms = 0

    def update(self, feeds: Sequence[Feed], now_ms: int, run_steps: RunSteps) -> None:
        """Compare, if that is due, and set the divergence of each feed."""
        if 0 <= now_ms - self._compared_ms < COMPARE_MS:
            return
        self._compared_ms = now_ms
        prices: dict[FeedKey, Mapping[str, float]] = {}
        run_steps(_collect(feeds, now_ms, prices))
        # Of copies, so that the loop does not wait for it.
        found = {each.feed: each for each in divergences(prices, self._names)}
        run_steps(_show(feeds, found))


def comparison(config: Config) -> Comparison | NoComparison:
    """Return the comparison of feeds, as configured."""
    pairs = config.feeds.pairs
    return Comparison(pairs, config.input.limits.symbols_per_feed) if pairs else NoComparison()


def _collect(feeds: Iterable[Feed], now_ms: int, prices: dict[FeedKey, Mapping[str, float]]) -> Iterator[None]:
    for feed in feeds:
        if _is_compared(feed):
            prices[feed.key] = _current(feed, now_ms)
        yield


def _show(feeds: Iterable[Feed], found: Mapping[FeedKey, Divergence]) -> Iterator[None]:
    for feed in feeds:
        before, feed.health.divergence = feed.health.divergence, found.get(feed.key)
        if feed.health.divergence != before:
            feed.touch()
        yield


def _is_compared(feed: Feed) -> bool:
    return bool(feed.partitions) and feed.health.state is FeedState.OK


def _current(feed: Feed, now_ms: int) -> dict[str, float]:
    """Return the prices of the symbols that are not stale."""
    seen_ms, limit = feed.symbol_seen_ms, now_ms - STALE_SYMBOL_MS
    return {symbol: price for symbol, price in feed.health.quality.prices().items() if seen_ms.get(symbol, 0) > limit}
