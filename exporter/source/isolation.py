"""Partitions whose reading ended earlier processes: child processes, which it may end as well, read them first.

A record that ends the process (a batch that unpacks to more than the memory, a fault in C) would end its successors at
the same place, for ever. What children survive is passed on; the exact range of what ends them is searched, by others.
"""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from exporter.kafka.unreadable import readable_from
from exporter.model import Partition, Record
from exporter.runtime import logs
from exporter.runtime.memory import room
from exporter.source.isolated_reader import DONE, Order, read

log = logs.logger("isolation")

# A place counts only once so many children have died of it, without having handed out a record of it.
LEAST_DEATHS = 2
# Of one child, and of the search of one partition.
CHILD_SECONDS = 30
SEARCH_SECONDS = 120.0
# A place that is not stepped over (`input.on_unreadable: stop`) is looked at again after so long.
STAND_SECONDS = 60.0
# Of records between the child and the loop; each may be large.
QUEUED = 32
PUT_SECONDS = 0.5
TAKE_RECORDS = 200
# A process that is ended by one of these has died of what it did; other signals come from outside.
_DEADLY = {-number for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL)}
# A client with `debug=msg` says it of each answer, before it unpacks it. Each answer has one batch.
_SIZE = re.compile(rb"MessageSet size (\d+)")
_NO_SIZE = -1


class Found(NamedTuple):
    """How the reading of a partition by children ended: go on at `end`.

    From `first` to before that nothing can be read, unless they are the same; `error` says of what the children died.
    """

    first: int
    end: int
    error: str


