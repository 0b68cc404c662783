"""The families of a push as the page shows them: labels of the group, complete histograms, nothing twice. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isfinite, isnan
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.samples import Sample

from exporter.instrument.exposition import sample_lines
from exporter.pushes.family import PushedFamily, Refused, inconsistent
from exporter.pushes.text_reader import NAME

# Families about the pushes themselves, which replace what is pushed under their names.
PUSHED, FAILED = "push_time_seconds", "push_failure_time_seconds"
# Names of the sidecar's own families, on which its rules and dashboards stand.
RESERVED = "marketdata_"
COUNT_MAX = 2**64 - 1
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_PARTS = {"histogram": "le", "summary": "quantile"}
_CREATED = "_created"

Labels = Mapping[str, str]
# The identity of a series: its labels without those that are empty, which Prometheus takes for absent ones.
Key = frozenset[tuple[str, str]]


class StoredFamily(NamedTuple):
    """A family of one group: its samples, their text of so many lines and bytes, and what its series are."""

    name: str
    kind: str
    metric: Metric
    text: str
    keys: frozenset[Key]
    lines: int
    bytes: int


def stored_families(pushed: Iterable[PushedFamily], group: Labels) -> dict[str, StoredFamily]:
    """Return the families of a push by name, with the labels of its group; raise Refused."""
    found: dict[str, StoredFamily] = {}
    for family in _without_creation(list(pushed)):
        _check_name(family)
        found[family.name] = _stored(family, group)
    return found


def key_of(labels: Labels) -> Key:
    """Return the identity of a series or a group with these labels."""
    return frozenset((name, value) for name, value in labels.items() if value)


def _without_creation(families: Sequence[PushedFamily]) -> Iterator[PushedFamily]:
    """Yield all but the times at which other families of the push were created, which no page here has."""
    others = {each.name.removesuffix("_total") for each in families if each.kind in ("counter", *_PARTS)}
    for each in families:
        is_creation = each.name.endswith(_CREATED) and each.name.removesuffix(_CREATED) in others
        if not is_creation and each.name not in (PUSHED, FAILED):
            yield each


def _check_name(family: PushedFamily) -> None:
    if not NAME.fullmatch(family.name):
        raise inconsistent(f"{family.name!r} is no name of a metric: letters, digits, _ and :, the first no digit")
    if family.name.startswith(RESERVED):
        raise inconsistent(f"{family.name} begins with {RESERVED}, as the sidecar's own metrics do")


def _stored(family: PushedFamily, group: Labels) -> StoredFamily:
    name, kind = family.name, family.kind
    part = _PARTS.get(kind, "")
    if part in group:
        raise inconsistent(f"{name} is a {kind}, and the path has its label {part}")
    by_key: dict[Key, list[Sample]] = {}
    for sample in family.samples:
        if sample.timestamp is not None:
            raise inconsistent(f"{name} has a timestamp: pushed samples may have none")
        labels = _labels(sample, name, group)
        last = {part: labels.pop(part)} if part in labels else {}
        same = by_key.setdefault(key_of(labels), [])
        # All samples of a series have the labels of the first: others may have empty ones.
        same.append(Sample(sample.name, {**(_base(same[0], part) if same else labels), **last}, sample.value))
    metric = Metric(name.removesuffix("_total") if kind == "counter" else name, family.help, kind)
    metric.samples = [sample for samples in by_key.values() for sample in _series(name, kind, samples)]
    text = sample_lines(metric)
    return StoredFamily(name, kind, metric, text, frozenset(by_key), len(metric.samples), len(text.encode()))


def _base(sample: Sample, part: str) -> dict[str, str]:
    return {name: value for name, value in sample.labels.items() if name != part}


def _labels(sample: Sample, name: str, group: Labels) -> dict[str, str]:
    """Return the labels of a sample in order, with those of the group instead of its own, and an instance."""
    if wrong := next((each for each in sample.labels if not _LABEL.fullmatch(each)), None):
        raise inconsistent(f"{name} has the label {wrong!r}, which is no name of a label")
    return dict(sorted({"instance": "", **sample.labels, **group}.items()))


def _series(name: str, kind: str, samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of one series as they are shown."""
    if kind == "histogram":
        return list(_histogram(name, samples))
    if kind == "summary":
        return list(_summary(name, samples))
    sample = samples[0]
    if len(samples) > 1:
        raise _twice(name, sample)
    if sample.name != name:
        raise inconsistent(f"{sample.name} is no sample of the {kind} {name}")
    if kind == "counter" and not sample.value >= 0:
        raise inconsistent(f"the counter {name} is {sample.value:g}")
    return [sample]


