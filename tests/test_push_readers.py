"""Bodies of pushes: text as strict as the Pushgateway's, protobuf as its library reads it, OpenMetrics, and gzip."""

from __future__ import annotations

import base64
import gzip
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import _escape_grouping_key
from prometheus_client.samples import Sample

from exporter.instrument.exposition import OPENMETRICS, PROTOBUF, TEXT
from exporter.pushes import snappy
from exporter.pushes.bodies import BodyLimits, BodyType, read_body
from exporter.pushes.family import PushedFamily, Refused, Result
from exporter.pushes.grouping import grouping
from exporter.pushes.protobuf_reader import read_protobuf
from exporter.pushes.text_reader import read_text
from tests.support.metrics_proto import metric_family

BYTES_MAX = 10_000
LIMITS = BodyLimits(BYTES_MAX, 1000)
KINDS = ("counter", "gauge", "summary", "unknown", "histogram")


def refusal(body: bytes, content_type: str = "", content_encoding: str = "") -> Refused:
    with pytest.raises(Refused) as error:
        read_body(body, BodyType(content_type, content_encoding), LIMITS)
    return error.value


def delimited(*families: Any) -> bytes:
    messages = [family.SerializeToString() for family in families]
    return b"".join(_VarintBytes(len(message)) + message for message in messages)


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("a 1", Sample("a", {}, 1.0)),
        ("a{} 1", Sample("a", {}, 1.0)),
        (' a {x = "y" ,z="",}\t+Inf', Sample("a", {"x": "y", "z": ""}, float("inf"))),
        ('a:b{x="}\\"\\\\\\n{,é"}-1.5e3', Sample("a:b", {"x": '}"\\\n{,é'}, -1500.0)),
        ("a 1 123", Sample("a", {}, 1.0, 123)),
    ],
)
def test_a_line_of_text_is_a_sample(line: str, sample: Sample) -> None:
    assert read_text(f"# a remark\n\n{line}\n") == [PushedFamily(sample.name, "unknown", "", [sample])]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a 1", "the last line has no line feed"),
        ("a 1\r\n", "line 1: expected NAME"),
        ("\n\na\n", "line 3: expected NAME"),
        ("a1\n", "expected NAME"),
        ("a 1 2 3\n", "expected NAME"),
        ("1a 1\n", "expected NAME"),
        ("a.b 1\n", "expected NAME"),
        ("é 1\n", "expected NAME"),
        ('{"a.b"} 1\n', "expected NAME"),
        ("a{ 1\n", "expected NAME"),
        ('a{x="y"\n', "expected NAME"),
        ('a{x="y} 1\n', "expected NAME"),
        ("a{,} 1\n", "expected LABEL"),
        ("a{x=y} 1\n", "expected LABEL"),
        ('a{x="y" z="w"} 1\n', "expected LABEL"),
        ('a{"x.y"="z"} 1\n', "expected LABEL"),
        ('a{x:y="z"} 1\n', "expected LABEL"),
        ('a{x="y",x="z"} 1\n', "the label x comes twice"),
        ('a{x="\\t"} 1\n', "\\t is no escape sequence"),
        ("a 1_000\n", "'1_000' is no number"),
        ("a 0x10\n", "'0x10' is no number"),
        ("a \u0663\n", "expected NAME"),
        ("a one\n", "'one' is no number"),
        ("a 1 soon\n", "'soon' is no number"),
        ("# TYPE a counter\n# TYPE a counter\na 1\n", "line 2: a second TYPE of a"),
        ("a 1\n# TYPE a counter\n", "a second TYPE of a, or one after its samples"),
        ("# TYPE a number\n", "the TYPE of a must be one of counter, gauge,"),
        ("# HELP a b\n# HELP a b\n", "a second HELP of a"),
        ("\x00\n", "expected NAME"),
    ],
)
def test_a_mistake_in_text_is_reported_with_its_line(text: str, reason: str) -> None:
    error = refusal(text.encode())
    assert reason in str(error)
    assert error.result is Result.MALFORMED


