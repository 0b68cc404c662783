"""Prices that jump count once others confirm them, so that a single wrong price fires no emergency stop. Pure.

A jump is a price farther from the last accepted one than the band of its symbol: a multiple of the robust deviation of
its own changes (1.4826 times their median, which wrong prices hardly move), and at least a fixed share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median, median_low
from typing import NamedTuple

from exporter.config.risk_schema import PlausibilityRule

# How often prices are looked at while some have to be confirmed.
LOOK_SECONDS = 1.0
# Changes of a symbol that are remembered, and how many its deviation needs. They are of all prices, accepted or not:
# the band of a symbol whose prices bounce would otherwise never widen.
CHANGES, CHANGES_NEEDED = 64, 20
PRICE_MAX = 1e18
# Of the median absolute value of a normal distribution around 0 to its standard deviation.
SCALE = 1.4826


class Quote(NamedTuple):
    """A price of a symbol, and when it came, in Unix milliseconds."""

    price: float
    seen_ms: int


class Unconfirmed(NamedTuple):
    """A price that does not count yet, since when such prices came, and the price that counts meanwhile, if any."""

    price: float
    since_ms: int
    accepted: float | None


class JumpCounts(NamedTuple):
    """Jumps that following prices have confirmed, and those that they have refuted."""

    confirmed: int = 0
    refuted: int = 0


class _SymbolPrices:
    """What is known of a symbol. The time of an accepted price of an earlier process is 0: it is a reference only."""

    __slots__ = ("accepted", "changes", "latest", "run", "since_ms")

    def __init__(self) -> None:
        self.changes: deque[float] = deque(maxlen=CHANGES)
        self.accepted: Quote | None = None
        self.latest: Quote | None = None
        self.run: list[float] = []  # the last prices, none of which counts yet
        self.since_ms = 0


class PriceFilter:
    """Passes on plausible prices, and a jump once as many following prices as `rule.confirmations` confirm it.

    These are beyond the band on the same side, and of all of them the smallest jump counts. One that nothing refutes
    for `rule.wait` seconds counts as well. Until then the accepted price does, while it is fresh. The first price of a
    symbol counts once following ones are within its band, or as the median of twice as many.
    """

    def __init__(self, rule: PlausibilityRule) -> None:
        self.rule = rule
        self.counts = JumpCounts()
        self.decided = 0  # how often prices were confirmed or refuted, first ones included
        self._symbols: dict[str, _SymbolPrices] = {}

    def hold(self, symbols: Iterable[str]) -> None:
        """Keep what is known of these symbols only."""
        self._symbols = {symbol: self._symbols.get(symbol) or _SymbolPrices() for symbol in symbols}

    def refer(self, prices: Mapping[str, float], *, is_newer: bool = False) -> None:
        """Compare with these prices, which another process has accepted, where no accepted price is known.

        With `is_newer` they replace those that are known.
        """
        for symbol, price in prices.items():
            known = self._symbols.get(symbol)
            if known is not None and (is_newer or known.accepted is None):
                known.accepted, known.latest, known.run = Quote(price, 0), None, []

    @property
    def is_waiting(self) -> bool:
        """Whether there are prices that do not count yet."""
        return any(known.run for known in self._symbols.values())

    @property
    def unconfirmed(self) -> dict[str, Unconfirmed]:
        """The prices that do not count yet, by symbol."""
        return {
            symbol: Unconfirmed(known.run[-1], known.since_ms, None if known.accepted is None else known.accepted.price)
            for symbol, known in self._symbols.items()
            if known.run
        }

    def accept(self, quotes: Mapping[str, Quote], now_ms: int, age_ms: int) -> dict[str, float]:
        """Return the prices that count now, of symbols that are held; an accepted one that is older does not."""
        accepted = dict[str, float]()
        for symbol, quote in quotes.items():
            if (known := self._symbols.get(symbol)) is None:
                continue
            if quote != known.latest and 0 < quote.price <= PRICE_MAX:
                self._take(known, quote, now_ms)
            if known.run and known.latest is not None:
                self._judge(known, known.latest, now_ms)
            if known.accepted is not None and known.accepted.seen_ms >= now_ms - age_ms:
                accepted[symbol] = known.accepted.price
        return accepted

    def _take(self, known: _SymbolPrices, quote: Quote, now_ms: int) -> None:
        """Accept a price that is no jump; otherwise it belongs to a run."""
        if known.latest is not None:
            known.changes.append(_distance(known.latest.price, quote.price))
        known.latest, accepted = quote, known.accepted
        if not self.rule.confirmations or (accepted is not None and not self._is_jump(known, accepted, quote.price)):
            self._end_run(known)
            known.accepted = quote
            return
        if accepted is not None and known.run and _is_between(accepted.price, known.run[-1], quote.price):
            self._end_run(known)
        if not known.run:
            known.since_ms = now_ms
        known.run.append(quote.price)

    def _judge(self, known: _SymbolPrices, latest: Quote, now_ms: int) -> None:
        """Accept what a run confirms, if it is long enough."""
        run, accepted = known.run, known.accepted
        known.since_ms = min(known.since_ms, now_ms)  # the clock may have been set back
        is_over = now_ms - known.since_ms >= 1000 * self.rule.wait
        if accepted is None:
            enough = self.rule.confirmations + 1
            if self._agree(run if is_over else run[-enough:]) and (is_over or len(run) >= enough):
                self._confirm(known, latest, now_ms)
            elif len(run) >= 2 * enough - 1:
                self._confirm(known, Quote(median_low(run), latest.seen_ms), now_ms)
        elif is_over or len(run) > self.rule.confirmations:
            smallest = max(run) if run[-1] < accepted.price else min(run)
            self._confirm(known, Quote(smallest, latest.seen_ms), now_ms)

    def _is_jump(self, known: _SymbolPrices, accepted: Quote, price: float) -> bool:
        """Return whether a price is beyond the band around an accepted one."""
        distance = _distance(accepted.price, price)
        if distance <= self.rule.least:
            return False
        if len(known.changes) < CHANGES_NEEDED:
            return True
        return distance > self.rule.deviations * SCALE * median(known.changes)

    def _agree(self, prices: list[float]) -> bool:
        """Return whether prices are within the least band of each other."""
        return _distance(min(prices), max(prices)) <= self.rule.least

    def _confirm(self, known: _SymbolPrices, accepted: Quote, now_ms: int) -> None:
        """Accept a price. The last ones, as far as they jump from it in turn, are a run still: a crash goes on."""
        rest: list[float] = []
        self.decided += 1
        if known.accepted is not None:
            self.counts = self.counts._replace(confirmed=self.counts.confirmed + 1)
            while self._is_jump(known, accepted, known.run[-1]):  # one of them is the accepted price itself
                rest.insert(0, known.run.pop())
        known.accepted, known.run, known.since_ms = accepted, rest, now_ms

    def _end_run(self, known: _SymbolPrices) -> None:
        """Forget prices that the next one does not confirm."""
        self.decided += bool(known.run)
        if known.run and known.accepted is not None:
            self.counts = self.counts._replace(refuted=self.counts.refuted + 1)
        known.run = []


def _distance(one: float, other: float) -> float:
    """Return the change of the smaller of two prices to the larger, as a share of the smaller."""
    return max(one / other, other / one) - 1


def _is_between(middle: float, one: float, other: float) -> bool:
    return (one < middle) is not (other < middle)