def _summary(name: str, samples: Sequence[Sample]) -> Iterator[Sample]:
    quantiles, others = _parts(name, samples, "", "quantile")
    labels = _base(samples[0], "quantile")
    for quantile, sample in sorted(quantiles.items()):
        if not 0 <= quantile <= 1:
            raise inconsistent(f"the summary {name} has the quantile {quantile:g}")
        yield sample._replace(labels={**sample.labels, "quantile": repr(quantile)})
    count = others.get("_count") or Sample(f"{name}_count", labels, 0.0)
    _check_count(name, count)
    yield count
    yield others.get("_sum") or Sample(f"{name}_sum", labels, 0.0)


def _histogram(name: str, samples: Sequence[Sample]) -> Iterator[Sample]:
    buckets, others = _parts(name, samples, "_bucket", "le")
    known = buckets.get(inf) or others.get("_count")
    if known is None:
        raise inconsistent(f"the histogram {name} has neither a count nor the bucket +Inf")
    labels = _base(known, "le")
    last = Sample(f"{name}_bucket", {**labels, "le": "+Inf"}, known.value)
    before = 0.0
    for bound, sample in sorted({**buckets, inf: last}.items()):
        _check_count(name, sample)
        if sample.value < before:
            raise inconsistent(f"the buckets of the histogram {name} decrease at {bound:g}")
        before = sample.value
        spelled = "+Inf" if bound == inf else repr(bound)
        yield sample._replace(labels={**labels, "le": spelled})
    count = others.get("_count") or Sample(f"{name}_count", labels, before)
    if count.value != before:
        raise inconsistent(f"the histogram {name} has the count {count.value:g} and {before:g} in all buckets")
    yield count
    yield others.get("_sum") or Sample(f"{name}_sum", labels, 0.0)


def _parts(
    name: str, samples: Sequence[Sample], suffix: str, part: str
) -> tuple[dict[float, Sample], dict[str, Sample]]:
    """Return the buckets or quantiles by their number, and the count and the sum."""
    numbered: dict[float, Sample] = {}
    others: dict[str, Sample] = {}
    for sample in samples:
        ending = sample.name.removeprefix(name)
        if ending == suffix and part in sample.labels:
            if (number := _number(name, part, sample.labels[part])) in numbered:
                raise _twice(name, sample)
            numbered[number] = sample
        elif ending not in ("_count", "_sum") or part in sample.labels:
            kind = "histogram" if suffix else "summary"
            raise inconsistent(f"{sample.name} with the labels {dict(sample.labels)} is no sample of the {kind} {name}")
        elif ending in others:
            raise _twice(name, sample)
        else:
            others[ending] = sample
    return numbered, others


def _number(name: str, part: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if isnan(number):
        raise inconsistent(f"{name} has {part}={text[:50]!r}, which is no number")
    return number


def _check_count(name: str, sample: Sample) -> None:
    value = float(sample.value)
    if not isfinite(value) or not 0 <= value <= COUNT_MAX or not value.is_integer():
        raise inconsistent(f"{name} has a count of {value:g}: it must be a whole number")


def _twice(name: str, sample: Sample) -> Refused:
    return inconsistent(f"{name} has two samples with the labels {dict(sample.labels)}")
