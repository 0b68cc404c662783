"""The text of a replay."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from exporter.events.encoding import utc_text
from exporter.tools.columns import NONE, Line, duration, table
from exporter.tools.replay.report import Document

_TOPICS: Line = ("TOPIC", "RECORDS", "REJECTED", "FILTERED")
_FEEDS: Line = (
    "FEED",
    "BATCHES",
    "MESSAGES",
    "SYMBOLS",
    "ANOMALIES",
    "SILENT AFTER",
    "FROZEN AFTER",
    "NOT OK",
    "STATE",
)
_STATES: Line = ("FROM", "FOR", "STATE", "FEED", "REASON")
_LATENCIES: Line = ("LATENCY", "STAGE", "BATCHES", "MEAN", "P50", "P95", "P99", "NEGATIVE")
_ANOMALIES: Line = ("ANOMALY", "FEED", "TIMES", "PLACES")
_REJECTIONS: Line = ("REJECTED", "LAST", "TIMES", "FEED", "PLACE", "DETAIL")
_OTHER_STATES: Line = ("WOULD BE OTHER FROM", "FOR", "FEED", "WAS", "WOULD BE", "REASON")
_OTHER_ALERTS: Line = ("ALERT", "WOULD", "FROM", "FOR", "ABOUT")
_OTHER_COUNTS: Line = ("FEED", "COUNT", "WAS", "WOULD BE")
_SHOWN_PLACES = 3
_FINE = ("ok", "maintenance")


def as_text(shown: Document) -> str:
    """Return the text of a document: counts, then states in the order of time, then what was found wrong."""
    lines = list(headlines(shown))
    for section in sections(shown):
        lines += ["", *table(section)]
    return "\n".join(lines)


def sections(shown: Document) -> Iterator[list[Line]]:
    """Yield the tables that have rows, each with its head."""
    parts = (
        (_TOPICS, _topics),
        (_FEEDS, _feeds),
        (_STATES, _states),
        (_LATENCIES, _latencies),
        (_ANOMALIES, _anomalies),
        (_REJECTIONS, _rejections),
        (_OTHER_STATES, _other_states),
        (_OTHER_ALERTS, _other_alerts),
        (_OTHER_COUNTS, _other_counts),
    )
    for head, rows in parts:
        if found := list(rows(shown)):
            yield [head, *found]


def headlines(shown: Document) -> Iterator[str]:
    """Yield what was read, and what was left out."""
    if shown["from_ms"] is None:
        yield f"{shown['source']}: no record"
        return
    seconds, records = shown["seconds"], shown["records"]
    rate = f", {records / seconds:,.0f} a second" if seconds else ""
    yield f"{shown['source']}  {moment(shown['from_ms'])} to {moment(shown['to_ms'])}"
    yield f"{records:,} records of {duration(shown['to_ms'] - shown['from_ms'])} in {seconds:,.1f} s{rate}"
    if shown["damage"]:
        yield f"the rest cannot be read: {shown['damage']}"
    for gap in shown["gaps"]:
        yield f"no record from {moment(gap['from_ms'])} to {moment(gap['to_ms'])}: not evaluated"
    if other := shown.get("what_if"):
        kinds = "states", "alerts_no_more", "alerts_new", "counts"
        is_same = not any(other[kind] for kind in kinds)
        yield f"with {other['configuration']} " + (
            "all would be the same" if is_same else "some would be other, see below"
        )
    if shown["transitions_not_kept"]:
        yield f"{shown['transitions_not_kept']:,} more changes of states are not listed"


def moment(milliseconds: int | None) -> str:
    """Return a time in UTC to the second."""
    return NONE if milliseconds is None else f"{utc_text(milliseconds)[:19]}Z"


def _topics(shown: Document) -> Iterator[Line]:
    for topic in shown["topics"]:
        rejected = sum(topic["rejected"].values())
        yield topic["topic"], f"{topic['records']:,}", f"{rejected:,}", f"{topic['filtered']:,}"


def _feeds(shown: Document) -> Iterator[Line]:
    for feed in shown["feeds"]:
        not_ok = sum(seconds for state, seconds in feed["seconds_in"].items() if state not in _FINE)
        state = feed["timeline"][-1]["state"] if feed["timeline"] else NONE
        counts = [f"{feed[name]:,}" if name in feed else NONE for name in ("batches", "messages", "symbols")]
        anomalies = sum(each["count"] for each in feed.get("anomalies", ()))
        limits = [_limit(feed, name) for name in ("silent", "frozen")]
        yield (feed["feed"], *counts, f"{anomalies:,}", *limits, duration(round(not_ok * 1000)), state)


def _limit(feed: Document, name: str) -> str:
    limit = feed.get("thresholds", {}).get(name, {})
    seconds = limit.get("limit_seconds")
    if seconds is None:
        return NONE
    return f"{seconds:,.1f}s" + ("" if limit["origin"] == "configured" else f" ({limit['origin'].replace('_', ' ')})")


def _states(shown: Document) -> Iterator[Line]:
    """Yield the states of all feeds in the order of time."""
    found: list[tuple[int, str, Line]] = []
    for feed in shown["feeds"]:
        for entered, until_ms in with_ends(feed["timeline"], shown["to_ms"]):
            state, at_ms = entered["state"], entered["at_ms"]
            scope = "" if entered["scope"] == "feed" else f" ({entered['scope']})"
            reason = "; ".join(entered["reasons"])
            line: Line = moment(at_ms), duration(until_ms - at_ms), state + scope, feed["feed"], reason
            found.append((at_ms, feed["feed"], line))
    for _, _, line in sorted(found, key=lambda each: each[:2]):
        yield line


def with_ends(timeline: list[Document], end_ms: int) -> Iterator[tuple[Document, int]]:
    """Yield the states of a feed, each with the Unix milliseconds of its end."""
    for entered, after in pairwise([*timeline, {"at_ms": end_ms}]):
        yield entered, after["at_ms"]


def _latencies(shown: Document) -> Iterator[Line]:
    for feed in shown["feeds"]:
        for stage, found in feed.get("latencies", {}).items():
            figures = [_milliseconds(found[name]) for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms")]
            yield feed["feed"], stage, f"{found['count']:,}", *figures, f"{found['skewed']:,}"


def _milliseconds(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} ms"


def _anomalies(shown: Document) -> Iterator[Line]:
    for feed in shown["feeds"]:
        for each in feed.get("anomalies", ()):
            places = [place["place"] for place in each["places"][:_SHOWN_PLACES]]
            more = " ..." if each["count"] > len(places) else ""
            yield each["kind"], feed["feed"], f"{each['count']:,}", " ".join(places) + more


def _rejections(shown: Document) -> Iterator[Line]:
    for each in shown["rejections"]:
        last = moment(each["at_ms"])
        yield each["reason"], last, f"{each['count']:,}", each["feed"] or NONE, each["place"], each["detail"]


def _other_states(shown: Document) -> Iterator[Line]:
    for each in shown.get("what_if", {}).get("states", ()):
        since, lasts = moment(each["from_ms"]), duration(each["to_ms"] - each["from_ms"])
        yield since, lasts, each["feed"], each["was"] or NONE, each["would_be"] or NONE, "; ".join(each["reasons"])


def _other_alerts(shown: Document) -> Iterator[Line]:
    other = shown.get("what_if", {})
    for kind, word in (("alerts_no_more", "not fire"), ("alerts_new", "fire")):
        for each in other.get(kind, ()):
            lasts = duration(each["to_ms"] - each["from_ms"])
            yield each["alert"], word, moment(each["from_ms"]), lasts, each["about"]


def _other_counts(shown: Document) -> Iterator[Line]:
    for each in shown.get("what_if", {}).get("counts", ()):
        yield each["feed"], each["count"], f"{each['was']:,}", f"{each['would_be']:,}"