def test_samples_belong_to_the_family_of_their_name_or_to_one_that_has_such_samples() -> None:
    text = (
        '# HELP h A \\\\ and\\nb.\n# TYPE h histogram\nh_count 1\nx 1\nh_sum 2\nh_bucket{le="+Inf"} 1\n'
        "#TYPE s summary\ns_bucket 1\ns_count 1\n# TYPE g gauge\ng_count 1\n# TYPE unused gauge\n"
    )
    families = {family.name: family for family in read_text(text)}
    assert {name: each.kind for name, each in families.items()} == {
        "h": "histogram", "x": "unknown", "s": "summary", "s_bucket": "unknown", "g_count": "unknown",
    }  # fmt: skip
    assert families["h"].help == "A \\ and\nb."
    assert [each.name for each in families["h"].samples] == ["h_count", "h_sum", "h_bucket"]


@given(st.text(st.sampled_from('ab{}="\\, \t#1.n_\né'), max_size=60))
def test_text_is_read_or_refused(text: str) -> None:
    with suppress(Refused):
        read_text(text + "\n")


def test_a_line_takes_no_longer_than_its_length_asks_for() -> None:
    for text in (
        'a{x="' + "\\\\" * 500_000,
        "a{" * 500_000,
        'a{x="y",' * 100_000,
        "a" * 1_000_000,
        " \t" * 500_000 + "x",
    ):
        with pytest.raises(Refused):
            read_text(text + "\n")
    labels = ",".join(f'l{number}=""' for number in range(50_000))
    ((sample,),) = [family.samples for family in read_text(f"a{{{labels}}} 1\n")]
    assert len(sample.labels) == 50_000


FLOATS = st.floats(allow_nan=False)
LABELS = st.dictionaries(st.sampled_from(["x", "y", "job"]), st.text(max_size=5), max_size=2)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    """A family as the library writes it, with everything that a Go program may send."""
    family = metric_family()()
    family.name, family.help, family.unit = draw(st.sampled_from(["a", "b_total", "é"])), draw(st.text(max_size=5)), "s"
    family.type = draw(st.sampled_from(range(5)))
    for labels in draw(st.lists(LABELS, min_size=1, max_size=3)):
        metric = family.metric.add()
        for name, value in labels.items():
            metric.label.add(name=name, value=value)
        fill(draw, metric, KINDS[family.type])
        if draw(st.booleans()):
            metric.timestamp_ms = draw(st.integers(-(2**63), 2**63 - 1))
    return family


def fill(draw: st.DrawFn, metric: Any, kind: str) -> None:
    if kind == "histogram":
        found = metric.histogram
        found.sample_count, found.sample_sum = draw(st.integers(0, 2**64 - 1)), draw(FLOATS)
        for bound in draw(st.lists(FLOATS, max_size=3, unique=True)):
            found.bucket.add(upper_bound=bound, cumulative_count=draw(st.integers(0, 2**64 - 1)))
        found.schema, found.zero_threshold = 3, 2.0**-128
        found.positive_span.add(offset=-5, length=1)
        found.positive_delta.append(draw(st.integers(-(2**63), 2**63 - 1)))
        found.created_timestamp.seconds = 5
    elif kind == "summary":
        metric.summary.sample_count, metric.summary.sample_sum = draw(st.integers(0, 2**64 - 1)), draw(FLOATS)
        for quantile in draw(st.lists(FLOATS, max_size=3, unique=True)):
            metric.summary.quantile.add(quantile=quantile, value=draw(FLOATS))
    elif kind == "counter":
        metric.counter.value = draw(FLOATS)
        metric.counter.exemplar.value = 1.0
    elif kind == "gauge":
        metric.gauge.value = draw(FLOATS)
    else:
        metric.untyped.value = draw(FLOATS)


def expected(family: Any) -> list[Sample]:
    """The samples of a family that the library has read."""
    found: list[Sample] = []
    kind, name = KINDS[family.type], family.name
    for metric in family.metric:
        labels = {pair.name: pair.value for pair in metric.label}
        at = metric.timestamp_ms / 1000 if metric.HasField("timestamp_ms") else None
        value = getattr(metric, "untyped" if kind == "unknown" else kind)
        if kind == "histogram":
            for each in value.bucket:
                found.append(
                    Sample(f"{name}_bucket", {**labels, "le": repr(each.upper_bound)}, each.cumulative_count, at)
                )
        elif kind == "summary":
            for each in value.quantile:
                found.append(Sample(name, {**labels, "quantile": repr(each.quantile)}, each.value, at))
        else:
            found.append(Sample(name, labels, value.value, at))
            continue
        found.append(Sample(f"{name}_count", labels, value.sample_count, at))
        found.append(Sample(f"{name}_sum", labels, value.sample_sum, at))
    return found


