"""Limits of the process: those of its control groups (version 2 and 1), and those of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def memory_limit(mount: Path = _MOUNT, own: Path = _OWN) -> int | None:
    """Return the smallest memory limit of the control groups that the process is in, in bytes; None without one."""
    files = [*_files(mount, own, "", "memory.max"), *_files(mount, own, "memory", "memory.limit_in_bytes")]
    # Version 1 without a limit has a number of 8 EiB, less than a page.
    return min([limit for limit in map(_number, files) if limit is not None and limit < 1 << 62], default=None)


def memory_used(mount: Path = _MOUNT, own: Path = _OWN) -> int | None:
    """Return what the group with a limit uses, without files that can be dropped, in bytes; None without one."""
    for controller, limit, usage in (
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limits = [(number, file) for file in _files(mount, own, controller, limit) if (number := _number(file))]
        if limits and min(limits)[0] < 1 << 62 and (used := _number(min(limits)[1].parent / usage)) is not None:
            return max(0, used - _inactive_files(min(limits)[1].parent / "memory.stat"))
    return None


def cores(mount: Path = _MOUNT, own: Path = _OWN) -> float:
    """Return how many processor cores the process may use: a quota of its groups may leave part of one."""
    found = [float(len(os.sched_getaffinity(0)))]
    for file in _files(mount, own, "", "cpu.max"):
        with suppress(OSError, ValueError):
            quota, period = file.read_text().split()
            found.append(int(quota) / int(period))  # "max" without a quota
    for file in _files(mount, own, "cpu", "cpu.cfs_quota_us"):
        quota_us, period_us = _number(file), _number(file.with_name("cpu.cfs_period_us"))
        if quota_us is not None and quota_us > 0 and period_us:
            found.append(quota_us / period_us)
    return min(found)


def _files(mount: Path, own: Path, controller: str, name: str) -> Iterator[Path]:
    """Yield the file of the group of the process and of those above it; in a container only some can be seen."""
    root = mount / controller
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            group = (root / path.lstrip("/")).resolve()
            if group.is_relative_to(root.resolve()):
                yield from (each / name for each in (group, *group.parents) if each.is_relative_to(root.resolve()))
    yield root / name


def _inactive_files(stat: Path) -> int:
    values = dict(line.split(" ", 1) for line in _text(stat).splitlines() if " " in line)
    return int(values.get("total_inactive_file", values.get("inactive_file", 0)))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # "max", or not there


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
