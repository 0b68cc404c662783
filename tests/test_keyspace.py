"""How updates become changes of what Redis holds: values only."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from exporter.model import FeedKey, Partition, SymbolUpdate
from exporter.store import keyspace

FEEDS = [FeedKey("korea", "upbit", "ticker"), FeedKey("asia", "okx", "trade")]
PARTITIONS = [Partition("ticker-data.korea", 0), Partition("ticker-data.korea", 1)]
WINDOW_MS = 1000

updates = st.builds(
    SymbolUpdate,
    st.sampled_from(PARTITIONS),
    st.integers(0, 30),
    st.sampled_from(FEEDS),
    st.integers(0, 3 * WINDOW_MS),
    st.lists(st.sampled_from(["KRW-BTC", "KRW-ETH", "KRW-XRP"]), max_size=4),
)


def update(offset: int, *symbols: str, stamp: int = 0) -> SymbolUpdate:
    """An update of the first partition and feed."""
    return SymbolUpdate(PARTITIONS[0], offset, FEEDS[0], stamp, list(symbols))


@given(st.lists(updates))
def test_updates_are_put_in_order_and_each_offset_is_kept_once(given_updates: list[SymbolUpdate]) -> None:
    found = keyspace.in_order(given_updates)
    for partition, ordered in found.items():
        assert all(kept in given_updates and kept.partition == partition for kept in ordered)
        offsets = [kept.offset for kept in ordered]
        assert offsets == sorted({given.offset for given in given_updates if given.partition == partition})
    assert found.keys() == {given.partition for given in given_updates}


@given(st.lists(updates, min_size=1))
def test_a_delta_adds_up_what_its_records_hold(given_updates: list[SymbolUpdate]) -> None:
    ordered = next(iter(keyspace.in_order(given_updates).values()))
    delta = keyspace.delta(ordered, WINDOW_MS)
    messages = Counter(
        (*window, name) for window, counts in delta.counts.items() for name in counts.messages.elements()
    )
    assert messages == Counter((u.feed, u.timestamp_ms // WINDOW_MS, name) for u in ordered for name in u.symbols)
    for (feed, window), counts in delta.counts.items():
        for symbol, stamp in counts.seen.items():
            known = [u.timestamp_ms for u in ordered if u.feed == feed and symbol in u.symbols]
            assert stamp == max(ms for ms in known if ms // WINDOW_MS == window)


@given(st.lists(updates, min_size=1), st.integers(0, 32))
def test_updates_below_the_fence_are_left_out(given_updates: list[SymbolUpdate], fence: int) -> None:
    ordered = next(iter(keyspace.in_order(given_updates).values()))
    assert keyspace.from_fence(ordered, fence) == [u for u in ordered if u.offset >= fence]


def test_a_delta_spans_the_gaps_between_its_records() -> None:
    delta = keyspace.delta([update(7, "A"), update(9, "A")], WINDOW_MS)
    assert (delta.first, delta.next) == (7, 10)


def test_a_delta_holds_a_limited_number_of_records() -> None:
    delta = keyspace.delta([update(offset) for offset in range(keyspace.RECORDS_PER_DELTA + 1)], WINDOW_MS)
    assert delta.next == keyspace.RECORDS_PER_DELTA


def test_a_delta_holds_a_limited_number_of_messages_but_at_least_one_record() -> None:
    full = ["A"] * keyspace.MESSAGES_PER_DELTA
    assert keyspace.delta([update(0, *full), update(1, "A")], WINDOW_MS).next == 1
    assert keyspace.delta([update(0, *full, "A"), update(1)], WINDOW_MS).next == 1
    assert keyspace.delta([update(0, "A"), update(1, *full)], WINDOW_MS).next == 1


@given(st.builds(FeedKey, *[st.text(st.characters(exclude_characters="\0", codec="utf-8"))] * 3), st.text())
def test_a_name_is_parsed_into_feed_and_symbol(feed: FeedKey, symbol: str) -> None:
    readable = symbol.encode(errors="replace").decode()
    assert keyspace.parsed(keyspace.name(feed, symbol)) == (feed, readable)


def test_a_partition_is_one_slot_of_a_cluster() -> None:
    keys = keyspace.Keys("marketdata")
    assert keys.messages("trade-data.asia/3") == "marketdata:{trade-data.asia/3}:messages"
    assert keys.seen("trade-data.asia/3") == "marketdata:{trade-data.asia/3}:seen"
    assert keys.distinct(FEEDS[0], 7) == "marketdata:{korea:upbit:ticker}:distinct:7"
    assert keys.partitions == "marketdata:partitions"
