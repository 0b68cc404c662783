"""Redis as a target: the operations of the store at an open rate, each user on a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import redis
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.config.schema import RedisConfig
from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.kafka.records import feed
from exporter.loadtest.measured import measured
from exporter.loadtest.recorder import Recorder
from exporter.loadtest.results import Ended, TargetResult
from exporter.loadtest.run_clock import RunClock
from exporter.loadtest.schedule import Pacer, Schedule
from exporter.loadtest.settings import STRESS, Settings
from exporter.loadtest.target import Counts, Failure, Patience, TargetError
from exporter.loadtest.trace import Trace
from exporter.model import Partition, SymbolUpdate
from exporter.redis.connecting import open_client
from exporter.redis.refusals import error_text
from exporter.runtime.clock import now_ms
from exporter.runtime.threads import start
from exporter.store.client import RedisClient, StoreMetrics
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


class _Turn(NamedTuple):
    """What a user has to do: a schedule whose time 0 is `base`."""

    pacer: Pacer
    base: float


class RedisTarget:
    """A Redis with keys of their own prefix, which are deleted at the end. See `exporter.loadtest.target.Target`."""

    name = "redis"
    waits_for_answers = True

    def __init__(self, settings: Settings, config: RedisConfig, patience: Patience = Patience()) -> None:  # noqa: B008
        self._settings, self._patience, self._run = settings, patience, uuid4().hex[:8]
        self._config = replace(config, prefix=f"marketdata-loadtest-{self._run}")
        self._clock, self._recorder = RunClock(), Recorder(settings.seconds)
        self._stopping = threading.Event()
        self._users: list[_User] = []
        self._threads: list[threading.Thread] = []
        self._turns: dict[int, _Turn] = {}
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
        settings = self._settings
        if settings.profile != STRESS:  # which sends in steps
            for index in range(len(self._users)):
                begin = index / settings.spawn_rate
                self._turns[index] = _Turn(Pacer(Schedule(settings.user_rate), 0, 1, settings.seconds - begin), begin)
        for index in range(len(self._users)):
            self._threads.append(start(f"loadtest-redis-{index}", partial(self._serve, index)))

    def send(self, schedule: Schedule, base: float, seconds: float) -> None:
        """See SteppedTarget."""
        for index in range(len(self._users)):
            self._turns[index] = _Turn(Pacer(schedule, index, len(self._users), seconds), base)

    @property
    def trace(self) -> Trace:
        """See SteppedTarget."""
        return self._recorder.trace

    @property
    def lag_trace(self) -> Trace:
        """See SteppedTarget."""
        return self._recorder.lag_trace

    @property
    def is_sending(self) -> bool:
        """See SteppedTarget."""
        return bool(self._turns)

    def drain(self) -> bool:
        """See SteppedTarget: nothing is on its way once all was sent, as each connection waits for its answer."""
        return True

    def waiting(self) -> int:
        """See SteppedTarget."""
        return 0

    def counts(self) -> Counts:
        """See Target."""
        return self._recorder.counts()

    def failure(self) -> Failure | None:
        """See Target."""
        since = self._recorder.failing_since
        silent = 0.0 if since is None else self._clock.now() - since
        if silent < self._patience.answer:
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
        user, number, free = self._users[index], 0, 0.0
        while not self._stopping.is_set():
            turn = self._turns.get(index)
            if turn is None:
                self._stopping.wait(_WAIT_SECONDS)
                continue
            now = self._clock.now() - turn.base
            due = turn.pacer.take(now)
            if due is not None:
                self._do(user, index, _OPERATIONS[number % len(_OPERATIONS)], due + turn.base, free)
                number, free = number + 1, self._clock.now()
            elif turn.pacer.next_due is None:
                self._turns.pop(index)
            else:
                self._stopping.wait(min(_WAIT_SECONDS, turn.pacer.next_due - now))

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
        recorder = self._recorder
        return measured(
            self.name,
            "operations",
            seconds,
            recorder.counts(),
            recorder.errors,
            recorder.timeline,
            self._clock.now(),
            wanted_per_second=self._wanted(seconds),
            parts=recorder.parts(),
            connections=len(self._connected),
            notes=tuple(self._notes),
        )

    def _wanted(self, seconds: float) -> float | None:
        settings = self._settings
        if seconds <= 0 or settings.profile == STRESS:
            return None
        begins = [index / settings.spawn_rate for index in range(len(self._users))]
        schedule = Schedule(settings.user_rate)
        return sum(schedule.count(seconds - begin) for begin in begins if begin < seconds) / seconds
