"""The health of one feed: the state that follows from its analyzers, and from what is around it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from exporter.analyzers.freshness import PriceActivity
from exporter.analyzers.thresholds import frozen_policy
from exporter.config.schema import Config, SymbolsConfig, Thresholds
from exporter.feeds.calendar import Plan, Schedule
from exporter.feeds.divergence import Divergence
from exporter.feeds.feed_analyzers import FeedAnalyzers
from exporter.feeds.rejections import FeedRejections, Traffic
from exporter.feeds.states import Diagnosis, FeedState, HealthInputs, Scope, StateTracker
from exporter.feeds.symbols import Coverage, NoSymbolSelector, ShownSymbols, SymbolCounts, SymbolSelector
from exporter.instrument.selection import selection
from exporter.model import Anomaly, Partition, Rejected

# A symbol is stale when it was in no batch for so long, and missing after so long.
STALE_SYMBOL_MS = 60_000
MISSING_SYMBOL_MS = 300_000
# Found only with `feeds.find_duplicates`.
_OF_DUPLICATES = (Anomaly.DUPLICATE_MESSAGES,)
# The states in which intervals are learned: those of an outage are not the rhythm of the feed.
_LEARNING = (FeedState.OK, FeedState.UNKNOWN)


class HealthContext(NamedTuple):
    """What the health of a feed depends on beside the feed; see `HealthInputs`. `topics` are those it may be on."""

    stalled_since_ms: int = 0
    is_catching_up: bool = False
    is_reachable: bool = True
    is_sole_reader: bool = False
    silence: Scope = Scope.FEED
    topics: Sequence[Traffic] = ()


class HealthSettings(NamedTuple):
    """The settings of one feed: its thresholds, its plan, and the symbols that it must have; None: not expected."""

    config: Config
    rule: Thresholds
    schedule: Schedule
    expected: Sequence[str] | None


class FeedHealth:
    """The health of one feed.

    `families` are those that are shown of the feed. `plan` and `symbols` are those of the last evaluation; `symbols` is
    None while it is too early to call one missing. `shown_symbols` and `divergence` are None while they are unknown, or
    switched off.
    """

    __slots__ = (
        "_began_ms",
        "_evaluated_ms",
        "_names",
        "_rule",
        "_schedule",
        "analyzers",
        "anomaly_kinds",
        "coverage",
        "divergence",
        "families",
        "freshness",
        "is_expected",
        "plan",
        "price_activity",
        "quality",
        "rejections",
        "shown_symbols",
        "symbols",
        "tracker",
    )

    def __init__(self, settings: HealthSettings, analyzers: FeedAnalyzers | None = None) -> None:
        config, rule, schedule, expected = settings
        self.families = selection(config.metrics)
        self.analyzers = analyzers or FeedAnalyzers(config, rule)
        self.freshness = self.analyzers.freshness
        self.quality = self.analyzers.quality
        self.anomaly_kinds = _anomaly_kinds(rule.ignore_anomalies, config.feeds.find_duplicates)
        self.price_activity = PriceActivity(frozen_policy(rule))
        self.coverage = Coverage(expected or (), STALE_SYMBOL_MS, MISSING_SYMBOL_MS)
        self.plan = Plan(None, 0)
        self.symbols: SymbolCounts | None = None
        self.shown_symbols: ShownSymbols | None = None
        self.divergence: Divergence | None = None
        self.rejections = FeedRejections()
        self.tracker = StateTracker(0)
        self.is_expected = expected is not None
        self._names = _names(config.feeds.symbols)
        self._schedule = schedule
        self._rule = rule
        self._began_ms = 0
        self._evaluated_ms = 0

    def reconfigure(self, settings: HealthSettings, messages: Mapping[str, int]) -> None:
        """Put other settings in force; what is counted, learned and diagnosed stays until the next evaluation.

        `messages` of each symbol of the feed, as for `select_symbols`.
        """
        before = self.analyzers.config.feeds
        config, self._rule, self._schedule, expected = settings
        self.analyzers.reconfigure(config, self._rule)
        self.anomaly_kinds = _anomaly_kinds(self._rule.ignore_anomalies, config.feeds.find_duplicates)
        self.price_activity.follow(frozen_policy(self._rule))
        self.coverage.expect(expected or ())
        self.is_expected = expected is not None
        self._evaluated_ms = 0  # symbols are counted again, as others may be expected
        if config.feeds.symbols != before.symbols:
            self._names = _changed_names(self._names, config.feeds.symbols, messages)
        if config.feeds.pairs != before.pairs:
            self.divergence = None

    def begin(self, now_ms: int) -> None:
        """Begin to evaluate: the feed is owned from `now_ms` on."""
        self.tracker = StateTracker(now_ms)
        self._began_ms = now_ms

    def restart_grace(self, now_ms: int) -> None:
        """Restart the grace period: nothing was consumed before `now_ms`, so earlier silence is no evidence."""
        self.tracker.listening_since_ms = now_ms

    def set_back(self, now_ms: int) -> None:
        """Let no time be later than `now_ms`: the clock was set back."""
        self._began_ms, self._evaluated_ms = min(self._began_ms, now_ms), min(self._evaluated_ms, now_ms)
        for part in (self.analyzers, self.price_activity, self.coverage, self.rejections, self.tracker):
            part.set_back(now_ms)

    @property
    def rule(self) -> Thresholds:
        """The thresholds as configured."""
        return self._rule

    @property
    def diagnosis(self) -> Diagnosis:
        """The diagnosis of the last evaluation: state, reasons and scope."""
        return self.tracker.diagnosis

    @property
    def state(self) -> FeedState:
        """The state of the last evaluation."""
        return self.tracker.diagnosis.state

    @property
    def state_since_ms(self) -> int:
        """The beginning of the state, in Unix milliseconds."""
        return self.tracker.since_ms

    def reject(self, rejected: Rejected, partition: Partition, offset: int, now_ms: int) -> None:
        """Add a rejected record that names the feed."""
        self.rejections.named.add(rejected, partition, offset, now_ms)

    @property
    def is_active(self) -> bool:
        """Whether the feed is evaluated: begun, or looked at, and not ended since."""
        return self.tracker.since_ms > 0

    def end(self) -> None:
        """End the evaluation: the feed is read elsewhere, so its state here is over."""
        self.analyzers.release()
        self.rejections = FeedRejections()
        self.tracker = StateTracker(0)

    @property
    def shown(self) -> tuple[object, ...]:
        """The values shown that may change without a batch."""
        state, limit_ms = self.state, self.freshness.silent_limit_ms
        return state, self.symbols, limit_ms, self.plan.reason, self.shown_symbols

    def is_overdue(self, now_ms: int) -> bool | None:
        """Return whether there was no valid batch for too long; None while the feed may be silent."""
        self.plan = self._schedule.at(now_ms)
        return None if self.plan.reason is not None else self.freshness.is_overdue(now_ms, self.plan.since_ms)

    def rejected(self, topics: Sequence[Traffic], now_ms: int) -> str:
        """Return a text about rejected records of an overdue feed within its limit; empty when there are none."""
        found = self.rejections.find(self.freshness.silent_limit_ms, topics, now_ms)
        if found is None:
            return ""
        whose = "its records" if found is self.rejections.named else "records of its topic that name no feed"
        return f"{whose} are rejected: {found}"

    def evaluate(self, seen_ms: Mapping[str, int], context: HealthContext, now_ms: int) -> Diagnosis:
        """Evaluate the state, once a second; `seen_ms` maps each symbol to the Unix milliseconds of its last batch."""
        if not self.is_active:
            self.begin(now_ms)
        freshness = self.freshness
        # As of the time when the feed last sent: a silent feed misses no symbols.
        if freshness.last_sent_ms != self._evaluated_ms:
            self._evaluated_ms = freshness.last_sent_ms
            self.rejections.update(freshness.last_sent_ms, context.topics, now_ms)
            self.symbols = self.coverage.evaluate(seen_ms, freshness.last_sent_ms)
        diagnosis = self.tracker.step(self._inputs(context, now_ms), now_ms)
        self.price_activity.note_change(self.quality.last_price_change_ms)
        is_learning = diagnosis.state in _LEARNING
        freshness.settle(is_learning)
        self.price_activity.settle(is_learning)
        return diagnosis

    @property
    def shows_symbols(self) -> bool:
        """Whether symbols are shown by name, or were so at the last evaluation."""
        return isinstance(self._names, SymbolSelector) or self.shown_symbols is not None

    def select_symbols(
        self, seen_ms: Mapping[str, int], messages: Mapping[str, int], total_messages: int, now_ms: int
    ) -> None:
        """Choose which symbols are shown by name, once a second; see `SymbolSelector.select`."""
        self.shown_symbols = self._names.select(seen_ms, messages, total_messages, now_ms)

    @property
    def _last_change_ms(self) -> int:
        """The time of the last price change, or of the beginning of the evaluation: earlier rest is unknown."""
        changed_ms = self.quality.last_price_change_ms
        return max(changed_ms, self._began_ms) if changed_ms else 0

    def _inputs(self, context: HealthContext, now_ms: int) -> HealthInputs:
        freshness, symbols = self.freshness, self.symbols
        limit_ms, sent_ms = freshness.silent_limit_ms, freshness.last_sent_ms
        is_sending = sent_ms and now_ms - max(sent_ms, self.plan.since_ms) <= limit_ms
        return HealthInputs(
            silent_limit_ms=limit_ms,
            last_sent_ms=sent_ms,
            last_arrival_ms=freshness.last_arrival_ms,
            expected_since_ms=self.plan.since_ms,
            planned=self.plan.reason,
            pace_ms=freshness.pace_ms,
            delayed_limit_ms=freshness.delayed_limit_ms,
            last_change_ms=self._last_change_ms,
            frozen_limit_ms=self.price_activity.limit_ms,
            symbols_active=symbols.active if symbols else 0,
            symbols_expected=symbols.expected if symbols else 0,
            coverage=self._rule.coverage,
            stalled_since_ms=context.stalled_since_ms,
            is_catching_up=context.is_catching_up,
            is_reachable=context.is_reachable,
            is_expected=self.is_expected and context.is_sole_reader,
            silence=context.silence,
            listening_since_ms=self.tracker.listening_since_ms,
            rejected="" if is_sending else self.rejected(context.topics, now_ms),
        )


@cache
def _anomaly_kinds(ignored: tuple[Anomaly, ...], find_duplicates: bool) -> tuple[Anomaly, ...]:
    """Return the kinds of anomalies that may be found: those that are not ignored or switched off."""
    off = {*ignored, *(() if find_duplicates else _OF_DUPLICATES)}
    return tuple(kind for kind in Anomaly if kind not in off)


def _names(symbols: SymbolsConfig) -> SymbolSelector | NoSymbolSelector:
    if symbols.shown or symbols.stalest:
        return SymbolSelector(symbols.shown, symbols.stalest, STALE_SYMBOL_MS)
    return NoSymbolSelector()


def _changed_names(
    names: SymbolSelector | NoSymbolSelector, symbols: SymbolsConfig, messages: Mapping[str, int]
) -> SymbolSelector | NoSymbolSelector:
    if isinstance(names, SymbolSelector) and (symbols.shown or symbols.stalest):
        return names.successor(symbols.shown, symbols.stalest, messages)
    return _names(symbols)
