"""The verdict: each target figure beside what was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from exporter.loadtest.results import BreakingPoint, Check, Distribution, Ended, Outcome, TargetResult
from exporter.loadtest.settings import Limits

# Exit codes.
MET, MISSED, NOT_MEASURED = 0, 1, 2

ALL = "all"
# A rate that is asked for cannot be exceeded, and the last requests are answered after the end.
_OF_WANTED = 0.95
# With fewer requests a second, one without an answer is no evidence.
_DENSE = 5.0
_NAMES = {"event": "to the committed event", "metrics": "to /metrics"}


def checks(targets: Sequence[TargetResult], limits: Limits) -> tuple[Check, ...]:
    """Return the checks of a run with these targets."""
    found = [_throughput(targets, limits.per_second)] if targets else []
    for target in targets:
        found += _latencies(target.name, "", target.latency, limits)
        found += [_errors(target, limits.errors_percent), _availability(target, limits.availability_percent)]
        places: dict[str, Distribution | None] = {**target.end_to_end, **dict.fromkeys(target.not_reached)}
        for place, latency in sorted(places.items()):
            found += _latencies(target.name, f" {_NAMES[place]}", latency, limits)
        if target.name == "kafka":
            found.append(_lost(target, limits.lost))
    return tuple(found)


def stress_checks(target: TargetResult, point: BreakingPoint, limits: Limits) -> tuple[Check, ...]:
    """Return the checks of a stress test, in which latencies and errors are to rise."""
    held = point.held_per_second
    name = f"{target.unit} that hold"
    rate = _check(ALL, name, f"≥ {limits.per_second:,.0f}/s", held, limits.per_second, "{:,.0f}/s")
    if target.name != "kafka":
        return (rate,)
    missing = [
        Check(
            target="kafka", name=_NAMES[place], wanted="measured", measured="not measured", outcome=Outcome.NOT_MEASURED
        )
        for place in target.not_reached
    ]
    return (rate, _lost(target, limits.lost), *missing)


def _throughput(targets: Sequence[TargetResult], least: float) -> Check:
    wanted = [target.wanted_per_second for target in targets]
    if None not in wanted:
        least = min(least, _OF_WANTED * sum(each or 0.0 for each in wanted))
    measured = sum(target.per_second for target in targets) if any(target.sent for target in targets) else None
    return _check(ALL, "throughput", f"≥ {least:,.4g}/s", measured, least, "{:,.1f}/s")


def _latencies(target: str, place: str, latency: Distribution | None, limits: Limits) -> Iterator[Check]:
    for name, most in (("mean", limits.mean_ms), ("p95", limits.p95_ms)):
        measured = None if latency is None else getattr(latency, name)
        yield _check(target, f"{name}{place}", f"≤ {most:,.4g} ms", measured, most, "{:,.1f} ms", is_most=True)


def _errors(target: TargetResult, most: float) -> Check:
    measured = 100 * (target.failed + target.unanswered) / target.sent if target.sent else None
    return _check(target.name, "errors", f"≤ {most:g} %", measured, most, "{:.3g} %", is_most=True)


def _availability(target: TargetResult, least: float) -> Check:
    return _check(target.name, "availability", f"≥ {least:g} %", availability(target), least, "{:.4g} %")


def availability(target: TargetResult) -> float | None:
    """Return the share of seconds in percent in which a target answered and at most half of what came were errors.

    The seconds are those from the first answer or error to the end of sending, as many at once as have `_DENSE`
    requests. None if all of them have fewer.
    """
    seconds = [each for each in target.timeline if each.at + each.seconds <= target.seconds]
    while seconds and not (seconds[0].count or seconds[0].errors):
        seconds.pop(0)
    if not seconds or not target.sent:
        return None
    size = max(1, math.ceil(_DENSE * target.seconds / target.sent / seconds[0].seconds))
    firsts = range(0, len(seconds) - size + 1, size)
    pieces = [seconds[first : first + size] for first in firsts]
    came = [(sum(each.count for each in piece), sum(each.errors for each in piece)) for piece in pieces]
    return 100 * sum(count > 0 and count >= errors for count, errors in came) / len(came) if came else None


def _lost(target: TargetResult, most: int) -> Check:
    """Return the check of messages that are not in the topic, and of those whose event is missing."""
    measured = None if target.lost is None else target.lost + (target.events_missing or 0)
    outcome = Outcome.NOT_MEASURED if measured is None else _outcome(measured <= most)
    shown = "not measured" if measured is None else f"{measured:,}"
    return Check(target=target.name, name="lost", wanted=f"≤ {most:,}", measured=shown, outcome=outcome)


def _check(
    target: str, name: str, wanted: str, measured: float | None, limit: float, text: str, *, is_most: bool = False
) -> Check:
    if measured is None:
        return Check(target=target, name=name, wanted=wanted, measured="not measured", outcome=Outcome.NOT_MEASURED)
    is_met = measured <= limit if is_most else measured >= limit
    return Check(target=target, name=name, wanted=wanted, measured=text.format(measured), outcome=_outcome(is_met))


def _outcome(is_met: bool) -> Outcome:
    return Outcome.MET if is_met else Outcome.MISSED


def exit_code(checks: Iterable[Check], ended: Ended) -> int:
    """Return 0 when all target figures are met, 1 when one is missed, 2 when one could not be measured.

    A run that ended otherwise than by its duration or Ctrl-C is not met; one without checks is not measured.
    """
    outcomes = {check.outcome for check in checks}
    if Outcome.MISSED in outcomes or ended not in (Ended.FINISHED, Ended.INTERRUPTED):
        return MISSED
    return MET if outcomes == {Outcome.MET} and ended is Ended.FINISHED else NOT_MEASURED


def missed(found: Iterable[Check]) -> list[Check]:
    """Return the checks that are not met."""
    return [check for check in found if check.outcome is not Outcome.MET]
