"""The store in Redis; `exporter.store.keyspace` tells what it keeps there and how.

The loop offers updates, a thread writes them. What waits is offered to Redis again until it is accepted, up to a limit;
beyond that updates are dropped and counted. Readers may ask from other threads, and may have to wait.
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
from exporter.runtime import logs
from exporter.runtime.clock import now_ms
from exporter.runtime.rate_limit import RateLimiter
from exporter.runtime.threads import Start, start
from exporter.store import keyspace
from exporter.store.breaker import CircuitBreaker, CircuitState
from exporter.store.client import RedisClient, StoreMetrics, StoreRefused
from exporter.store.store import Place, StoreUnavailable, SymbolStatistics

PING_SECONDS = 5.0
# Between tries that fail, until the breaker opens: a failover or a full moment is over after some of them.
PAUSE_SECONDS = 0.1
# What Redis refuses for good is logged once in so long.
TELL_SECONDS = 300.0
# Rounds differ: one holds up to 500 records, or a MiB of them. 70 bytes a message: 18 MB, and as much in writing.
MESSAGES_WAITING = 250_000
RECORDS_PER_WRITE = 5000

log = logs.logger("store")


class _Waiting:
    """Rounds that wait, at most so many, and at most as many as it takes to exceed MESSAGES_WAITING."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rounds: deque[tuple[Sequence[SymbolUpdate], int]] = deque()
        self._messages = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._rounds)

    def put(self, updates: Sequence[SymbolUpdate]) -> bool:
        """Whether there was room."""
        messages = sum([len(update.symbols) for update in updates])
        with self._changed:
            if self._closed or len(self._rounds) >= self._limit or self._messages >= MESSAGES_WAITING:
                return False
            self._rounds.append((updates, messages))
            self._messages += messages
            self._changed.notify()
            return True

    def take(self, timeout_seconds: float) -> list[SymbolUpdate]:
        """The next rounds, as many as make up a write; waits for the first."""
        taken: list[SymbolUpdate] = []
        with self._changed:
            self._changed.wait_for(lambda: self._rounds or self._closed, timeout_seconds)
            while self._rounds and len(taken) < RECORDS_PER_WRITE:
                updates, messages = self._rounds.popleft()
                self._messages -= messages
                taken += updates
        return taken

    def close(self) -> None:
        """Accept nothing more, and wait for nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class RedisStore:
    """The store that lives in Redis; nothing is contacted before `start`.

    `offer` and `add` are for any thread, `symbols` and `distinct` for threads that may wait; everything else
    happens in a thread of the store's own.
    """

    def __init__(
        self,
        config: RedisConfig,
        metrics: StoreMetrics,
        breaker: CircuitBreaker | None = None,
        start_thread: Start = start,
    ) -> None:
        self._metrics = metrics
        self._redis = RedisClient(config, metrics)
        self._breaker = breaker or CircuitBreaker()
        self._waiting = _Waiting(config.queue)
        self._pending: dict[Partition, list[SymbolUpdate]] = {}
        # Batches without a place in Kafka get one that nobody else has, so that they too count once.
        self._place = Partition(f"process-{uuid.uuid4().hex}", 0)
        self._offsets = count()
        self._adding = threading.Lock()
        self._trouble = ""
        self._refusals = RateLimiter(burst=1, per_second=1 / TELL_SECONDS)
        self._stopping = threading.Event()
        self._deadline = math.inf
        self._start_thread = start_thread
        self._thread: threading.Thread | None = None
        metrics.queue.set_function(lambda: len(self._waiting))

    def start(self) -> None:
        """See Store."""
        self._thread = self._start_thread("store", self._run)

    def offer(self, updates: Sequence[SymbolUpdate]) -> None:
        """See Store."""
        if updates and not self._waiting.put(updates):
            self._metrics.dropped.inc(len(updates))

    def add(self, feed: FeedKey, timestamp_ms: int, symbols: Iterable[str]) -> None:
        """See Store."""
        messages = list(symbols)
        with self._adding:  # offsets have to be offered in order
            self.offer([SymbolUpdate(self._place, next(self._offsets), feed, timestamp_ms, messages)])

    def stop(self, deadline_seconds: float) -> None:
        """See Store."""
        self._deadline = time.monotonic() + deadline_seconds
        self._stopping.set()
        self._waiting.close()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def page(self, feed: FeedKey | None, after: Place, limit: int) -> tuple[list[SymbolStatistics], Place | None]:
        """See Store."""
        self._refuse_if_open()
        return self._redis.page(feed, after, limit)

    def lookup(self, feed: FeedKey, symbols: Iterable[str]) -> list[SymbolStatistics]:
        """See Store."""
        self._refuse_if_open()
        return self._redis.lookup(feed, symbols)

    def distinct(self, feed: FeedKey) -> int | None:
        """See Store."""
        self._refuse_if_open()
        return self._redis.distinct(feed, now_ms())

    def _refuse_if_open(self) -> None:
        if self._breaker.state is CircuitState.OPEN:
            raise StoreUnavailable(f"is left alone for a while: {self._trouble}")

    def _run(self) -> None:
        while not self._is_finished():
            is_working = False
            if not self._breaker.allows(time.monotonic()):
                self._stopping.wait(self._breaker.retry_in(time.monotonic()))
            elif not (is_working := self._attempt()):
                self._stopping.wait(PAUSE_SECONDS)
            # While it fails, even an idle store asks again soon.
            seconds = PING_SECONDS if is_working else 0.0
            self._pending = self._pending or keyspace.in_order(self._waiting.take(seconds))
        self._drop_all()
        self._redis.close()

    def _is_finished(self) -> bool:
        """Whether the store is to stop and has nothing more to write, or no way or time to do it."""
        return self._stopping.is_set() and (
            not (self._pending or len(self._waiting))
            or self._breaker.state is CircuitState.OPEN
            or time.monotonic() >= self._deadline
        )

    def _attempt(self) -> bool:
        """Write what is pending, or ping, so that `up` is true of now; return whether to go on at once."""
        before, error = self._breaker.state, None
        self._metrics.show(before)
        try:
            self._write() if self._pending else self._redis.ping()
        except StoreUnavailable as failure:
            error = failure
        self._trouble = str(error or "")
        is_working = error is None or error.is_final
        self._breaker.succeeded() if is_working else self._breaker.failed(time.monotonic())
        self._log(before, error)
        self._metrics.up.set(error is None)
        self._metrics.show(self._breaker.state)
        return is_working

    def _log(self, before: CircuitState, error: StoreUnavailable | None) -> None:
        """Tell when writing ends, when it goes on, and, now and then, what is refused for good."""
        if error is not None and error.is_final and self._refusals.admit("refused", now_ms()) is not None:
            log.warning("Redis refuses symbols for good, they are dropped: %s", error)
        if before is CircuitState.CLOSED and self._breaker.state is CircuitState.OPEN:
            log.warning("symbols are not written for a while: %s", error)
        if before is not CircuitState.CLOSED and self._breaker.state is CircuitState.CLOSED:
            log.info("symbols are written to Redis again")

    def _write(self) -> None:
        """Bring every partition one call further; what lies below its fence is done with, by us or by others."""
        try:
            advanced = self._forget(self._redis.write(self._pending, now_ms()))
        except StoreRefused as refusal:
            self._forget(refusal.fences)
            self._metrics.dropped.inc(self._forget(refusal.lost))
            raise
        if not advanced:  # or the same would be offered again at once, for ever
            raise StoreUnavailable("answers writes as no Redis does")

    def _forget(self, reached: Mapping[Partition, int]) -> int:
        """Forget what lies below an offset of each partition; return how many records that were."""
        before = sum(map(len, self._pending.values()))
        left = {
            partition: keyspace.from_fence(updates, reached.get(partition, 0))
            for partition, updates in self._pending.items()
        }
        self._pending = {partition: updates for partition, updates in left.items() if updates}
        return before - sum(map(len, self._pending.values()))

    def _drop_all(self) -> None:
        self._metrics.dropped.inc(sum(map(len, self._pending.values())))
        while left := self._waiting.take(0):
            self._metrics.dropped.inc(len(left))
