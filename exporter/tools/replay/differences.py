"""What another configuration would have found in the same records: states, alerts and counts that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from exporter.feeds.states import FeedState, Transition
from exporter.model import FeedKey
from exporter.runtime.foreign_text import printable
from exporter.tools.replay.alerts import Firing, History, firing
from exporter.tools.replay.analysis import Analysis
from exporter.tools.replay.report import NAME_MAX, REASON_MAX, Document

_COUNTS = ("batches", "messages", "anomalies")


def differences(was: Analysis, would: Analysis, configuration: str) -> Document:
    """Return what would have been other with the second analysis, that of the named configuration."""
    end_ms = was.now_ms
    keys = sorted({*was.timelines, *would.timelines})
    states = [
        {"feed": printable(str(key), NAME_MAX), **each}
        for key in keys
        for each in _states(was.timelines.get(key, []), would.timelines.get(key, []), end_ms)
    ]
    fired, would_fire = (set(firing(_histories(each), end_ms)) for each in (was, would))
    return {
        "configuration": configuration,
        "states": sorted(states, key=lambda each: (each["from_ms"], each["feed"])),
        "alerts_no_more": _alerts(fired - would_fire),
        "alerts_new": _alerts(would_fire - fired),
        "counts": [each for key in sorted({*was.feeds, *would.feeds}) for each in _counts(was, would, key)],
    }


def _histories(analysis: Analysis) -> Mapping[FeedKey, History]:
    found = {key: History(timeline, 0) for key, timeline in analysis.timelines.items()}
    for key, feed in analysis.feeds.items():
        if key in found or feed.health.is_expected:
            awaited_ms = analysis.from_ms if feed.health.is_expected else None
            found[key] = History(analysis.timelines.get(key, ()), feed.began_ms, awaited_ms)
    return found


def _states(was: Sequence[Transition], would: Sequence[Transition], end_ms: int) -> Iterator[Document]:
    """Yield the times in which the state differs, each with both states and the reasons of the second."""
    moments = sorted({each.since_ms for each in (*was, *would)})
    for from_ms, to_ms in pairwise([*moments, end_ms]):
        before, after = _at(was, from_ms), _at(would, from_ms)
        states = [None if each is None else each.diagnosis.state for each in (before, after)]
        if states[0] is not states[1] and from_ms < to_ms:
            reasons = () if after is None else after.diagnosis.reasons
            yield {
                "from_ms": from_ms,
                "to_ms": to_ms,
                "was": _word(states[0]),
                "would_be": _word(states[1]),
                "reasons": [printable(reason, REASON_MAX) for reason in reasons],
            }


def _word(state: FeedState | None) -> str | None:
    return None if state is None else state.value


def _at(timeline: Sequence[Transition], now_ms: int) -> Transition | None:
    """Return the last of the transitions up to a moment."""
    return next((each for each in reversed(timeline) if each.since_ms <= now_ms), None)


def _alerts(some: set[Firing]) -> list[Document]:
    ordered = sorted(some, key=lambda each: (each.from_ms, each.alert, each.about))
    return [{**each._asdict(), "about": printable(each.about, NAME_MAX)} for each in ordered]


def _counts(was: Analysis, would: Analysis, key: FeedKey) -> Iterator[Document]:
    both = [_figures(each, key) for each in (was, would)]
    for name, before, after in zip(_COUNTS, *both, strict=True):
        if before != after:
            yield {"feed": printable(str(key), NAME_MAX), "count": name, "was": before, "would_be": after}


def _figures(analysis: Analysis, key: FeedKey) -> tuple[int, int, int]:
    if (feed := analysis.feeds.get(key)) is None:
        return 0, 0, 0
    return feed.batches, feed.messages, sum(feed.anomalies.values())
