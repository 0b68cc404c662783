"""The store in Redis; `exporter.store.keyspace` describes its keys.

The loop offers updates, a thread writes them. Queued updates are written again until Redis accepts them; beyond a limit
updates are dropped and counted. Reads come from other threads and may block.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from exporter.config.schema import RedisConfig
from exporter.model import FeedKey, Partition, SymbolUpdate
from exporter.performance.circuit import Circuit, CircuitState
from exporter.runtime import logs
from exporter.runtime.clock import now_ms
from exporter.runtime.rate_limit import RateLimiter
from exporter.runtime.threads import Start, start
from exporter.store import keyspace
from exporter.store.client import RedisClient, StoreMetrics, StoreRefused
from exporter.store.store import PageCursor, StoreUnavailable, SymbolStatistics
from exporter.store.written import KEPT_MESSAGES, Written

PING_SECONDS = 5.0
# Between failed attempts, until the breaker opens: a failover, or a server that was full, may be over by then.
PAUSE_SECONDS = 0.1
# Interval between log lines about records that Redis will never accept.
REFUSAL_LOG_SECONDS = 300.0
# A group holds up to 500 records, or a MiB of them. A message takes 70 bytes: 18 MB here, and as much while writing.
MESSAGES_WAITING = 250_000
RECORDS_PER_WRITE = 5000

log = logs.logger("store")


class _WriteQueue:
    """Groups of updates to be written: at most `limit`, and no more once MESSAGES_WAITING is reached."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._groups: deque[tuple[Sequence[SymbolUpdate], int]] = deque()
        self._messages = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._groups)

    def put(self, updates: Sequence[SymbolUpdate]) -> bool:
        """Append a group; return whether there was room."""
        messages = sum([len(update.symbols) for update in updates])
        with self._changed:
            if self._closed or len(self._groups) >= self._limit or self._messages >= MESSAGES_WAITING:
                return False
            self._groups.append((updates, messages))
            self._messages += messages
            self._changed.notify()
            return True

    def take(self, timeout_seconds: float) -> list[SymbolUpdate]:
        """Return the updates of the next groups, enough for one write; wait for the first group."""
        taken: list[SymbolUpdate] = []
        with self._changed:
            self._changed.wait_for(lambda: self._groups or self._closed, timeout_seconds)
            while self._groups and len(taken) < RECORDS_PER_WRITE:
                updates, messages = self._groups.popleft()
                self._messages -= messages
                taken += updates
        return taken

    def close(self) -> None:
        """Refuse further groups, and end all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class RedisStore:
    """Store in Redis, which connects after `start`.

    `offer` and `add` may be called from any thread; `page`, `lookup` and `distinct` block. Writing happens in a thread
    of the store.
    """

    def __init__(
        self,
        config: RedisConfig,
        metrics: StoreMetrics,
        breaker: Circuit | None = None,
        start_thread: Start = start,
    ) -> None:
        self._metrics = metrics
        self._redis = RedisClient(config, metrics)
        self._breaker = breaker or Circuit()
        self._queue = _WriteQueue(config.queue)
        self._pending: dict[Partition, list[SymbolUpdate]] = {}
        # Nothing for a single server: no replica takes its place.
        self._written = Written(0 if self._redis.place.kind == "single" else KEPT_MESSAGES)
        # Batches that do not come from Kafka get a unique partition, so that they too count once.
        self._own_partition = Partition(f"process-{uuid.uuid4().hex}", 0)
        self._offsets = count()
        self._adding = threading.Lock()
        self._last_error = ""
        self._log_limit = RateLimiter(burst=1, per_second=1 / REFUSAL_LOG_SECONDS)
        self._stopping = threading.Event()
        self._deadline = math.inf
        self._start_thread = start_thread
        self._thread: threading.Thread | None = None
        metrics.queue.set_function(lambda: len(self._queue))

    def start(self) -> None:
        """See Store."""
        self._thread = self._start_thread("store", self._run)

    def offer(self, updates: Sequence[SymbolUpdate]) -> None:
        """See Store."""
        if updates and not self._queue.put(updates):
            self._metrics.dropped.inc(len(updates))

    def add(self, feed: FeedKey, timestamp_ms: int, symbols: Iterable[str]) -> None:
        """See Store."""
        messages = list(symbols)
        with self._adding:  # offsets have to be offered in order
            self.offer([SymbolUpdate(self._own_partition, next(self._offsets), feed, timestamp_ms, messages)])

    def stop(self, deadline_seconds: float) -> None:
        """See Store."""
        self._deadline = time.monotonic() + deadline_seconds
        self._stopping.set()
        self._queue.close()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def page(
        self, feed: FeedKey | None, after: PageCursor, limit: int
    ) -> tuple[list[SymbolStatistics], PageCursor | None]:
        """See Store."""
        self._check_circuit()
        return self._redis.page(feed, after, limit)

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """See Store."""
        self._check_circuit()
        return self._redis.lookup(feed, symbols)

    def distinct(self, feed: FeedKey) -> int | None:
        """See Store."""
        self._check_circuit()
        return self._redis.distinct(feed, now_ms())

    def _check_circuit(self) -> None:
        if self._breaker.state is CircuitState.OPEN:
            raise StoreUnavailable(f"paused after repeated failures: {self._last_error}")

    def _run(self) -> None:
        while not self._is_finished():
            is_working = False
            if not self._breaker.allows(time.monotonic()):
                self._stopping.wait(self._breaker.retry_in(time.monotonic()))
            elif not (is_working := self._attempt()):
                self._stopping.wait(PAUSE_SECONDS)
            # After a failure even an idle store pings again soon.
            seconds = PING_SECONDS if is_working else 0.0
            self._pending = self._pending or keyspace.in_order(self._queue.take(seconds))
        self._drop_all()
        self._redis.close()

    def _is_finished(self) -> bool:
        """Return whether the store is stopping, and has nothing left to write or cannot write it in time."""
        return self._stopping.is_set() and (
            not (self._pending or len(self._queue))
            or self._breaker.state is CircuitState.OPEN
            or time.monotonic() >= self._deadline
        )

    def _attempt(self) -> bool:
        """Write what is pending, or ping, so that `up` is current; return whether Redis works."""
        before, error = self._breaker.state, None
        self._metrics.set_circuit_state(before)
        try:
            self._write() if self._pending else self._redis.ping()
        except StoreUnavailable as failure:
            error = failure
        self._last_error = str(error or "")
        is_working = error is None or error.is_final
        if is_working:
            self._written.succeeded(time.monotonic())
        else:
            self._wait(self._written.take_last(self._pending))
        self._breaker.succeeded() if is_working else self._breaker.failed(time.monotonic())
        self._log(before, error)
        self._metrics.up.set(error is None)
        self._metrics.set_circuit_state(self._breaker.state)
        return is_working

    def _log(self, before: CircuitState, error: StoreUnavailable | None) -> None:
        """Log when writing stops and resumes, and at intervals that Redis will never accept records."""
        if error is not None and error.is_final and self._log_limit.admit("refused", now_ms()) is not None:
            log.warning("symbol counts dropped, Redis will never accept them: %s", error)
        if before is CircuitState.CLOSED and self._breaker.state is CircuitState.OPEN:
            log.warning("symbol counts cannot be written to Redis, retrying: %s", error)
        if before is not CircuitState.CLOSED and self._breaker.state is CircuitState.CLOSED:
            log.info("symbol counts are written to Redis again")

    def _write(self) -> None:
        """Write the next delta of every partition; records below its fence are counted, by this replica or another."""
        try:
            advanced = self._settle(self._redis.write(self._pending, now_ms(), self._written.fence))
        except StoreRefused as refusal:
            self._settle(refusal.fences)
            for partition, fence in refusal.lost.items():
                self._metrics.dropped.inc(len(self._remove_below(partition, fence)))
            raise
        if not advanced:  # else the same records would be written again at once, without end
            raise StoreUnavailable("the reply to a write is not that of a Redis server")

    def _settle(self, fences: Mapping[Partition, int]) -> bool:
        """Remove what Redis has accepted, and let wait again what it has lost; return whether anything changed."""
        lost: list[SymbolUpdate] = []
        has_changed = False
        for partition, fence in fences.items():
            has_changed |= fence < self._written.fence(partition)
            lost += self._written.take_from(partition, fence)
            accepted = self._remove_below(partition, fence)
            has_changed |= bool(accepted)
            self._written.add(partition, accepted, fence)
        if lost and self._log_limit.admit("lost", now_ms()) is not None:
            log.warning("Redis lost symbol counts that it had accepted, writing them again")
        self._wait(lost)
        return has_changed

    def _wait(self, updates: Sequence[SymbolUpdate]) -> None:
        """Let updates wait beside those of their partitions."""
        for partition, again in keyspace.in_order(updates).items():
            self._pending |= keyspace.in_order([*again, *self._pending.get(partition, ())])

    def _remove_below(self, partition: Partition, fence: int) -> list[SymbolUpdate]:
        """Remove and return pending records of a partition below an offset."""
        updates = self._pending.pop(partition, [])
        left = keyspace.from_fence(updates, fence)
        if left:
            self._pending[partition] = left
        return updates[: len(updates) - len(left)]

    def _drop_all(self) -> None:
        self._metrics.dropped.inc(sum(map(len, self._pending.values())))
        while left := self._queue.take(0):
            self._metrics.dropped.inc(len(left))
