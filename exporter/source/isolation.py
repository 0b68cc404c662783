"""Reads partitions whose records ended earlier processes in child processes, which they may end instead.

A deadly record (a batch that unpacks to more than the memory, a fault in C) would end each following process at the
same offset. The records that a child reads are passed on; the exact range of deadly ones is searched by other children.
"""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from exporter.kafka.msk import MskTokens
from exporter.kafka.unreadable import readable_from
from exporter.model import Partition, Record
from exporter.runtime import logs
from exporter.runtime.memory import room
from exporter.source.isolated_reader import DONE, Order, read

log = logs.logger("isolation")

# An offset counts as deadly after this many children ended there without returning a record.
LEAST_DEATHS = 2
# The longest life of a child, and the longest search of one partition.
CHILD_SECONDS = 30
SEARCH_SECONDS = 120.0
# A partition that is held (`input.on_unreadable: stop`) is tried again after this time.
HOLD_SECONDS = 60.0
# The queue of records between child and loop; each may be large.
QUEUED = 32
PUT_SECONDS = 0.5
TAKE_RECORDS = 200
# Signals caused by the process itself; others come from outside.
_DEADLY = {-number for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL)}
# A client with `debug=msg` logs this for each response before it unpacks it. Each response has one batch.
_SIZE = re.compile(rb"MessageSet size (\d+)")
_NO_SIZE = -1


class Found(NamedTuple):
    """The result of reading a partition in children: continue at `end`.

    The records from `first` to before `end` are deadly, unless both are equal; `error` is how the children ended.
    """

    first: int
    end: int
    error: str


class Child:
    """One child process after another; `died` is how the last one ended, if a record ended it."""

    def __init__(self, properties: Mapping[str, Any], partition: Partition) -> None:
        self.died = ""
        self.is_done = False
        self._properties = properties
        self._partition = partition
        self._cancelled = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def cancel(self) -> None:
        """End the running child, and start no other; from any thread."""
        self._cancelled.set()
        if self._process is not None:
            self._process.kill()

    @property
    def is_cancelled(self) -> bool:
        """Whether the reading was given up."""
        return self._cancelled.is_set()

    def records(self, first: int, end: int) -> Iterator[Record]:
        """Yield the records that a child reads from `first` to before `end`."""
        order = self._order(first, end, only_one=False)
        with self._run(order, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            yield from read(process.stdout)

    def ask(self, offset: int) -> int | None:
        """Return the size of the batch with the offset if it ends a child, None when the child survives.

        Raises `TimeoutError` when the child ended in another way.
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
        tokens = properties.pop("oauth_cb", None)
        region = tokens.region if isinstance(tokens, MskTokens) else ""
        return Order(properties, self._partition, first, end, only_one, CHILD_SECONDS, room(), region)

    @contextmanager
    def _run(self, order: Order, *, stdout: int, stderr: int) -> Iterator[Any]:
        """Run a child within this context, and record how it ended."""
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
    """Reading of one partition by children, in a thread; `results` has the records, and finally a Found."""

    def __init__(self, child: Child, first: int, end: int) -> None:
        self.results: queue.Queue[Record | Found] = queue.Queue(QUEUED)
        self._child = child
        self._here = first
        self._end = end
        self._until = time.monotonic() + SEARCH_SECONDS
        threading.Thread(target=self._run, name="isolation", daemon=True).start()

    @property
    def has_results(self) -> bool:
        """Whether a result can be taken without waiting."""
        return not self.results.empty()

    def cancel(self) -> None:
        """Give up the reading."""
        self._child.cancel()

    def _run(self) -> None:
        end, error = -1, ""
        try:
            error = self._read()
            if error:
                end = self._readable_from(self._here)
        except (OSError, MemoryError, msgspec.MsgspecError) as failure:
            why = {"error": type(failure).__name__}
            log.warning("child processes cannot find the end of the deadly records", extra=why)
        finally:
            self._put(Found(self._here, max(end, self._here), error))

    def _read(self) -> str:
        """Read all records, or those before a deadly one; return how the children ended there."""
        deaths = 0
        while time.monotonic() < self._until and not self._child.is_cancelled:
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

    def _readable_from(self, first: int) -> int:
        """Return the first offset that children survive; they must survive the end, or something else ends them."""
        if self._child.ask(self._end) is not None:
            return first
        end = readable_from(self._child.ask, first, self._end, lambda: time.monotonic() < self._until)
        return end if self._child.ask(first) is not None else first

    def _put(self, result: Record | Found) -> None:
        began = time.monotonic()
        while not self._child.is_cancelled:
            try:
                self.results.put(result, timeout=PUT_SECONDS)
            except queue.Full:
                continue
            # The loop may take nothing for long: while it is paused, or records wait for their schemas.
            self._until += time.monotonic() - began
            return


class Isolation:
    """The partitions that children read, one after another. Loop thread only, unless noted."""

    def __init__(self, make_properties: Callable[[], Mapping[str, Any]]) -> None:
        self._make_properties = make_properties
        self._waiting: dict[Partition, tuple[int, int]] = {}  # first offset and end
        self._held: dict[Partition, tuple[Found, float]] = {}  # and when to try again
        self._current: Partition | None = None
        self._reading: Reading
        self._found: Found | None = None  # the result, once its records are taken

    def __bool__(self) -> bool:
        return bool(self._waiting or self._held or self._current)

    def __contains__(self, partition: object) -> bool:
        return partition == self._current or partition in self._waiting or partition in self._held

    def is_at(self, partitions: Container[Partition]) -> bool:
        """Return whether children read one of these partitions now."""
        return self._current is not None and self._current in partitions

    def add(self, partition: Partition, first: int, end: int) -> None:
        """Let children read a partition from `first` to before `end`."""
        self._waiting[partition] = first, end

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that were released, or are read as usual again."""
        for partition in partitions:
            self._waiting.pop(partition, None)
            self._held = {one: found for one, found in self._held.items() if one != partition}
            if partition == self._current:
                self._reading.cancel()
                self._current = self._found = None

    def hold(self, partition: Partition, found: Found, now: float) -> None:
        """Hold a partition before its deadly records, and try again later."""
        self._held = {**self._held, partition: (found, now + HOLD_SECONDS)}

    def report(self) -> list[str]:
        """Return a line for each held partition; from any thread."""
        held = sorted(self._held.items())
        return [f"{partition} is blocked at offset {found.first}: {found.error}" for partition, (found, _) in held]

    def take(self, now: float) -> tuple[list[Record], tuple[Partition, Found] | None]:
        """Return the next records, or a partition whose reading is finished with its result; never wait."""
        for partition, (found, due) in self._held.items():
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
        log.warning(
            "earlier processes ended while reading this partition: a child process with limited memory reads it first",
            extra={"partition": str(partition), "offset": first, "to": end},
        )
