"""Reads pages of metrics in protobuf, each message after its length, as Go programs push them. Pure.

The messages are those of `io/prometheus/client/metrics.proto`. Of native histograms only counts and sums are read, and
no exemplars or creation times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import TypeAlias

from prometheus_client.samples import Sample

from exporter.pushes.family import PushedFamily, malformed, too_many

# The fields of a message by number: each value as a whole number or as bytes.
Fields: TypeAlias = dict[int, list[int | bytes]]
Pairs: TypeAlias = dict[str, str]
_KINDS = ("counter", "gauge", "summary", "unknown", "histogram")
# Where a metric has the value of its kind.
_VALUES = {"gauge": 2, "counter": 3, "summary": 4, "unknown": 5, "histogram": 7}
_VARINT_BYTES_MAX = 10
# Of one kind in one message: a body may have millions of empty ones.
_FIELDS_MAX = 200_000
_double = Struct("<d").unpack


def read_protobuf(page: bytes, samples_max: int) -> list[PushedFamily]:
    """Return the families that have samples; of families with one name the last stays. Raises Refused."""
    found: dict[str, PushedFamily] = {}
    number = 0
    try:
        for message in _messages(page):
            family = _family(message, samples_max - number)
            number += len(family.samples)
            if number > samples_max:
                raise too_many(samples_max)
            found[family.name] = family
    except ValueError as error:  # also of text that is not UTF-8
        raise malformed(f"the body is no protobuf of the messages expected: {error}") from None
    return [family for family in found.values() if family.samples]


def _messages(page: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(page):
        length, at = _varint(page, at)
        yield _part(page, at, length)
        at += length


def _family(message: bytes, samples_max: int) -> PushedFamily:
    """Return a family with at most one sample more than the limit."""
    fields = _fields(message)
    name, number = _text(fields, 1), _number(fields, 3)
    if number >= len(_KINDS):
        raise ValueError(f"{name} has a type that is not supported")
    kind = _KINDS[number]
    samples = (sample for metric in _inner(fields, 4) for sample in _metric(name, kind, _fields(metric)))
    return PushedFamily(name, kind, _text(fields, 2), list(islice(samples, samples_max + 1)))


def _metric(name: str, kind: str, fields: Fields) -> Iterator[Sample]:
    labels: Pairs = {}
    for pair in map(_fields, _inner(fields, 1)):
        label = _text(pair, 1)
        if label in labels:
            raise ValueError(f"{name} has the label {label} twice")
        labels[label] = _text(pair, 2)
    if _VALUES[kind] not in fields:
        raise ValueError(f"{name} has a value of another type")
    value = _fields(b"".join(_inner(fields, _VALUES[kind])))
    timestamp = _number(fields, 6) / 1000 if 6 in fields else None
    if kind == "histogram":
        samples: Iterable[Sample] = _histogram(name, labels, value)
    elif kind == "summary":
        samples = _summary(name, labels, value)
    else:
        samples = [Sample(name, labels, _float(value, 1))]
    return (sample._replace(timestamp=timestamp) for sample in samples)


def _summary(name: str, labels: Pairs, fields: Fields) -> Iterator[Sample]:
    _without(labels, "quantile", name)
    for quantile in map(_fields, _inner(fields, 3)):
        yield Sample(name, {**labels, "quantile": repr(_float(quantile, 1))}, _float(quantile, 2))
    yield Sample(f"{name}_count", labels, _number(fields, 1))
    yield Sample(f"{name}_sum", labels, _float(fields, 2))


def _histogram(name: str, labels: Pairs, fields: Fields) -> Iterator[Sample]:
    _without(labels, "le", name)
    for bucket in map(_fields, _inner(fields, 3)):
        yield Sample(f"{name}_bucket", {**labels, "le": repr(_float(bucket, 2))}, _count(bucket))
    yield Sample(f"{name}_count", labels, _count(fields))
    yield Sample(f"{name}_sum", labels, _float(fields, 2))


def _count(fields: Fields) -> float:
    """Return the count of a histogram or bucket: where there is one of fractions, that."""
    return _float(fields, 4) or _number(fields, 1)


def _without(labels: Pairs, reserved: str, name: str) -> None:
    if reserved in labels:
        raise ValueError(f"{name} has the label {reserved}, which is reserved")


def _fields(message: bytes) -> Fields:
    """Return the fields of a message; a deprecated group is a mistake."""
    found: Fields = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if (wire := tag & 7) == 0:
            value, at = _varint(message, at)
        elif wire in (1, 2, 5):
            length, at = _varint(message, at) if wire == 2 else (8 if wire == 1 else 4, at)
            value = _part(message, at, length)
            at += length
        else:
            raise ValueError("a field has an unknown form")
        values = found.setdefault(tag >> 3, [])
        values.append(value)
        if len(values) > _FIELDS_MAX:
            raise ValueError(f"a message has more than {_FIELDS_MAX} values of one field")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    number = 0
    for shift, byte in enumerate(data[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 127) << 7 * shift
        if byte < 128:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + shift + 1
    raise ValueError("a number is cut off or too long")


def _part(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise ValueError("the end is missing")
    return data[at : at + length]


def _inner(fields: Fields, number: int) -> list[bytes]:
    """Return the messages or texts of a field."""
    return [value for value in fields.get(number, ()) if isinstance(value, bytes)]


def _text(fields: Fields, number: int) -> str:
    texts = _inner(fields, number) or [b""]
    return texts[-1].decode()


def _number(fields: Fields, number: int) -> int:
    """Return a whole number, 0 for a field that is not there."""
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError("a field has another type")
    return value


def _float(fields: Fields, number: int) -> float:
    """Return a number of 8 bytes, 0 for a field that is not there."""
    value = fields.get(number, [bytes(8)])[-1]
    if not isinstance(value, bytes) or len(value) != 8:
        raise ValueError("a field has another type")
    return float(_double(value)[0])
