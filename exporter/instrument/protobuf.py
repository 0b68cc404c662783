"""Metric families as messages of Prometheus in protobuf, the only format with native histograms. Pure.

The messages are those of `io/prometheus/client/metrics.proto`, each after its length. They are few and flat, and
written here field by field: a library would have to build an object for each sample, which takes much longer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import accumulate, groupby
from operator import sub
from struct import Struct

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar, Sample

from exporter.instrument.exposition import BARE_COUNTER, TEXT, AnyFamily, Family, distinct, label_text, render
from exporter.instrument.histogram import Bounds, Histogram
from exporter.instrument.native import ZERO_THRESHOLD, BucketRun

PIECE_BYTES = 64 * 1024
_KINDS = {"counter": 0, BARE_COUNTER: 0, "gauge": 1, "summary": 2, "unknown": 3, "histogram": 4, "gaugehistogram": 5}
_NAMES = {"counter": "_total", "info": "_info"}
# The field of a metric that has its value, and in it the field of the number.
_VALUES = {0: b"\x1a", 1: b"\x12", 3: b"\x2a"}
_PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_double = Struct("<d").pack
# A value message of one number: its length, and the field of the number.
_NUMBER = b"\x09\x09"
# What precedes the count of a classic bucket, by the length of the count.
_BUCKETS = tuple(bytes((0x1A, length + 10, 0x08)) for length in range(11))
_SMALL = tuple(bytes((number,)) for number in range(128))


def pieces(families: Iterable[AnyFamily]) -> Iterator[bytes]:
    """Yield a page, in pieces of `PIECE_BYTES` or a little more. Of families with one name the first stays."""
    parts: list[bytes] = []
    length = 0
    for family in distinct(families):
        parts.append(_family(family))
        length += len(parts[-1])
        if length >= PIECE_BYTES:
            yield b"".join(parts)
            parts, length = [], 0
    yield b"".join(parts)


def metric_lines(block: str, kind: str, start: int, labels: bytes, exemplars: Mapping[str, Exemplar]) -> bytes:
    """Return the metrics of the text lines of a counter or gauge, as fields of their family.

    The first `start` characters of all lines are the same, and end with the text of the labels that `labels` has
    encoded. `exemplars` are those of counters, by the line up to its value.
    """
    if exemplars:
        return _with_exemplars(block, kind, start, labels, exemplars)
    if block.count("\n") == 1:
        end = block.rindex("} ")
        head, tail = _around(block[start:end], kind, len(labels))
        return b"".join((head, labels, tail, _double(float(block[end + 2 :]))))
    # What differs in the labels of feeds only, such as kinds of anomalies that none has, is encoded once.
    lines = f"\n{block}".replace(f"\n{block[:start]}", "\n")
    return labels.join(_encoded(lines, kind, len(labels)))


def _with_exemplars(block: str, kind: str, start: int, labels: bytes, exemplars: Mapping[str, Exemplar]) -> bytes:
    found = []
    for line in block.split("\n")[:-1]:
        series, _, number = line.rpartition(" ")
        value = _NUMBER[1:] + _double(float(number))
        if (exemplar := exemplars.get(series)) is not None:
            value += _field(0x12, _exemplar(exemplar))
        found.append(_field(0x22, labels + encoded_labels(series[start:-1]) + _VALUES[_KINDS[kind]] + _message(value)))
    return b"".join(found)


@lru_cache(512)
def _encoded(lines: str, kind: str, known: int) -> list[bytes]:
    """Return the metrics of lines without what they begin with, cut where their first labels go, of so many bytes."""
    chunks = [b""]
    for line in lines.split("\n")[1:-1]:
        more, _, number = line.rpartition("} ")
        head, tail = _around(more, kind, known)
        chunks[-1] += head
        chunks.append(tail + _double(float(number)))
    return chunks


@lru_cache(8192)
def _around(more: str, kind: str, known: int) -> tuple[bytes, bytes]:
    """Return what precedes the known labels of a metric with one number, which take so many bytes, and what follows."""
    tail = encoded_labels(more) + _VALUES[_KINDS[kind]] + _NUMBER
    return b"\x22" + _varint(known + len(tail) + 8), tail


@cache
def _bounds(bounds: Bounds) -> tuple[bytes, ...]:
    """Return the upper bounds of classic buckets as fields of a bucket."""
    return tuple(b"\x11" + _double(bound) for bound in bounds.shown)


def metric_histogram(histogram: Histogram, labels: bytes) -> bytes:
    """Return the metric of a histogram, as a field of its family, with the buckets that it has."""
    parts = [b"\x08", _varint(histogram.count), b"\x11", _double(histogram.shown_sum)]
    if histogram.buckets:
        # As `_bucket`, without its calls.
        for count, bound in zip(accumulate(histogram.buckets), _bounds(histogram.bounds), strict=True):
            number = _varint(count)
            parts += (_BUCKETS[len(number)], number, bound)
    if (native := histogram.native) is not None:
        parts += [b"\x28", _varint(_zigzag(native.schema)), b"\x31", _double(ZERO_THRESHOLD)]
        parts += [b"\x38", _varint(native.zeros)]
        if native.negative is not None:
            parts += _run(native.negative, b"\x4a", b"\x52")
        if native.positive.counts:
            parts += _run(native.positive, b"\x62", b"\x6a")
    return _field(0x22, labels + b"\x3a" + _message(b"".join(parts)))


@lru_cache(8192)
def encoded_labels(text: str) -> bytes:
    """Return the labels of a text between braces, as fields of a metric."""
    pairs = _PAIR.findall(text)
    return b"".join([_label(name, _ESCAPE.sub(_unescaped, value)) for name, value in pairs])


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _family(family: AnyFamily) -> bytes:
    if isinstance(family, Family) and family.messages is not None:
        metrics: Iterable[bytes] = family.messages
        kind, text = family.kind, family.help
    else:
        samples = _parsed(family) if isinstance(family, Family) else family
        metrics, kind, text = metrics_of(samples), samples.type, samples.documentation
    if not (body := b"".join(metrics)):
        return b""
    name, number = family.name + _NAMES.get(kind, ""), _KINDS.get(kind, 1)
    head = [_field(0x0A, _utf8(name)), _field(0x12, _utf8(text)), b"\x18", _varint(number)]
    unit = _field(0x2A, _utf8(family.unit)) if family.unit else b""
    return _message(b"".join([*head, body, unit]))


def _parsed(family: Family) -> Metric:
    """Return a family of text blocks as samples."""
    metric = Metric(family.name, family.help, family.kind, family.unit)
    for parsed in text_string_to_metric_families(render([family], TEXT).decode()):
        metric.samples += [_with_exemplar(sample, family.exemplars) for sample in parsed.samples]
    return metric


def _with_exemplar(sample: Sample, exemplars: Mapping[str, Exemplar]) -> Sample:
    return sample._replace(exemplar=exemplars.get(f"{sample.name}{{{label_text(sample.labels)}}}"))


def metrics_of(family: Metric) -> Iterator[bytes]:
    """Yield the metrics of a family, each as a field of it."""
    if family.type in ("histogram", "gaugehistogram", "summary"):
        for pairs, samples in groupby(family.samples, _series):
            yield _field(0x22, b"".join([_label(*pair) for pair in pairs]) + _composite(family.type, list(samples)))
        return
    number = _KINDS.get(family.type, 1)
    for sample in family.samples:
        if sample.name != f"{family.name}_created":
            value = b"\x09" + _double(float(sample.value))
            if number == 0 and sample.exemplar is not None:
                value += _field(0x12, _exemplar(sample.exemplar))
            labels = b"".join([_label(*pair) for pair in sample.labels.items()])
            yield _field(0x22, labels + _VALUES[number] + _message(value))


def _series(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in sample.labels.items() if name not in ("le", "quantile"))


def _composite(kind: str, samples: Sequence[Sample]) -> bytes:
    """Return the field of a metric that has the samples of one histogram or summary."""
    parts = []
    for sample in samples:
        suffix, value = sample.name.rpartition("_")[2], float(sample.value)
        if "le" in sample.labels:
            parts.append(_bucket(int(value), float(sample.labels["le"]), sample.exemplar))
        elif "quantile" in sample.labels:
            quantile = b"\x09" + _double(float(sample.labels["quantile"])) + b"\x11" + _double(value)
            parts.append(_field(0x1A, quantile))
        elif suffix in ("count", "gcount"):
            parts.append(b"\x08" + _varint(int(value)))
        elif suffix in ("sum", "gsum"):
            parts.append(b"\x11" + _double(value))
    return (b"\x22" if kind == "summary" else b"\x3a") + _message(b"".join(parts))


def _bucket(count: int, upper_bound: float, exemplar: Exemplar | None = None) -> bytes:
    body = b"\x08" + _varint(count) + b"\x11" + _double(upper_bound)
    return _field(0x1A, body if exemplar is None else body + _field(0x1A, _exemplar(exemplar)))


def _run(run: BucketRun, span_tag: bytes, delta_tag: bytes) -> list[bytes]:
    """Return the span of adjacent buckets, and the count of each bucket less that of the one before."""
    span = _message(b"\x08" + _varint(_zigzag(run.first)) + b"\x10" + _varint(len(run.counts)))
    changes = map(sub, run.counts, (0, *run.counts))
    deltas = b"".join([_DELTAS[each] if -64 <= each < 64 else _varint(_zigzag(each)) for each in changes])
    return [span_tag, span, delta_tag, _message(deltas)]


def _exemplar(exemplar: Exemplar) -> bytes:
    body = b"".join([_label(*pair) for pair in exemplar.labels.items()]) + b"\x11" + _double(exemplar.value)
    if exemplar.timestamp is None:
        return body
    seconds, rest = divmod(float(exemplar.timestamp), 1)
    return body + _field(0x1A, b"\x08" + _varint(int(seconds)) + b"\x10" + _varint(int(rest * 1e9)))


def _label(name: str, value: str) -> bytes:
    return _field(0x0A, _field(0x0A, _utf8(name)) + _field(0x12, _utf8(value)))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _field(tag: int, body: bytes) -> bytes:
    length = len(body)
    return (bytes((tag, length)) if length < 128 else bytes((tag,)) + _varint(length)) + body


def _message(body: bytes) -> bytes:
    return _varint(len(body)) + body


def _varint(number: int) -> bytes:
    """Return a number from 0 to 2 ** 64 - 1: seven bits a byte, the lowest first."""
    if number < 128:
        return _SMALL[number]
    if number < 16_384:
        return bytes((number & 127 | 128, number >> 7))
    found = []
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes((*found, number))


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else ~(number << 1)


# By index from the end, too, so that negative numbers find theirs.
_DELTAS = tuple(_SMALL[_zigzag(number)] for number in (*range(64), *range(-64, 0)))
