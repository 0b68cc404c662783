"""The state of a source of ingestion events, as one function of its inputs. Pure.

| state | when | what to look at |
|---|---|---|
| silent | nothing was sent for longer than the limit | the ingesting service |
| delayed | a round is open for longer than the limit, and none that began later is completed | its processing |
| partial | in the last round `data_count` and `total_processed` differ | the log of the service |
| unknown | the topics cannot be read, the sidecar has just begun to listen, or no round is completed yet | wait |
| ok | none of these | |

The first that holds is the state, but silence and an open round are no evidence while the topics cannot be read. The
words are those of feeds, with the same meaning.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from exporter.ingestion.view.rounds import GRACE_MS, CompletedRound, OpenRound

# A source is silent when nothing came for so many of its usual intervals, within these bounds.
SILENT_FACTOR = 3
SILENT_FLOOR_MS = 60_000
SILENT_CEILING_MS = 86_400_000
SHOWN_ID = 60


class SourceState(StrEnum):
    """The state of a source; a closed set."""

    OK = "ok"
    DELAYED = "delayed"
    SILENT = "silent"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


class SourceDiagnosis(NamedTuple):
    """A state and the reason for it; empty for ok."""

    state: SourceState
    reason: str = ""


class SourceInputs(NamedTuple):
    """All that decides the state of a source.

    `obstacle`: why the topics cannot be read now, in words. `listening_since_ms`: since when they are read as events
    arrive. `silent_limit_ms`: None while the usual interval is unknown. `overdue` is an open round, `last` the last
    completed one. Times are Unix milliseconds by the clock of the sidecar, `usual_ms` a duration.
    """

    last_event_ms: int
    listening_since_ms: int
    silent_limit_ms: int | None = None
    overdue: OpenRound | None = None
    usual_ms: int | None = None
    last: CompletedRound | None = None
    obstacle: str = ""


def silent_limit_ms(usual_interval_ms: int | None) -> int | None:
    """Return the limit on silence from the usual interval between rounds; None while that is unknown."""
    if usual_interval_ms is None:
        return None
    return min(max(SILENT_FACTOR * usual_interval_ms, SILENT_FLOOR_MS), SILENT_CEILING_MS)


def diagnose(inputs: SourceInputs, now_ms: int) -> SourceDiagnosis:
    """Return the diagnosis of a source."""
    quiet_ms = now_ms - inputs.last_event_ms
    is_quiet = inputs.silent_limit_ms is not None and quiet_ms > inputs.silent_limit_ms
    if is_quiet or inputs.overdue is not None:
        if obstacle := _obstacle(inputs, now_ms):
            return SourceDiagnosis(SourceState.UNKNOWN, obstacle)
        if is_quiet:
            return _silent(inputs, quiet_ms, now_ms)
    if inputs.overdue is not None:
        return SourceDiagnosis(SourceState.DELAYED, _overdue(inputs.overdue, inputs.usual_ms, now_ms))
    if inputs.last is None:
        return SourceDiagnosis(SourceState.UNKNOWN, inputs.obstacle or "no round is completed yet")
    if not inputs.last.is_complete:
        return SourceDiagnosis(SourceState.PARTIAL, _partial(inputs.last))
    return SourceDiagnosis(SourceState.OK)


def _obstacle(inputs: SourceInputs, now_ms: int) -> str:
    if inputs.obstacle:
        return inputs.obstacle
    overdue = inputs.overdue
    # A round that began since then shows by itself that the topics are read.
    if overdue is not None and overdue.since_ms >= inputs.listening_since_ms:
        return ""
    has_begun = now_ms - inputs.listening_since_ms < GRACE_MS
    return "the sidecar has just begun to listen" if has_begun else ""


def _silent(inputs: SourceInputs, quiet_ms: int, now_ms: int) -> SourceDiagnosis:
    reason = f"no event for {_seconds(quiet_ms)}, the limit is {_seconds(inputs.silent_limit_ms or 0)}"
    if inputs.overdue is not None:
        reason += f"; {_overdue(inputs.overdue, inputs.usual_ms, now_ms)}"
    return SourceDiagnosis(SourceState.SILENT, reason)


def _overdue(overdue: OpenRound, usual_ms: int | None, now_ms: int) -> str:
    usual = "" if usual_ms is None else f", {_seconds(usual_ms)} is usual"
    return f"round {_shown(overdue.correlation_id)} is open for {_seconds(overdue.age_ms(now_ms))}{usual}"


def _partial(last: CompletedRound) -> str:
    return f"{last.total_processed} of {last.data_count} were processed in round {_shown(last.correlation_id)}"


def _shown(correlation_id: str) -> str:
    return correlation_id if len(correlation_id) <= SHOWN_ID else f"{correlation_id[:SHOWN_ID]}…"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000} s" if milliseconds >= 10_000 else f"{milliseconds / 1000:.1f} s"
