"""A sidecar that does not run: batches are read by hand."""

import json
import time
from itertools import count

from exporter.app import App
from exporter.config.schema import Config
from exporter.feeds.feed import Feed
from exporter.feeds.health import HealthContext
from exporter.model import FeedKey, Record
from tests.support.pipeline import FIRST, KEY, NOW_MS, START, start


class UnrunSidecar:
    """One that owns a partition; its feed is evaluated after each batch."""

    def __init__(self, config: Config) -> None:
        self.app = App(config)
        self.now_ms = NOW_MS
        self._pipeline = self.app.loop.pipeline
        self._pipeline.assign(FIRST, start(START, 0))
        self._offsets = count()

    @property
    def feed(self) -> Feed:
        """The feed of the batches that name no other."""
        return self._pipeline.table.feeds[KEY]

    def read(self, symbols: str, after_ms: int = 0, feed: FeedKey = KEY) -> None:
        """Read a batch with one message a letter, so much later."""
        self.now_ms += after_ms
        rows = [{"target_currency": symbol} for symbol in symbols]
        self.read_value(json.dumps({**feed._asdict(), "timestamp_ms": self.now_ms, "data": rows}).encode())
        found = self._pipeline.table.feeds[feed]
        found.health.evaluate(found.symbol_seen_ms, HealthContext(), self.now_ms)

    def read_value(self, value: bytes) -> None:
        """Read any record, and publish its events."""
        record = Record(FIRST, next(self._offsets), self.now_ms, value)
        dispatch = self._pipeline.analyze([record], self._pipeline.decode([record]), self.now_ms)
        self.app.loop.publisher.backlog.offer(dispatch, time.monotonic())
