"""The families of what is watched of each feed: rhythm, latency, symbols and state. Pure.

Gauges and states are shown while the feed is ours; an expected feed that is nowhere is shown by whoever reads all.
"""

from __future__ import annotations

from collections.abc import Callable

from exporter.analyzers.freshness import INTERVAL_BOUNDS
from exporter.analyzers.latency import LATENCY_BOUNDS_MS, Stage
from exporter.analyzers.message_age import AGE_BOUNDS_MS
from exporter.analyzers.symbols import OTHER, SymbolStatus
from exporter.feeds.feed import Feed
from exporter.feeds.states import FeedState
from exporter.instrument.exposition import label_text
from exporter.instrument.families import Lines, Row, buckets, counter, spelled
from exporter.metrics.feed_metrics import stamp

_INTERVAL_LE = spelled(INTERVAL_BOUNDS)
_AGE_LE = spelled(bound / 1000 for bound in AGE_BOUNDS_MS)
_LATENCY_LE = spelled(bound / 1000 for bound in LATENCY_BOUNDS_MS)
_HOPS = tuple(stage for stage in Stage if stage is not Stage.END_TO_END)


def _intervals(name: str, labels: str, feed: Feed) -> str:
    intervals = feed.health.freshness.intervals
    return buckets(name, labels, _INTERVAL_LE, intervals.buckets, intervals.sum)


def _ages(name: str, labels: str, feed: Feed) -> str:
    ages = feed.health.ages
    return buckets(name, labels, _AGE_LE, ages.buckets, ages.sum_ms / 1000)


def _stages(name: str, labels: str, feed: Feed) -> str:
    hops = feed.health.latency.hops
    return "".join(
        [
            buckets(name, f'{labels},stage="{stage}"', _LATENCY_LE, hops[stage].buckets, hops[stage].sum_ms / 1000)
            for stage in _HOPS
        ]
    )


def _end_to_end(name: str, labels: str, feed: Feed) -> str:
    hop = feed.health.latency.hops[Stage.END_TO_END]
    return buckets(name, labels, _LATENCY_LE, hop.buckets, hop.sum_ms / 1000)


def _skews(name: str, labels: str, feed: Feed) -> str:
    hops = feed.health.latency.hops
    return "".join([f'{name}_total{{{labels},stage="{stage}"}} {hops[stage].skewed}\n' for stage in Stage])


def _offsets(name: str, labels: str, feed: Feed) -> str:
    if not feed.partitions:
        return ""
    hops = feed.health.latency.hops
    return "".join([f'{name}{{{labels},stage="{stage}"}} {hops[stage].skew_seconds}\n' for stage in Stage])


def _gauge(value: Callable[[Feed], float | None]) -> Lines[Feed]:
    def lines(name: str, labels: str, feed: Feed) -> str:
        number = value(feed) if feed.partitions else None
        return "" if number is None else f"{name}{{{labels}}} {number}\n"

    return lines


def _symbols(name: str, labels: str, feed: Feed) -> str:
    counts = feed.health.symbols
    if counts is None or not feed.partitions:
        return ""
    return "".join([f'{name}{{{labels},status="{status}"}} {getattr(counts, status)}\n' for status in SymbolStatus])


def _expected_symbols(feed: Feed) -> float | None:
    counts = feed.health.symbols
    return None if counts is None else counts.expected


def _symbol_messages(name: str, labels: str, feed: Feed) -> str:
    named = feed.health.named
    if named is None:
        return ""
    counts = [(each.symbol, each.messages) for each in named.symbols]
    counts.append((OTHER, named.other_messages))
    return "".join([f"{name}_total{{{labels},{_symbol(symbol)}}} {number}\n" for symbol, number in counts])


def _symbols_seen(name: str, labels: str, feed: Feed) -> str:
    named = feed.health.named
    if named is None or not feed.partitions:
        return ""
    return "".join([f"{name}{{{labels},{_symbol(each.symbol)}}} {each.seen_ms / 1000}\n" for each in named.symbols])


