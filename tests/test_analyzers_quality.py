"""What is suspicious is raised under its kind, once a batch; what is normal on some exchange is not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.analyzers.order_books import BOOKS_PER_BATCH, WHOLE_BOOKS
from exporter.analyzers.quality import FUTURE_MS, Quality
from exporter.analyzers.symbol_states import BACKWARDS_MS, JUMP_DEVIATIONS, JUMP_RATIO, WARM_UP_CHANGES
from exporter.decoding.batch import FIELDS, Batch, Message, PartialBatch
from exporter.decoding.batch_stats import BatchStats
from exporter.model import Anomaly, Arrival, FeedKey
from tests.support.batches import FEED, NOW_MS, Observed, captured_batches, message, observed
from tests.support.captures import each_capture

LIMIT = 100
# Books of one level a side: price, size, and what some exchanges add.
ASK, BID, GONE = ["100.5", "2", "0", "1"], ["100.25", "3", "0", "1"], ["100.5", "0", "0", "0"]
ASK_AND_BID = [ASK], [BID]
UNIT = {"ap": 100.5, "bp": 100.25, "as": 2, "bs": 3}


def examined(*all_observed: Observed, find_duplicates: bool = False) -> list[list[Anomaly]]:
    """What was found in each of the batches of one feed."""
    quality = Quality(LIMIT, find_duplicates=find_duplicates)
    return [list(quality.observe(*one)) for one in all_observed]


def found(*rows: Message, **times: Any) -> list[Anomaly]:
    """What is found in the first batch of a feed."""
    return examined(observed(*rows, **times))[0]


def ticker(symbol: str = "A", stamp: float | None = NOW_MS, **fields: Any) -> Message:
    return message(symbol, stamp, **{"last": 100.0, "low": 90.0, "high": 110.0, **fields})


def priced(field: str, price: float, stamp: float = NOW_MS) -> Message:
    """A row with one price."""
    fields: dict[str, Any] = {field: price}
    return message("A", stamp, **fields)


def book(**sides: Any) -> list[Anomaly]:
    """What is found in one book, on a feed that sends whole books."""
    whole = [observed(message(asks=[ASK], bids=[BID]), sent=NOW_MS + n) for n in range(WHOLE_BOOKS)]
    return examined(*whole, observed(message(stamp=NOW_MS + 1000, **sides), sent=NOW_MS + 1000))[-1]


def best_prices(*rows: Message, before: Sequence[Message] = ()) -> list[tuple[float, float]]:
    """The best ask and bid of each book of a batch, as all analyzers find them."""
    quality, one = Quality(LIMIT), observed(*rows)
    if before:
        quality.observe(*observed(*before))
    quality.observe(*one)
    return list(one.stats.books)


def replayed(one: Observed) -> Observed:
    """The batch as one that repeats the past."""
    arrival = Arrival(one.arrival.record_ms, one.arrival.received_ms, is_live=False, is_replay=True)
    return one._replace(arrival=arrival)


def test_the_best_prices_of_order_books_are_read_for_all_analyzers() -> None:
    rows = message("A", asks=[ASK], bids=[BID]), message("B", units=[UNIT]), ticker("C"), message("D", asks=[ASK])
    assert best_prices(*rows) == [(100.5, 100.25), (100.5, 100.25)]
    assert best_prices(ticker(), message("B", price=1.0)) == []


def test_books_of_a_feed_that_sends_changes_have_no_best_prices() -> None:
    """The first level of a change may be any level."""
    book = message(asks=[ASK], bids=[BID])
    assert best_prices(book, before=[book]) == [(100.5, 100.25)]
    assert best_prices(book, before=[message(asks=[GONE], bids=[BID])]) == []


def test_best_prices_are_those_of_this_batch_alone() -> None:
    assert best_prices(ticker(), before=[message("A", asks=[ASK], bids=[BID])]) == []


def test_a_batch_without_anomalies_costs_no_list() -> None:
    assert Quality(LIMIT).observe(*observed(ticker())) == ()


# Batches.


@pytest.mark.parametrize(("declared", "anomalies"), [(1, 0), (1.0, 0), (None, 0), (0, 1), (2, 1), (1.5, 1)])
def test_a_declared_size_that_is_not_the_number_of_messages(declared: float | None, anomalies: int) -> None:
    one = observed(message())
    one.batch.batch_size = declared
    assert examined(one)[0] == [Anomaly.SIZE_MISMATCH] * anomalies


def partial(*rows: Message, sent: int = NOW_MS, **unreadable: int) -> Observed:
    """A batch of which so many fields of each name could not be read."""
    batch = PartialBatch(FEED.exchange, FEED.region, FEED.request_type, sent, list(rows), None, unreadable)
    return Observed(batch, BatchStats(batch), observed(sent=sent).arrival)


def test_fields_that_could_not_be_read_are_counted_by_name() -> None:
    """Also of a batch that is not remembered."""
    quality = Quality(LIMIT)
    assert set(quality.unreadable) == set(FIELDS)
    assert not any(quality.unreadable.values())
    assert quality.observe(*partial(Message("A"), last=2, timestamp=1)) == [Anomaly.UNREADABLE_FIELD]
    assert quality.observe(*replayed(partial(Message("A"), last=1))) == [Anomaly.UNREADABLE_FIELD]
    assert {name: number for name, number in quality.unreadable.items() if number} == {"last": 3, "timestamp": 1}


def test_a_stamp_that_cannot_be_read_does_not_hide_that_others_go_back() -> None:
    """Nor does one that is missing or implausible."""
    for stamp in (None, 0, 5):
        rows = [message("A", NOW_MS), message("B", NOW_MS)], [message("A", stamp), message("B", NOW_MS - 6_000)]
        many = [observed(*some, sent=NOW_MS + n) for n, some in enumerate(rows)]
        assert Anomaly.MESSAGE_TIME_BACKWARDS in examined(*many)[1]


def test_a_trade_whose_price_cannot_be_read_does_not_hide_that_others_were_traded() -> None:
    """At the price that they had before: only the stamps tell."""
    quality = Quality(LIMIT)
    for n in range(3):
        rows = [message("A", NOW_MS + n), message("B", NOW_MS + n, price=5.0)]
        assert quality.observe(*partial(*rows, sent=NOW_MS + n, price=1)) == [Anomaly.UNREADABLE_FIELD]
        assert quality.last_price_change_ms == NOW_MS + n + 30


def test_prices_of_which_none_can_be_read_any_more_are_not_called_resting() -> None:
    quality = Quality(LIMIT)
    quality.observe(*observed(ticker("A"), ticker("B")))
    rows = [ticker("A", NOW_MS + 1, last=None), ticker("B", NOW_MS + 1, last=None)]
    quality.observe(*partial(*rows, sent=NOW_MS + 1, last=2))
    assert quality.last_price_change_ms == NOW_MS + 1 + 30


def test_one_price_that_cannot_be_read_does_not_hide_that_the_others_rest() -> None:
    """Nor do prices that never could, or are null."""
    quality = Quality(LIMIT)
    quality.observe(*observed(ticker("A"), ticker("B")))
    for n, rows in enumerate([[ticker("A"), ticker("B", last=None)], [ticker("NEW", last=None)]], start=1):
        quality.observe(*partial(*rows, sent=NOW_MS + n, last=1))
        assert quality.last_price_change_ms == NOW_MS + 30
    quality.observe(*partial(ticker("A", last=None), sent=NOW_MS + 3, batch_size=1))
    assert quality.last_price_change_ms == NOW_MS + 30


def test_each_kind_is_raised_once_a_batch() -> None:
    assert found(*[ticker(last=-1.0, low=-2.0)] * 5) == [Anomaly.INVALID_PRICE]


# Prices.


@pytest.mark.parametrize("price", [-1.0, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("field", ["last", "price"])
def test_a_price_that_is_none(field: str, price: float) -> None:
    """Each time, not just the first."""
    many = [observed(priced(field, price), sent=NOW_MS + n) for n in range(3)]
    assert all(Anomaly.INVALID_PRICE in kinds for kinds in examined(*many))


@pytest.mark.parametrize("field", ["last", "price"])
def test_a_price_of_zero_is_invalid_once_its_symbol_had_another(field: str) -> None:
    """Until then it was never traded; a negative price is no other."""
    prices = [0.0, -0.0, -1.0, 0.0, 5.0, 0.0, 0.0, 5.0]
    many = [observed(priced(field, price, NOW_MS + n), sent=NOW_MS + n) for n, price in enumerate(prices)]
    found = [Anomaly.INVALID_PRICE in kinds for kinds in examined(*many)]
    assert found == [False, False, True, False, False, True, True, False]


def test_a_symbol_that_was_never_traded_has_no_jump_no_range_and_no_movement() -> None:
    """Whatever its range is; another symbol's prices do not make it known."""
    quality = Quality(LIMIT)
    ranges: list[dict[str, float]] = [
        {"low": 0.0, "high": 0.0},
        {"low": 90.0, "high": 110.0},
        {"low": 0.0, "high": 9.0},
    ]
    for n, fields in enumerate(ranges):
        rows = [ticker("NEW", NOW_MS + n, last=0.0, **fields), ticker("OLD", NOW_MS + n)]
        assert quality.observe(*observed(*rows, sent=NOW_MS + n)) == ()
    changed_ms = quality.last_price_change_ms
    later = observed(ticker("NEW", NOW_MS + 9, last=0.0), ticker("OLD", NOW_MS + 9), sent=NOW_MS + 9)
    assert (quality.observe(*later), quality.last_price_change_ms) == ((), changed_ms)
    assert quality.prices() == {"OLD": 100.0}
    assert quality.observe(*observed(ticker("NEW", NOW_MS + 10, last=100.0), sent=NOW_MS + 10)) == ()
    inverted = observed(ticker("NEXT", NOW_MS + 11, last=0.0, low=2.0, high=1.0), sent=NOW_MS + 11)
    assert quality.observe(*inverted) == [Anomaly.INVERTED_RANGE]


