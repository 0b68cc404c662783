"""Pages parse in every format, say what the families say, and come in the format that was asked for."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, Summary, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    StateSetMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar, Sample, Timestamp

from exporter.instrument.exposition import (
    PIECE_CHARACTERS,
    AnyFamily,
    Family,
    Format,
    label_text,
    pieces,
    render,
    select,
)
from exporter.web.negotiation import ELEMENTS_MAX, PARAMETERS_MAX, accepts_gzip, negotiate
from tests.support.prometheus import promtool

TEXT_0_0_4 = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1_0_0 = "text/plain; version=1.0.0; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
TEXT_PAGE = Format(TEXT_0_0_4, is_openmetrics=False)
OPENMETRICS_PAGE = Format(OPENMETRICS, is_openmetrics=True)

Parser = Callable[[str], Iterable[Metric]]
parse_text: Parser = text_string_to_metric_families
parse_openmetrics: Parser = openmetrics_parser.text_string_to_metric_families
reference_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics_exposition.generate_latest

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_30 = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_FIRST = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2"
)
PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROTOBUF_2_42 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROTOBUF_3 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;"
    "q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param(PROMETHEUS_2_42, OPENMETRICS, id="Prometheus 2.42"),
        pytest.param(PROMETHEUS_2_30, OPENMETRICS, id="Prometheus 2.30 knows the draft only"),
        pytest.param(PROMETHEUS_3, OPENMETRICS + "; escaping=allow-utf-8", id="Prometheus 3"),
        pytest.param(PROMETHEUS_3_TEXT_FIRST, TEXT_1_0_0 + "; escaping=allow-utf-8", id="Prometheus 3, text first"),
        pytest.param(PROTOBUF_FIRST, PROTOBUF, id="Prometheus with native histograms"),
        pytest.param(PROTOBUF_2_42, PROTOBUF, id="Prometheus 2.42 with native histograms"),
        pytest.param(PROTOBUF_3, PROTOBUF + "; escaping=allow-utf-8", id="Prometheus 3 with native histograms"),
        pytest.param(f"{PROTOBUF};q=0.1,text/plain;version=0.0.4;q=0.2", TEXT_0_0_4, id="protobuf of a lower quality"),
        pytest.param("application/vnd.google.protobuf", TEXT_0_0_4, id="protobuf of unknown messages"),
        pytest.param(PROTOBUF.replace("delimited", "text"), TEXT_0_0_4, id="protobuf as text"),
        pytest.param(f"{PROTOBUF};q=0,*/*", TEXT_0_0_4, id="no protobuf"),
        pytest.param(BROWSER, TEXT_0_0_4, id="browser"),
        pytest.param(None, TEXT_0_0_4, id="no header"),
        pytest.param("", TEXT_0_0_4, id="empty header"),
        pytest.param("*/*", TEXT_0_0_4, id="anything"),
        pytest.param("text/*", TEXT_0_0_4, id="any text"),
        pytest.param("application/*", OPENMETRICS, id="any application"),
        pytest.param("text/plain", TEXT_0_0_4, id="text without version"),
        pytest.param("text/plain;version=1.0.0", TEXT_1_0_0, id="text 1.0.0"),
        pytest.param("application/openmetrics-text", OPENMETRICS, id="OpenMetrics without version"),
        pytest.param("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS, id="letter case"),
        pytest.param('application/openmetrics-text;version="1.0.0"', OPENMETRICS, id="quoted version"),
        pytest.param("application/openmetrics-text;version=2.0.0", TEXT_0_0_4, id="OpenMetrics 2.0.0 is not ours"),
        pytest.param("application/openmetrics-text;version=9.9,text/plain;q=0.1", TEXT_0_0_4, id="nor is 9.9"),
        pytest.param("text/plain;version=1.0.0-rc", TEXT_0_0_4, id="nor a release candidate"),
        pytest.param("text/plain;q=0.5,application/openmetrics-text;q=0.6", OPENMETRICS, id="higher q wins"),
        pytest.param("text/plain;q=0.6,application/openmetrics-text;q=0.5", TEXT_0_0_4, id="lower q loses"),
        pytest.param("*/*,application/openmetrics-text;q=0.1", TEXT_0_0_4, id="a wildcard may weigh more"),
        pytest.param("*/*,application/openmetrics-text", OPENMETRICS, id="what is named goes before a wildcard"),
        pytest.param("text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0", TEXT_0_0_4, id="order"),
        pytest.param("application/openmetrics-text;version=1.0.0;q=0,*/*", TEXT_0_0_4, id="q=0 excludes"),
        pytest.param("text/*;q=0,*/*;q=0.1", OPENMETRICS, id="q=0 excludes a whole type"),
        pytest.param("*/*;q=0", TEXT_0_0_4, id="nothing is acceptable"),
        pytest.param("image/png", TEXT_0_0_4, id="nothing that we have"),
        pytest.param("application/openmetrics-text;q=high,text/plain;q=0.1", TEXT_0_0_4, id="malformed q"),
        pytest.param("application/openmetrics-text;q=nan", TEXT_0_0_4, id="q is no number"),
        pytest.param("application/openmetrics-text;q=7", TEXT_0_0_4, id="q above 1"),
        pytest.param(",;=,/,;;q=,*/,text,q=1", TEXT_0_0_4, id="garbage"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=dots",
            OPENMETRICS + "; escaping=underscores",
            id="dots would change names",
        ),
        pytest.param(
            "text/plain;version=1.0.0;escaping=x\r\nSet-Cookie: y",
            TEXT_1_0_0 + "; escaping=underscores",
            id="an unknown escaping is not echoed",
        ),
    ],
)
def test_the_accept_header_decides_the_format(accept: str | None, content_type: str) -> None:
    """Each header gets the best format that is spoken here, labelled with what it is."""
    is_protobuf = content_type.startswith(PROTOBUF)
    assert negotiate(accept) == Format(content_type, content_type.startswith(OPENMETRICS), is_protobuf)


@given(st.one_of(st.text(), st.text("*/;=,q.01 textplain-openmetrics")))
def test_no_accept_header_makes_negotiation_fail(accept: str) -> None:
    """Whatever is asked for, the answer is one of the formats that exist."""
    assert negotiate(accept).content_type.startswith((TEXT_0_0_4, TEXT_1_0_0, OPENMETRICS, PROTOBUF))


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *;q=1", False),
        ("*;q=0", False),
        ("identity", False),
        ("gzip;q=x", False),
        ("", False),
        (None, False),
    ],
)
def test_gzip_is_used_when_it_is_allowed(accept_encoding: str | None, accepted: bool) -> None:
    """The quality decides, also that of the wildcard."""
    assert accepts_gzip(accept_encoding) is accepted


@pytest.mark.parametrize("more", [0, 1])
def test_elements_and_parameters_count_up_to_a_limit(more: int) -> None:
    """What lies beyond is passed over, however much it is."""
    elements = "text/html," * (ELEMENTS_MAX - 1 + more) + "application/openmetrics-text" + ",a/b" * 100_000
    assert negotiate(elements).is_openmetrics is not bool(more)
    assert accepts_gzip("br," * (ELEMENTS_MAX - 1 + more) + "gzip") is not bool(more)
    parameters = "application/openmetrics-text" + ";a=b" * (PARAMETERS_MAX - 1 + more) + ";q=0" + ";a=b" * 100_000
    assert negotiate(parameters).is_openmetrics is bool(more)


class Series(NamedTuple):
    """A sample as it can be compared: NaN equals NaN, and labels have no order."""

    name: str
    labels: frozenset[tuple[str, str]]
    value: str
    exemplar: tuple[frozenset[tuple[str, str]], float, float | None] | None = None


def series(sample: Sample, keep_exemplar: bool) -> Series:
    """The comparable form of a sample."""
    exemplar = None
    if keep_exemplar and sample.exemplar:
        labels, value, at = sample.exemplar
        exemplar = frozenset(labels.items()), value, None if at is None else round(float(at), 3)
    return Series(sample.name, frozenset(sample.labels.items()), repr(float(sample.value)), exemplar)


def parsed(families: Iterable[AnyFamily], format: Format) -> list[Metric]:
    """What prometheus_client's parser reads in a page; it raises when the page is not valid."""
    page = render(families, format).decode()
    return list(parse_openmetrics(page) if format.is_openmetrics else parse_text(page))


