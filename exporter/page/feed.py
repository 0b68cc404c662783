"""The view of one feed, for JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from exporter.analyzers.thresholds import LEARNED_INTERVALS, LEARNED_MS, Learning
from exporter.feeds.feed import Feed
from exporter.feeds.health import FeedHealth
from exporter.feeds.states import Transition
from exporter.instrument.families import RowTexts, approximated
from exporter.instrument.quantiles import quantile
from exporter.metrics.feed_metrics import FEED_PARTS, feed_texts
from exporter.page.problems import anomalies_of, meanings
from exporter.page.rows import COLUMNS, RATES, REASON_MAX, feed_values, with_rates
from exporter.runtime.fair_lock import ReadAccess
from exporter.runtime.foreign_text import printable

# Stands for the labels of the feed in the lines of its metrics.
_FEED = "F"
_LINE = re.compile(r'([a-z_]+)\{F((?:,[a-z_]+="(?:[^"\\]|\\.)*")*)\} (\S+)')
_LABEL = re.compile(r',([a-z_]+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# The page draws histograms of any kind alike.
_PARTS = tuple(part._replace(rows=tuple(map(approximated, part.rows))) for part in FEED_PARTS)

Labels = tuple[tuple[str, str], ...]
Shown = dict[str, object]


def feed_view(feed: Feed, access: ReadAccess) -> Shown:
    """Return all that the page shows of a feed but its history and symbols; `access` is needed to read it."""
    with access:
        view, texts = _read(feed), feed_texts(_PARTS, _FEED, feed)
    return {**view, **_metrics(texts)}


def _read(feed: Feed) -> Shown:
    health = feed.health
    return {
        "name": str(feed.key),
        **feed.key._asdict(),
        "columns": COLUMNS[: -len(RATES)],
        "row": with_rates(feed_values(feed), ()),
        "partitions": [str(partition) for partition in sorted(feed.partitions)],
        "is_expected": health.is_expected,
        "planned": None if health.plan.reason is None else printable(health.plan.reason, REASON_MAX),
        "transitions": _transitions(health) if feed.has_state else [],
        "thresholds": thresholds(health, owned=bool(feed.partitions)),
        "symbols": _symbols(feed),
        "anomalies": _anomalies(feed),
    }


def _transitions(health: FeedHealth) -> list[Shown]:
    """Return the last states; the reasons of the present one are those of now."""
    *past, (since_ms, _) = health.tracker.transitions
    present = Transition(since_ms, health.diagnosis)
    ends = [(each, after.since_ms) for each, after in pairwise((*past, present))]
    return [_transition(each, until_ms) for each, until_ms in (*ends, (present, None))]


def _transition(found: Transition, until_ms: int | None) -> Shown:
    state, reasons, scope = found.diagnosis
    texts = [printable(reason, REASON_MAX) for reason in reasons]
    return {"state": state, "since_ms": found.since_ms, "until_ms": until_ms, "scope": scope, "reasons": texts}


def thresholds(health: FeedHealth, *, owned: bool) -> Shown:
    """Return the limits of a feed, and what they were learned from; times are seconds, None is not evaluated."""
    freshness, activity = health.freshness, health.price_activity
    symbols = health.symbols if owned else None
    delayed_ms = freshness.delayed_limit_ms
    return {
        "silent": _learned(freshness.learning, freshness.silent_limit_ms),
        "frozen": _learned(activity.learning, activity.limit_ms),
        "delayed": {"limit_seconds": _seconds(delayed_ms), "pace_seconds": _seconds(freshness.pace_ms)},
        "partial": {
            "coverage": health.rule.coverage,
            "active": symbols and symbols.active,
            "expected": symbols and symbols.expected,
        },
    }


def _learned(learning: Learning, limit_ms: int | None) -> Shown:
    fixed_ms, factor, floor_ms, ceiling_ms = learning.policy
    is_learned = learning.usual_ms is not None
    return {
        "limit_seconds": _seconds(limit_ms),
        "origin": "configured" if fixed_ms is not None else "learned" if is_learned else "not_learned",
        "factor": factor,
        "minimum_seconds": _seconds(floor_ms),
        "maximum_seconds": _seconds(ceiling_ms),
        "interval_seconds": _seconds(learning.upper_ms),
        "usual_seconds": _seconds(learning.usual_ms),
        "intervals": learning.intervals,
        "observed_seconds": _seconds(learning.covered_ms),
        "needed_intervals": LEARNED_INTERVALS,
        "needed_seconds": LEARNED_MS / 1000,
        "is_doubled": learning.is_doubled,
    }


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _symbols(feed: Feed) -> Shown:
    counts = feed.health.symbols if feed.partitions else None
    more = {} if counts is None else counts._asdict()
    return {"known": feed.symbol_count, **more}


def _anomalies(feed: Feed) -> list[Shown]:
    texts = meanings()
    found = sorted(anomalies_of(feed), key=lambda each: each[:3], reverse=True)
    return [{**entry, "meaning": texts.get(kind, "")} for _, _, kind, entry in found]


# The metrics of the feed, from the lines that a scrape gets.


def _metrics(found: RowTexts) -> Shown:
    """Return the histograms of a feed, and its counters and gauges."""
    rows = [row for part in FEED_PARTS for row in part.rows]
    histograms: list[Shown] = []
    figures: list[Shown] = []
    for row, block in zip(rows, found.blocks, strict=True):
        texts = {"name": row.name, "kind": row.kind, "help": row.help, "unit": row.unit}
        if row.kind == "histogram":
            histograms += ({**texts, **histogram} for histogram in _histograms(block))
        else:
            figures += ({**texts, "labels": dict(labels), "value": value} for _, labels, value in _samples(block))
    return {"histograms": histograms, "figures": figures}


def _samples(block: str) -> Iterator[tuple[str, Labels, float]]:
    for line in block.splitlines():
        if found := _LINE.fullmatch(line):
            labels = tuple((name, _ESCAPED.sub(_unescaped, value)) for name, value in _LABEL.findall(found[2]))
            yield found[1], labels, float(found[3])


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _histograms(block: str) -> Iterator[Shown]:
    """Yield the histograms in the lines of one row, one for each set of labels."""
    buckets: dict[Labels, dict[str, int]] = {}
    sums: dict[Labels, float] = {}
    for name, labels, value in _samples(block):
        if name.endswith("_bucket"):
            *rest, (_, bound) = labels
            buckets.setdefault(tuple(rest), {})[bound] = int(value)
        elif name.endswith("_sum"):
            sums[labels] = value
    for labels, cumulative in buckets.items():
        bounds = [float(bound) for bound in list(cumulative)[:-1]]
        counts = [after - before for before, after in pairwise((0, *cumulative.values()))]
        quantiles = {name: quantile(q, bounds, counts) for name, q in QUANTILES.items()}
        shown = {"labels": dict(labels), "bounds": bounds, "counts": counts, "sum": sums[labels], "count": sum(counts)}
        yield {**shown, **quantiles}