def test_kinds_that_are_ignored_are_not_raised_and_the_others_are() -> None:
    quality = Quality(LIMIT, ignored=["invalid_price", "size_mismatch"])
    one = observed(ticker(last=-1.0, low=-2.0), ticker("B", last=120.0))
    one.batch.batch_size = 7
    assert quality.observe(*one) == [Anomaly.PRICE_OUT_OF_RANGE]
    assert quality.observe(*replayed(one)) == [Anomaly.PRICE_OUT_OF_RANGE]
    assert quality.observe(*observed(ticker(last=-1.0, low=-2.0, stamp=NOW_MS + 1))) == []


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"low": 100.0, "high": 100.0}, []),
        ({"low": 100.5, "high": 110.0}, [Anomaly.PRICE_OUT_OF_RANGE]),
        ({"low": 90.0, "high": 99.5}, [Anomaly.PRICE_OUT_OF_RANGE]),
        ({"low": 110.0, "high": 90.0}, [Anomaly.INVERTED_RANGE]),
        pytest.param({"low": 0.0, "high": 0.0}, [], id="nothing traded in the time of the range"),
        ({"low": None, "high": 90.0}, []),
        ({"low": 110.0, "high": None}, []),
        ({"last": None}, []),
    ],
)
def test_the_last_price_lies_in_its_range(fields: dict[str, Any], kinds: list[Anomaly]) -> None:
    assert found(ticker(**fields)) == kinds


