"""The messages of Prometheus' protobuf exposition, built for the protobuf library; and pages read with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

Field = FieldDescriptorProto
PACKAGE = "io.prometheus.client"
KINDS = ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM")
# Fields of io/prometheus/client/metrics.proto, proto2: the number, the type or message, and * where it is repeated.
MESSAGES: Mapping[str, str] = {
    "LabelPair": "name 1 string; value 2 string",
    "Gauge": "value 1 double",
    "Counter": "value 1 double; exemplar 2 Exemplar; created_timestamp 3 Timestamp",
    "Quantile": "quantile 1 double; value 2 double",
    "Summary": "sample_count 1 uint64; sample_sum 2 double; quantile 3 Quantile*; created_timestamp 4 Timestamp",
    "Untyped": "value 1 double",
    "Histogram": "sample_count 1 uint64; sample_count_float 4 double; sample_sum 2 double; bucket 3 Bucket*; "
    "schema 5 sint32; zero_threshold 6 double; zero_count 7 uint64; zero_count_float 8 double; "
    "negative_span 9 BucketSpan*; negative_delta 10 sint64*; negative_count 11 double*; "
    "positive_span 12 BucketSpan*; positive_delta 13 sint64*; positive_count 14 double*; "
    "created_timestamp 15 Timestamp; exemplars 16 Exemplar*",
    "Bucket": "cumulative_count 1 uint64; cumulative_count_float 4 double; upper_bound 2 double; exemplar 3 Exemplar",
    "BucketSpan": "offset 1 sint32; length 2 uint32",
    "Exemplar": "label 1 LabelPair*; value 2 double; timestamp 3 Timestamp",
    "Timestamp": "seconds 1 int64; nanos 2 int32",
    "Metric": "label 1 LabelPair*; gauge 2 Gauge; counter 3 Counter; summary 4 Summary; untyped 5 Untyped; "
    "histogram 7 Histogram; timestamp_ms 6 int64",
    "MetricFamily": "name 1 string; help 2 string; type 3 MetricType; metric 4 Metric*; unit 5 string",
}


def _field(message: DescriptorProto, text: str) -> None:
    name, number, kind = text.split()
    field = message.field.add(name=name, number=int(number))
    field.label = Field.LABEL_REPEATED if kind.endswith("*") else Field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    if kind == "MetricType" or kind in MESSAGES:
        field.type = Field.TYPE_ENUM if kind == "MetricType" else Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = Field.Type.Value(f"TYPE_{kind.upper()}")


@cache
def metric_family() -> Any:
    """Return the class of `MetricFamily`."""
    file = FileDescriptorProto(name="metrics.proto", package=PACKAGE, syntax="proto2")
    kinds = file.enum_type.add(name="MetricType")
    for number, name in enumerate(KINDS):
        kinds.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split("; "):
            _field(message, field)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.MetricFamily"))


def read_page(page: bytes) -> Iterator[Any]:
    """Yield the families of a page: each message comes after its length, and no byte is left over."""
    kind = metric_family()
    while page:
        length = shift = at = 0
        while True:
            length |= (page[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if page[at - 1] < 128:
                break
        assert at + length <= len(page)
        yield kind.FromString(page[at : at + length])
        page = page[at + length :]
