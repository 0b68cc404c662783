"""The last snapshots, in memory: for a page of the program itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from exporter.instrument.measurements import Measurement
from exporter.instrument.storages.storage import Source


class MemoryStorage:
    """The metrics as they were at the last `max_snapshots` calls of `store`; thread-safe."""

    def __init__(self, max_snapshots: int = 60) -> None:
        if max_snapshots < 1:
            raise ValueError(f"max_snapshots is at least 1, not {max_snapshots!r}")
        self._snapshots = deque[list[Measurement]](maxlen=max_snapshots)
        self._lock = threading.Lock()

    def store(self, source: Source) -> int:
        """Keep a snapshot; return the number of its samples."""
        snapshot = source.snapshot()
        with self._lock:
            self._snapshots.append(snapshot)
        return len(snapshot)

    def latest(self) -> list[Measurement]:
        """Return the samples of the last snapshot."""
        with self._lock:
            return list(self._snapshots[-1]) if self._snapshots else []

    def history(self, name: str, labels: Mapping[str, str] | None = None) -> list[Measurement]:
        """Return the samples of that name with at least these labels, oldest first."""
        with self._lock:
            snapshots = list(self._snapshots)
        wanted = (labels or {}).items()
        return [
            each for snapshot in snapshots for each in snapshot if each.name == name and wanted <= each.labels.items()
        ]

    def close(self) -> None:
        """Forget all snapshots."""
        with self._lock:
            self._snapshots.clear()


MemoryMetricsStorage = MemoryStorage
