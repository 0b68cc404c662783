"""Redis as a target: the operations of the store at an open rate, each user on a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import redis
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.config.schema import RedisConfig
from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.kafka.records import feed
from exporter.loadtest.recorder import Recorder
from exporter.loadtest.results import Ended, TargetResult
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Pacer, Schedule
from exporter.loadtest.settings import Settings
from exporter.loadtest.target import Counts, Failure, Patience, TargetError
from exporter.model import Partition, SymbolUpdate
from exporter.runtime.clock import now_ms
from exporter.runtime.threads import start
from exporter.store.client import RedisClient, StoreMetrics, open_client
from exporter.store.refusals import error_text
from exporter.store.store import StoreUnavailable

_STOP_SECONDS = 10.0
_WAIT_SECONDS = 0.05
# Of ten operations, as many writes as a sidecar makes for each page that is read.
_OPERATIONS = ("write", "write", "write", "read", "write", "write", "read", "write", "write", "ping")
_KEYS_AT_ONCE = 1000


class _User:
    """One connection, and what it does when an operation is due."""

    def __init__(self, config: RedisConfig, run: str, index: int, symbols: int) -> None:
        self._client = RedisClient(config, StoreMetrics(CollectorRegistry()))
        self._partition = Partition(f"loadtest-{run}", index)
        self._feed, self._symbols = feed(index), [f"LOAD-{number}" for number in range(symbols)]
        self._offset = 0
        self._does: dict[str, Callable[[], object]] = {
            "write": self._write,
            "read": lambda: self._client.lookup(self._feed, self._symbols[:1]),
            "ping": self._client.ping,
        }

    def do(self, name: str) -> None:
        """Make an operation; raise `StoreUnavailable`."""
        self._does[name]()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _write(self) -> None:
        update = SymbolUpdate(self._partition, self._offset, self._feed, now_ms(), self._symbols)
        self._client.write({self._partition: [update]}, now_ms())
        self._offset += 1


class RedisTarget:
    """A Redis with keys of their own prefix, which are deleted at the end. See `exporter.loadtest.target.Target`."""

    name = "redis"

    def __init__(self, settings: Settings, config: RedisConfig, patience: Patience = Patience()) -> None:  # noqa: B008
        self._settings, self._patience, self._run = settings, patience, uuid4().hex[:8]
        self._config = replace(config, prefix=f"marketdata-loadtest-{self._run}")
        self._clock, self._recorder = RunClock(), Recorder()
        self._stopping = threading.Event()
        self._users: list[_User] = []
        self._threads: list[threading.Thread] = []
        self._connected: set[int] = set()
        self._notes: list[str] = []

    @property
    def lag(self) -> LatencyHistogram:
        """See Target."""
        return self._recorder.lag

    def pids(self) -> dict[str, int]:
        """See Target."""
        return {}

    def prepare(self, stopping: threading.Event) -> None:
        """See Target."""
        count = self._settings.share(self.name)
        try:
            for index in range(count):
                self._users.append(_User(self._config, self._run, index, self._settings.batch_size))
            self._users[0].do("ping")
        except (ValueError, StoreUnavailable) as error:
            raise TargetError(f"Redis: {error}") from None

    def start(self, started: float) -> None:
        """See Target."""
        self._clock.start(started)
        for index in range(len(self._users)):
            self._threads.append(start(f"loadtest-redis-{index}", partial(self._serve, index)))

    def counts(self) -> Counts:
        """See Target."""
        return self._recorder.counts()

    def failure(self) -> Failure | None:
        """See Target."""
        silent = self._clock.now() - self._recorder.last_answer
        if not self._threads or not self._recorder.errors or silent < self._patience.answer:
            return None
        last = next(reversed(self._recorder.errors))
        return Failure(Ended.STORE_DIED, f"Redis has answered no operation for {silent:.0f} s: {last}")

    def stop(self) -> TargetResult:
        """See Target."""
        seconds = min(self._clock.now(), self._settings.seconds)
        self._stopping.set()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        for user in self._users:
            user.close()
        if self._recorder.sent and (error := self._delete_keys()):
            self._notes.append(f"The keys {self._config.prefix}:* could not be deleted: {error}.")
        return self._result(seconds)

    def _serve(self, index: int) -> None:
        user, settings = self._users[index], self._settings
        begin = index / settings.spawn_rate
        pacer = Pacer(Schedule(settings.user_rate), 0, 1, settings.seconds - begin)
        number, free = 0, 0.0
        while not self._stopping.is_set() and pacer.next_due is not None:
            now = self._clock.now() - begin
            due = pacer.take(now)
            if due is None:
                self._stopping.wait(min(_WAIT_SECONDS, pacer.next_due - now))
                continue
            self._do(user, index, _OPERATIONS[number % len(_OPERATIONS)], due + begin, free)
            number, free = number + 1, self._clock.now()

    def _do(self, user: _User, index: int, name: str, due: float, free: float) -> None:
        """Make an operation that was due; before `free` the connection was busy with another."""
        recorder = self._recorder
        recorder.begin(max(due, free), self._clock.now())
        try:
            user.do(name)
        except StoreUnavailable as error:
            recorder.failed(name, str(error), self._clock.now())
            self._connected.discard(index)
        else:
            recorder.answered(name, due, self._clock.now())
            self._connected.add(index)

    def _delete_keys(self) -> str:
        """Delete the keys of this run; return why that failed, or nothing."""
        until = time.monotonic() + _STOP_SECONDS
        try:
            with open_client(self._config) as client:
                for key in client.scan_iter(f"{self._config.prefix}:*", _KEYS_AT_ONCE):
                    client.unlink(key)
                    if time.monotonic() > until:
                        return "it takes too long"
        except (redis.RedisError, OSError) as error:
            return error_text(error)
        return ""

    def _result(self, seconds: float) -> TargetResult:
        recorder, counts = self._recorder, self._recorder.counts()
        timeline = recorder.timeline.intervals(self._clock.now())
        return TargetResult(
            name=self.name,
            unit="operations",
            seconds=seconds,
            sent=counts.sent,
            answered=counts.answered,
            errors=dict(recorder.errors),
            is_open=True,
            wanted_per_second=self._wanted(seconds),
            latency=counts.latency,
            timeline=timeline,
            slices=recorder.timeline.slices(),
            parts=recorder.parts(),
            connections=len(self._connected),
            notes=tuple(self._notes),
        )

    def _wanted(self, seconds: float) -> float | None:
        if seconds <= 0:
            return None
        settings = self._settings
        begins = [index / settings.spawn_rate for index in range(len(self._users))]
        schedule = Schedule(settings.user_rate)
        return sum(schedule.count(seconds - begin) for begin in begins if begin < seconds) / seconds
