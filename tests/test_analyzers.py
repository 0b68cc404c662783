"""Analyzers are plug-ins: each module has one, with its metrics and meanings, and nothing else lists them."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import exporter.analyzers
from exporter.analyzers import Analyzer, analyzers
from exporter.config.schema import Config, Thresholds
from exporter.feeds.feed import SYMBOL_RETENTION_MS, Feed
from exporter.feeds.health_factory import HealthFactory
from exporter.metrics.feed_metrics import FEED_PARTS, analyzer_part, feed_texts
from exporter.model import Anomaly
from tests.support.batches import FEED, NOW_MS, message, observed
from tests.support.pipeline import FIRST

MODULES = sorted(path.stem for path in Path(exporter.analyzers.__path__[0]).glob("[!_]*.py"))
EVALUATED = {"marketdata_feed_expected", "marketdata_feed_state"}
each_analyzer = pytest.mark.parametrize("kind", analyzers(), ids=lambda kind: kind.__name__)


def feed_with_each_analyzer(*, owned: bool) -> Feed:
    """A feed that has sent a batch with a ticker, a trade and an order book."""
    feed = Feed(FEED, HealthFactory(Config())(FEED))
    rows = message("A", last=1.0), message("B", price=1.0), message("C", asks=[[2, 1]], bids=[[1, 1]])
    one = observed(*rows)
    feed.hold(FIRST, NOW_MS)
    feed.count(*one[1:], (FIRST, 0))
    feed.remember(one.stats, NOW_MS)
    if not owned:
        feed.partitions.clear()
    return feed


def test_a_module_has_one_analyzer_or_is_a_part_of_others() -> None:
    found = Counter(kind.__module__.rpartition(".")[2] for kind in analyzers())
    sources = "".join(Path(inspect.getfile(kind)).read_text() for kind in analyzers())
    parts = set(re.findall(r"^from exporter\.analyzers\.(\w+) import", sources, re.MULTILINE))
    assert set(found.values()) == {1}
    assert [name for name in MODULES if name not in found and name not in parts] == []


def test_analyzers_are_ordered_by_their_modules() -> None:
    names = [kind.__module__ for kind in analyzers()]
    assert names == sorted(names)


@each_analyzer
def test_an_analyzer_is_created_from_the_configuration_and_observes_a_batch(kind: type[Analyzer]) -> None:
    analyzer = kind.create(Config(), Thresholds())
    assert list(analyzer.observe(*observed(message(last=1.0)))) == []
    analyzer.forget_symbols(["A", "unknown"])
    analyzer.set_back(NOW_MS)
    analyzer.release()


@each_analyzer
def test_the_families_of_an_analyzer_are_those_of_its_rows(kind: type[Analyzer]) -> None:
    feed = feed_with_each_analyzer(owned=True)
    part = analyzer_part(kind)
    lines = [row.lines(feed.analyzers.get(kind), row.name, "F") for row in kind.rows]
    assert list(feed_texts([part], "F", feed).blocks) == lines
    assert part.rows in [each.rows for each in FEED_PARTS]


@each_analyzer
def test_an_analyzer_keeps_its_state_in_slots(kind: type[Analyzer]) -> None:
    """There is one for each of thousands of feeds."""
    assert not hasattr(kind.create(Config(), Thresholds()), "__dict__")


def test_no_two_rows_make_one_family() -> None:
    names = Counter(row.name for part in FEED_PARTS for row in part.rows)
    assert [name for name, times in names.items() if times > 1] == []


def test_each_kind_of_anomaly_has_its_meaning_at_one_analyzer() -> None:
    meanings = [kind for each in analyzers() for kind in each.meanings]
    assert sorted(meanings) == sorted(Anomaly)


def test_gauges_are_shown_only_while_the_feed_is_owned() -> None:
    """Counters and histograms stay; state and expectation have rules of their own."""
    owned, elsewhere = (feed_texts(FEED_PARTS, "F", feed_with_each_analyzer(owned=owned)) for owned in (True, False))
    rows = [row for part in FEED_PARTS for row in part.rows]
    for row, text, other in zip(rows, owned.blocks, elsewhere.blocks, strict=True):
        if row.name not in EVALUATED:
            assert other == ("" if row.kind == "gauge" else text), row.name


def test_a_feed_without_order_books_has_no_analyzer_that_needs_them() -> None:
    feed = Feed(FEED, HealthFactory(Config())(FEED))
    feed.count(*observed(message("A", last=1.0), message("B", price=1.0))[1:], (FIRST, 0))
    assert [each for each in feed.analyzers if each.needs_order_books] == []
    feed.count(*observed(message("C", asks=[[2, 1]], bids=[[1, 1]]))[1:], (FIRST, 1))
    assert {type(each) for each in feed.analyzers} == set(analyzers())


def test_what_holds_at_present_is_forgotten_when_the_feed_is_read_elsewhere() -> None:
    feed = feed_with_each_analyzer(owned=True)
    assert feed.health.freshness.last_sent_ms > 0
    feed.release(FIRST)
    assert feed.health.freshness.last_sent_ms == 0


def test_symbols_that_make_room_are_forgotten_by_analyzers() -> None:
    feed = feed_with_each_analyzer(owned=True)
    assert set(feed.health.quality.prices()) == {"A", "B"}
    feed.retire_symbols(NOW_MS + 2 * SYMBOL_RETENTION_MS, keep={"A"})
    assert set(feed.health.quality.prices()) == {"A"}
