"""Room for the report of a run, held from its start on: a disk that is full later does not take the report."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from exporter.loadtest.results import Ended
from exporter.loadtest.target import Failure

# More than the files of a run: their intervals are limited, as the figures of each are.
RESERVED_BYTES = 16 * 1024 * 1024
_NAME = ".load_test_reserved"


class ReportRoom:
    """A file in the folder of reports that has their size until `release`."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and the file; raise `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._file = folder, folder / f"{_NAME}-{os.getpid()}"
        try:
            with self._file.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
        except OSError as error:
            self.release()
            raise OSError(error.errno, error.strerror, str(folder)) from None

    def failure(self) -> Failure | None:
        """Return that the disk is full, if so."""
        usage = os.statvfs(self._folder)
        if usage.f_bavail > 0:
            return None
        return full_disk(str(self._folder))

    def release(self) -> None:
        """Give the room to the report."""
        self._file.unlink(missing_ok=True)


def full_disk(what: str) -> Failure:
    """Return the failure by a full disk."""
    return Failure(Ended.DISK_FULL, f"{what}: {os.strerror(errno.ENOSPC)}")
