"""Feeds whose rows have no price or no timestamp: a format that is read and not understood."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers.completeness import ROWS, Completeness
from exporter.decoding.batch import Batch, Message
from exporter.decoding.batch_stats import BatchStats
from exporter.model import Anomaly, Arrival
from tests.support.batches import NOW_MS, captured_batches, message
from tests.support.captures import each_capture

ARRIVAL = Arrival(NOW_MS, NOW_MS, True)
PRICED, BARE = message(last=1.0), message()


def batch(*rows: Message, kind: str = "ticker") -> Batch:
    """A batch of a kind of data."""
    return Batch("upbit", "korea", kind, NOW_MS, list(rows))


def found(*batches: Batch, ignored: Sequence[str] = ()) -> list[Anomaly]:
    """The anomalies in the last of the batches."""
    analyzer = Completeness(ignored)
    return [list(analyzer.observe(each, BatchStats(each), ARRIVAL)) for each in batches][-1]


@pytest.mark.parametrize(
    "row",
    [
        PRICED,
        message(price=0.0),
        message(asks=[[1, 2]]),
        message(bids=[]),
        message(units=[{"ap": 1}]),
    ],
)
def test_prices_trades_and_levels_are_prices(row: Message) -> None:
    assert found(batch(BARE, row)) == []


@pytest.mark.parametrize("row", [BARE, message(high=3.0, low=1.0), message(asks=None), message(last=None)])
def test_a_batch_without_any_price_has_an_anomaly(row: Message) -> None:
    assert found(batch(row, row)) == [Anomaly.NO_PRICES]


@pytest.mark.parametrize("stamp", [0, None])
def test_a_batch_without_any_timestamp_has_an_anomaly(stamp: float | None) -> None:
    row = message(stamp=stamp, last=1.0)
    assert found(batch(row, row)) == [Anomaly.NO_STAMPS]
    assert found(batch(row, PRICED)) == []


def test_a_timestamp_that_cannot_be_one_is_another_anomaly() -> None:
    assert found(batch(message(stamp=1_760_031_213, last=1.0))) == []


def test_a_blind_feed_has_both() -> None:
    assert found(batch(Message("A"))) == [Anomaly.NO_PRICES, Anomaly.NO_STAMPS]


@pytest.mark.parametrize("size", [1, 4, ROWS])
def test_a_feed_with_prices_may_lack_them_in_single_rows(size: int) -> None:
    """Ticks are batches of one row, so it is rows that count."""
    lacking = [batch(*[Message("A")] * size)] * (ROWS // size)
    first = batch(PRICED)
    if size < ROWS:
        assert found(first, *lacking[:-1]) == []
        assert found(first, *lacking[:-1], first, lacking[0]) == []
    assert found(first, *lacking) == [Anomaly.NO_PRICES, Anomaly.NO_STAMPS]


@pytest.mark.parametrize("kind", ["funding", "open_interest", "status"])
def test_kinds_without_prices_lack_none(kind: str) -> None:
    assert found(batch(BARE, kind=kind)) == []


def test_kinds_of_anomalies_are_ignored_one_by_one() -> None:
    assert found(batch(Message("A")), ignored=["no_prices"]) == [Anomaly.NO_STAMPS]
    assert found(batch(Message("A")), ignored=["no_stamps"]) == [Anomaly.NO_PRICES]


def test_an_empty_batch_lacks_nothing() -> None:
    assert found(batch()) == []


@each_capture
def test_what_exchanges_send_is_complete(name: str) -> None:
    analyzers: dict[object, Completeness] = {}
    for feed, (content, stats, arrival) in captured_batches(name):
        assert analyzers.setdefault(feed, Completeness()).observe(content, stats, arrival) == ()


ROW = st.builds(
    lambda stamp, last, price: Message("A", stamp, last, None, None, price),
    st.sampled_from([0, None, NOW_MS]),
    st.sampled_from([None, 1.0]),
    st.sampled_from([None, 1.0]),
)


@given(st.lists(st.lists(ROW, max_size=5), min_size=1))
def test_a_batch_with_a_price_and_a_stamp_never_has_one(batches: list[list[Message]]) -> None:
    complete = any(row.last or row.price for row in batches[-1]) and any(row.timestamp for row in batches[-1])
    assert not complete or found(*(batch(*rows) for rows in batches)) == []