def calm(factor: float, changes: int) -> list[float]:
    """Prices that go up and down by a factor."""
    return [100.0 if n % 2 else 100.0 * factor for n in range(changes + 1)]


def jumps(prices: Iterable[float], field: str = "price") -> list[bool]:
    """Which of the prices of one symbol are jumps."""
    many = [observed(priced(field, p, NOW_MS + n), sent=NOW_MS + n) for n, p in enumerate(prices)]
    return [Anomaly.PRICE_JUMP in kinds for kinds in examined(*many)]


@pytest.mark.parametrize("factor", [1.5, 1 / 1.5])
def test_a_jump_is_far_beyond_what_is_usual_up_or_down(factor: float) -> None:
    prices = calm(1.001, WARM_UP_CHANGES)
    assert jumps([*prices, prices[-1] * factor]) == [False] * len(prices) + [True]


def test_no_jump_is_found_before_a_symbol_is_known_nor_where_prices_always_do_so() -> None:
    assert not any(jumps([*calm(1.001, WARM_UP_CHANGES - 1), 1000.0]))
    assert not any(jumps(calm(1.5, 200)))
    assert not any(jumps([*calm(1.00001, WARM_UP_CHANGES), 100 * (1 + JUMP_RATIO * 0.99)]))


def test_one_wrong_price_does_not_hide_the_next() -> None:
    prices = calm(1.001, WARM_UP_CHANGES)
    found = jumps([*prices, prices[-1] * 1000, *prices, prices[-1] * 1.5])
    assert [n for n, is_jump in enumerate(found) if is_jump] == [len(prices), len(prices) + 1, 2 * len(prices) + 1]


