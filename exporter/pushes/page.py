"""The pushed groups as families of a page, beside those of the sidecar. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.samples import Sample

from exporter.instrument.exposition import BARE_COUNTER, AnyFamily, Family, names_of, sample_lines
from exporter.instrument.protobuf import metrics_of
from exporter.pushes.series import FAILED, PUSHED, StoredFamily
from exporter.pushes.store import StoredGroup

_HELP = {
    PUSHED: "Last Unix time when changing this group by a push succeeded, 0 for never.",
    FAILED: "Last Unix time when changing this group by a push failed, 0 for never.",
}


def with_groups(own: Sequence[AnyFamily], groups: Sequence[StoredGroup]) -> list[AnyFamily]:
    """Return the families of a page: those of the sidecar, joined with pushed ones of the same name, and the others.

    Of families with one name and several help texts, that of the sidecar or of the first group is shown.
    """
    if not groups:
        return list(own)
    pushed = _by_name(groups)
    found = [_joined(each, pushed.pop(name, ())) if (name := _name(each)) in pushed else each for each in own]
    claimed = {name for each in found for name in names_of(each)}
    for parts in sorted(pushed.values(), key=_rank):
        family = _family(parts, claimed)
        # What is left are creation times without their metric, which another group has.
        if claimed.isdisjoint(names := names_of(family)):
            claimed |= names
            found.append(family)
    return [*found, *_times(groups)]


def _by_name(groups: Iterable[StoredGroup]) -> dict[str, list[StoredFamily]]:
    found: dict[str, list[StoredFamily]] = {}
    for group in groups:
        for family in group.families.values():
            found.setdefault(family.name, []).append(family)
    return found


def _name(family: AnyFamily) -> str:
    kind = family.kind if isinstance(family, Family) else family.type
    return f"{family.name}_total" if kind == "counter" else family.name


def _rank(parts: Sequence[StoredFamily]) -> int:
    """Return the place of a family on the page: what must give way comes last."""
    if parts[0].kind == "counter":
        return 1
    return 2 if parts[0].name.endswith("_created") else 0


def _family(parts: Sequence[StoredFamily], claimed: set[str]) -> Family:
    first = parts[0]
    name, kind = first.metric.name, first.kind
    if kind == "counter" and (name == first.name or not claimed.isdisjoint(names_of(first.metric))):
        name, kind = first.name, BARE_COUNTER
    metrics = [each.metric for each in parts]
    return _rendered(name, kind, first.metric.documentation, metrics, [each.text for each in parts])


def _joined(own: AnyFamily, parts: Sequence[StoredFamily]) -> AnyFamily:
    if isinstance(own, Family):
        return own
    metrics, texts = [own, *(each.metric for each in parts)], [sample_lines(own), *(each.text for each in parts)]
    return _rendered(own.name, own.type, own.documentation, metrics, texts)


def _rendered(name: str, kind: str, help: str, metrics: Sequence[Metric], texts: Sequence[str]) -> Family:
    messages = (message for metric in metrics for message in metrics_of(metric))
    return Family(name, kind, help, "", texts, series=sum(text.count("\n") for text in texts), messages=messages)


def _times(groups: Sequence[StoredGroup]) -> Iterator[Metric]:
    """Yield when each group was changed, and when that last failed."""
    for name, text in _HELP.items():
        metric = Metric(name, text, "gauge")
        for group in groups:
            moment = group.pushed if name == PUSHED else group.failed
            labels = dict(sorted({"instance": "", **group.labels}.items()))
            metric.samples.append(Sample(name, labels, moment.unix_seconds if moment else 0.0))
        yield metric
