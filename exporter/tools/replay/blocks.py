"""Metrics of a replay as blocks of Prometheus, made by promtool from OpenMetrics, two hours of them at a time."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from exporter.instrument.exposition import label_text
from exporter.instrument.families import Row
from exporter.metrics.feed_metrics import FEED_PARTS, feed_texts
from exporter.metrics.sidecar import RECORDS, REJECTED
from exporter.runtime.foreign_text import printable
from exporter.tools.replay.analysis import Analysis

PROGRAM = "promtool"
JOB = "replay"
# As often as the shipped configuration of Prometheus scrapes.
INTERVAL_MS = 15_000
# The length of the blocks that Prometheus writes, and promtool: it reads its file once for each.
BLOCK_MS = 7_200_000
ERROR_MAX = 500


class BlocksError(Exception):
    """Blocks cannot be written, for the reason in the text."""


class Blocks:
    """A context that writes blocks into a folder: call `sample` after each second of an analysis.

    All its series have the labels `job="replay"` and `instance`. Raises `BlocksError` and OSError.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise BlocksError(f"{PROGRAM}, which comes with Prometheus, is not installed")
        self._program = program
        self._folder = folder
        self._labels = label_text({"instance": instance, "job": JOB})
        self._file: IO[str] | None = None
        self._block = 0
        self._due_ms = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.close()

    def sample(self, analysis: Analysis, now_ms: int) -> None:
        """Write the present values if those before them are old enough."""
        if now_ms < self._due_ms:
            return
        self._due_ms = now_ms - now_ms % INTERVAL_MS + INTERVAL_MS
        if self._file is None or now_ms // BLOCK_MS != self._block:
            self._finish()
            self._block = now_ms // BLOCK_MS
            self._file = tempfile.NamedTemporaryFile("w", suffix=".om", encoding="utf-8")  # noqa: SIM115
            self._file.writelines(_heads())
        end = f" {now_ms / 1000:.3f}\n"
        self._file.writelines(text.replace("\n", end) for text in self._texts(analysis))

    def _texts(self, analysis: Analysis) -> Iterator[str]:
        for feed in analysis.feeds.values():
            labels = f"{self._labels},{label_text(feed.key._asdict())}"
            yield from feed_texts(FEED_PARTS, labels, feed).blocks
        for topic, counts in analysis.pipeline.topics.items():
            labels = f"{self._labels},{label_text({'topic': topic})}"
            yield f"{RECORDS}_total{{{labels}}} {counts.records}\n"
            for reason, number in counts.rejected.items():
                yield f'{REJECTED}_total{{{labels},reason="{reason}"}} {number}\n'

    def _finish(self) -> None:
        """Let promtool make a block of what was written."""
        if self._file is None:
            return
        with self._file as file:
            file.write("# EOF\n")
            file.flush()
            command = [self._program, "tsdb", "create-blocks-from", "openmetrics", file.name, str(self._folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no part of it is from a record
        self._file = None
        if done.returncode:
            raise BlocksError(f"{PROGRAM}: {printable(done.stderr.strip(), ERROR_MAX)}")


def _heads() -> Iterator[str]:
    """Yield the types of all families; help texts are not kept in blocks."""
    rows: list[Row[object]] = [row for part in FEED_PARTS for row in part.rows]
    for row in rows:
        yield f"# TYPE {row.name} {row.kind}\n"
    for name in (RECORDS, REJECTED):
        yield f"# TYPE {name} counter\n"