class Child:
    """One child process after another; `died` says how the last one ended, if it died of what it read."""

    def __init__(self, properties: Mapping[str, Any], partition: Partition) -> None:
        self.died = ""
        self.is_done = False
        self._properties = properties
        self._partition = partition
        self._cancelled = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def cancel(self) -> None:
        """End the one that lives, and let no other begin; from any thread."""
        self._cancelled.set()
        if self._process is not None:
            self._process.kill()

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for an answer."""
        return self._cancelled.is_set()

    def records(self, first: int, end: int) -> Iterator[Record]:
        """Yield what a child reads from `first` to before `end`."""
        order = self._order(first, end, only_one=False)
        with self._run(order, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            yield from read(process.stdout)

    def ask(self, offset: int) -> int | None:
        """Return the size of the batch that holds the offset if a child dies of it, None when it survives that.

        Raise `TimeoutError` when the child ended in another way.
        """
        size = _NO_SIZE
        order = self._order(offset, offset + 1, only_one=True)
        with self._run(order, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            for line in process.stderr:
                if (match := _SIZE.search(line)) is not None and size == _NO_SIZE:
                    size = int(match[1])
        if not self.died and not self.is_done:
            raise TimeoutError
        return size if self.died else None

    def _order(self, first: int, end: int, *, only_one: bool) -> Order:
        properties = {**self._properties, **({"debug": "msg", "log_level": "7"} if only_one else {})}
        return Order(properties, self._partition, first, end, only_one, CHILD_SECONDS, room())

    @contextmanager
    def _run(self, order: Order, *, stdout: int, stderr: int) -> Iterator[Any]:
        """Run a child within this, and note how it ended."""
        self.died, self.is_done = "", False
        command = [sys.executable, "-P", "-m", "exporter.source.isolated_reader"]
        process = self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)  # noqa: S603
        try:
            cast(BinaryIO, process.stdin).write(msgspec.json.encode(order))
            cast(BinaryIO, process.stdin).close()
            if self.is_cancelled:
                process.kill()
            yield process
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        if not self.is_cancelled:
            self.is_done = code == DONE
            if code in _DEADLY:
                mib = order.data_bytes // 1024**2
                self.died = f"a process with {mib} MiB of memory that read it was ended by {signal.Signals(-code).name}"


class Reading:
    """The reading of one partition by children, in a thread; `results` has the records, and at last what was found."""

    def __init__(self, child: Child, first: int, end: int) -> None:
        self.results: queue.Queue[Record | Found] = queue.Queue(QUEUED)
        self._child = child
        self._here = first
        self._end = end
        threading.Thread(target=self._run, name="isolation", daemon=True).start()

    @property
    def has_results(self) -> bool:
        """Whether something can be taken at once."""
        return not self.results.empty()

    def cancel(self) -> None:
        """Give it up: its results are not taken any more."""
        self._child.cancel()

    def _run(self) -> None:
        end, error, until = -1, "", time.monotonic() + SEARCH_SECONDS
        try:
            error = self._read(until)
            if error:
                end = self._readable_from(self._here, until)
        except (OSError, MemoryError, msgspec.MsgspecError) as failure:
            why = {"error": type(failure).__name__}
            log.warning("child processes cannot find where reading is safe again", extra=why)
        finally:
            self._put(Found(self._here, max(end, self._here), error))

    def _read(self, until: float) -> str:
        """Read all, or up to a place that ends children again and again; return of what they died there."""
        deaths = 0
        while time.monotonic() < until and not self._child.is_cancelled:
            before = self._here
            for record in self._child.records(self._here, self._end):
                self._put(record)
                self._here = record.offset + 1
            if not self._child.died:
                return ""
            deaths = deaths + 1 if self._here == before else 0
            if deaths >= LEAST_DEATHS:
                return self._child.died
        return ""

    def _readable_from(self, first: int, until: float) -> int:
        """Return where children survive again; the end must be such a place, or something else ends them."""
        if self._child.ask(self._end) is not None:
            return first
        end = readable_from(self._child.ask, first, self._end, lambda: time.monotonic() < until)
        return end if self._child.ask(first) is not None else first

    def _put(self, result: Record | Found) -> None:
        while not self._child.is_cancelled:
            try:
                return self.results.put(result, timeout=PUT_SECONDS)
            except queue.Full:
                continue


class Isolation:
    """The partitions that are read by children, one after another. Used from the loop thread, but for `told`."""

    def __init__(self, make_properties: Callable[[], Mapping[str, Any]]) -> None:
        self._make_properties = make_properties
        self._waiting: dict[Partition, tuple[int, int]] = {}  # from which offset to which
        self._standing: dict[Partition, tuple[Found, float]] = {}  # and when it is looked at again
        self._current: Partition | None = None
        self._reading: Reading
        self._found: Found | None = None  # how it ended, once its records are taken

    def __bool__(self) -> bool:
        return bool(self._waiting or self._standing or self._current)

    def __contains__(self, partition: object) -> bool:
        return partition == self._current or partition in self._waiting or partition in self._standing

    def add(self, partition: Partition, first: int, end: int) -> None:
        """Let children read a partition from one offset to before another."""
        self._waiting[partition] = first, end

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that are not ours any more, or are read as ever again."""
        for partition in partitions:
            self._waiting.pop(partition, None)
            self._standing = {one: found for one, found in self._standing.items() if one != partition}
            if partition == self._current:
                self._reading.cancel()
                self._current = self._found = None

    def stand(self, partition: Partition, found: Found, now: float) -> None:
        """Leave a partition where it is, and look at the place again later."""
        self._standing = {**self._standing, partition: (found, now + STAND_SECONDS)}

    def told(self) -> list[str]:
        """Return a line for each partition that stands; from any thread."""
        standing = sorted(self._standing.items())
        return [f"{partition} stands at offset {found.first}: {found.error}" for partition, (found, _) in standing]

    def take(self, now: float) -> tuple[list[Record], tuple[Partition, Found] | None]:
        """Return the next records, and the partition whose reading is over with what was found; never wait."""
        for partition, (found, due) in self._standing.items():
            if now >= due and partition != self._current:
                self._waiting.setdefault(partition, (found.first, found.end))
        if self._current is None and self._waiting:
            self._begin(next(iter(self._waiting)))
        records: list[Record] = []
        while self._found is None and self._current and len(records) < TAKE_RECORDS and self._reading.has_results:
            result = self._reading.results.get_nowait()
            if isinstance(result, Found):
                self._found = result
            else:
                records.append(msgspec.structs.replace(result, partition=self._current))
        if records or self._found is None or self._current is None:
            return records, None
        over, self._current, self._found = (self._current, self._found), None, None
        return [], over

    def _begin(self, partition: Partition) -> None:
        first, end = self._waiting.pop(partition)
        self._current, self._reading = partition, Reading(Child(self._make_properties(), partition), first, end)
        text = (
            "processes ended while they read here, one after another: a child process with limited memory reads first"
        )
        log.warning(text, extra={"partition": str(partition), "offset": first, "to": end})