def flat(families: Iterable[Metric], exemplars: bool = False) -> list[Series]:
    """All samples, but for the `_created` ones."""
    samples = (sample for family in families for sample in family.samples)
    return sorted((series(s, exemplars) for s in samples if not s.name.endswith("_created")), key=repr)


# The parsers strip what is said in HELP.
helps = st.text(max_size=20).map(str.strip)
label_values = st.text(max_size=30)
values = st.floats(allow_nan=True, allow_infinity=True)
counts = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
# prometheus_client cannot read escapes and braces in exemplars, though it writes them; an example below has some.
exemplar_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"\\\n{}#'), max_size=20)
exemplars = st.none() | st.builds(
    Exemplar,
    st.dictionaries(st.sampled_from(["topic", "partition", "offset"]), exemplar_values, max_size=3),
    st.floats(allow_nan=False),
    st.none() | st.floats(0, 4e9).map(lambda seconds: round(seconds, 3)),
)


@st.composite
def families(draw: st.DrawFn) -> list[Metric]:
    """A gauge and a counter with any labels, values and exemplars, and a histogram."""
    gauge = GaugeMetricFamily("queue_bytes", draw(helps), labels=["a", "b"], unit="bytes")
    for labels in draw(st.lists(st.tuples(label_values, label_values), unique=True, max_size=4)):
        gauge.add_metric(labels, draw(values))
    counter = CounterMetricFamily("batches", draw(helps), labels=["a"])
    for label in draw(st.lists(label_values, unique=True, max_size=4)):
        counter.add_metric([label], draw(counts), exemplar=draw(exemplars))
    histogram = HistogramMetricFamily("latency_seconds", "Latency.", labels=["a"])
    for label in draw(st.lists(label_values, unique=True, max_size=3)):
        buckets = [("1.0", 2, draw(exemplars)), ("+Inf", 3, draw(exemplars))]
        histogram.add_metric([label], buckets, draw(counts))  # type: ignore[arg-type]
    return [gauge, counter, histogram]


