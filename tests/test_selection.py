"""What is not shown is on no page, is not kept and takes no time; what states need of it is computed all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers import analyzers, used
from exporter.analyzers.completeness import Completeness
from exporter.analyzers.freshness import Freshness
from exporter.analyzers.latency import Latency
from exporter.analyzers.message_age import MessageAge
from exporter.analyzers.quality import Quality
from exporter.analyzers.spread import Spread
from exporter.app import App
from exporter.config import loader
from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.instrument.exposition import TEXT, render
from exporter.instrument.histogram import Bounds
from exporter.instrument.selection import ALL, Selection
from exporter.tools.audit.ledger import MetricsTruth
from exporter.tools.audit.readers import UnreadableError, add_metrics
from exporter.tools.check.families import shown, uses
from tests.support.families import FEED, _read, exported
from tests.test_protobuf import page

BOUNDS = Bounds((1, 2))
OF_STATES = {Freshness, Quality, Completeness}


@contextmanager
def sidecar(**metrics: object) -> Iterator[App]:
    """A sidecar that has read a few feeds, for five minutes."""
    flags = {f"metrics.{key}": value for key, value in metrics.items()}
    app = App(loader.load(None, {}, flags, hostname="box", read_file=str))
    try:
        _read(app.loop.pipeline)
        yield app
    finally:
        app.loop.publisher.close(1.0)


def feed_of(app: App) -> Feed:
    return app.loop.pipeline.table.feeds[FEED]


def text(app: App) -> str:
    return render(app.queries.collect(), TEXT).decode()


def names(app: App) -> set[str]:
    """The families of a page."""
    return {line.split()[2] for line in text(app).splitlines() if line.startswith("# TYPE")}


@given(st.sampled_from(sorted(exported())), st.sampled_from(["*", "marketdata_*", "*_total", "*seconds*", "python_*"]))
def test_a_family_is_shown_when_a_glob_includes_it_and_none_excludes_it(name: str, glob: str) -> None:
    family, kind = name.removesuffix("_total"), "counter" if name.endswith("_total") else "gauge"
    matches = fnmatchcase(name, glob) or fnmatchcase(family, glob)
    assert Selection(include=[glob]).shows(family, kind) is matches
    assert Selection(exclude=[glob]).shows(family, kind) is not matches
    assert Selection(include=[name]).shows(family, kind)
    assert not Selection(include=[name], exclude=[family]).shows(family, kind)
    assert ALL.shows(family, kind)


def test_histograms_are_of_the_kind_that_is_chosen() -> None:
    kinds = {}
    for mode in ("classic", "native", "both", "off"):
        made = Selection(histograms=mode).histogram("h", BOUNDS)
        kinds[mode] = None if made is None else (bool(made.buckets), made.native is not None)
    assert kinds == {"classic": (True, False), "native": (False, True), "both": (True, True), "off": None}
    assert Selection(exclude=["h"]).histogram("h", BOUNDS) is None
    assert not Selection(histograms="off").shows("h", "histogram")
    assert Selection(histograms="off").shows("h", "gauge")


def test_an_analyzer_that_shows_finds_and_decides_nothing_is_not_created() -> None:
    everything = {*used(ALL, needs_order_books=False), *used(ALL, needs_order_books=True)}
    assert everything == set(analyzers())
    off = Selection(histograms="off")
    assert {*used(off, needs_order_books=False), *used(off, needs_order_books=True)} == OF_STATES | {Latency}
    least = Selection(include=["nothing"])
    assert {*used(least, needs_order_books=False), *used(least, needs_order_books=True)} == OF_STATES


def test_a_feed_without_its_families_keeps_no_histogram_and_has_its_state() -> None:
    with sidecar(families={"exclude": ["marketdata_*"]}) as app:
        feed = feed_of(app)
        assert (feed.sizes, feed.uniques, feed.efficiencies) == (None, None, None)
        assert feed.health.freshness.intervals is None
        assert [feed.analyzers.find(kind) for kind in (Latency, MessageAge, Spread)] == [None] * 3
        assert feed.health.state is not FeedState.UNKNOWN
        assert feed.batches == 2
        assert not any(name.startswith("marketdata_") for name in names(app))


@pytest.mark.parametrize("glob", ["marketdata_batch_size", "marketdata_stage_latency_seconds"])
def test_one_excluded_histogram_leaves_the_others(glob: str) -> None:
    with sidecar() as everything, sidecar(families={"exclude": [glob]}) as app:
        assert names(everything) - names(app) == {glob}
        kept = [line for line in text(everything).splitlines() if line.startswith("marketdata_batch_u")]
        assert [line for line in text(app).splitlines() if line.startswith("marketdata_batch_u")] == kept


def test_families_of_all_parts_can_be_excluded() -> None:
    """Those of feeds, topics, partitions, the loop, the process, and of Python."""
    excluded = ["marketdata_feed_state", "marketdata_records*", "marketdata_consumer_lag_records", "python_*"]
    excluded += ["marketdata_processing_seconds", "process_*", "marketdata_exporter_series"]
    with sidecar() as everything, sidecar(families={"exclude": excluded}) as app:
        gone = names(everything) - names(app)
        assert all(any(fnmatchcase(name, glob) for glob in excluded) for name in gone)
        assert all(any(fnmatchcase(name, glob) for name in gone) for glob in excluded)


MODES = ("classic", "native", "both", "off")


@pytest.mark.parametrize(("mode", "exclude"), [*product(MODES, [()]), ("classic", ("*_seconds", "python_*"))])
def test_the_number_of_series_is_exact(mode: str, exclude: tuple[str, ...]) -> None:
    with sidecar(histograms=mode, families={"exclude": list(exclude)}) as app:
        lines = [line for line in text(app).splitlines() if not line.startswith("#")]
        assert lines[-1] == f"marketdata_exporter_series {float(len(lines))}"
        found = page(app.queries.collect(True))
        (own,) = [family.metric[0].gauge.value for family in found if family.name == "marketdata_exporter_series"]
        assert own == sum(series_of(metric) for family in found for metric in family.metric)


def series_of(metric: Any) -> int:
    """The series that Prometheus makes of a metric: a native histogram is one, a classic one has those of text."""
    if metric.HasField("histogram"):
        classic, is_native = len(metric.histogram.bucket), metric.histogram.HasField("schema")
        return (int(classic) + 2 if classic else 0) + int(is_native)
    return 2 if metric.HasField("summary") else 1


def test_kinds_of_anomalies_that_are_switched_off_have_no_series() -> None:
    with sidecar() as app:
        assert 'kind="duplicate_messages"' not in text(app)
        assert 'kind="invalid_price"' in text(app)


# What users are told.


def check(**metrics: Any) -> list[str]:
    flags = {f"metrics.{key}": value for key, value in metrics.items()}
    return [str(finding) for finding in shown(loader.load(None, {}, flags, hostname="box", read_file=str))]


def test_check_names_alerts_and_panels_without_data() -> None:
    assert check() == []
    found = check(families={"exclude": ["marketdata_feed_state", "marketdata_anomalys*"]})
    assert found[0] == "warn  metrics.families.exclude: marketdata_anomalys* matches no family"
    text = " ".join(found)
    assert all(alert in text for alert in uses()["marketdata_feed_state"].alerts)
    assert all(panel in text for panel in uses()["marketdata_feed_state"].panels)
    assert {line.split(" Marketdata")[0].split(" Market data")[0] for line in found[1:]} == {
        "warn  metrics: no data for alerts",
        "warn  metrics: no data for panels",
    }
    off = " ".join(check(histograms="off"))
    assert all(panel in off for use in uses().values() if use.is_histogram for panel in use.panels)
    assert "alerts" not in off


def test_a_client_of_text_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    with sidecar(histograms="native") as app, caplog.at_level(logging.WARNING):
        app.queries.collect(True)
        assert caplog.messages == []
        for _ in range(2):
            app.queries.collect()
        assert caplog.messages == ["a client that accepts no protobuf got only counts and sums of native histograms"]


def test_an_audit_of_a_page_without_the_counters_is_refused() -> None:
    with sidecar(families={"exclude": ["marketdata_messages_total"]}) as app:
        shown_page = text(app)
    with pytest.raises(UnreadableError, match="marketdata_messages_total not shown"):
        add_metrics(shown_page, MetricsTruth())
