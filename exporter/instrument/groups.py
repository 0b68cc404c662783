"""Groups of metrics that programs have pushed, for the parts that show them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from prometheus_client import Metric


class Group(NamedTuple):
    """The metrics of one grouping key, such as `{"job": "signals", "instance": "a"}`; times are Unix seconds.

    `families` are as the program's own registry would collect them: counters are named without `_total`, their samples
    with it, and `_created` is left out. Samples have the labels of the group, and `instance` is "" where the group has
    none. A counter that was pushed under a name without `_total` keeps that name in its samples. `pushed_seconds` is 0
    for a group whose pushes have all failed, and `failed_seconds` for one of which none has; both are on /metrics as
    `push_time_seconds` and `push_failure_time_seconds`.
    """

    labels: Mapping[str, str]
    families: Sequence[Metric]
    pushed_seconds: float
    failed_seconds: float
    expires_seconds: float


class Groups(Protocol):
    """The groups that have not expired; callable from any thread, and never waits."""

    def groups(self) -> Sequence[Group]:
        """Return the groups, in the order in which they came. The values may not be changed."""
