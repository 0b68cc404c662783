"""Analysis of batches in the program's memory, with the counters of the sidecar."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.analyzers.completeness import Completeness
from exporter.analyzers.quality import Quality
from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Config, Thresholds
from exporter.decoding.batch_stats import BatchStats
from exporter.decoding.json_decoder import Decoder
from exporter.feeds.feed import Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.feeds.table import FeedTable
from exporter.instrument.exposition import TEXT, label_text, render
from exporter.instrument.selection import selection
from exporter.kafka.arguments import configure
from exporter.metrics.feed_metrics import COUNTED, analyzer_part, feed_families, feed_texts, shown_parts
from exporter.model import Arrival, BatchResult, FeedKey, Partition
from exporter.runtime import clock
from exporter.store.client import StoreMetrics
from exporter.store.redis_store import RedisStore
from exporter.store.store import NullStore, Store

STORE_STOP_SECONDS = 2.0

# What is counted of batches. Gauges of analyzers, as times and limits, have a meaning only for batches that arrive.
_QUALITY = analyzer_part(Quality)
_PARTS = (*COUNTED, _QUALITY._replace(rows=tuple(row for row in _QUALITY.rows if row.kind != "gauge")))
_OF_FORMATS = tuple(Completeness.meanings)
# Last values are shown while a feed has an assigned partition; here every feed has this one.
_PARTITION = Partition("analyze_batch", 0)


class BatchAnalyzer:
    """Analyzer of batches with the rules, limits and counters of the sidecar; callable from any thread.

    `symbol_field` is the name that rows give their symbol. `config` has the keys of the YAML file; of these, `input`,
    `redis`, `metrics`, `feeds.find_duplicates` (tickers that a batch has twice are an anomaly) and the
    `ignore_anomalies` of `feeds.thresholds` matter. Raises ConfigError.
    """

    def __init__(self, *, symbol_field: str = "target_currency", config: Mapping[str, object] | None = None) -> None:
        self._given = config or {}
        self._config = configure({"input.symbol_field": symbol_field}, config)
        self._decoder = Decoder(self._config.input.limits, self._config.input.symbol_field)
        self._table = FeedTable(self._config.input.limits, FeedFilter(["*"], []), HealthFactory(_judged(self._config)))
        self._parts = shown_parts(_PARTS, selection(self._config.metrics))
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._store: Store = NullStore()

    async def setup_redis(self, url: str, *, username: str | None = None, password: str | None = None) -> None:
        """Add up symbols in Redis as well from now on: `redis://localhost:6379`.

        `username` and `password` are used literally; in the URL they would have to be percent-encoded. The analysis
        never waits for Redis; while Redis is unavailable, updates beyond a limit are dropped and counted.
        Raises ConfigError when the URL is invalid, or contains a user or password that is also an argument.
        """
        config = configure({"redis.username": username, "redis.password": password}, {**self._given, "redis.url": url})
        await self.close()
        registry = CollectorRegistry()
        store = RedisStore(config.redis, StoreMetrics(registry))
        store.start()
        self._registry, self._store = registry, store

    async def close(self) -> None:
        """Write queued updates to Redis, for at most two seconds, and close the connection; keep the counters."""
        store, self._store = self._store, NullStore()
        await asyncio.to_thread(store.stop, STORE_STOP_SECONDS)

    def analyze_batch(
        self,
        batch_data: Sequence[Mapping[str, Any]],
        region: str,
        exchange: str,
        request_type: str,
        timestamp_ms: int | None = None,
    ) -> BatchResult:
        """Count one batch, and return its statistics.

        `batch_data` are rows as in a record's `data`: `{"target_currency": "KRW-BTC", "timestamp": 1760031199778}`,
        the stamp being optional. `timestamp_ms` is when the batch was collected, in Unix milliseconds; now, when it is
        not given. Raises Rejected, and counts nothing, when the batch breaks a rule or limit.
        """
        now_ms = clock.now_ms()
        feed = FeedKey(region, exchange, request_type)
        stamp = now_ms if timestamp_ms is None else timestamp_ms
        batch = self._decoder.convert({**feed._asdict(), "timestamp_ms": stamp, "data": batch_data})
        stats = BatchStats(batch)
        with self._lock:
            self._count(feed, stats, now_ms)
        self._store.add(feed, batch.timestamp_ms, stats.names)
        return stats.result

    def _count(self, key: FeedKey, stats: BatchStats, now_ms: int) -> None:
        feed = cast(Feed, self._table.find(key, now_ms))  # never None: all feeds are wanted
        self._table.admit(feed, stats.symbols, now_ms)
        self._table.keep(feed)
        feed.hold(_PARTITION, now_ms)
        feed.count(stats, Arrival(0, now_ms, is_live=True), (_PARTITION, feed.batches))

    def metrics(self) -> bytes:
        """Return the metrics of all feeds, and of Redis after `setup_redis`, in Prometheus' text format 0.0.4.

        Its type is `text/plain; version=0.0.4; charset=utf-8`. Families and labels are those of the sidecar.
        """
        with self._lock:
            feeds = self._table.feeds.values()
            shown = [feed_texts(self._parts, label_text(feed.key._asdict()), feed) for feed in feeds]
        return render([*feed_families(self._parts, shown), *self._registry.collect()], TEXT)


def _judged(config: Config) -> Config:
    """Return a configuration without anomalies of formats: rows that are at hand may leave out anything.

    Python counts what it has decoded, as here; the native core would have to convert it.
    """
    rules = (*config.feeds.thresholds, Thresholds())
    judged = [replace(rule, ignore_anomalies=(*rule.ignore_anomalies, *_OF_FORMATS)) for rule in rules]
    own = replace(config.input, core="python")
    return replace(config, input=own, feeds=replace(config.feeds, thresholds=tuple(judged)))
