"""Stand-ins for what is behind the publisher.

`tests/test_channels.py` holds the channel to what the real ones do, `tests/test_worker.py` the worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import TypeVar

from exporter.events.factory import Event
from exporter.kafka.positions import Position
from exporter.model import Partition
from exporter.publishing.channels import ChannelError, CommitResult
from exporter.runtime.clock import Clock
from exporter.runtime.worker import Task

T = TypeVar("T")

LARGEST_BODY = 1_000_000


class Fate(Enum):
    """What becomes of a commit; in doubt, its result is unclear to the publisher."""

    COMMITTED = auto()
    ABORTED = auto()
    COMMITTED_IN_DOUBT = auto()
    ABORTED_IN_DOUBT = auto()


class FakeGroup:
    """The offsets of a consumer group; `is_silent`: the broker does not answer."""

    def __init__(self) -> None:
        self.positions: dict[Partition, Position] = {}
        self.is_silent = False

    def metadata(self) -> object:
        """See Group."""
        return "member"

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """See Group."""
        if self.is_silent:
            raise TimeoutError("no answer")
        return {partition: self.positions[partition] for partition in partitions if partition in self.positions}


class FakeChannel:
    """A transactional channel. `opens`, `fate`, `room`, `largest` and `breaks` determine the next calls."""

    def __init__(self, group: FakeGroup) -> None:
        self.published: list[Event] = []
        self.confirmed: dict[Partition, Position] = {}
        self.opens = True
        self.fate = Fate.COMMITTED
        self.room = 1_000_000  # events that one call takes
        self.largest = LARGEST_BODY  # bytes of a body that can be sent
        self.breaks = False
        self.alive_at = 0.0
        self._group = group
        self._is_open = False
        self._pending: list[Event] = []

    def open(self) -> None:
        """See Channel."""
        self.close()
        if not self.opens:
            raise ChannelError("no broker")
        self._is_open = True

    def begin(self) -> None:
        """See Channel."""
        self._check()

    def send(self, events: list[Event], start: int) -> tuple[int, list[Event]]:
        """See Channel."""
        self._check()
        end = min(len(events), start + self.room)
        unsendable = [event for event in events[start:end] if len(event.body) > self.largest]
        self._pending += [event for event in events[start:end] if event not in unsendable]
        return end, unsendable

    def commit(self, positions: Mapping[Partition, Position], group: object) -> CommitResult:
        """See Channel."""
        pending, self._pending = self._pending, []
        if self.fate in (Fate.COMMITTED, Fate.COMMITTED_IN_DOUBT):
            self.published += pending
            self._group.positions |= positions
        results = {Fate.COMMITTED: CommitResult.COMMITTED, Fate.ABORTED: CommitResult.ABORTED}
        return results.get(self.fate, CommitResult.UNCLEAR)

    def abort(self) -> CommitResult:
        """See Channel."""
        self._pending = []
        return CommitResult.ABORTED

    def store_offsets(self, positions: Mapping[Partition, Position]) -> None:
        """See Channel."""
        self.confirmed |= positions

    def close(self) -> None:
        """See Channel."""
        self._is_open, self._pending = False, []

    def _check(self) -> None:
        if self.breaks or not self._is_open:
            self.close()
            raise ChannelError("the producer was lost")


class ManualClock:
    """A clock that only the test and sleeping move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_ms(self) -> int:
        """See Clock."""
        return round(self.seconds * 1000)

    def monotonic(self) -> float:
        """See Clock."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """See Clock."""
        self.seconds += seconds


class _Deferred(Task[T]):
    """A call that is made when it is waited for; waiting takes the whole time-out."""

    def __init__(self, call: Callable[[], T], worker: ManualWorker) -> None:
        super().__init__(call)
        self._worker = worker

    def wait(self, seconds: float) -> bool:
        if not self.done():
            self._worker.clock.sleep(seconds)
            self._worker.work()
        return self.done()


class ManualWorker:
    """A worker whose calls are made in the thread of the test: by `work`, or when one is waited for."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._tasks: deque[Task[object]] = deque()

    def submit(self, call: Callable[[], T]) -> Task[T]:
        """See Worker."""
        task = _Deferred(call, self)
        self._tasks.append(task)  # type: ignore[arg-type]
        return task

    def stop(self) -> None:
        """See Worker."""

    def work(self) -> None:
        """Make the calls that were submitted."""
        while self._tasks:
            self._tasks.popleft().run()
