"""The symbols of a feed: which of them are active, and which are shown by name.

Both follow from the time at which each symbol was last in a batch, and are evaluated once a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from enum import StrEnum
from heapq import nsmallest
from typing import NamedTuple

from exporter.instrument.exposition import label_text
from exporter.instrument.families import Row, gauge

# A symbol is learned after it was active in so many windows in a row, and unlearned after a day without it.
CONFIRMATIONS = 5
UNLEARN_MS = 86_400_000

# Stands for all symbols that are not shown by name, and for a symbol of this name should some exchange have one.
OTHER = "__other__"


class SymbolStatus(StrEnum):
    """Whether a symbol is there and should be; a closed set."""

    ACTIVE = "active"
    STALE = "stale"
    MISSING = "missing"
    UNEXPECTED = "unexpected"


class SymbolCounts(NamedTuple):
    """How many symbols a feed has of each status; every symbol that is seen or expected has exactly one."""

    active: int
    stale: int
    missing: int
    unexpected: int
    expected: int


class Coverage:
    """The symbols that a feed carries, compared with those that it should carry.

    It should carry those of `expected`, or, when that is empty, those learned: a symbol that was active in each of
    `CONFIRMATIONS` windows in a row (each `stale_ms` long) is expected, until it was absent for a day in which the feed
    was present. So a symbol that trades once an hour is never expected by mistake, and a silent feed unlearns nothing.

    An expected symbol is active, stale once not seen for `stale_ms`, missing once not seen for `missing_ms` or never.
    A symbol that a configured list lacks is unexpected; without such a list it is active or stale.
    """

    def __init__(self, expected: Iterable[str], stale_ms: int, missing_ms: int) -> None:
        self.stale_ms = stale_ms
        self.missing_ms = missing_ms
        self._configured = frozenset(expected)
        self._learned: set[str] = set()
        self._streaks: dict[str, int] = {}
        self._since_ms: int | None = None
        self._window_ms = 0

    def expect(self, symbols: Iterable[str]) -> None:
        """Expect other symbols, or when there are none those that are learned, which stay."""
        self._configured = frozenset(symbols)

    @property
    def expected(self) -> frozenset[str] | set[str]:
        """The symbols that the feed should carry; do not change it."""
        return self._configured or self._learned

    def copied(self) -> Coverage:
        """Return a copy that stays as it is, for `statuses` in another thread."""
        copied = copy(self)
        copied._learned = set(self._learned)
        return copied

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        if self._since_ms is not None:
            self._since_ms, self._window_ms = min(self._since_ms, now_ms), min(self._window_ms, now_ms)

    def evaluate(self, seen_ms: Mapping[str, int], now_ms: int) -> SymbolCounts | None:
        """Count symbols by status; None while it is too early to call one missing.

        `seen_ms` maps each symbol to the time of its last batch, by the sidecar's clock.
        """
        if self._since_ms is None:
            if not seen_ms:
                return None
            self._since_ms = self._window_ms = now_ms
        if not self._configured and now_ms - self._window_ms >= self.stale_ms:
            self._learn(seen_ms, self._window_ms)
            self._window_ms = now_ms
        if now_ms - self._since_ms < self.missing_ms:
            return None
        return self._count(seen_ms, now_ms)

    def statuses(self, seen_ms: Mapping[str, int], now_ms: int) -> dict[str, SymbolStatus]:
        """Return the status of each symbol that is seen or expected, as `evaluate` counts it; empty while too early."""
        if self._since_ms is None or now_ms - self._since_ms < self.missing_ms:
            return {}
        statuses, limit = dict.fromkeys(seen_ms, SymbolStatus.ACTIVE), now_ms - self.stale_ms
        statuses |= {symbol: SymbolStatus.STALE for symbol, seen in seen_ms.items() if seen <= limit}
        statuses |= dict.fromkeys(self.missing(seen_ms, now_ms), SymbolStatus.MISSING)
        return statuses | dict.fromkeys(self.unexpected(seen_ms), SymbolStatus.UNEXPECTED)

    def missing(self, seen_ms: Mapping[str, int], now_ms: int) -> list[str]:
        """Return the names of the missing symbols, sorted."""
        limit = now_ms - self.missing_ms
        return sorted(symbol for symbol in self.expected if seen_ms.get(symbol, limit) <= limit)

    def unexpected(self, seen_ms: Mapping[str, int]) -> list[str]:
        """Return the names of the symbols that are not in the configured list, sorted."""
        return sorted(seen_ms.keys() - self._configured) if self._configured else []

    def _count(self, seen_ms: Mapping[str, int], now_ms: int) -> SymbolCounts:
        expected, limit = self.expected, now_ms - self.stale_ms
        unexpected = seen_ms.keys() - self._configured if self._configured else set()
        if min(seen_ms.values(), default=0) > limit:  # nearly always; saves a look at each symbol
            absent = len(expected.difference(seen_ms))
            return SymbolCounts(len(seen_ms) - len(unexpected), 0, absent, len(unexpected), len(expected))
        missing = self.missing(seen_ms, now_ms)
        recent = sum(seen > limit for seen in seen_ms.values())
        active = recent - sum(seen_ms[symbol] > limit for symbol in unexpected)
        there = len(seen_ms) - len(unexpected) - sum(symbol in seen_ms for symbol in missing)
        return SymbolCounts(active, there - active, len(missing), len(unexpected), len(expected))

    def _learn(self, seen_ms: Mapping[str, int], window_ms: int) -> None:
        """End a window: symbols active in it come closer to being expected; a window without any changes nothing."""
        active = [symbol for symbol, seen in seen_ms.items() if seen > window_ms]
        if not active:
            return
        streaks = self._streaks
        self._streaks = {symbol: streaks.get(symbol, 0) + 1 for symbol in active if symbol not in self._learned}
        self._learned.update(symbol for symbol, streak in self._streaks.items() if streak >= CONFIRMATIONS)
        oldest = max(seen_ms.values()) - UNLEARN_MS
        self._learned = {symbol for symbol in self._learned if seen_ms.get(symbol, oldest) > oldest}


class ShownSymbol(NamedTuple):
    """What is shown of one symbol: when it was last seen, and its messages since it has been shown."""

    symbol: str
    seen_ms: int
    messages: int


class ShownSymbols(NamedTuple):
    """The symbols shown by name; `other_symbols` and `other_messages` are all the rest."""

    symbols: tuple[ShownSymbol, ...]
    other_symbols: int
    other_messages: int


class SymbolSelector:
    """Chooses which symbols of a feed are shown by name: those of a list, and the `count` stalest.

    A name comes when its symbol was not seen for `stale_ms` and there is room; it goes after the symbol was not among
    the twice `count` stalest for twice as long, so names do not flap. Messages of a name are those since it came: no
    counter of a name or of the rest ever falls, and all of them together are always those of the feed.
    """

    def __init__(self, listed: Iterable[str], count: int, stale_ms: int) -> None:
        self._listed = frozenset(listed) - {OTHER}
        self._count = count
        self._stale_ms = stale_ms
        # Of each name: when its symbol was among the stalest last, and its messages before it came.
        self._stale_at: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._before_listed: dict[str, int] = {}  # of names that were listed later

    def successor(self, listed: Iterable[str], count: int, messages: Mapping[str, int]) -> SymbolSelector:
        """Return a selector with another list and count, in which names stay as they are and no counter falls."""
        after = SymbolSelector(listed, count, self._stale_ms)
        before = {**dict.fromkeys(self._listed, 0), **self._before_listed, **self._before}
        for symbol in after._listed & (before.keys() | messages.keys()):
            if number := before.get(symbol, messages.get(symbol, 0)):
                after._before_listed[symbol] = number
        kept = list(self._stale_at.keys() - after._listed)[:count]
        after._stale_at = {symbol: self._stale_at[symbol] for symbol in kept}
        after._before = {symbol: self._before[symbol] for symbol in kept}
        return after

    def select(
        self, seen_ms: Mapping[str, int], messages: Mapping[str, int], total_messages: int, now_ms: int
    ) -> ShownSymbols:
        """Choose again and return what to show; `messages` of each symbol, and of the feed, count since it is known."""
        self._choose(seen_ms, messages, now_ms)
        names = sorted({*self._before, *(symbol for symbol in self._listed if symbol in seen_ms)})
        if self._before_listed:  # a symbol that was forgotten is counted from 0 when it returns
            self._before_listed = {name: number for name, number in self._before_listed.items() if name in seen_ms}
        before = self._before | self._before_listed
        shown = tuple(ShownSymbol(name, seen_ms[name], messages.get(name, 0) - before.get(name, 0)) for name in names)
        return ShownSymbols(shown, len(seen_ms) - len(shown), total_messages - sum(named.messages for named in shown))

    def _choose(self, seen_ms: Mapping[str, int], messages: Mapping[str, int], now_ms: int) -> None:
        limit = now_ms - self._stale_ms
        unranked = {*self._listed, OTHER}
        stale = ((seen, symbol) for symbol, seen in seen_ms.items() if seen <= limit and symbol not in unranked)
        ranked = {symbol: now_ms for _, symbol in nsmallest(2 * self._count, stale)}
        kept = {
            symbol: ranked.get(symbol, stale_at)
            for symbol, stale_at in self._stale_at.items()
            if symbol in seen_ms and (symbol in ranked or stale_at > limit - self._stale_ms)
        }
        chosen = [*kept, *(symbol for symbol in ranked if symbol not in kept)][: self._count]
        self._stale_at = {symbol: kept.get(symbol, now_ms) for symbol in chosen}
        self._before = {symbol: self._before.get(symbol, messages.get(symbol, 0)) for symbol in chosen}


class NoSymbolSelector:
    """Shows no symbol by name, nor how many there are."""

    def select(self, seen_ms: Mapping[str, int], messages: Mapping[str, int], total_messages: int, now_ms: int) -> None:
        """See SymbolSelector."""


def _by_status(counts: SymbolCounts, name: str, labels: str) -> str:
    return "".join([f'{name}{{{labels},status="{status}"}} {getattr(counts, status)}\n' for status in SymbolStatus])


def _messages(shown: ShownSymbols, name: str, labels: str) -> str:
    counts = [(each.symbol, each.messages) for each in shown.symbols]
    counts.append((OTHER, shown.other_messages))
    return "".join([f"{name}_total{{{labels},{_label(symbol)}}} {number}\n" for symbol, number in counts])


def _last_seen(shown: ShownSymbols, name: str, labels: str) -> str:
    return "".join([f"{name}{{{labels},{_label(each.symbol)}}} {each.seen_ms / 1000}\n" for each in shown.symbols])


def _label(symbol: str) -> str:
    return label_text({"symbol": symbol})


COUNT_ROWS: tuple[Row[SymbolCounts], ...] = (
    Row("marketdata_feed_symbols", "gauge", "Symbols by status.", _by_status),
    Row(
        "marketdata_feed_symbols_expected",
        "gauge",
        "Symbols that the feed should carry: configured, or learned.",
        gauge(lambda counts: counts.expected),
    ),
)
SHOWN_ROWS: tuple[Row[ShownSymbols], ...] = (
    Row(
        "marketdata_symbol_messages",
        "counter",
        "Messages of a symbol since it is shown by name; __other__ has all others.",
        _messages,
    ),
    Row(
        "marketdata_symbol_last_seen_timestamp_seconds",
        "gauge",
        "Unix time when a symbol that is shown by name was last in a batch.",
        _last_seen,
        "seconds",
    ),
)