def _symbol(name: str) -> str:
    return label_text({"symbol": name})


def _typical_divergence(feed: Feed) -> float | None:
    found = feed.health.divergence
    return None if found is None else found.typical


def _widest_divergence(feed: Feed) -> float | None:
    found = feed.health.divergence
    return None if found is None else found.widest


def _expected(name: str, labels: str, feed: Feed) -> str:
    health = feed.health
    if not (feed.partitions or health.is_expected):
        return ""
    return f"{name}{{{labels}}} {int(health.plan.reason is None)}\n"


def _states(name: str, labels: str, feed: Feed) -> str:
    if not feed.has_state:
        return ""
    state = feed.health.state
    return "".join([f'{name}{{{labels},state="{each}"}} {int(each is state)}\n' for each in FeedState])


WATCH_FAMILIES: tuple[Row[Feed], ...] = (
    Row(
        "marketdata_batch_interval_seconds",
        "histogram",
        "Between two batches, by Kafka's stamps.",
        _intervals,
        "seconds",
    ),
    Row(
        "marketdata_message_age_seconds",
        "histogram",
        "From the stamp of a message to the stamp of its batch; messages stamped later than their batch are left out.",
        _ages,
        "seconds",
    ),
    Row(
        "marketdata_stage_latency_seconds",
        "histogram",
        "From clock to clock: newest message, batch, record, our analysis. Live batches only, negative ones left out.",
        _stages,
        "seconds",
    ),
    Row(
        "marketdata_end_to_end_latency_seconds",
        "histogram",
        "From the newest message of a live batch to its analysis; negative ones are left out.",
        _end_to_end,
        "seconds",
    ),
    Row("marketdata_clock_skew", "counter", "Stages that came out negative.", _skews),
    Row(
        "marketdata_clock_skew_seconds",
        "gauge",
        "How far the later clock of a stage is behind the earlier one, at least.",
        _offsets,
        "seconds",
    ),
    Row(
        "marketdata_catch_up_batches",
        "counter",
        "Batches that were old when they were read, or replayed; kept out of latencies, intervals and states.",
        counter(lambda feed: feed.health.latency.catch_up),
    ),
    Row(
        "marketdata_feed_last_price_change_timestamp_seconds",
        "gauge",
        "When any price was last another than before, or a newer trade came, Unix time.",
        stamp(lambda feed: feed.health.quality.last_price_change_ms),
        "seconds",
    ),
    Row("marketdata_feed_symbols", "gauge", "Symbols by status.", _symbols),
    Row(
        "marketdata_feed_symbols_expected",
        "gauge",
        "Symbols that the feed should carry: configured, or learned.",
        _gauge(_expected_symbols),
    ),
    Row(
        "marketdata_symbol_messages",
        "counter",
        "Messages of a symbol since it is shown by name; __other__ has all the rest.",
        _symbol_messages,
    ),
    Row(
        "marketdata_symbol_last_seen_timestamp_seconds",
        "gauge",
        "When a symbol that is shown by name was last in a batch, Unix time.",
        _symbols_seen,
        "seconds",
    ),
    Row(
        "marketdata_feed_price_divergence_ratio",
        "gauge",
        "Prices beside the median of all feeds, less 1: the median over the pairs of the feed.",
        _gauge(_typical_divergence),
        "ratio",
    ),
    Row(
        "marketdata_feed_price_divergence_max_ratio",
        "gauge",
        "Prices beside the median of all feeds, less 1: that of the pair which is farthest off.",
        _gauge(_widest_divergence),
        "ratio",
    ),
    Row(
        "marketdata_feed_stale_threshold_seconds",
        "gauge",
        "How long the feed may be silent.",
        _gauge(lambda feed: feed.health.freshness.silent_limit_ms / 1000),
        "seconds",
    ),
    Row(
        "marketdata_feed_expected", "gauge", "1 while the feed should send, 0 while its silence is planned.", _expected
    ),
    Row("marketdata_feed_state", "gauge", "1 for the state of the feed.", _states),
)