@given(families())
def test_pages_have_the_values_of_their_families(given_families: list[Metric]) -> None:
    """Names, labels, values and, in OpenMetrics, exemplars come back from both parsers as they went in."""
    assert flat(parsed(given_families, TEXT_PAGE)) == flat(given_families)
    back = parsed(given_families, OPENMETRICS_PAGE)
    assert flat(back, exemplars=True) == flat(given_families, exemplars=True)
    assert [(f.name, f.documentation, f.type) for f in back] == [
        (f.name, f.documentation, f.type) for f in given_families
    ]


@given(families())
def test_rendered_families_have_the_same_values(given_families: list[Metric]) -> None:
    """A family as blocks makes the page that the same family as samples makes, in every format."""
    prerendered = [as_blocks(family) for family in given_families]
    for format in (TEXT_PAGE, OPENMETRICS_PAGE):
        assert render(prerendered, format) == render(given_families, format)


def as_blocks(family: Metric) -> Family:
    """The family with a block of text for each sample."""
    heads = [(f"{s.name}{{{label_text(s.labels)}}}", s) for s in family.samples]
    blocks = [render([plain(family, s)], TEXT_PAGE).decode().split("\n", 2)[2] for s in family.samples]
    kept = {head: s.exemplar for head, s in heads if s.exemplar}
    return Family(family.name, family.type, family.documentation, family.unit, blocks, kept)


def plain(family: Metric, sample: Sample) -> Metric:
    """A family of the same name with this one sample, without help."""
    one = Metric(family.name, "", family.type)
    one.samples = [sample]
    return one


