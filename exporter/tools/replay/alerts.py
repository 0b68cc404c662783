"""The alerts that follow from the states of feeds, by the rules that are shipped in `grafana/rules/feeds.yml`. Pure.

Rules are evaluated at every moment here, by Prometheus every 15 s or so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from exporter.feeds.states import FeedState, Transition
from exporter.model import FeedKey

EVERYTHING, TOPIC, FEED = "MarketdataEverythingSilent", "MarketdataTopicSilent", "MarketdataFeedSilent"
MISSING = "MarketdataFeedMissing"
BY_STATE = {
    FeedState.REJECTED: "MarketdataFeedRejected",
    FeedState.FROZEN: "MarketdataFeedFrozen",
    FeedState.DELAYED: "MarketdataFeedDelayed",
    FeedState.PARTIAL: "MarketdataFeedPartial",
}
# How long the condition of an alert must hold before it fires, in milliseconds.
FOR_MS = {EVERYTHING: 30_000, TOPIC: 30_000, FEED: 60_000, MISSING: 600_000} | dict.fromkeys(BY_STATE.values(), 0)

# A time from a moment to before another one, in Unix milliseconds.
Interval = tuple[int, int]
Group = tuple[str, str]


class History(NamedTuple):
    """The states of a feed, and when its first batch came in Unix milliseconds (0: never).

    `awaited_ms` is when a feed that must exist was waited for first; None: it need not.
    """

    transitions: Sequence[Transition]
    began_ms: int
    awaited_ms: int | None = None


class Firing(NamedTuple):
    """An alert that fired, what it is about, and from when to when in Unix milliseconds."""

    alert: str
    about: str
    from_ms: int
    to_ms: int


def firing(histories: Mapping[FeedKey, History], end_ms: int) -> list[Firing]:
    """Return the alerts in the order of time; one that fires at the end lasts until then."""
    found: list[Firing] = []
    silent: dict[FeedKey, list[Interval]] = {}
    shown: dict[FeedKey, list[Interval]] = {}
    for key, history in histories.items():
        silent[key], shown[key] = [], []
        found += _firing(MISSING, str(key), _missing(history, end_ms))
        for state, interval in _states(history, end_ms):
            is_seen = 0 < history.began_ms < interval[1]
            if is_seen or state in (FeedState.SILENT, FeedState.REJECTED):
                shown[key].append(interval)
            if state is FeedState.SILENT:
                silent[key].append(interval)
            elif alert := BY_STATE.get(state):
                found += _firing(alert, str(key), [interval])
    everywhere, topics = _all_silent(silent, shown)
    found += _firing(EVERYTHING, "", everywhere)
    for (region, request_type), intervals in topics.items():
        found += _firing(TOPIC, f"{region}:*:{request_type}", without(intervals, everywhere))
    for key, intervals in silent.items():
        seen = without(intervals, [(0, histories[key].began_ms or end_ms)])
        found += _firing(FEED, str(key), without(without(seen, topics[_group(key)]), everywhere))
    return sorted(found, key=lambda each: (each.from_ms, each.alert, each.about))


def _group(key: FeedKey) -> Group:
    return key.region, key.request_type


def _states(history: History, end_ms: int) -> Iterator[tuple[FeedState, Interval]]:
    moments = [(each.since_ms, each.diagnosis.state) for each in history.transitions]
    for (since_ms, state), (until_ms, _) in pairwise([*moments, (end_ms, FeedState.UNKNOWN)]):
        yield state, (since_ms, until_ms)


def _missing(history: History, end_ms: int) -> list[Interval]:
    """Return when the feed was missing: it must exist, never had a batch, and no plan or rejection explains it."""
    if history.awaited_ms is None:
        return []
    explained = (FeedState.MAINTENANCE, FeedState.REJECTED)
    taken = [interval for state, interval in _states(history, end_ms) if state in explained]
    return without([(history.awaited_ms, history.began_ms or end_ms)], taken)


def _firing(alert: str, about: str, intervals: Iterable[Interval]) -> Iterator[Firing]:
    for from_ms, to_ms in intervals:
        if from_ms + FOR_MS[alert] < to_ms:
            yield Firing(alert, about, from_ms + FOR_MS[alert], to_ms)


class _Silence:
    """How many feeds are shown and how many of them are silent, and the times in which all are."""

    def __init__(self) -> None:
        self.shown = self.silent = 0
        self.intervals: list[Interval] = []
        self._since_ms: int | None = None

    def note(self, now_ms: int, *, is_enough: bool) -> None:
        """Begin or end a time in which all feeds are silent and there are enough of them."""
        is_all = is_enough and 0 < self.shown == self.silent
        if is_all and self._since_ms is None:
            self._since_ms = now_ms
        elif not is_all and self._since_ms is not None:
            self.intervals.append((self._since_ms, now_ms))
            self._since_ms = None


def _all_silent(
    silent: Mapping[FeedKey, Iterable[Interval]], shown: Mapping[FeedKey, Iterable[Interval]]
) -> tuple[list[Interval], dict[Group, list[Interval]]]:
    """Return when all feeds were silent, of all topics and of each."""
    changes: dict[int, list[tuple[Group, int, int]]] = defaultdict(list)
    for key in shown:
        for from_ms, to_ms in shown[key]:
            changes[from_ms].append((_group(key), 1, 0))
            changes[to_ms].append((_group(key), -1, 0))
        for from_ms, to_ms in silent[key]:
            changes[from_ms].append((_group(key), 0, 1))
            changes[to_ms].append((_group(key), 0, -1))
    everywhere, topics = _Silence(), {_group(key): _Silence() for key in shown}
    present = 0
    for now_ms in sorted(changes):
        touched = set()
        for group, more_shown, more_silent in changes[now_ms]:
            topic = topics[group]
            present -= topic.shown > 0
            for each in (topic, everywhere):
                each.shown += more_shown
                each.silent += more_silent
            present += topic.shown > 0
            touched.add(group)
        for group in touched:
            topics[group].note(now_ms, is_enough=topics[group].shown > 1)
        everywhere.note(now_ms, is_enough=present > 1)
    return everywhere.intervals, {group: topic.intervals for group, topic in topics.items()}


def without(intervals: Iterable[Interval], taken: Sequence[Interval]) -> list[Interval]:
    """Return the intervals without the parts that others, in the order of time, take."""
    found: list[Interval] = []
    for from_ms, to_ms in intervals:
        for start_ms, end_ms in taken:
            if start_ms >= to_ms or end_ms <= from_ms:
                continue
            if from_ms < start_ms:
                found.append((from_ms, start_ms))
            from_ms = min(to_ms, end_ms)
        if from_ms < to_ms:
            found.append((from_ms, to_ms))
    return found
