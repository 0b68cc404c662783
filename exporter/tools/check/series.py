"""The findings of `check` about the number of series."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from exporter.app import App
from exporter.config.feed_globs import is_glob
from exporter.config.schema import Config, FeedsConfig
from exporter.config.subscription import Subscription, shown_as
from exporter.feeds.symbols import ShownSymbol, ShownSymbols, SymbolCounts
from exporter.kafka.positions import Position, Start
from exporter.model import Partition, Record
from exporter.tools.check.model import Cluster, Finding, Level, counted

if TYPE_CHECKING:
    pass

SERIES_MAX = 100_000


class Cost(NamedTuple):
    """The number of series of a sidecar without input, of each topic and partition, and at most of each feed.

    With symbols shown by name, each feed has `rest` more for the other symbols, and each shown symbol has `name`.
    """

    fixed: int
    topic: int
    partition: int
    feed: int
    rest: int
    name: int


def cost(config: Config) -> Cost:
    """Return the cost, counted in a sidecar that does not run: without input, then with one of each."""
    app = App(replace(config, feeds=FeedsConfig()))
    partition, value, now_ms = Partition("topic", 0), _batch(config.input.symbol_field), 1_760_000_000_000
    pipeline, counts = app.loop.pipeline, [_series(app)]
    pipeline.topic(partition.topic)
    counts.append(_series(app))
    pipeline.assign(partition, Start(Position(0, 0, now_ms), 0, 2))
    pipeline.partitions[partition].end = 2
    for record in (Record(partition, 0, now_ms, None), Record(partition, 1, now_ms, value)):
        pipeline.analyze([record], pipeline.decode([record]), now_ms)
        for each in pipeline.table.feeds.values():
            each.health.symbols = SymbolCounts(1, 0, 0, 0, 1)  # as after five minutes
        counts.append(_series(app))
    (feed,) = pipeline.table.feeds.values()
    for shown in ((), (ShownSymbol("symbol", now_ms, 1),)):
        feed.health.shown_symbols = ShownSymbols(shown, 0, 0)
        feed.touch()
        counts.append(_series(app))
    return Cost(counts[0], *(after - before for before, after in pairwise(counts)))


def _batch(symbol_field: str) -> bytes:
    """Return a batch with an order book, as the feeds of these have the most series."""
    row = {"timestamp": 1_760_000_000_000, symbol_field: "symbol", "asks": [[2, 1]], "bids": [[1, 1]]}
    feed = {"region": "region", "exchange": "exchange", "request_type": "type"}
    return json.dumps({**feed, "timestamp_ms": 1_760_000_000_000, "data": [row]}).encode()


def _series(app: App) -> int:
    return app.queries.series(is_protobuf=True)


def expected_feeds(config: Config) -> tuple[int, str]:
    """Return the largest number of feeds, and the key that defines it."""
    if config.feeds.expected:
        return len(config.feeds.expected), "feeds.expected"
    if not any(map(is_glob, config.feeds.include)):
        return len(config.feeds.include), "feeds.include"
    return config.input.limits.feeds, "input.limits.feeds"


def names_of_a_feed(config: Config) -> int:
    """Return the largest number of symbols that a feed shows by name."""
    symbols = config.feeds.symbols
    return min(len(symbols.shown) + symbols.stalest, config.input.limits.symbols_per_feed)


def topics_shown(config: Config, cluster: Cluster) -> tuple[int, int]:
    """Return how many topics and partitions have series of their own; see `metrics.topics`."""
    shown, names = (
        shown_as(config.input.topics, config.metrics.topics),
        Subscription(config.input.topics, config.input.exclude),
    )
    most: dict[str, int] = {}
    for name in names.among(cluster.names):
        most[shown(name)] = max(most.get(shown(name), 0), cluster.partitions([name]))
    return len(most), sum(most.values())


def series(config: Config, cluster: Cluster | None) -> Iterator[Finding]:
    """Yield an estimate of the series of a scrape when one sidecar reads everything."""
    each, (feeds, source), shown = cost(config), expected_feeds(config), names_of_a_feed(config)
    of_feed = each.feed + (each.rest + shown * each.name if shown else 0)
    total = each.fixed + feeds * of_feed
    parts = [f"{counted(feeds, 'feed')} ({source}) with {of_feed} series"]
    if cluster is not None:
        topics, partitions = topics_shown(config, cluster)
        total += topics * each.topic + partitions * each.partition
        parts.append(f"{counted(partitions, 'partition')} with {each.partition}")
        parts.append(f"{counted(topics, 'topic')} with {each.topic}")
    text = f"about {total}: {', '.join(parts)}, and {each.fixed} others"
    if total > SERIES_MAX:
        fewer = ", or show fewer feeds.symbols" if shown else ""
        advice = f"lower input.limits.feeds, or list the feeds in feeds.expected or feeds.include{fewer}"
        yield Finding(Level.WARN, "series", text, advice)
    else:
        yield Finding(Level.OK, "series", text)
