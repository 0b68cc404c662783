"""What else a machine did during a run. Pure."""

from __future__ import annotations

from exporter.loadtest.results import Run

# Of the cores: used in all, and by programs that have nothing to do with the test.
_BUSY_RATIO, _OTHERS_RATIO = 0.9, 0.2


def used_cores(run: Run) -> float | None:
    """Return the cores that were in use, None without samples."""
    return sum(sample.machine.cpu_cores for sample in run.samples) / len(run.samples) if run.samples else None


def others_cores(run: Run) -> float | None:
    """Return the cores that were used by what is not watched, None without samples."""
    found = [
        max(0.0, sample.machine.cpu_cores - sum(one.cpu_cores for one in sample.processes.values()))
        for sample in run.samples
    ]
    return sum(found) / len(found) if found else None


def is_crowded(run: Run) -> bool:
    """Return whether the processors were busy, and much of that was by what is not watched."""
    used, others, cores = used_cores(run), others_cores(run), run.machine.cores
    return used is not None and others is not None and used >= _BUSY_RATIO * cores and others >= _OTHERS_RATIO * cores