@given(st.lists(st.floats(1e-6, 1e9), max_size=60))
def test_jumps_are_those_that_a_plain_recomputation_finds(prices: list[float]) -> None:
    history: list[float] = []
    scale, expected, before = 0.0, [], None
    for price in prices:
        change = 0.0 if before is None else max(price, before) / min(price, before) - 1
        is_jump = len(history) >= WARM_UP_CHANGES and change > max(scale * JUMP_DEVIATIONS, JUMP_RATIO)
        expected.append(is_jump)
        if before is not None and price != before:
            if len(history) < WARM_UP_CHANGES:
                history.append(change)
                scale = sum(history) / len(history)
            else:
                scale += (min(change, scale * JUMP_DEVIATIONS) - scale) / 64
        before = price
    assert jumps(prices, "last") == expected


# Times.


@pytest.mark.parametrize(("ahead", "raised"), [(FUTURE_MS, False), (FUTURE_MS + 1, True)])
def test_stamps_ahead_of_our_clock(ahead: int, raised: bool) -> None:
    batch = found(message(stamp=NOW_MS), sent=NOW_MS + ahead, recorded=NOW_MS, received=NOW_MS)
    row = found(message(stamp=NOW_MS + ahead), recorded=NOW_MS, received=NOW_MS)
    assert (batch, row) == ([Anomaly.FUTURE_BATCH] * raised, [Anomaly.FUTURE_MESSAGE] * raised)


@pytest.mark.parametrize("stamp", [-1, 1_760_031_213, 1_760_031_213_693_000])
def test_a_stamp_that_is_no_time_in_milliseconds(stamp: int) -> None:
    assert found(message(stamp=stamp)) == [Anomaly.IMPLAUSIBLE_STAMP]
    assert found(message(stamp=None), message(stamp=0), sent=max(stamp, 1) % 10**12) == [Anomaly.IMPLAUSIBLE_STAMP]


@pytest.mark.parametrize(("back", "raised"), [(BACKWARDS_MS, False), (BACKWARDS_MS + 1, True)])
def test_time_that_goes_back_is_raised_where_it_does(back: int, raised: bool) -> None:
    """Once: what follows is compared with the new time."""
    batches = [
        observed(sent=sent, recorded=NOW_MS + n) for n, sent in enumerate([NOW_MS, NOW_MS - back, NOW_MS - back])
    ]
    assert examined(*batches) == [[], [Anomaly.BATCH_TIME_BACKWARDS] * raised, []]
    stamps = [NOW_MS, NOW_MS - back, NOW_MS - back + 1]
    rows = [observed(message(stamp=stamp), recorded=NOW_MS + n) for n, stamp in enumerate(stamps)]
    assert examined(*rows) == [[], [Anomaly.MESSAGE_TIME_BACKWARDS] * raised, []]