@settings(max_examples=50)
@given(families=st.lists(messages(), max_size=3, unique_by=lambda family: family.name))
def test_protobuf_is_read_as_its_library_writes_it(families: list[Any]) -> None:
    found = read_protobuf(delimited(*families), LIMITS.samples)
    assert [(each.name, each.kind, each.help) for each in found] == [
        (each.name, KINDS[each.type], each.help) for each in families
    ]
    for read, written in zip(found, families, strict=True):
        # Timestamps are refused later, whatever they are.
        assert [(*each[:3], each.timestamp is None) for each in read.samples] == [
            (*each[:3], each.timestamp is None) for each in expected(written)
        ]


@settings(max_examples=50)
@given(family=messages(), data=st.data())
def test_protobuf_that_is_cut_or_changed_is_read_or_refused(family: Any, data: st.DataObject) -> None:
    page = bytearray(delimited(family))
    page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    for body in (bytes(page), bytes(page[: data.draw(st.integers(0, len(page)))])):
        with suppress(Refused):
            read_protobuf(body, LIMITS.samples)


@given(st.binary(max_size=50))
def test_any_bytes_are_protobuf_or_refused(body: bytes) -> None:
    with suppress(Refused):
        read_protobuf(body, LIMITS.samples)


def test_of_protobuf_messages_with_one_name_the_last_stays() -> None:
    first, second = metric_family()(name="a", type=1), metric_family()(name="a", type=1)
    for family, value in ((first, 1.0), (second, 2.0)):
        family.metric.add().gauge.value = value
    assert [each.samples for each in read_protobuf(delimited(first, second), LIMITS.samples)] == [
        [Sample("a", {}, 2.0)]
    ]


def test_native_histograms_are_read_as_counts_and_sums() -> None:
    family = metric_family()(name="h", type=4)
    histogram = family.metric.add().histogram
    histogram.sample_count_float, histogram.sample_sum, histogram.schema = 3.0, 1.5, 3
    histogram.positive_span.add(offset=0, length=1)
    histogram.positive_count.append(3.0)
    (found,) = read_protobuf(delimited(family), LIMITS.samples)
    assert found.samples == [Sample("h_count", {}, 3.0), Sample("h_sum", {}, 1.5)]


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (5, "histogram", "type that is not supported"),
        (0, "gauge", "a value of another type"),
        (4, "summary", "another"),
    ],
)
def test_protobuf_that_contradicts_itself_is_refused(kind: int, value: str, reason: str) -> None:
    family = metric_family()(name="a", type=kind)
    getattr(family.metric.add(), value).SetInParent()
    assert reason in str(refusal(delimited(family), PROTOBUF.content_type))


@pytest.mark.parametrize(("kind", "label"), [("histogram", "le"), ("summary", "quantile")])
def test_labels_of_buckets_and_quantiles_are_reserved_in_protobuf(kind: str, label: str) -> None:
    family = metric_family()(name="a", type=KINDS.index(kind))
    metric = family.metric.add()
    metric.label.add(name=label, value="1")
    getattr(metric, kind).SetInParent()
    assert f"has the label {label}, which is reserved" in str(refusal(delimited(family), PROTOBUF.content_type))


def test_openmetrics_is_read_with_the_names_of_text() -> None:
    text = (
        '# TYPE c counter\n# UNIT c \n# HELP c Help.\nc_total 1 # {x="y"} 1\nc_created 5\n'
        '# TYPE i info\ni_info{v="1"} 1\n'
        '# TYPE s stateset\ns{s="on"} 1\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_count 1\nh_sum 1\n'
        "# TYPE u unknown\nu 1\n# EOF\n"
    )
    found = read_body(text.encode(), BodyType("application/openmetrics-text; version=1.0.0", ""), LIMITS)
    assert {each.name: each.kind for each in found} == {
        "c_total": "counter", "i_info": "gauge", "s": "gauge", "h": "histogram", "u": "unknown",
    }  # fmt: skip
    assert [each.name for each in found[0].samples] == ["c_total"]


