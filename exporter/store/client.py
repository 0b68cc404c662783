"""The client of Redis: blocking calls with limits, counted and timed, and errors of the driver translated.

StoreUnavailable     Redis does not answer in time, or refuses for now: repeat the call on a new connection
  StoreRefused       Redis will never accept a part of the records: drop that part
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import redis
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from redis.exceptions import RedisClusterException

from exporter.config.conflicts import Conflict
from exporter.config.schema import RedisConfig
from exporter.model import FeedKey, Partition, SymbolUpdate
from exporter.performance.circuit import CircuitState
from exporter.redis.connecting import Sentinels, checked_options, described, open_client, place_of
from exporter.redis.connection import OPERATION_SECONDS, OperationBudget
from exporter.redis.refusals import error_text
from exporter.store import keyspace
from exporter.store.pages import PageReader
from exporter.store.refusals import is_final
from exporter.store.store import PageCursor, StoreUnavailable, SymbolStatistics

OPERATIONS = ("ping", "read", "write")

# Errors of malformed replies: values of other types, or nested too deeply.
_MALFORMED_REPLY = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_NO_OFFSETS: Mapping[Partition, int] = MappingProxyType({})


class StoreRefused(StoreUnavailable):
    """Redis accepted the records below the offsets in `fences`, and will never accept those below the ones in `lost`.

    Other records must be written again.
    """

    def __init__(
        self,
        error: Exception,
        fences: Mapping[Partition, int] = _NO_OFFSETS,
        lost: Mapping[Partition, int] = _NO_OFFSETS,
    ) -> None:
        super().__init__(error_text(error), is_final=is_final(error))
        self.fences = fences
        self.lost = lost


class StoreMetrics:
    """Metrics of a RedisStore; without one, these series do not exist."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.operations = Counter(
            "marketdata_redis_operations_total", "Operations on Redis.", ["operation"], registry=registry
        )
        self.failures = Counter(
            "marketdata_redis_failures_total", "Operations on Redis that failed.", ["operation"], registry=registry
        )
        self.seconds = Histogram(
            "marketdata_redis_operation_seconds",
            "Duration of operations on Redis.",
            ["operation"],
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.up = Gauge("marketdata_redis_up", "Whether the last write or ping succeeded.", registry=registry)
        self.circuit = Gauge(
            "marketdata_redis_circuit_state", "1 for the state of the circuit breaker.", ["state"], registry=registry
        )
        self.dropped = Counter(
            "marketdata_redis_dropped_records_total", "Records whose symbols never reached Redis.", registry=registry
        )
        self.skipped = Counter(
            "marketdata_redis_skipped_entries_total",
            "Entries of Redis keys that no sidecar has written, left out by reads.",
            registry=registry,
        )
        self.queue = Gauge(
            "marketdata_redis_queue", "Groups of updates that wait to be written to Redis.", registry=registry
        )
        for operation in OPERATIONS:
            for family in (self.operations, self.failures, self.seconds):
                family.labels(operation)
        self.set_circuit_state(CircuitState.CLOSED)

    def set_circuit_state(self, state: CircuitState) -> None:
        """Set the series of `state` to 1 and those of other states to 0."""
        for known in CircuitState:
            self.circuit.labels(known).set(known is state)

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Count and time an operation."""
        self.operations.labels(name).inc()
        with self.failures.labels(name).count_exceptions(), self.seconds.labels(name).time():
            yield


class RedisClient:
    """Client of the symbol counts in Redis, which connects at the first call.

    One thread writes, with one client. Reads are rare, may come from any thread, and open a client each.
    """

    def __init__(self, config: RedisConfig, metrics: StoreMetrics) -> None:
        self._config = config
        checked_options(config)
        self.place = place_of(config)
        self._opened: redis.Redis | None = None
        self._budget = OperationBudget()
        self._keys = keyspace.Keys(config.prefix)
        self._window_ms = int(config.window * 1000)
        self._ttl_seconds = int(config.ttl)
        self._metrics = metrics

    def ping(self) -> None:
        """Make a write that changes nothing: a replica or a full server answers a PING, and refuses this."""
        with self._writing("ping"):
            self._client.zadd(self._keys.partitions, {"": 0}, xx=True)

    def mode(self) -> str:
        """Return the mode of the server: `standalone`, `cluster` or `sentinel`; empty before Redis 6.0."""
        with self._writing("ping"):
            try:
                fields: list[Any] = self._client.execute_command("HELLO")  # type: ignore[no-untyped-call]
            except redis.ResponseError:
                return ""
            return str(dict(zip(fields[::2], fields[1::2], strict=False)).get(b"mode", b""), "ascii", "replace")

    def forbidden_commands(self) -> dict[str, str]:
        """Return the commands that the user may not run on the store's keys, with Redis's errors; change nothing."""
        trials, found = keyspace.trials(self._keys), dict[str, str]()
        with self._writing("ping"):
            for server in self._servers():
                with server.pipeline(transaction=False) as pipe:
                    for trial in trials:
                        pipe.execute_command(*trial)  # type: ignore[no-untyped-call]
                    results = pipe.execute(raise_on_error=False)
                for (name, *_), result in zip(trials, results, strict=True):
                    if isinstance(result, redis.exceptions.NoPermissionError):
                        found.setdefault(str(name), error_text(result))
        return found

    def _servers(self) -> list[redis.Redis]:
        """Return a client of each master; a node of a cluster refuses commands before it redirects them."""
        client: Any = self._client
        if self.place.kind == "cluster":
            return [node.redis_connection for node in client.get_primaries()]
        return [client]

    def sentinel_faults(self) -> list[str]:
        """Return what is wrong with Sentinels that do not name the master; each is asked."""
        if self.place.kind != "sentinel":
            return []
        pool: Any = self._client.connection_pool
        manager: Sentinels = pool.sentinel_manager
        with self._writing("ping"):
            answers = [(each, manager.ask(each, self.place.master)) for each in manager.sentinels]
        return [described(each, answer) for each, answer in answers if isinstance(answer, str)]

    def write(
        self,
        waiting: Mapping[Partition, list[SymbolUpdate]],
        now_ms: int,
        least: Callable[[Partition], int] = lambda _: 0,
    ) -> Mapping[Partition, int]:
        """Write the next delta of each partition and return the fences; raise `StoreUnavailable`.

        A partition whose fence in Redis is below the `least` one is left as it is.
        """
        deltas = {partition: keyspace.delta(updates, self._window_ms) for partition, updates in waiting.items()}
        with self._writing("write"), self._client.pipeline(transaction=False) as pipe:
            for partition, delta in deltas.items():
                keys = self._keys.messages(str(partition)), self._keys.seen(str(partition))
                # Not `eval`, which pipelines of a cluster do not have.
                arguments = delta.arguments(self._ttl_seconds, least(partition))
                pipe.execute_command("EVAL", keyspace.APPLY, len(keys), *keys, *arguments)  # type: ignore[no-untyped-call]
            for delta in deltas.values():
                self._add_to_sketches(pipe, delta)
            self._update_index(pipe, deltas, now_ms)
            return _fences(deltas, pipe.execute(raise_on_error=False))

    def _add_to_sketches(self, pipe: redis.client.Pipeline, delta: keyspace.Delta) -> None:
        for (feed, window), counts in delta.counts.items():
            key = self._keys.distinct(feed, window)
            pipe.pfadd(key, *map(keyspace.encoded, counts.messages))
            pipe.pexpire(key, 2 * self._window_ms)

    def _update_index(self, pipe: redis.client.Pipeline, partitions: Iterable[Partition], now_ms: int) -> None:
        pipe.zadd(self._keys.partitions, {str(partition): now_ms for partition in partitions})
        pipe.zremrangebyscore(self._keys.partitions, "-inf", now_ms - self._ttl_seconds * 1000)
        pipe.expire(self._keys.partitions, self._ttl_seconds)

    def page(
        self, feed: FeedKey | None, after: PageCursor, limit: int
    ) -> tuple[list[SymbolStatistics], PageCursor | None]:
        """See Store."""
        with self._page_reader() as reader:
            return reader.page(feed, after, limit)

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """See Store."""
        names = [keyspace.name(feed, symbol) for symbol in symbols]
        with self._page_reader() as reader:
            return list(reader.statistics(names))

    @contextmanager
    def _page_reader(self) -> Iterator[PageReader]:
        with self._reader() as client:
            yield PageReader(client, self._keys, time.monotonic() + OPERATION_SECONDS, self._metrics.skipped.inc)

    def distinct(self, feed: FeedKey, now_ms: int) -> int:
        """See Store."""
        window = now_ms // self._window_ms
        with self._reader() as client:
            return int(client.pfcount(self._keys.distinct(feed, window - 1), self._keys.distinct(feed, window)))

    def close(self) -> None:
        """Close the writer's connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _client(self) -> redis.Redis:
        """The client of the writer, opened within the operation that needs it first."""
        if self._opened is None:
            self._opened = open_client(self._config, self._budget)
        return self._opened

    @contextmanager
    def _reader(self) -> Iterator[redis.Redis]:
        budget = OperationBudget()
        with self._operation("read", budget), open_client(self._config, budget) as client:
            yield client

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Run an operation of the writer, and close its connections after a failure.

        A server that was demoted, cut off from its replicas or restarted still answers on old connections, while the
        name, or the address, already leads to its successor.
        """
        try:
            with self._operation(name, self._budget):
                yield
        except StoreUnavailable as error:
            if not error.is_final:
                self.close()
            raise

    @contextmanager
    def _operation(self, name: str, budget: OperationBudget) -> Iterator[None]:
        with self._metrics.operation(name):
            budget.start_operation()
            try:
                yield
            # The driver lets errors of sockets, TLS and the encoding of host names through.
            except (redis.RedisError, RedisClusterException, OSError, UnicodeError) as error:
                raise StoreUnavailable(error_text(error), is_final=is_final(error)) from error
            except _MALFORMED_REPLY as error:
                raise StoreUnavailable(f"the reply is not that of a Redis server: {error_text(error)}") from error


def mistakes(config: RedisConfig) -> Iterator[Conflict]:
    """Yield the error of the driver about the URL, if any; connect to nothing."""
    try:
        checked_options(config)
    except ValueError as error:
        yield Conflict(str(error), ("redis.url",))


def _fences(deltas: Mapping[Partition, keyspace.Delta], results: Sequence[Any]) -> Mapping[Partition, int]:
    """Return the fences of accepted deltas; raise `StoreRefused` if any was not accepted."""
    applied = dict(zip(deltas, results, strict=False))  # the results of sketches and index follow
    fences = {partition: fence for partition, fence in applied.items() if isinstance(fence, int)}
    errors = [result for result in results if isinstance(result, Exception)]
    if not errors:
        return fences
    lost = {partition: deltas[partition].next for partition, result in applied.items() if _is_lost(result)}
    for error in errors:
        if not is_final(error):
            # All of it is written again: repeating a delta is harmless, leaving out a sketch is not.
            raise StoreRefused(error, lost=lost)
    raise StoreRefused(errors[0], fences, lost)


def _is_lost(result: object) -> bool:
    return isinstance(result, Exception) and is_final(result)