def test_a_quiet_symbol_beside_a_busy_one_does_not_go_back() -> None:
    assert found(message("BUSY"), message("QUIET", NOW_MS - 3_600_000), message("BUSY", NOW_MS + 1)) == []


def test_partitions_that_are_read_side_by_side_do_not_make_time_go_back() -> None:
    """What was appended an hour earlier may well be an hour older."""
    many = [observed(message(stamp=t), sent=t) for t in [NOW_MS, NOW_MS - 3_600_000, NOW_MS + 1, NOW_MS - 3_599_000]]
    assert examined(*many) == [[]] * 4


def test_out_of_order_time_is_not_found_in_what_was_appended_before() -> None:
    """Two batches of one partition after one of another that is ahead; what follows there is not behind itself."""
    rows = [("A", 0), ("B", -20_000), ("A", -19_000), ("A", 1)]
    batches = [observed(message(symbol, NOW_MS + ms), sent=NOW_MS + ms) for symbol, ms in rows]
    last = observed(message("A", NOW_MS - 6_000), sent=NOW_MS, recorded=NOW_MS + 20, received=NOW_MS + 30)
    assert examined(*batches, last) == [[]] * 4 + [[Anomaly.MESSAGE_TIME_BACKWARDS]]


def test_a_record_of_the_future_does_not_end_the_search_for_times_that_go_back() -> None:
    ahead = observed(recorded=NOW_MS + 3_600_000, received=NOW_MS)
    later = observed(message(stamp=NOW_MS), recorded=NOW_MS + 10, received=NOW_MS + 20)
    back = observed(message(stamp=NOW_MS - 6_000), recorded=NOW_MS + 20, received=NOW_MS + 30)
    assert examined(ahead, later, back) == [[], [], [Anomaly.MESSAGE_TIME_BACKWARDS]]


def test_a_replay_is_compared_with_nothing_and_not_remembered() -> None:
    quality = Quality(LIMIT, find_duplicates=True)
    quality.observe(*observed(ticker(stamp=NOW_MS)))
    assert list(quality.observe(*replayed(observed(*[ticker(stamp=NOW_MS - 9_000, last=-1.0)] * 2)))) == [
        Anomaly.DUPLICATE_MESSAGES,
        Anomaly.INVALID_PRICE,
        Anomaly.PRICE_OUT_OF_RANGE,
    ]
    assert quality.prices() == {"A": 100.0}


@pytest.mark.parametrize(
    ("stamps", "newer"),
    [
        ([NOW_MS - BACKWARDS_MS - 1], True),
        ([NOW_MS - BACKWARDS_MS], False),
        ([NOW_MS, NOW_MS - 86_400_000], True),
        ([None, 0], False),
    ],
)
def test_newer_is_known_of_messages_that_go_back(stamps: list[float | None], newer: bool) -> None:
    quality = Quality(LIMIT)
    quality.observe(*observed(message(stamp=NOW_MS)))
    assert quality.knows_newer(observed(*(message(stamp=stamp) for stamp in stamps))[1]) == newer
    assert not quality.knows_newer(observed(message("UNKNOWN", 1))[1])


# Repetition.


def test_a_snapshot_equal_to_the_one_before_is_an_unchanged_batch() -> None:
    rows = [ticker("A"), ticker("B", NOW_MS - 5000)]
    later = [ticker("A"), ticker("B", NOW_MS - 4999)]
    moved = [ticker("A", last=100.5), ticker("B", NOW_MS - 4999)]
    many = [observed(*some, sent=NOW_MS + n) for n, some in enumerate([rows, rows, later, moved, moved, moved[:1]])]
    assert [bool(kinds) for kinds in examined(*many)] == [False, True, False, False, True, False]


def test_trades_and_what_has_no_stamp_are_not_taken_for_snapshots() -> None:
    trades = [observed(message(price=1.0), sent=NOW_MS + n) for n in range(2)]
    unstamped = [observed(ticker(stamp=None), sent=NOW_MS + n) for n in range(2)]
    empty = [observed(sent=NOW_MS + n) for n in range(2)]
    assert examined(*trades) == examined(*unstamped) == examined(*empty) == [[], []]


