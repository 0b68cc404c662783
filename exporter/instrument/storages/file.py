"""Metrics as JSON lines in a file that is rotated by size."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.instrument.storages.storage import Source, StorageError

PIECE_BYTES = 4096


class FileStorage:
    """A file with one sample a line; `path.1` is the file before it, and so on up to `backups`.

    Each line is written by one call, so a process that is killed leaves whole lines. The kernel may break one at the
    border of a page, and a machine that fails anywhere: the next call of `store` removes it. Threads and processes may
    share the file. Files grow to `max_bytes`. Data is left to the operating system to write out: it survives the
    process, not a loss of power.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = 10_000_000, backups: int = 3) -> None:
        if max_bytes < 1 or backups < 1:
            raise ValueError(f"max_bytes and backups are at least 1, not {max_bytes!r} and {backups!r}")
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._backups = backups

    def store(self, source: Source) -> int:
        """Append the samples; return their number. Raises `StorageError`."""
        lines = [json.dumps(each.as_dict(), allow_nan=False).encode() + b"\n" for each in source.snapshot()]
        try:
            waiting = iter(lines)
            line = next(waiting, None)
            while line is not None:
                line = self._fill(line, waiting)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error
        return len(lines)

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""

    def _fill(self, line: bytes | None, waiting: Iterator[bytes]) -> bytes | None:
        """Append lines until the file is full; return the line for the next file."""
        with self._locked() as file:
            size = _mend(file)
            while line is not None and (not size or size + len(line) <= self._max_bytes):
                _write(file, line, size)
                size += len(line)
                line = next(waiting, None)
            if line is not None:
                self._rotate()
        return line

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file alone among all processes that write it."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if self._is_current(file):
                    yield file
                    return
            finally:
                os.close(file)

    def _is_current(self, file: int) -> bool:
        """Return whether the file has not been rotated by another process meanwhile."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._backups + 1))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                newer.replace(older)


def _write(file: int, line: bytes, size: int) -> None:
    """Write one line; remove what was written of it if there is no room for the rest."""
    if os.write(file, line) < len(line):
        os.ftruncate(file, size)
        raise OSError("the file has no room for a whole line")


def _mend(file: int) -> int:
    """Remove a last line without end; return the size of the file."""
    size = end = os.fstat(file).st_size
    while end:
        begin = max(0, end - PIECE_BYTES)
        newline = os.pread(file, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            end = begin + newline + 1
            break
        end = begin
    if end < size:
        os.ftruncate(file, end)
    return end
