"""Figures of a run: as a table, as a file, and two files beside each other.

A figure's name ends in its unit. A case has a value of each figure for each repeat, or for each time it was looked at.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import confluent_kafka

from tests.support.kafka import JARS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "bench"
PACKAGES = ("confluent-kafka", "msgspec", "orjson", "fastavro", "aiohttp", "prometheus-client", "redis")
# What takes longer on a slower machine, and so is divided by what the bare loop took in the same run.
COSTS = ("_us", "_percent")

Case = dict[str, list[float]]
Cases = dict[str, Case]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def table(cases: Cases) -> str:
    """The cases as rows and their figures as columns: the median, and from where to where if there are more values."""
    names = list(dict.fromkeys(name for case in cases.values() for name in case))
    rows = [["", *(name.replace("_", " ") for name in names)]]
    rows += [[title, *(_spread(case.get(name, [])) for name in names)] for title, case in cases.items()]
    return markdown(rows)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = _number(median(values))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What was measured on: the load says whether others were at work."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": JARS.parent.name,
        **{package: version(package) for package in PACKAGES},
    }


def commit() -> str:
    """What was measured: the commit, with a + when files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    return (head.stdout.strip() or "unknown") + ("+" if changed.stdout.strip() else "")


def keep(run: Mapping[str, Any], file: Path) -> None:
    """Write a run to a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1))


def compare(old: Path, new: Path) -> str:
    """The figures that two runs have in common, and new by old; costs after division by the bare loop of each run."""
    runs = [json.loads(path.read_text()) for path in (old, new)]
    bare = [median(run["bare_us"]) for run in runs]
    lines = [f"{run['commit']} on {run['machine']['processor']}, load {run['machine']['load'][0]:.1f}" for run in runs]
    lines += [f"the bare loop: {bare[0]:.1f} and {bare[1]:.1f} µs a batch", ""]
    rows: list[Sequence[str]] = [("", "", "old", "new", "new / old")]
    before, after = map(_medians, runs)
    for key in [key for key in before if key in after]:
        yardstick = bare[1] / bare[0] if key[1].endswith(COSTS) else 1.0
        ratio = f"{after[key] / before[key] / yardstick:.2f}" if before[key] else "-"
        rows.append((*key, _number(before[key]), _number(after[key]), ratio))
    return "\n".join([*lines, markdown(rows)])


def _medians(run: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The figures of a run, by case and name."""
    return {
        (f"{subject}: {case}", name): median(values)
        for subject, stats in run["subjects"].items()
        for case, figures in stats["cases"].items()
        for name, values in figures.items()
        if values
    }


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a table, the first of them as its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-|-".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" if number != 1 else f"|-{line}-|" for number, line in enumerate(lines))