def test_duplicates_are_looked_for_on_request_and_among_tickers() -> None:
    """Fills of one order share stamp and price, so trades have none."""
    twice, different = [ticker("A"), ticker("B"), ticker("A")], [ticker("A"), ticker("A", NOW_MS + 1), ticker("B")]
    assert examined(observed(*twice)) == [[]]
    assert examined(observed(*twice), find_duplicates=True) == [[Anomaly.DUPLICATE_MESSAGES]]
    assert examined(observed(*different), find_duplicates=True) == [[]]
    assert examined(observed(*[message(price=1.0)] * 2), find_duplicates=True) == [[]]


# Order books.


@pytest.mark.parametrize(
    ("sides", "kinds"),
    [
        ({"asks": [ASK, ["101", "1"]], "bids": [BID]}, []),
        ({"asks": [[100.5, 2]], "bids": [[1.0025e2, 3]]}, []),
        ({"asks": [ASK], "bids": [ASK]}, [Anomaly.CROSSED_BOOK]),
        ({"asks": [BID], "bids": [ASK]}, [Anomaly.CROSSED_BOOK]),
        ({"asks": [GONE], "bids": [ASK]}, []),
        ({"asks": [], "bids": [BID]}, [Anomaly.EMPTY_BOOK]),
        ({"asks": [ASK], "bids": []}, [Anomaly.EMPTY_BOOK]),
        ({"asks": [], "bids": []}, [Anomaly.EMPTY_BOOK]),
        ({"units": [UNIT, UNIT]}, []),
        ({"units": [{"bp": 100.5, "as": 1, "ap": 100.5}]}, [Anomaly.CROSSED_BOOK]),
        ({"units": [{"ask_price": 1.5, "bid_price": 2, "ask_size": 1}]}, [Anomaly.CROSSED_BOOK]),
        ({"units": []}, [Anomaly.EMPTY_BOOK]),
        ({"asks": ASK_AND_BID[0], "bids": ASK_AND_BID[1], "units": None}, []),
        ({"asks": [{"price": 1}], "bids": [[1]], "units": None}, []),
        ({"asks": None, "bids": [BID]}, []),
        ({"asks": [["+1,100.5", " 2 "]], "bids": [["1e3", ".5"]]}, []),
        ({"asks": [["+1,100.5", "2"]], "bids": [["1,100.5", "1"]]}, [Anomaly.CROSSED_BOOK]),
        ({"units": [{"ap": "1,100", "bp": "+1,200"}]}, [Anomaly.CROSSED_BOOK]),
        ({"asks": [["1" * 50, "2"]], "bids": [[1e100, 1]]}, [Anomaly.CROSSED_BOOK]),
    ],
)
def test_the_best_levels_of_a_whole_book(sides: dict[str, Any], kinds: list[Anomaly]) -> None:
    assert book(**sides) == kinds


@pytest.mark.parametrize(
    ("sides", "names"),
    [
        ({"asks": "none", "bids": [BID]}, ["asks"]),
        ({"asks": [ASK], "bids": {}}, ["bids"]),
        ({"asks": [ASK], "bids": 5}, ["bids"]),
        ({"asks": [["", "1"]], "bids": [BID]}, ["asks"]),
        ({"asks": [[True, "1"]], "bids": [BID]}, ["asks"]),
        ({"asks": [[10**400, "1"]], "bids": [BID]}, ["asks"]),
        ({"units": "KRW"}, ["units"]),
        ({"units": [{"ap": "n/a", "bp": 5}]}, ["units"]),
    ],
)
def test_sides_that_cannot_be_read_are_counted_by_name(sides: dict[str, Any], names: list[str]) -> None:
    quality = Quality(LIMIT)
    rows = [message("A", **sides), message("B", asks=[BID], bids=[ASK])]
    assert quality.observe(*observed(*rows)) == [Anomaly.CROSSED_BOOK, Anomaly.UNREADABLE_FIELD]
    assert [name for name, number in quality.unreadable.items() if number] == names


