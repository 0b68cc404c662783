"""A store for tests to start, stop and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from prometheus_client import CollectorRegistry

from exporter.config.schema import RedisConfig
from exporter.model import FeedKey, Partition, SymbolUpdate
from exporter.performance.circuit import Circuit
from exporter.store.client import StoreMetrics
from exporter.store.redis_store import RedisStore
from exporter.store.store import PageCursor, Store, SymbolStatistics

UPBIT = FeedKey("korea", "upbit", "ticker")
BITHUMB = FeedKey("korea", "bithumb", "ticker")
PLACE = Partition("ticker-data.korea", 0)
STOP_SECONDS = 10.0


class Replica:
    """A store with a registry of its own, and a breaker that opens for 50 ms."""

    def __init__(self, url: str, failures: int = 5, **options: str | int | float) -> None:
        self._registry = CollectorRegistry()
        config = RedisConfig(url=url, **options)  # type: ignore[arg-type]
        self.store = RedisStore(config, StoreMetrics(self._registry), Circuit(failures, open_seconds=0.05))

    def start(self) -> Replica:
        """Start the store."""
        self.store.start()
        return self

    def stop(self) -> None:
        """Stop the store, with enough time to write its queue."""
        self.store.stop(STOP_SECONDS)

    def metric(self, name: str, **labels: str) -> float | None:
        """A value of `marketdata_redis_*`."""
        return self._registry.get_sample_value(f"marketdata_redis_{name}", labels)

    @property
    def is_alive(self) -> bool:
        """Whether its thread works."""
        thread = self.store._thread
        return thread is not None and thread.is_alive()

    @property
    def dropped(self) -> float:
        """How many records never reached Redis."""
        return self.metric("dropped_records_total") or 0

    def counts(self, feed: FeedKey | None = None) -> dict[str, int]:
        """Messages by symbol."""
        return {row.symbol: row.messages for row in listed(self.store, feed)}


@contextmanager
def replicas() -> Iterator[Callable[..., Replica]]:
    """A factory of replicas, which are stopped at the end."""
    with ExitStack() as running:

        def make(url: str, **options: str | int | float) -> Replica:
            replica = Replica(url, **options)  # type: ignore[arg-type]
            running.callback(replica.store.stop, 0.0)
            return replica

        yield make


def listed(store: Store, feed: FeedKey | None = None) -> list[SymbolStatistics]:
    """All symbols (of a feed) in order, from pages of a few."""
    found: list[SymbolStatistics] = []
    cursor: PageCursor | None = PageCursor()
    while cursor is not None:
        page, cursor = store.page(feed, cursor, 3)
        found += page
    return sorted(found)


def update(
    offset: int, *symbols: str, partition: Partition = PLACE, feed: FeedKey = UPBIT, stamp: int = 1_000
) -> SymbolUpdate:
    """An update."""
    return SymbolUpdate(partition, offset, feed, stamp, list(symbols))


def written(replica: Replica, *updates: SymbolUpdate) -> Replica:
    """The replica after it has written the updates, stopped."""
    replica.start().store.offer(updates)
    replica.stop()
    return replica