def test_instruments_come_out_as_prometheus_client_writes_them() -> None:
    """Every kind of instrument reads the same as in prometheus_client's own page, without `_created`."""
    registry = CollectorRegistry()
    Counter("records", 'Help with "quotes", \\ and\nnewline.', ["topic"], registry=registry).labels("a").inc(3)
    Gauge("lag_records", "Lag.", registry=registry).set(-math.inf)
    Histogram("latency_seconds", "Latency.", ["a"], buckets=(0.5, 1, 2000000), registry=registry).labels("x").observe(1)
    Summary("size_bytes", "Size.", registry=registry).observe(2)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    ours, theirs = render(registry.collect(), TEXT_PAGE).decode(), generate_latest(registry).decode()
    kinds = {f.name: f.type for f in parse_text(theirs) if not f.name.endswith("_created")}
    assert {f.name: f.type for f in parse_text(ours)} == kinds
    assert flat(parse_text(ours)) == flat(parse_text(theirs))
    ours = render(registry.collect(), OPENMETRICS_PAGE).decode()
    theirs = reference_openmetrics(registry).decode()
    assert {f.name: f.type for f in parse_openmetrics(ours)} == {f.name: f.type for f in parse_openmetrics(theirs)}
    assert flat(parse_openmetrics(ours)) == flat(parse_openmetrics(theirs))


def test_promtool_finds_no_fault_in_a_page() -> None:
    """What promtool's linter asks of names, help and types holds, with awkward label values and blocks."""
    counter = CounterMetricFamily("marketdata_records", "Records.", labels=["topic"])
    counter.add_metric(['a"\\\n\x00\u202e<script>'], 1)
    block = 'marketdata_batches_total{region="korea"} 12\nmarketdata_batches_total{region="japan"} 3\n'
    page = render([counter, Family("marketdata_batches", "counter", "Batches.", "", [block])], TEXT_PAGE)
    assert promtool("check", "metrics", input=page.decode()) == ""


def test_an_openmetrics_page_follows_the_standard() -> None:
    """Counters are named without `_total`, units have lines, exemplars follow values, and the end is marked."""
    counter = CounterMetricFamily("wait_seconds", 'Say "no".', unit="seconds")
    counter.add_metric([], 2.0, exemplar=Exemplar({"topic": 'a"\\b'}, 0.5, Timestamp(1760031213, 693000000)))
    assert render([counter], OPENMETRICS_PAGE).decode() == (
        '# HELP wait_seconds Say \\"no\\".\n'
        "# TYPE wait_seconds counter\n"
        "# UNIT wait_seconds seconds\n"
        'wait_seconds_total 2.0 # {topic="a\\"\\\\b"} 0.5 1760031213.693000000\n'
        "# EOF\n"
    )
    assert render([counter], TEXT_PAGE).decode() == (
        '# HELP wait_seconds_total Say "no".\n# TYPE wait_seconds_total counter\nwait_seconds_total 2.0\n'
    )


def test_kinds_that_text_does_not_know_become_gauges_or_untyped() -> None:
    """State sets are gauges in text, and what is unknown is untyped."""
    states = StateSetMetricFamily("state", "State.", {"ok": True, "silent": False})
    page = render([states, UnknownMetricFamily("other", "Other.", 1)], TEXT_PAGE).decode()
    assert "# TYPE state gauge\n" in page
    assert 'state{state="silent"} 0.0\n' in page
    assert "# TYPE other untyped\n" in page


@pytest.mark.parametrize("format", [TEXT_PAGE, OPENMETRICS_PAGE])
@pytest.mark.parametrize("where", ["label", "help", "block"])
def test_a_lone_surrogate_costs_one_character_and_not_the_page(format: Format, where: str) -> None:
    """What UTF-8 cannot say becomes a question mark."""
    text = "a\ud800b"
    gauge = GaugeMetricFamily("depth", text if where == "help" else "Depth.", labels=["a"])
    gauge.add_metric([text if where == "label" else "x"], 1)
    block = Family("up", "gauge", "Up.", "", [f"up{{{label_text({'a': text if where == 'block' else 'x'})}}} 1\n"])
    assert "a?b" in render([gauge, block], format).decode()
    assert len(parsed([gauge], format)) == 1


def exemplary(name_length: int) -> CounterMetricFamily:
    """A counter with an exemplar of one label with this many characters, its name included."""
    counter = CounterMetricFamily("batches", "Batches.")
    counter.add_metric([], 1, exemplar=Exemplar({"topic": "x" * (name_length - len("topic"))}, 1.0))
    return counter


