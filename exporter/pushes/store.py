"""The groups that were pushed, until they expire; the time is an argument, and what was read stays as it was. Pure.

One thread changes the groups, and any may read them: a change replaces the mapping of groups, and groups never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.pushes.consistency import Own, check
from exporter.pushes.family import PushedFamily, Refused, Result, inconsistent
from exporter.pushes.series import Key, Labels, StoredFamily, key_of, stored_families


class Moment(NamedTuple):
    """One time by two clocks: Unix seconds, and seconds of a clock that never goes backwards."""

    unix_seconds: float
    monotonic_seconds: float


class PushLimits(NamedTuple):
    """How long groups stay without another push, and how many groups, lines and bytes of text there may be."""

    ttl_seconds: float
    groups: int
    series: int
    bytes: int


class StoredGroup(NamedTuple):
    """The families of a group by name, and when its last pushes were made; None: never."""

    labels: Labels
    families: Mapping[str, StoredFamily] = {}
    pushed: Moment | None = None
    failed: Moment | None = None

    @property
    def since(self) -> float:
        """The monotonic second from which the group gets older: failures keep nothing that was pushed before them."""
        moment = self.pushed or self.failed
        return moment.monotonic_seconds if moment else 0.0


class Size(NamedTuple):
    """What groups take: their number, the lines of their samples on a page, and the bytes of these."""

    groups: int
    series: int
    bytes: int


class PushStore:
    """Groups by their labels; `own` are the families of the sidecar itself."""

    def __init__(self, limits: PushLimits, own: Own) -> None:
        self.limits = limits
        self._own = own
        self._groups: Mapping[Key, StoredGroup] = {}

    def groups(self, now: Moment) -> list[StoredGroup]:
        """Return the groups that have not expired, in the order in which they came."""
        return list(self._living(now).values())

    def push(self, labels: Labels, pushed: Iterable[PushedFamily], now: Moment, *, replaces: bool) -> None:
        """Take in a push that replaces the group or, without `replaces`, its families of the same names.

        Raises Refused; then only the time of the failure is remembered, as the Pushgateway does.
        """
        groups = self._living(now)
        key = key_of(labels)
        before = groups.get(key, StoredGroup(labels))
        others = [group for each, group in groups.items() if each != key]
        try:
            after = self._changed(before, labels, pushed, now, others, replaces=replaces)
        except Refused:
            # A group that holds nothing yet is new with its first failure, if there is room.
            if key in groups or len(groups) < self.limits.groups:
                self._groups = {**groups, key: before._replace(failed=now)}
            raise
        self._groups = {**groups, key: after}

    def delete(self, labels: Labels, now: Moment) -> None:
        """Delete a group, if there is one with exactly these labels."""
        groups = self._living(now)
        key = key_of(labels)
        if key in groups and groups[key].labels == labels:
            del groups[key]
        self._groups = groups

    def size(self, now: Moment) -> Size:
        """Return what the groups take that have not expired."""
        return size(self._living(now).values())

    def expires(self, group: StoredGroup) -> float:
        """Return the monotonic second from which on a group is gone."""
        return group.since + self.limits.ttl_seconds

    def _living(self, now: Moment) -> dict[Key, StoredGroup]:
        return {key: each for key, each in self._groups.items() if self.expires(each) > now.monotonic_seconds}

    def _changed(
        self,
        before: StoredGroup,
        labels: Labels,
        pushed: Iterable[PushedFamily],
        now: Moment,
        others: Sequence[StoredGroup],
        *,
        replaces: bool,
    ) -> StoredGroup:
        """Return a group after a push; raise Refused."""
        if before.labels != labels:
            raise inconsistent(f"the group differs from {dict(before.labels)} only in empty labels")
        families = stored_families(pushed, labels)
        kept = {name: each for name, each in before.families.items() if name not in families and not replaces}
        check(families, kept, [group.families for group in others], self._own)
        after = StoredGroup(labels, {**kept, **families}, now, before.failed)
        self._check_room(after, others)
        return after

    def _check_room(self, group: StoredGroup, others: Iterable[StoredGroup]) -> None:
        alone, before, limits = size([group]), size(others), self.limits
        for what, one, more, limit in zip(Size._fields, alone, before, limits[1:], strict=True):
            if one > limit:
                raise Refused(Result.TOO_LARGE, f"the group has {one} {what}, and web.push.max_{what} is {limit}")
            if one + more > limit:
                text = f"there is no room: other groups have {more} {what}, this one {one}"
                raise Refused(Result.NO_ROOM, f"{text}, and web.push.max_{what} is {limit}")


def size(groups: Iterable[StoredGroup]) -> Size:
    """Return what groups take."""
    found = list(groups)
    families = [family for group in found for family in group.families.values()]
    return Size(len(found), sum(each.lines for each in families), sum(each.bytes for each in families))
