"""The symbols of a feed: each has a status and a place, and none is lost in the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from exporter.feeds.symbols import CONFIRMATIONS, UNLEARN_MS, Coverage, ShownSymbol, SymbolCounts, SymbolSelector
from tests.support.batches import NOW_MS

STALE_MS = 10_000
MISSING_MS = 30_000
NAMES = [f"S{n}" for n in range(8)]


# Coverage.


class FeedHealth:
    """A feed whose coverage is looked at each second."""

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self.coverage = Coverage(expected, STALE_MS, MISSING_MS)
        self.seen: dict[str, int] = {}
        self.now_ms = NOW_MS
        self.counts: SymbolCounts | None = None

    def run(self, seconds: int, *symbols: str, every: int = 1) -> SymbolCounts | None:
        """Time goes by, and the symbols are seen every so many seconds."""
        for second in range(seconds):
            self.now_ms += 1000
            if second % every == 0:
                self.seen.update(dict.fromkeys(symbols, self.now_ms))
            self.counts = self.coverage.evaluate(self.seen, self.now_ms)
        return self.counts

    def missing(self) -> list[str]:
        return self.coverage.missing(self.seen, self.now_ms)


def test_an_expected_symbol_is_active_then_stale_then_missing_and_back() -> None:
    health = FeedHealth(["A", "B"])
    assert health.run(40, "A", "B") == SymbolCounts(2, 0, 0, 0, 2)
    assert health.run(STALE_MS // 1000 - 1, "A") == SymbolCounts(2, 0, 0, 0, 2)
    assert health.run(1, "A") == SymbolCounts(1, 1, 0, 0, 2)
    assert health.run((MISSING_MS - STALE_MS) // 1000, "A") == SymbolCounts(1, 0, 1, 0, 2)
    assert health.missing() == ["B"]
    assert health.run(1, "A", "B") == SymbolCounts(2, 0, 0, 0, 2)
    assert health.missing() == []


def test_an_expected_symbol_that_never_came_is_missing_once_it_had_time_to_come() -> None:
    health = FeedHealth(["A", "B"])
    assert health.run(MISSING_MS // 1000, "A") is None
    assert health.run(1, "A") == SymbolCounts(1, 0, 1, 0, 2)


def test_before_its_first_batch_nothing_is_known_of_a_feed() -> None:
    assert FeedHealth(["A"]).run(1000) is None


def test_a_symbol_that_the_configured_list_lacks_is_unexpected_active_or_not() -> None:
    health = FeedHealth(["A"])
    health.run(5, "NEW")
    assert health.run(60, "A") == SymbolCounts(1, 0, 0, 1, 1)
    assert health.coverage.unexpected(health.seen) == ["NEW"]


def test_without_a_list_symbols_become_expected_and_none_is_unexpected() -> None:
    health = FeedHealth()
    health.run(CONFIRMATIONS * STALE_MS // 1000 + 1, "A", "B")
    health.run(1, "A", "B", "NEW")
    assert health.coverage.expected == {"A", "B"}
    assert health.coverage.unexpected(health.seen) == []
    assert health.run(60, "A") == SymbolCounts(1, 1, 1, 0, 2)
    assert health.missing() == ["B"]


def test_a_symbol_that_comes_now_and_then_is_never_expected() -> None:
    health = FeedHealth()
    for _ in range(20):
        health.run(3 * STALE_MS // 1000, "A")
        health.run(1, "A", "RARE")
    assert health.coverage.expected == {"A"}


def test_a_silent_feed_learns_and_unlearns_nothing() -> None:
    health = FeedHealth()
    health.run(120, "A", "B")
    health.now_ms += 30 * UNLEARN_MS
    assert health.run(60) == SymbolCounts(0, 0, 2, 0, 2)


def test_a_symbol_that_is_away_for_a_day_of_its_feed_is_no_longer_expected() -> None:
    health = FeedHealth()
    health.run(120, "A", "B")
    health.now_ms += UNLEARN_MS
    health.run(120, "A")
    assert health.coverage.expected == {"A"}
    assert health.missing() == []


SEEN = st.dictionaries(st.sampled_from(NAMES), st.integers(NOW_MS - 60_000, NOW_MS), min_size=1)


@given(seen=SEEN, expected=st.sets(st.sampled_from([*NAMES, "X", "Y"])))
def test_every_symbol_has_one_status(seen: dict[str, int], expected: set[str]) -> None:
    coverage = Coverage(expected, STALE_MS, MISSING_MS)
    coverage.evaluate(seen, NOW_MS - MISSING_MS)
    counts = coverage.evaluate(seen, NOW_MS)
    statuses: Counter[str] = Counter()
    for symbol in seen.keys() | expected:
        age = NOW_MS - seen.get(symbol, 0)
        if expected and symbol not in expected:
            statuses["unexpected"] += 1
        elif symbol in expected and age >= MISSING_MS:
            statuses["missing"] += 1
        else:
            statuses["active" if age < STALE_MS else "stale"] += 1
    assert counts is not None
    assert {name: n for name, n in counts._asdict().items() if name != "expected" and n} == statuses
    assert counts.expected == len(expected)
    assert sum(counts[:4]) == len(seen.keys() | expected)
    assert counts.missing == len(coverage.missing(seen, NOW_MS))


@given(st.lists(st.sets(st.sampled_from(NAMES)), max_size=40))
def test_symbols_of_enough_windows_in_a_row_are_learned(windows: list[set[str]]) -> None:
    """Windows in which the feed was silent do not count."""
    health = FeedHealth()
    health.run(1, "first")
    streaks: Counter[str] = Counter()
    learned: set[str] = set()
    for symbols in windows:
        health.run(STALE_MS // 1000, *symbols)
        if symbols:
            streaks = Counter({symbol: streaks[symbol] + 1 for symbol in symbols})
        learned |= {symbol for symbol, streak in streaks.items() if streak >= CONFIRMATIONS}
        assert health.coverage.expected == learned
        assert len(health.coverage._streaks) <= len(NAMES) + 1


# Names.


class Shown:
    """A feed of which some symbols are shown by name; all sorts of things are true of it all the time."""

    def __init__(self, listed: Iterable[str] = (), count: int = 2) -> None:
        self.names = SymbolSelector(listed, count, STALE_MS)
        self.seen: dict[str, int] = {}
        self.messages: Counter[str] = Counter()
        self.now_ms = NOW_MS
        self.count = count
        self.shown: dict[str, ShownSymbol] = {}
        self.other = 0

    def pass_by(self, milliseconds: int, *symbols: str) -> list[str]:
        """Time goes by, then a batch has a message of each symbol; returns who is shown by name."""
        self.now_ms += milliseconds
        self.messages.update(symbols)
        self.seen.update(dict.fromkeys(symbols, self.now_ms))
        named = self.names.select(self.seen, self.messages, self.messages.total(), self.now_ms)
        before, self.shown = self.shown, {symbol.symbol: symbol for symbol in named.symbols}
        assert named.other_messages + sum(one.messages for one in named.symbols) == self.messages.total()
        assert named.other_symbols + len(named.symbols) == len(self.seen)
        assert named.other_messages >= self.other
        assert all(self.shown[name].messages >= before[name].messages for name in before.keys() & self.shown.keys())
        self.other = named.other_messages
        return sorted(self.shown)


def test_the_stalest_symbols_are_shown_by_name() -> None:
    feed = Shown()
    assert feed.pass_by(0, "A", "B", "C", "D") == []
    assert feed.pass_by(5000, "B", "C", "D") == []
    assert feed.pass_by(5000, "C", "D") == ["A"]
    assert feed.pass_by(5000, "D") == ["A", "B"]
    assert feed.pass_by(5000, "D") == ["A", "B"]
    assert feed.shown["A"] == ShownSymbol("A", NOW_MS, 0)


def test_a_name_stays_until_its_symbol_has_been_back_for_a_while() -> None:
    feed = Shown()
    feed.pass_by(0, "A", "B")
    assert feed.pass_by(STALE_MS, "B") == ["A"]
    assert [feed.pass_by(STALE_MS // 5, "A", "B") for _ in range(9)] == [["A"]] * 9
    assert feed.shown["A"].messages == 9
    assert feed.pass_by(STALE_MS // 5, "A", "B") == []


def test_a_name_stays_while_its_symbol_is_among_twice_as_many_of_the_stalest() -> None:
    """B comes back and goes again, so it is less stale than the others now."""
    feed = Shown(count=1)
    feed.pass_by(0, "B")
    feed.pass_by(1000, "A")
    assert feed.pass_by(STALE_MS - 1000) == ["B"]
    feed.pass_by(0, "B")
    assert [feed.pass_by(STALE_MS) for _ in range(5)] == [["B"]] * 5


def test_a_name_goes_when_more_are_staler() -> None:
    feed = Shown(count=1)
    feed.pass_by(0, "B")
    feed.pass_by(1000, "A", "C")
    assert feed.pass_by(STALE_MS - 1000) == ["B"]
    feed.pass_by(0, "B")
    assert [feed.pass_by(STALE_MS) for _ in range(3)] == [["B"], ["A"], ["A"]]


def test_listed_symbols_are_shown_once_seen_with_all_their_messages() -> None:
    feed = Shown(listed=["A", "X"], count=1)
    assert feed.pass_by(0, "A", "B") == ["A"]
    assert feed.pass_by(STALE_MS) == ["A", "B"]
    assert feed.pass_by(0, "A", "A") == ["A", "B"]
    assert (feed.shown["A"].messages, feed.shown["B"].messages) == (3, 0)


def test_no_symbol_is_named_where_none_was_asked_for() -> None:
    feed = Shown(count=0)
    feed.pass_by(0, "A")
    assert feed.pass_by(10 * STALE_MS) == []


@given(
    steps=st.lists(st.tuples(st.integers(0, 2 * STALE_MS), st.lists(st.sampled_from(NAMES), max_size=5)), max_size=30),
    count=st.integers(0, 3),
    listed=st.sets(st.sampled_from(NAMES), max_size=2),
)
def test_names_are_few_and_no_message_is_lost_or_counted_twice(
    steps: list[tuple[int, list[str]]], count: int, listed: set[str]
) -> None:
    feed = Shown(listed, count)
    for milliseconds, symbols in steps:
        named = feed.pass_by(milliseconds, *symbols)
        assert len(set(named) - listed) <= count
        assert set(named) >= listed & feed.seen.keys()
