"""A page in protobuf, read with Google's library, has what the same families have as text; and native histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, Summary
from prometheus_client.core import StateSetMetricFamily, SummaryMetricFamily, UnknownMetricFamily
from prometheus_client.samples import Exemplar

from exporter.config.schema import Config, MetricsConfig
from exporter.feeds.feed import Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.instrument.exposition import AnyFamily, Family, label_text
from exporter.instrument.families import Row, counter, histogram, message_families, series_in_protobuf
from exporter.instrument.families import RowMessages as Messages
from exporter.instrument.histogram import Bounds
from exporter.instrument.histogram import Histogram as Buckets
from exporter.instrument.native import SCHEMA, ZERO_THRESHOLD, BucketRun
from exporter.instrument.protobuf import PIECE_BYTES, encoded_labels, pieces
from exporter.metrics.feed_metrics import FEED_PARTS, feed_families, feed_message_families, feed_messages, feed_texts
from exporter.model import FeedKey
from tests.support.batches import FEED, message, observed
from tests.support.metrics_proto import KINDS, read_page
from tests.support.pipeline import FIRST
from tests.test_exposition import TEXT_PAGE, Series, families, flat, parsed

KEY = FeedKey('ko"r\\ea', "up\nbit", "ticker")
PLACE = Exemplar({"topic": "ticker-data.korea", "partition": "0", "offset": "7"}, 1)


def page(found: Iterable[AnyFamily]) -> list[Any]:
    return list(read_page(b"".join(pieces(found))))


def samples(metric_families: Iterable[Any]) -> Iterator[Series]:
    """The samples that Prometheus makes of a page without native histograms."""
    for family in metric_families:
        for metric in family.metric:
            labels = {pair.name: pair.value for pair in metric.label}
            yield from (
                Series(family.name + suffix, frozenset({**labels, **more}.items()), repr(float(value)))
                for suffix, more, value in _values(metric)
            )


def _values(metric: Any) -> Iterator[tuple[str, Mapping[str, str], float]]:
    kind = metric.ListFields()[-1][0].name
    value = getattr(metric, kind)
    if kind in ("counter", "gauge", "untyped"):
        yield "", {}, value.value
        return
    yield "_count", {}, value.sample_count
    yield "_sum", {}, value.sample_sum
    if kind == "histogram":
        for bucket in value.bucket:
            bound = bucket.upper_bound
            yield "_bucket", {"le": "+Inf" if bound == float("inf") else repr(bound)}, bucket.cumulative_count
    else:
        yield from (("", {"quantile": repr(each.quantile)}, each.value) for each in value.quantile)


def by_name(found: Iterable[Series]) -> list[Series]:
    return sorted(found, key=repr)


@given(families())
def test_a_page_has_the_samples_of_the_text(given_families: list[Metric]) -> None:
    assert by_name(samples(page(given_families))) == flat(parsed(given_families, TEXT_PAGE))


@given(families())
def test_each_exemplar_is_at_its_counter_or_bucket(given_families: list[Metric]) -> None:
    sent = [s.exemplar for f in given_families for s in f.samples if s.exemplar]
    got = []
    for family in page(given_families):
        for metric in family.metric:
            got += [metric.counter.exemplar] if metric.counter.HasField("exemplar") else []
            got += [bucket.exemplar for bucket in metric.histogram.bucket if bucket.HasField("exemplar")]
    assert [({pair.name: pair.value for pair in each.label}, each.value) for each in got] == [
        (dict(each.labels), each.value) for each in sent
    ]
    times = [each.timestamp.seconds + each.timestamp.nanos / 1e9 for each in got if each.HasField("timestamp")]
    assert times == pytest.approx([float(each.timestamp) for each in sent if each.timestamp is not None], abs=1e-6)


def test_instruments_of_prometheus_client_come_out_with_their_types() -> None:
    registry = CollectorRegistry()
    Counter("records", 'Help with "quotes" and\nnewline.', ["topic"], registry=registry).labels("a").inc(3)
    Gauge("lag_records", "Lag.", registry=registry).set(-1)
    Histogram("latency_seconds", "Latency.", ["a"], buckets=(0.5, 1), registry=registry).labels("x").observe(0.7)
    Summary("size_bytes", "Size.", registry=registry).observe(2)
    Info("build", "Build.", registry=registry).info({"version": "1"})
    others = [
        UnknownMetricFamily("odd", "Odd.", 1.5),
        StateSetMetricFamily("state", "State.", {"on": True, "off": False}),
        SummaryMetricFamily("quantiles", "Quantiles.", 3, 4.5),
    ]
    others[2].add_sample("quantiles", {"quantile": "0.5"}, 1.25)
    found = page([*registry.collect(), *others])
    assert {family.name: KINDS[family.type] for family in found} == {
        "records_total": "COUNTER",
        "lag_records": "GAUGE",
        "latency_seconds": "HISTOGRAM",
        "size_bytes": "SUMMARY",
        "build_info": "GAUGE",
        "odd": "UNTYPED",
        "state": "GAUGE",
        "quantiles": "SUMMARY",
    }
    assert found[0].help == 'Help with "quotes" and\nnewline.'
    assert by_name(samples(found)) == flat(parsed([*registry.collect(), *others], TEXT_PAGE))


def test_a_family_of_text_is_read_for_protobuf() -> None:
    """As other programs may make them; the exemplars stay."""
    block = 'batches_total{region="korea"} 12\nbatches_total{region="japan"} 3\n'
    (family,) = page([Family("batches", "counter", "Batches.", "", [block], {'batches_total{region="japan"}': PLACE})])
    assert (family.name, [metric.counter.value for metric in family.metric]) == ("batches_total", [12, 3])
    assert [metric.counter.HasField("exemplar") for metric in family.metric] == [False, True]


def test_a_family_of_which_there_is_nothing_is_left_out() -> None:
    assert page([Family("batches", "counter", "Batches.", "", []), Metric("depth", "Depth.", "gauge")]) == []


def test_of_families_with_one_name_the_first_stays() -> None:
    first, second = (Family("depth", "gauge", "Depth.", "", [f"depth{{}} {number}\n"]) for number in (1, 2))
    (family,) = page([first, second])
    assert family.metric[0].gauge.value == 1


def test_a_page_comes_in_pieces() -> None:
    large = [Family(f"depth_{number}", "gauge", "D" * 30_000, "", [f"depth_{number} 1\n"]) for number in range(9)]
    found = list(pieces(large))
    assert len(found) > 3
    assert all(len(piece) < 2 * PIECE_BYTES for piece in found)


@given(st.dictionaries(st.sampled_from(["a", "kind", "symbol"]), st.text(max_size=20)))
@example({"a": "\\n", "kind": '"', "symbol": "\\\\"})
def test_labels_come_back_from_their_text(labels: dict[str, str]) -> None:
    row: Row[int] = Row("batches", "counter", "Batches.", counter(lambda number: number))
    body, series = row.message(7, label_text(labels), encoded_labels(label_text(labels)))
    (family,) = page(message_families([row], [Messages((body,), (series,))]))
    got = {pair.name: pair.value for pair in family.metric[0].label}
    assert got == {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}
    assert (family.metric[0].counter.value, series) == (7, 1)


VALUES = st.lists(st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 2.0**-300]), max_size=150)


@given(VALUES, st.sampled_from([(True, False), (False, True), (True, True)]))
def test_a_histogram_has_the_buckets_that_it_was_made_with(values: list[float], kinds: tuple[bool, bool]) -> None:
    made = Buckets(Bounds((0.5, 1, 100)), is_classic=kinds[0], is_native=kinds[1])
    for value in values:
        made.add(value)
    row: Row[Buckets] = histogram("h", "H.", lambda one: one)
    body, series = row.message(made, 'a="b"', encoded_labels('a="b"'))
    (family,) = page(message_families([row], [Messages((body,), (series,))]))
    got = family.metric[0].histogram
    assert (got.sample_count, got.sample_sum) == (len(values), pytest.approx(sum(values)))
    assert series == kinds[1] + (6 if kinds[0] else 0) == series_in_protobuf(made)
    if kinds[0]:
        bounds = [0.5, 1, 100, float("inf")]
        cumulated = [sum(value <= bound for value in values) for bound in bounds]
        assert [(b.upper_bound, b.cumulative_count) for b in got.bucket] == list(zip(bounds, cumulated, strict=True))
    if made.native is not None:
        assert (got.schema, got.zero_threshold) == (made.native.schema, ZERO_THRESHOLD)
        assert got.zero_count == made.native.zeros
        for run, *sent in (
            (made.native.positive, got.positive_span, got.positive_delta),
            (made.native.negative or BucketRun(), got.negative_span, got.negative_delta),
        ):
            assert counts(*sent) == dict(enumerate(run.counts, run.first))
    else:
        assert not got.HasField("zero_threshold")


def counts(spans: Iterable[Any], deltas: Iterable[int]) -> dict[int, int]:
    """The counts of buckets by index, as Prometheus reads spans and deltas."""
    found, index, count, rest = {}, 0, 0, iter(deltas)
    for span in spans:
        index += span.offset
        for _ in range(span.length):
            count += next(rest)
            found[index] = count
            index += 1
    assert list(rest) == []
    return found


def feed(mode: str) -> Feed:
    """A feed that has read a batch with an order book and an anomaly."""
    config = Config(metrics=MetricsConfig(histograms=mode))  # type: ignore[arg-type]
    made = Feed(FEED, HealthFactory(config)(FEED))
    one = observed(message("A", last=-1.0, stamp=1.0), message("C", asks=[[2, 1]], bids=[[1, 1]]))
    made.hold(FIRST, 0)
    made.count(*one[1:], (FIRST, 7))
    return made


@pytest.mark.parametrize("mode", ["classic", "both", "off"])
def test_the_families_of_a_feed_are_those_of_its_text(mode: str) -> None:
    made, labels = feed(mode), label_text(KEY._asdict())
    messages = feed_message_families(FEED_PARTS, [feed_messages(FEED_PARTS, labels, made, {})])
    texts = feed_families(FEED_PARTS, [feed_texts(FEED_PARTS, labels, made)])
    assert by_name(samples(page(messages))) == flat(parsed(texts, TEXT_PAGE))


def test_the_place_of_an_anomaly_is_its_exemplar() -> None:
    made, labels = feed("classic"), label_text(KEY._asdict())
    place = {f'marketdata_anomalies_total{{{labels},kind="{kind}"}}': PLACE for kind in made.anomaly_places}
    assert place
    found = page(feed_message_families(FEED_PARTS, [feed_messages(FEED_PARTS, labels, made, place)]))
    (anomalies,) = [family for family in found if family.name == "marketdata_anomalies_total"]
    with_place = [metric for metric in anomalies.metric if metric.counter.HasField("exemplar")]
    assert {pair.value for metric in with_place for pair in metric.label if pair.name == "kind"} == set(
        made.anomaly_places
    )
    assert {pair.value for pair in with_place[0].counter.exemplar.label} == set(PLACE.labels.values())


def test_a_native_histogram_has_no_classic_buckets() -> None:
    made, labels = feed("native"), label_text(KEY._asdict())
    found = page(feed_message_families(FEED_PARTS, [feed_messages(FEED_PARTS, labels, made, {})]))
    histograms = [metric.histogram for family in found for metric in family.metric if metric.HasField("histogram")]
    assert len(histograms) == 10
    assert all(not each.bucket and each.schema == SCHEMA for each in histograms)


def test_label_texts_are_kept_encoded() -> None:
    encoded_labels.cache_clear()
    assert encoded_labels('region="korea"') is encoded_labels('region="korea"')