def test_an_exemplar_that_is_too_long_is_left_out() -> None:
    """128 characters of label names and values are allowed."""
    assert " # {" in render([exemplary(128)], OPENMETRICS_PAGE).decode()
    assert " # {" not in render([exemplary(129)], OPENMETRICS_PAGE).decode()


def test_exemplars_stand_on_counters_and_buckets_only() -> None:
    """A gauge, a sum or a count with an exemplar is written without it."""
    gauge = GaugeMetricFamily("depth", "Depth.")
    histogram = Metric("size", "Size.", "histogram")
    exemplar = Exemplar({}, 1.0)
    gauge.add_sample("depth", {}, 1, exemplar=exemplar)
    histogram.add_sample("size_bucket", {"le": "+Inf"}, 1, exemplar=exemplar)
    histogram.add_sample("size_count", {}, 1, exemplar=exemplar)
    histogram.add_sample("size_sum", {}, 1, exemplar=exemplar)
    lines = render([gauge, histogram], OPENMETRICS_PAGE).decode().splitlines()
    assert [line for line in lines if " # " in line] == ['size_bucket{le="+Inf"} 1.0 # {} 1.0']


def test_of_two_families_that_claim_a_name_the_first_stays() -> None:
    """A second family of the same name, or one with a name that a sample of the first has, is left out."""
    first = GaugeMetricFamily("depth", "First.", 1)
    histogram = HistogramMetricFamily("size", "Size.", [("+Inf", 1.0)], 1.0)
    clashing = [GaugeMetricFamily("depth", "Second.", 2), GaugeMetricFamily("size_count", "Clash.", 2)]
    back = parsed([first, histogram, *clashing], OPENMETRICS_PAGE)
    assert [(family.name, family.documentation) for family in back] == [("depth", "First."), ("size", "Size.")]


@pytest.mark.parametrize(
    ("names", "selected"),
    [
        (["records"], ["records"]),
        (["records_total"], ["records"]),
        (["size_bucket", "depth"], ["depth", "size"]),
        (["size"], ["size"]),
        (["batches_total"], ["batches"]),
        (["absent", ""], []),
    ],
)
def test_families_are_selected_by_their_name_or_that_of_a_sample(names: Sequence[str], selected: list[str]) -> None:
    """A counter is found with and without `_total`; a histogram by each of its samples, and comes whole."""
    every: list[AnyFamily] = [
        CounterMetricFamily("records", "Records.", 1),
        GaugeMetricFamily("depth", "Depth.", 1),
        HistogramMetricFamily("size", "Size.", [("+Inf", 1.0)], 1.0),
        Family("batches", "counter", "Batches.", "", ["batches_total 1\n"]),
    ]
    assert [family.name for family in select(every, names)] == selected


def test_a_family_that_was_not_selected_is_not_rendered() -> None:
    """Its blocks are not even read."""
    blocks = iter(["batches_total 1\n"])
    render(select([Family("batches", "counter", "Batches.", "", blocks)], ["records"]), TEXT_PAGE)
    assert next(blocks) == "batches_total 1\n"


@pytest.mark.parametrize("format", [TEXT_PAGE, OPENMETRICS_PAGE])
def test_a_page_is_made_in_pieces_while_it_is_read(format: Format) -> None:
    """None is much longer than the others, and what makes one is forgotten before the next is made."""
    line = f'batches_total{{region="{"x" * 1000}"}} 1\n'
    blocks = iter([line] * 1000)
    exemplars = {line[: line.rfind(" ")]: Exemplar({"topic": "a"}, 1.0)}
    page = pieces([Family("batches", "counter", "Batches.", "", blocks, exemplars)], format)
    first = next(page)
    assert len(list(blocks)) > 900
    assert PIECE_CHARACTERS <= len(first) < PIECE_CHARACTERS + 2 * len(line)
    assert first + b"".join(page) == first + (b"# EOF\n" if format.is_openmetrics else b"")


def test_label_values_are_escaped_once() -> None:
    """Backslash, quote and newline are escaped; the rest stays."""
    assert label_text({"region": 'a"b\\c\nd', "exchange": "é{}"}) == r'region="a\"b\\c\nd",exchange="é{}"'
    assert label_text({}) == ""