@given(st.text(st.sampled_from('ab{}="\\, #1.n_\n'), max_size=60))
def test_openmetrics_is_read_or_refused(text: str) -> None:
    body = BodyType(OPENMETRICS.content_type, "")
    for given_text in (text, f"{text}\n# EOF\n", f"# TYPE a histogram\n{text}\n# EOF\n"):
        with suppress(Refused):
            read_body(given_text.encode(), body, LIMITS)


def test_gauge_histograms_are_refused() -> None:
    text = b'# TYPE a gaugehistogram\na_bucket{le="+Inf"} 1\na_gcount 1\na_gsum 1\n# EOF\n'
    assert "not supported" in str(refusal(text, OPENMETRICS.content_type))


def test_bodies_may_be_compressed_in_several_files() -> None:
    body = gzip.compress(b"a 1\n") + gzip.compress(b"b 2\n")
    found = read_body(body, BodyType(TEXT.content_type, "gzip"), LIMITS)
    assert [each.name for each in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding", "result"),
    [
        (gzip.compress(b"a 1\n", mtime=0)[:-3], "", "gzip", Result.MALFORMED),
        (b"a 1\n", "", "gzip", Result.MALFORMED),
        (gzip.compress(b"", mtime=0) * 100, "", "gzip", Result.MALFORMED),
        (gzip.compress(b"a 1\n" + b"\n" * BYTES_MAX, mtime=0), "", "gzip", Result.TOO_LARGE),
        (gzip.compress(gzip.compress(b"a 1\n", mtime=0), mtime=0), "", "gzip", Result.MALFORMED),
        (b"", "", "deflate", Result.UNSUPPORTED),
        (b"", "", "gzip, gzip", Result.UNSUPPORTED),
        (b"a 1\n", "application/vnd.google.protobuf", "", Result.UNSUPPORTED),
        (b"", PROTOBUF.content_type.replace("delimited", "text"), "", Result.UNSUPPORTED),
        (b'a{x="\xff"} 1\n', "", "", Result.MALFORMED),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(
    body: bytes, content_type: str, content_encoding: str, result: Result
) -> None:
    assert refusal(body, content_type, content_encoding).result is result


LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"]))


@given(job=LABEL_VALUES.filter(bool), labels=st.dictionaries(st.sampled_from(["a", "b_1", "_c"]), LABEL_VALUES))
def test_prometheus_clients_paths_have_their_labels(job: str, labels: dict[str, str]) -> None:
    pairs = [_escape_grouping_key("job", job), *(_escape_grouping_key(*pair) for pair in sorted(labels.items()))]
    path = "/metrics" + "".join(f"/{name}/{value}" for name, value in pairs)
    assert grouping(path, "/metrics") == {**labels, "job": job}


@given(LABEL_VALUES)
def test_any_percent_encoded_path_is_read_or_refused(text: str) -> None:
    with suppress(Refused):
        assert grouping("/metrics/job/" + quote(text), "/metrics")["job"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/job/", "the name of the job is empty"),
        ("/job@base64/=", "the name of the job is empty"),
        ("/job/a/x", "a label without a value"),
        ("/job/a%2Fb", "a label without a value"),
        ("/job/a/__x/y", "'__x' in the path is no name of a label"),
        ("/job/a/0x/y", "is no name of a label"),
        ("/job/a/%C3%A9/y", "is no name of a label"),
        ("/job/a/x@base64/A", "is no base64"),
        ("/job/a/x@base64/a+b", "not in the base64 alphabet"),
        ("/job/a/x@base64/_w", "the path is not UTF-8"),
        ("/job/%ff", "the path is not UTF-8"),
    ],
)
def test_a_path_that_names_no_group_is_refused(path: str, reason: str) -> None:
    with pytest.raises(Refused) as error:
        grouping(f"/metrics{path}", "/metrics")
    assert reason in str(error.value)
    assert error.value.result is Result.MALFORMED


def test_a_body_with_very_many_samples_is_refused_before_they_take_memory() -> None:
    assert refusal(b"a 1\n" * 1001).result is Result.TOO_LARGE
    assert refusal(b"a 1\n" * 1001 + b"# EOF\n", OPENMETRICS.content_type).result is Result.TOO_LARGE
    families = [metric_family()(name=f"a{number}", type=1) for number in range(3)]
    for family in families:
        for _ in range(400):
            family.metric.add().gauge.SetInParent()
    assert refusal(delimited(*families), PROTOBUF.content_type).result is Result.TOO_LARGE
    empty = BodyLimits(10**7, 1000)
    with pytest.raises(Refused) as error:
        read_body(_VarintBytes(800_000) + b"\x22\x02\x12\x00" * 200_001, BodyType(PROTOBUF.content_type, ""), empty)
    assert error.value.result is Result.MALFORMED


# As Go's github.com/golang/snappy writes a sample and a remark that is repeated.
SNAPPY = base64.b64decode(
    "/wYAAHNOYVBwWQCxAACDR2ftoA5sIyBUWVBFIG9yZGVyc190b3RhbCBjb3VudGVyCi4VAGB7c2lkZT0iYnV5Iix6b25lPSJhIn0gMwojNjsAbG"
    "9mIGEgcmVtYXJrIHRoYXQgaXMgcmVwZWF0ZWT+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+LAD+"
    "LAD+LAD+LAD+LAD+LAD+LAD+LAD+LADSLAA="
)


def test_a_body_in_snappy_is_read() -> None:
    (found,) = read_body(SNAPPY, BodyType("", "snappy"), LIMITS)
    assert found.samples == [Sample("orders_total", {"side": "buy", "zone": "a"}, 3.0)]
    assert snappy.unpacked(SNAPPY, BYTES_MAX).count(b"# orders_total of a remark that is repeated\n") == 40


@given(parts=st.lists(st.binary(max_size=300)), more=st.integers(60, 61))
def test_literal_bytes_of_snappy_are_read(parts: list[bytes], more: int) -> None:
    blocks = b""
    for part in filter(None, parts):
        # With lengths as varint of two bytes and as one or two bytes after the tag.
        number = (len(part) - 1).to_bytes(more - 59, "little") if more > 60 or len(part) <= 256 else None
        if number is None:
            more, number = 61, (len(part) - 1).to_bytes(2, "little")
        block = bytes((len(part) & 127 | 128, len(part) >> 7, more << 2)) + number + part
        blocks += b"\0" + (len(block) + 4).to_bytes(3, "little") + b"sum?" + block
        blocks += b"\1" + (len(part) + 4).to_bytes(3, "little") + b"sum?" + part + b"\xfe\1\0\0x"
    unpacked = snappy.unpacked(SNAPPY[:10] + blocks, BYTES_MAX * 10)
    assert unpacked == b"".join(part + part for part in parts)


@given(st.data())
def test_snappy_that_is_cut_or_changed_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(SNAPPY)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(10, len(body) - 1))] = data.draw(st.integers(0, 255))
    for some in (bytes(body), bytes(body[: data.draw(st.integers(0, len(body)))])):
        with suppress(Refused):
            read_body(some, BodyType("", "snappy"), LIMITS)


def test_snappy_is_not_unpacked_beyond_the_limit() -> None:
    block = b"\x80\x80\x04\x00a" + b"\xfe\x01\x00" * 1023 + b"\xfa\x01\x00"
    chunk = b"\0" + (len(block) + 4).to_bytes(3, "little") + b"sum?" + block
    assert snappy.unpacked(SNAPPY[:10] + chunk, BYTES_MAX) == b"a" * snappy.BLOCK_BYTES_MAX
    assert len(snappy.unpacked(SNAPPY[:10] + chunk * 100, BYTES_MAX)) == snappy.BLOCK_BYTES_MAX
    assert refusal(SNAPPY[:10] + chunk * 100, "", "snappy").result is Result.TOO_LARGE
    assert refusal(SNAPPY[5:], "", "snappy").result is Result.MALFORMED
