"""One row of the table of attacks: what an attack cost others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.bench.figures import markdown

HEAD = ("attack", "scrape p99", "worst", "failed", "health checks failed", "reading", "memory", "log", "exit")
# What others may wait for a page, 99 times of 100.
SCRAPE_SECONDS = 1.0
# What a sidecar may log from its start to its end, whatever is done to it.
LOG_KB = 500.0


class Row(NamedTuple):
    """What was seen while an attack went on.

    Times are seconds of another client's scrapes. `reading` is the rate beside the one before, None when nothing is to
    be read; `memory_mb` is the most that was resident, `log_kb` is the size of the log, and `exit_code` is how the
    sidecar ended once it was asked to.
    """

    attack: str
    scrape_p99: float
    scrape_worst: float
    scrapes: int
    scrapes_failed: int
    checks: int
    checks_failed: int
    reading: float | None
    memory_mb: float
    log_kb: float
    exit_code: int | None

    def cells(self) -> tuple[str, ...]:
        """The row as texts."""
        return (
            self.attack,
            f"{self.scrape_p99:.2f} s",
            f"{self.scrape_worst:.2f} s",
            f"{self.scrapes_failed} of {self.scrapes}",
            f"{self.checks_failed} of {self.checks}",
            "-" if self.reading is None else f"{self.reading:.0%}",
            f"{self.memory_mb:.0f} MB",
            f"{self.log_kb:.0f} kB",
            "killed" if self.exit_code is None else str(self.exit_code),
        )


def table(rows: Iterable[Row]) -> str:
    """The rows as a table of Markdown."""
    return markdown([HEAD, *(row.cells() for row in rows)])


def assert_served(row: Row) -> None:
    """Others were served all the time, the log stayed small, and the sidecar ended as it should."""
    assert (row.checks_failed, row.scrapes_failed, row.exit_code) == (0, 0, 0)
    assert row.log_kb < LOG_KB