def test_a_book_that_cannot_be_read_any_more_is_not_called_resting() -> None:
    quality = Quality(LIMIT)
    quality.observe(*observed(message("A", asks=[ASK], bids=[BID])))
    quality.observe(*observed(message("A", NOW_MS + 1, asks=[["", ""]], bids=[BID]), sent=NOW_MS + 1))
    assert quality.last_price_change_ms == NOW_MS + 1 + 30


def test_where_only_changes_are_sent_a_missing_side_is_nothing_special() -> None:
    changes: list[dict[str, Any]] = [{"asks": [GONE], "bids": [BID]}, *[{"asks": [ASK], "bids": [BID]}] * WHOLE_BOOKS]
    changes.append({"asks": [], "bids": [BID]})
    rows = [message(stamp=NOW_MS + n, **sides) for n, sides in enumerate(changes)]
    assert not any(examined(*(observed(row, sent=NOW_MS + n) for n, row in enumerate(rows))))


def test_in_a_large_batch_the_books_take_turns() -> None:
    """So one that stays crossed is found soon, and a batch costs no more for having many."""
    names = [f"S{n}" for n in range(3 * BOOKS_PER_BATCH)]
    many = []
    for n in range(3):
        rows = [message(name, NOW_MS + n, asks=[ASK], bids=[BID]) for name in names]
        rows[-1] = message(names[-1], NOW_MS + n, asks=[BID], bids=[ASK])
        many.append(observed(*rows, sent=NOW_MS + n))
    assert [bool(kinds) for kinds in examined(*many)] == [False, False, True]


# When prices last moved, and what is remembered.


def test_the_time_of_a_price_change_is_that_of_its_batch() -> None:
    """By the sidecar's clock, whatever the broker's shows; of an old batch by the broker's, and never in the future."""
    quality = Quality(LIMIT)
    assert quality.last_price_change_ms == 0
    for n, price in enumerate([1.0, 1.0, 2.0, 2.0]):
        quality.observe(*observed(ticker(last=price, low=0.5), sent=NOW_MS + 1000 * n))
    assert quality.last_price_change_ms == NOW_MS + 2000 + 30
    quality.observe(*observed(ticker(last=3.0), recorded=0, received=NOW_MS + 3000))
    assert quality.last_price_change_ms == NOW_MS + 3000
    quality.observe(*observed(ticker(last=4.0), recorded=NOW_MS + 99_000, received=NOW_MS + 4000))
    assert quality.last_price_change_ms == NOW_MS + 4000
    quality.observe(*observed(ticker(last=5.0), recorded=NOW_MS - 86_400_000, received=NOW_MS + 5000, live=False))
    assert quality.last_price_change_ms == NOW_MS + 4000
    quality.observe(*observed(ticker(last=6.0), recorded=NOW_MS + 4500, received=NOW_MS + 99_000, live=False))
    assert quality.last_price_change_ms == NOW_MS + 4500
    quality.observe(*observed(ticker(last=7.0), recorded=NOW_MS - 90_000, received=NOW_MS + 5000))
    assert quality.last_price_change_ms == NOW_MS + 5000


def test_a_trade_moves_the_market_at_whatever_price() -> None:
    """Trades at one price, and the last of them said again: the third batch has nothing new, the fifth no stamps."""
    quality, moments = Quality(LIMIT), []
    for n, stamp in enumerate([NOW_MS, NOW_MS + 1, NOW_MS + 1, NOW_MS + 2, None]):
        quality.observe(*observed(message(stamp=stamp, price=1.0), sent=NOW_MS + n))
        moments.append(quality.last_price_change_ms - NOW_MS - 30)
    assert moments == [0, 1, 1, 3, 3]
    tickers = Quality(LIMIT)
    for n in range(2):
        tickers.observe(*observed(ticker(stamp=NOW_MS + n), sent=NOW_MS + n))
    assert tickers.last_price_change_ms == NOW_MS + 30


