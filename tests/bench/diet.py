"""What each kind of histograms costs: series and memory of a feed, time of a batch, and time and size of a page.

In one process and without a broker: all kinds in turn, so that a busy machine is equally unfair to each. Latencies are
spread over two decades, as otherwise native histograms would have too few buckets.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from functools import partial
from random import Random

from exporter.app import App
from exporter.config import loader
from exporter.config.schema import Limits
from exporter.decoding.batch import Batch
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.feeds.feed import Feed
from exporter.instrument import protobuf
from exporter.instrument.exposition import TEXT, AnyFamily, render
from exporter.kafka.positions import Position, Start
from exporter.model import Arrival, FeedKey, Partition
from tests.bench.bench import Bench, Subject
from tests.bench.figures import Cases
from tests.bench.load import batches

PARTITION = Partition("ticker-data.korea", 0)
BATCHES = 50
KINDS: dict[str, dict[str, object]] = {
    "classic": {},
    "native": {"metrics.histograms": "native"},
    "both": {"metrics.histograms": "both"},
    "off": {"metrics.histograms": "off"},
    "states only": {"metrics.families": {"include": ["marketdata_feed_*", "marketdata_batches_total"]}},
}


def measure(bench: Bench, options: argparse.Namespace) -> Cases:
    """Measure each kind with so many feeds, several times."""
    decoder = Decoder(Limits())
    read = [decoder.decode(value) for value in batches(20)][:BATCHES]
    cases: Cases = {name: {} for name in KINDS}
    for _ in range(options.repeats):
        for name, settings in KINDS.items():
            for figure, value in _measure(settings, read, options.feeds).items():
                cases[name].setdefault(figure, []).append(value)
        bench.progress("measured each kind once")
    return cases


def _measure(settings: dict[str, object], read: list[Batch], number: int) -> dict[str, float]:
    app = App(loader.load(None, {}, settings, hostname="box", read_file=str))
    app.loop.pipeline.assign(PARTITION, Start(Position(0, 0, 0), 0, 0))
    tracemalloc.start()
    feeds = _feeds(app, number)
    _count(feeds, read)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    found = {"feed_kb": held / number / 1000}
    found["batch_us"] = min(_count(feeds, read) for _ in range(3))
    for name, is_protobuf in (("text", False), ("protobuf", True)):
        found[f"{name}_series"] = app.queries.series(is_protobuf)
        _pages(app, is_protobuf)
        for feed in feeds:
            feed.touch()
        found[f"{name}_cold_ms"], _ = _timed(partial(_pages, app, is_protobuf))
        found[f"{name}_warm_ms"], size = _timed(partial(_pages, app, is_protobuf))
        found[f"{name}_page_kb"] = size / 1000
    app.loop.publisher.close(1.0)
    return found


def _feeds(app: App, number: int) -> list[Feed]:
    table = app.loop.pipeline.table
    for each in range(number):
        key = FeedKey("korea", f"exchange{each}", "ticker")
        feed = table.find(key, 1)
        assert feed is not None
        table.keep(feed)
        feed.hold(PARTITION, 1)
    return list(table.feeds.values())


def _count(feeds: list[Feed], read: list[Batch]) -> float:
    """Let each feed count each batch; return the microseconds of a batch."""
    random = Random(1)
    given = []
    for batch in read:
        sent = batch.timestamp_ms
        recorded = sent + int(random.lognormvariate(2, 1))
        given.append((batch, BatchStats(batch), Arrival(recorded, recorded + int(random.lognormvariate(4, 1)), True)))
    begin = time.process_time()
    for feed in feeds:
        for _, stats, arrival in given:
            feed.count(stats, arrival, (PARTITION, 0))
    return (time.process_time() - begin) / len(feeds) / len(given) * 1e6


def _timed(make: partial[int]) -> tuple[float, int]:
    begin = time.process_time()
    size = make()
    return (time.process_time() - begin) * 1000, size


def _pages(app: App, is_protobuf: bool) -> int:
    return len(_page(app.queries.collect(is_protobuf), is_protobuf))


def _page(families: list[AnyFamily], is_protobuf: bool) -> bytes:
    return b"".join(protobuf.pieces(families)) if is_protobuf else render(families, TEXT)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--feeds", type=int, default=50, help="feeds (50: 10,000 series with classic buckets)")
    parser.add_argument("--repeats", type=int, default=3, help="how often (3)")


DIET = Subject("series, memory and time by the kind of histograms", _add_options, measure)
