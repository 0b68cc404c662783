"""Whether families of a push fit to those of other groups and of the sidecar: names, kinds and series. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from prometheus_client import Metric

from exporter.instrument.exposition import names_of
from exporter.pushes.family import Refused, inconsistent
from exporter.pushes.series import StoredFamily

# A histogram and a summary have samples of several names, so no other family may be named like one of them.
_SUFFIXES = {"histogram": ("", "_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}

Families = Mapping[str, StoredFamily]


class Own:
    """The families of the sidecar that programs have as well, such as `process_cpu_seconds_total`.

    Programs may push them with the same type; then the page has one family of both.
    """

    def __init__(self, families: Iterable[Metric]) -> None:
        found = list(families)
        self._kinds = {each.name + ("_total" if each.type == "counter" else ""): each.type for each in found}
        self._names = {name for each in found for name in names_of(each)}

    def check(self, family: StoredFamily) -> None:
        """Raise Refused if a family contradicts those of the sidecar."""
        kind = self._kinds.get(family.name)
        if kind is None and not self._names.isdisjoint(names_of(family.metric)):
            raise inconsistent(f"{family.name} collides with a metric of the sidecar")
        if kind not in (None, family.kind):
            raise _other_type(family, f"{kind} in the sidecar")


def check(families: Families, kept: Families, others: Sequence[Families], own: Own) -> None:
    """Raise Refused if `families` contradict those that the group has kept, those of other groups, or `own`."""
    kinds = {each.name: each.kind for some in (kept, *others) for each in some.values()}
    owners = dict(chain.from_iterable(_sample_names(name, kind) for name, kind in kinds.items()))
    for family in families.values():
        own.check(family)
        if (kind := kinds.get(family.name, family.kind)) != family.kind:
            raise _other_type(family, f"{kind} where it was pushed before")
        for sample, name in _sample_names(family.name, family.kind):
            if (owner := owners.setdefault(sample, name)) != name:
                raise inconsistent(f"{name} and {owner} collide: both may have samples named {sample}")
        _check_series(family, others)


def _other_type(family: StoredFamily, other: str) -> Refused:
    return inconsistent(f"{family.name} has the type {family.kind}, but {other}")


def _sample_names(name: str, kind: str) -> list[tuple[str, str]]:
    return [(name + suffix, name) for suffix in _SUFFIXES.get(kind, ("",))]


def _check_series(family: StoredFamily, others: Iterable[Families]) -> None:
    for families in others:
        other = families.get(family.name)
        if other is not None and not family.keys.isdisjoint(other.keys):
            labels = dict(sorted(next(iter(family.keys & other.keys))))
            raise inconsistent(f"another group has {family.name} with the same labels {labels}")