def test_a_book_moves_with_its_best_levels() -> None:
    quality = Quality(LIMIT)
    books: Sequence[dict[str, Any]] = [{"units": [UNIT]}] * 2 + [{"units": [UNIT | {"bp": 100.3}]}] * 2
    moments = []
    for n, sides in enumerate(books):
        quality.observe(*observed(message(stamp=NOW_MS + n, **sides), sent=NOW_MS + n))
        moments.append(quality.last_price_change_ms - NOW_MS - 30)
    assert moments == [0, 0, 2, 2]


def test_prices_are_the_last_valid_ones() -> None:
    quality = Quality(LIMIT)
    rows = [ticker("A"), ticker("A", last=101.0), ticker("A", last=-1.0), message("T", price=5.0), message("N")]
    quality.observe(*observed(*rows, message("B", asks=[ASK], bids=[BID])))
    assert quality.prices() == {"A": 101.0, "T": 5.0}
    quality.forget_symbols(["A", "B", "unknown"])
    assert quality.prices() == {"T": 5.0}


ROWS = st.builds(
    lambda symbol, stamp, kind, price, high: message(symbol, stamp, **{kind: price}, high=high, low=price),
    st.sampled_from([f"S{n}" for n in range(12)]),
    st.none() | st.integers(NOW_MS - 60_000, NOW_MS + 60_000),
    st.sampled_from(["last", "price"]),
    st.none() | st.floats(),
    st.none() | st.floats(),
)
BOOK_ROWS = st.builds(
    lambda symbol, asks, bids: message(symbol, asks=asks, bids=bids),
    st.sampled_from([f"S{n}" for n in range(12)]),
    st.lists(st.sampled_from([ASK, BID, GONE, [], None, "x"]), max_size=2),
    st.lists(st.sampled_from([ASK, BID, GONE, [1], {}]), max_size=2),
)


@given(st.lists(st.lists(ROWS | BOOK_ROWS, max_size=8), max_size=8))
def test_memory_is_bounded_and_each_kind_is_raised_once_for_any_batches(
    batches: list[list[Message]],
) -> None:
    quality = Quality(5, find_duplicates=True)
    for rows in batches:
        kinds = quality.observe(*observed(*rows))
        assert len(set(kinds)) == len(kinds)
        assert len(quality._symbols) <= 5
        assert len(quality._books._best) <= 5
        valid = [price for row in rows for price in (row.last, row.price) if price is not None]
        if any(not 0 <= price < float("inf") for price in valid):
            assert Anomaly.INVALID_PRICE in kinds


def test_of_more_symbols_than_may_be_remembered_the_first_are() -> None:
    quality = Quality(5)
    for n in range(20):
        quality.observe(*observed(message(f"S{n}", asks=[ASK], bids=[BID]), ticker(f"T{n}")))
    assert len(quality._books._best) == 5
    assert len(quality._symbols) == 5


@each_capture
def test_captured_traffic_is_quiet(name: str) -> None:
    feeds: dict[FeedKey, Quality] = defaultdict(lambda: Quality(LIMIT * 10))
    kinds: Counter[tuple[FeedKey, Anomaly]] = Counter()
    for feed, one in captured_batches(name):
        kinds.update((feed, kind) for kind in feeds[feed].observe(*one))
    assert not kinds
    assert all(quality.last_price_change_ms for quality in feeds.values())


@each_capture
def test_the_duplicates_in_captured_traffic_are_those_of_exchanges_that_send_rows_again(name: str) -> None:
    """hitbtc does so within the second, which is why duplicates are reported on request only."""
    feeds: dict[FeedKey, Quality] = defaultdict(lambda: Quality(LIMIT * 10, find_duplicates=True))
    found: set[str] = set()
    for feed, one in captured_batches(name):
        if feeds[feed].observe(*one):
            found.add(feed.exchange)
    assert found == {feed.exchange for feed in feeds} & {"delta", "hitbtc"}


def test_a_batch_without_rows_is_nothing_special() -> None:
    batch = Batch(FEED.exchange, FEED.region, FEED.request_type, NOW_MS, [], 0)
    assert examined(*[Observed(batch, BatchStats(batch), observed().arrival)] * 2) == [[], []]
