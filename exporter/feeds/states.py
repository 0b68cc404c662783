"""The state of a feed: one pure function of its inputs, and a tracker with hysteresis over time.

| state | when | what to look at |
|---|---|---|
| maintenance | the calendar allows the feed to be silent | nothing |
| sidecar_stalled | a broker answers, a partition grows and is not read: for 30 s, for 5 s if overdue | this sidecar |
| silent | nothing was sent for longer than the limit; `scope`: by this feed, on this topic, anywhere | the collector |
| rejected | it sends, but for longer than the limit all its records were rejected | the collector's format |
| frozen | it sends, but for longer than the limit no price has changed and there was no trade | the exchange |
| delayed | it sends, but the median interval has passed the limit, or all its batches are old | collector, network |
| partial | less than the wanted share of the expected symbols is active | subscriptions |
| unknown | the broker does not answer, the sidecar catches up or has just begun, or it never saw the feed | wait |
| ok | none of these | |

The first that holds is the state, but silence is no evidence while the feed cannot be read: then a feed that would be
silent or rejected is unknown, and while the sidecar catches up a feed that sends is ok. A worse one is entered at once,
`partial` and `delayed` after 15 s; a state is left for a better one after 60 s in which it did not hold, `unknown` and
`maintenance` at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

STALLED_MS = 30_000
# A high watermark that is a little ahead of the position is no stall.
STALLED_OVERDUE_MS = 5_000
# After a time in which nothing could be read, the records of that time arrive within this time.
GRACE_MS = 15_000
PATIENCE_MS = 15_000
CALM_MS = 60_000
# Transitions that are kept of each feed.
TRANSITIONS_KEPT = 32


class FeedState(StrEnum):
    """The state of a feed; a closed set."""

    OK = "ok"
    DELAYED = "delayed"
    SILENT = "silent"
    FROZEN = "frozen"
    REJECTED = "rejected"
    PARTIAL = "partial"
    SIDECAR_STALLED = "sidecar_stalled"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"


class Scope(StrEnum):
    """The extent of a silence."""

    FEED = "feed"
    TOPIC = "topic"
    ALL = "all"


class Diagnosis(NamedTuple):
    """A state, the reasons for it, and its extent."""

    state: FeedState
    reasons: tuple[str, ...] = ()
    scope: Scope = Scope.FEED


class Transition(NamedTuple):
    """The diagnosis with which a state was entered, and when, in Unix milliseconds."""

    since_ms: int
    diagnosis: Diagnosis


class Silence(NamedTuple):
    """The topics on which all feeds are overdue, and whether these are all topics."""

    topics: frozenset[str] = frozenset()
    is_everywhere: bool = False

    def scope(self, topic: str) -> Scope:
        """Return the extent of the silence of a feed on the topic."""
        if self.is_everywhere:
            return Scope.ALL
        return Scope.TOPIC if topic in self.topics else Scope.FEED


class HealthInputs(NamedTuple):
    """All that decides the state of a feed. Times are Unix milliseconds by the local clock, 0 is never or unknown.

    `last_sent_ms`: when the feed is known to have sent. `last_arrival_ms`: when a batch was last read, however old.
    `expected_since_ms`: when it was last allowed to be silent by the calendar, whose present reason is `planned`.
    `silent_limit_ms`, `delayed_limit_ms`, `frozen_limit_ms`: limits on silence, `pace_ms` and resting prices; None:
    not evaluated. `symbols_active` of `symbols_expected` (0: not evaluated) should be a `coverage` or more.
    `stalled_since_ms`: since when a partition of the feed has records that are not read.
    `is_expected`: by configuration, and if it were anywhere, it would be here. `silence`: the extent of a silence.
    `listening_since_ms`: since when records are read as they arrive, according to the tracker.
    `rejected`: what was rejected of the feed within `silent_limit_ms`, in words; empty when nothing was.
    """

    silent_limit_ms: int
    last_sent_ms: int = 0
    last_arrival_ms: int = 0
    expected_since_ms: int = 0
    planned: str | None = None
    pace_ms: int | None = None
    delayed_limit_ms: int | None = None
    last_change_ms: int = 0
    frozen_limit_ms: int | None = None
    symbols_active: int = 0
    symbols_expected: int = 0
    coverage: float = 0.0
    stalled_since_ms: int = 0
    is_catching_up: bool = False
    is_reachable: bool = True
    is_expected: bool = False
    silence: Scope = Scope.FEED
    listening_since_ms: int = 0
    rejected: str = ""

    def is_not_reading(self, now_ms: int) -> bool:
        """Return whether records that arrive now are not read."""
        return not self.is_reachable or self.is_catching_up or self.is_stalled(now_ms, STALLED_OVERDUE_MS)

    def is_stalled(self, now_ms: int, for_ms: int) -> bool:
        """Return whether a partition has had unread records for `for_ms`."""
        return 0 < self.stalled_since_ms <= now_ms - for_ms


_OK = Diagnosis(FeedState.OK)
_NO_BATCH = Diagnosis(FeedState.UNKNOWN, ("no batch yet",))


def survey(feeds: Iterable[tuple[str, bool]]) -> Silence:
    """Return the topics that are silent, from the topic of each feed and whether it is overdue.

    Feeds that may be silent are left out. One feed alone is not a topic, nor is one topic everything.
    """
    total: dict[str, int] = {}
    overdue: dict[str, int] = {}
    for topic, is_overdue in feeds:
        total[topic] = total.get(topic, 0) + 1
        overdue[topic] = overdue.get(topic, 0) + is_overdue
    silent = [topic for topic, count in total.items() if overdue[topic] == count]
    return Silence(frozenset(topic for topic in silent if total[topic] > 1), len(silent) == len(total) > 1)


def diagnose(inputs: HealthInputs, now_ms: int) -> Diagnosis:
    """Return the diagnosis of a feed. Time alone never makes a feed better."""
    if inputs.planned is not None:
        return Diagnosis(FeedState.MAINTENANCE, (inputs.planned,))
    quiet_ms = now_ms - max(inputs.last_sent_ms, inputs.expected_since_ms)
    is_overdue = inputs.last_sent_ms == 0 or quiet_ms > inputs.silent_limit_ms
    # Without a broker nothing can be read, and events that cannot be published either pause reading after a while.
    if inputs.is_reachable and inputs.is_stalled(now_ms, STALLED_OVERDUE_MS if is_overdue else STALLED_MS):
        standing = _for(now_ms - inputs.stalled_since_ms)
        return Diagnosis(FeedState.SIDECAR_STALLED, (f"the partition grows, the sidecar has not advanced {standing}",))
    if is_overdue:
        return _overdue(inputs, now_ms, quiet_ms)
    return _OK if inputs.is_catching_up else _sending(inputs)


def _overdue(inputs: HealthInputs, now_ms: int, quiet_ms: int) -> Diagnosis:
    """Distinguish a feed that does not send from one that cannot be read."""
    if not inputs.is_reachable:
        return Diagnosis(FeedState.UNKNOWN, ("the broker does not answer",), Scope.ALL)
    if inputs.is_catching_up:
        return Diagnosis(FeedState.UNKNOWN, ("the sidecar is catching up",))
    listening_ms = now_ms - inputs.listening_since_ms
    if listening_ms < GRACE_MS:
        return Diagnosis(FeedState.UNKNOWN, ("the sidecar has just begun to listen",))
    if inputs.last_sent_ms:
        return _silent(inputs, now_ms, quiet_ms)
    if inputs.rejected:
        return Diagnosis(FeedState.REJECTED, (f"no valid batch yet, {inputs.rejected}",))
    expected_ms = min(listening_ms, now_ms - inputs.expected_since_ms)
    if inputs.is_expected and expected_ms > inputs.silent_limit_ms:
        return Diagnosis(FeedState.SILENT, (f"expected, but without a batch {_for(expected_ms)}",), inputs.silence)
    return _NO_BATCH


def _silent(inputs: HealthInputs, now_ms: int, quiet_ms: int) -> Diagnosis:
    if now_ms - inputs.last_arrival_ms <= inputs.silent_limit_ms:
        return Diagnosis(FeedState.DELAYED, (f"all batches are old, nothing newer {_for(quiet_ms)}",))
    if inputs.rejected:
        return Diagnosis(FeedState.REJECTED, (f"no valid batch {_for(quiet_ms)}, {inputs.rejected}",))
    reason = f"no batch {_for(quiet_ms)}, the limit is {_seconds(inputs.silent_limit_ms)}"
    return Diagnosis(FeedState.SILENT, (reason,), inputs.silence)


def _sending(inputs: HealthInputs) -> Diagnosis:
    """Return the diagnosis of a feed that sends, by what was known at its last batch."""
    resting_ms = inputs.last_sent_ms - max(inputs.last_change_ms, inputs.expected_since_ms)
    limit_ms = inputs.frozen_limit_ms
    if limit_ms is not None and inputs.last_change_ms and resting_ms > limit_ms:
        reason = f"it sends, but no price has changed {_for(resting_ms)}, the limit is {_seconds(limit_ms)}"
        return Diagnosis(FeedState.FROZEN, (reason,))
    if inputs.pace_ms is not None and inputs.delayed_limit_ms is not None and inputs.pace_ms > inputs.delayed_limit_ms:
        reason = f"a batch every {_seconds(inputs.pace_ms)}, the limit is {_seconds(inputs.delayed_limit_ms)}"
        return Diagnosis(FeedState.DELAYED, (reason,))
    if inputs.symbols_active < inputs.coverage * inputs.symbols_expected:
        reason = f"{inputs.symbols_active} of {inputs.symbols_expected} expected symbols are active"
        return Diagnosis(FeedState.PARTIAL, (reason,))
    return _OK


def _for(milliseconds: int) -> str:
    return f"for {_seconds(milliseconds)}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000} s" if milliseconds >= 10_000 else f"{milliseconds / 1000:.1f} s"


# The worse a state, the higher. Maintenance has no rank: it comes and goes at once, with the calendar.
_RANK = {
    FeedState.OK: 0,
    FeedState.UNKNOWN: 1,
    FeedState.PARTIAL: 2,
    FeedState.DELAYED: 3,
    FeedState.FROZEN: 4,
    FeedState.REJECTED: 5,
    FeedState.SILENT: 6,
    FeedState.SIDECAR_STALLED: 7,
}
_PATIENCE_MS = {FeedState.PARTIAL: PATIENCE_MS, FeedState.DELAYED: PATIENCE_MS}


class StateTracker:
    """The state of one feed over time, with hysteresis: `diagnosis` holds since `since_ms`.

    `listening_since_ms` is for the next inputs. `transitions` are the last ones, that to the present state included.
    """

    __slots__ = ("_better_since_ms", "_worse_since_ms", "diagnosis", "listening_since_ms", "since_ms", "transitions")

    def __init__(self, now_ms: int) -> None:
        self.diagnosis = _NO_BATCH
        self.since_ms = now_ms
        self.transitions: tuple[Transition, ...] = (Transition(now_ms, _NO_BATCH),)
        self.listening_since_ms = now_ms
        self._better_since_ms: int | None = None
        self._worse_since_ms: int | None = None

    def step(self, inputs: HealthInputs, now_ms: int) -> Diagnosis:
        """Take the present inputs into account, once a second, and return the diagnosis that holds."""
        if inputs.is_not_reading(now_ms):
            self.listening_since_ms = now_ms
        seen = diagnose(inputs, now_ms)
        if seen.state is self.diagnosis.state:
            self._better_since_ms = self._worse_since_ms = None
            self.diagnosis = seen
        elif self._is_due(seen.state, now_ms):
            self._enter(seen, now_ms)
        elif self._better_since_ms is not None:
            reason = f"{seen.state} {_for(now_ms - self._better_since_ms)}, believed after {_seconds(CALM_MS)}"
            self.diagnosis = self.diagnosis._replace(reasons=(reason,))
        return self.diagnosis

    def set_back(self, now_ms: int) -> None:
        """Let no moment be later than now."""
        self.since_ms, self.listening_since_ms = min(self.since_ms, now_ms), min(self.listening_since_ms, now_ms)
        self.transitions = tuple(Transition(min(since_ms, now_ms), seen) for since_ms, seen in self.transitions)
        if self._better_since_ms is not None:
            self._better_since_ms = min(self._better_since_ms, now_ms)
        if self._worse_since_ms is not None:
            self._worse_since_ms = min(self._worse_since_ms, now_ms)

    def _is_due(self, state: FeedState, now_ms: int) -> bool:
        current = self.diagnosis.state
        if FeedState.MAINTENANCE in (state, current):
            return True
        if _RANK[state] > _RANK[current]:
            self._better_since_ms = None
            if self._worse_since_ms is None:
                self._worse_since_ms = now_ms
            return now_ms - self._worse_since_ms >= _PATIENCE_MS.get(state, 0)
        self._worse_since_ms = None
        if self._better_since_ms is None:
            self._better_since_ms = now_ms
        return current is FeedState.UNKNOWN or now_ms - self._better_since_ms >= CALM_MS

    def _enter(self, diagnosis: Diagnosis, now_ms: int) -> None:
        self.diagnosis = diagnosis
        self.since_ms = now_ms
        self.transitions = (*self.transitions[1 - TRANSITIONS_KEPT :], Transition(now_ms, diagnosis))
        self._better_since_ms = self._worse_since_ms = None
