"""What is known of feeds: counters that equal a recount, under limits on their number."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.feed_globs import FeedFilter
from exporter.config.schema import Limits
from exporter.decoding.batch import Batch, Message, PartialBatch
from exporter.decoding.batch_stats import BatchStats
from exporter.feeds.feed import COUNT_BOUNDS, EFFICIENCY_BOUNDS, SYMBOL_RETENTION_MS, Feed, Window
from exporter.feeds.table import FeedTable
from exporter.instrument.histogram import Bounds, Histogram
from exporter.model import Anomaly, Arrival, BatchResult, FeedKey, Partition, Reason, Rejected
from tests.support.batches import kept as observed
from tests.support.pipeline import WATCHES

PLACE = (Partition("ticker-data.korea", 0), 0)
KEY = FeedKey("korea", "upbit", "ticker")
NOW_MS = 1_760_031_213_693
ALL = FeedFilter(["*"], [])


def batch(
    *symbols: str, declared: float | None = None, stamps: Sequence[float | None] = (), partial: bool = False
) -> Batch:
    rows = [Message(symbol) for symbol in symbols]
    for message, stamp in zip(rows, stamps, strict=False):
        message.timestamp = stamp
    kind = PartialBatch if partial else Batch
    return kind(KEY.exchange, KEY.region, KEY.request_type, NOW_MS, rows, declared)


def counted(*batches: Batch) -> Feed:
    """A feed that has counted the batches."""
    feed = Feed(KEY, WATCHES(KEY))
    for number, one in enumerate(batches):
        stats = BatchStats(one)
        feed.count(stats, Arrival(0, NOW_MS + number, is_live=True), PLACE)
        feed.remember(stats, NOW_MS + number)
    return feed


BATCHES = st.lists(
    st.builds(
        lambda symbols, declared, partial: batch(*symbols, declared=declared, partial=partial),
        st.lists(st.sampled_from([f"S{n}" for n in range(30)]), max_size=40),
        st.none() | st.integers(0, 40) | st.floats(0, 40),
        st.booleans(),
    )
)


# Counting.


def test_the_bucket_of_every_size_is_the_one_that_bisection_finds() -> None:
    for n in range(COUNT_BOUNDS[-1] + 100):
        feed = counted(batch(*map(str, range(n))))
        assert observed(feed.sizes).buckets == observed(feed.uniques).buckets
        assert observed(feed.sizes).buckets.index(1) == bisect_left(COUNT_BOUNDS, n)
        assert observed(feed.efficiencies).buckets.index(1) == bisect_left(EFFICIENCY_BOUNDS, 1 / n if n else 0.0)


def test_size_counts_messages_and_uniqueness_symbols() -> None:
    feed = counted(batch(*["A"] * 5000))
    assert observed(feed.sizes).buckets.index(1) == len(COUNT_BOUNDS)
    assert observed(feed.uniques).buckets.index(1) == 0
    assert feed.last == BatchResult(5000, 1, 1.0, NOW_MS)


def test_an_empty_batch_has_an_efficiency_of_zero() -> None:
    assert BatchStats(batch()).result == BatchResult(0, 0, 0.0, NOW_MS)


@given(batches=BATCHES)
def test_counters_equal_a_recount(batches: list[Batch]) -> None:
    feed = counted(*batches)
    names = [[row.symbol for row in one.data] for one in batches]
    sizes, uniques = [len(some) for some in names], [len(set(some)) for some in names]
    efficiencies = [1 / unique if unique else 0.0 for unique in uniques]
    assert (feed.batches, feed.messages, observed(feed.uniques).sum) == (len(batches), sum(sizes), sum(uniques))
    assert observed(feed.efficiencies).sum == pytest.approx(sum(efficiencies))
    assert observed(feed.sizes).buckets == recount(COUNT_BOUNDS, sizes)
    assert observed(feed.uniques).buckets == recount(COUNT_BOUNDS, uniques)
    assert observed(feed.efficiencies).buckets == recount(EFFICIENCY_BOUNDS, efficiencies)
    assert feed.symbol_messages == Counter(name for some in names for name in some)
    assert {kind: feed.anomalies[kind] for kind in (Anomaly.SIZE_MISMATCH, Anomaly.UNREADABLE_FIELD)} == {
        Anomaly.SIZE_MISMATCH: sum(one.batch_size not in (None, len(one.data)) for one in batches),
        Anomaly.UNREADABLE_FIELD: sum(isinstance(one, PartialBatch) for one in batches),
    }


def recount(bounds: Sequence[float], values: Sequence[float]) -> list[int]:
    """How many values lie at or below each bound but above the one before, and how many beyond the last."""
    upto = [sum(value <= bound for value in values) for bound in bounds] + [len(values)]
    return [here - before for here, before in zip(upto, [0, *upto], strict=False)]


@given(values=st.lists(st.tuples(st.integers(-5, 60) | st.floats(-5, 60), st.integers(0, 5))))
def test_a_histogram_equals_a_recount(values: list[tuple[float, int]]) -> None:
    histogram = Histogram(Bounds((0.5, 10, 20.25)))
    for value, times in values:
        histogram.add(value, times)
    assert histogram.buckets == recount(
        histogram.bounds.values, [value for value, times in values for _ in range(times)]
    )
    assert histogram.sum == pytest.approx(sum(value * times for value, times in values))


@given(batches=BATCHES, split=st.integers(0, 10))
def test_windows_that_are_merged_equal_one_window(batches: list[Batch], split: int) -> None:
    whole, first, second = Window(), Window(), Window()
    for number, one in enumerate(batches):
        whole.add(BatchStats(one))
        (first if number < split else second).add(BatchStats(one))
    first.merge(second)
    assert (first.batches, first.messages, first.unique_sum) == (whole.batches, whole.messages, whole.unique_sum)
    assert first.efficiency_sum == pytest.approx(whole.efficiency_sum)


# Stamps.


def test_last_values_are_those_of_the_last_batch_and_stamps_never_go_back() -> None:
    late = batch("A", stamps=[NOW_MS - 10])
    late.timestamp_ms -= 1000
    feed = counted(batch("A", "B", stamps=[NOW_MS - 2, NOW_MS - 3]), late)
    assert feed.last == BatchResult(1, 1, 1.0, NOW_MS - 1000)
    assert (feed.last_batch_ms, feed.last_message_ms, feed.last_received_ms) == (NOW_MS, NOW_MS - 2, NOW_MS + 1)


# Limits.


def test_a_feed_has_as_many_symbols_as_it_may_and_no_more() -> None:
    limits = Limits(symbols_per_feed=2)
    feed = counted(batch("A", "B"))
    feed.admit({"A", "B"}, limits, NOW_MS)
    with pytest.raises(Rejected, match="too_many_symbols: 1 new symbols for korea:upbit:ticker; 2 "):
        feed.admit({"A", "C"}, limits, NOW_MS)
    with pytest.raises(Rejected, match="too_many_symbols"):
        Feed(KEY, WATCHES(KEY)).admit({"A", "B", "C"}, limits, NOW_MS)


def test_symbols_make_room_once_they_were_not_seen_for_an_hour() -> None:
    limits = Limits(symbols_per_feed=2)
    feed = counted(batch("A"), batch("B"))  # a millisecond apart
    with pytest.raises(Rejected, match="too_many_symbols"):
        feed.admit({"C"}, limits, NOW_MS + SYMBOL_RETENTION_MS)
    feed.admit({"C"}, limits, NOW_MS + SYMBOL_RETENTION_MS + 1)
    assert feed.symbol_seen_ms == {"B": NOW_MS + 1}
    assert feed.symbol_messages == {"B": 1}
    assert (feed.batches, feed.messages) == (2, 2)


def test_symbols_are_not_searched_again_before_one_can_be_old_enough() -> None:
    """Records with too many symbols may come at any rate; only a search that can find something is made."""
    feed, limits = counted(batch("A"), batch("B")), Limits(symbols_per_feed=2)
    with pytest.raises(Rejected, match="too_many_symbols"):
        feed.admit({"C"}, limits, NOW_MS + 1)
    feed.symbol_seen_ms["A"] = 0  # as no batch can do it: a search would find it
    with pytest.raises(Rejected, match="too_many_symbols"):
        feed.admit({"C"}, limits, NOW_MS + SYMBOL_RETENTION_MS)
    feed.admit({"C"}, limits, NOW_MS + SYMBOL_RETENTION_MS + 1)
    assert feed.symbol_seen_ms.keys() == {"B"}


def test_a_symbol_that_comes_again_is_kept_however_old_it_is() -> None:
    feed = counted(batch("A"), batch("B"))
    feed.admit({"A", "C"}, Limits(symbols_per_feed=2), NOW_MS + 10 * SYMBOL_RETENTION_MS)
    assert feed.symbol_seen_ms.keys() == {"A"}


def test_a_symbol_is_checked_before_there_is_room_for_it() -> None:
    with pytest.raises(Rejected) as caught:
        Feed(KEY, WATCHES(KEY)).admit({"A\n"}, Limits(), NOW_MS)
    assert caught.value.reason is Reason.INVALID_SYMBOL


def kept(table: FeedTable, key: FeedKey) -> Feed | None:
    """The feed as it is once a batch of it was accepted."""
    feed = table.find(key, NOW_MS)
    if feed is not None:
        table.keep(feed)
    return feed


def test_there_are_as_many_feeds_as_allowed_and_no_more() -> None:
    table = FeedTable(Limits(feeds=2), ALL, WATCHES)
    first = kept(table, KEY)
    assert kept(table, KEY._replace(region="us")) is not first
    assert table.find(KEY, NOW_MS) is first
    with pytest.raises(Rejected, match="too_many_feeds: asia:upbit:ticker "):
        table.find(KEY._replace(region="asia"), NOW_MS)
    with pytest.raises(Rejected, match="invalid_feed"):
        table.find(KEY._replace(region="a b"), NOW_MS)
    assert len(table.feeds) == 2


def test_a_feed_that_is_not_wanted_takes_no_room() -> None:
    table = FeedTable(Limits(feeds=1), FeedFilter(["korea:*"], ["*:orderbook"]), WATCHES)
    assert table.find(KEY._replace(request_type="orderbook"), NOW_MS) is None
    assert table.find(KEY._replace(region="us"), NOW_MS) is None
    assert kept(table, KEY) is not None
    assert list(table.feeds) == [KEY]


def test_a_feed_is_not_remembered_before_a_batch_of_it_is_accepted() -> None:
    table = FeedTable(Limits(feeds=1), ALL, WATCHES)
    assert table.find(KEY, NOW_MS) is not None
    assert not table.feeds
