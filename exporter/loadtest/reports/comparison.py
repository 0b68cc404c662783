"""Two runs compared: which differences are more than chance.

Both runs are cut into pieces of equal length (`TargetResult.slices`). If nothing had changed, it would make no
difference to exchange the pieces of the same seconds between the runs. So they are exchanged at random many times, and
a difference that is as large in very few of these cases is no chance: a paired permutation test. It assumes nothing
about how latencies are distributed, and the ramp at the start of both runs does not disturb it. As many figures are
looked at together, the limit for each is lowered (Holm-Bonferroni): of comparisons of equal runs, at most a share of
`ALPHA` has a false alarm. A difference below `EFFECT` is noise, however certain it is; one that is larger in all of
its range, but not certain, is no noise either: the runs are too short, or too uneven, for a decision.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from exporter.loadtest.reports.differences import (
    ALPHA,
    EFFECT,
    ERRORS_EFFECT,
    PIECES_MIN,
    SAME_RATE,
    Difference,
    Verdict,
)
from exporter.loadtest.reports.pieces import FIGURES, Pieces, Sums, aligned
from exporter.loadtest.results import Run, TargetResult

_EXCHANGES = 1000
_RESAMPLES = 400
# The same files give the same report.
_SEED = 17


def compare(earlier: Run, now: Run) -> list[Difference]:
    """Return the differences of all figures of targets that are in both runs.

    Figures of a stress test are those of rates that held and did not, and of as many steps as it took: there are none.
    """
    if earlier.breaking_point is not None or now.breaking_point is not None:
        return []
    pairs = [(before, after) for after in now.targets if (before := earlier.target(after.name)) is not None]
    found = [difference for pair in pairs for difference in _differences(*pair)]
    certain = _certain([difference.p for difference in found])
    return [_judged(difference, number in certain) for number, difference in enumerate(found)]


def _differences(earlier: TargetResult, now: TargetResult) -> Iterator[Difference]:
    pieces = aligned(earlier, now)
    before, after = pieces.whole()
    is_long, is_other = len(pieces) >= PIECES_MIN, _is_other(earlier, now)
    exchanged, resampled = _by_chance(pieces) if is_long else ([], [])
    for figure in FIGURES:
        values = figure.value(before), figure.value(after)
        found = Difference(now.name, figure, *values, figure.change(*values))
        if is_other and figure.is_more_better:
            yield found._replace(verdict=Verdict.OTHER)
            continue
        if is_long and found.change is not None:
            low, high = _range([figure.change(figure.value(one), figure.value(other)) for one, other in resampled])
            far = figure.distance(*values) * (1 - 1e-9)
            as_far = sum(figure.distance(figure.value(one), figure.value(other)) >= far for one, other in exchanged)
            found = found._replace(low=low, high=high, p=(as_far + 1) / (len(exchanged) + 1))
        yield found


def _is_other(earlier: TargetResult, now: TargetResult) -> bool:
    """Return whether so much more or less was wanted that throughput is that of the load, and not of the target."""
    before, after = earlier.wanted_per_second, now.wanted_per_second
    return before is not None and after is not None and abs(after - before) > SAME_RATE * max(before, after)


Both = tuple[Sums, Sums]


def _by_chance(pieces: Pieces) -> tuple[list[Both], list[Both]]:
    """Return both runs with pieces exchanged at random, and with pieces chosen at random."""
    chance, numbers = random.Random(_SEED), range(len(pieces))  # noqa: S311
    exchanged = [pieces.exchanged(chance.getrandbits(len(pieces))) for _ in range(_EXCHANGES)]
    return exchanged, [pieces.chosen(chance.choices(numbers, k=len(pieces))) for _ in range(_RESAMPLES)]


def _range(changes: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return what 95 % of the changes are within."""
    known = sorted(change for change in changes if change is not None)
    cut = len(known) // 40
    return (known[cut], known[-1 - cut]) if known else (None, None)


def _certain(found: Sequence[float | None]) -> set[int]:
    """Return the numbers of the probabilities that are no chance, if all of them are looked at together."""
    ordered = sorted((p, number) for number, p in enumerate(found) if p is not None)
    certain = set[int]()
    for rank, (p, number) in enumerate(ordered):
        if p > ALPHA / (len(ordered) - rank):
            break
        certain.add(number)
    return certain


def _judged(difference: Difference, is_certain: bool) -> Difference:
    figure, change = difference.figure, difference.change
    if difference.p is None or change is None:
        return difference
    effect = ERRORS_EFFECT if figure.is_share else EFFECT
    if not is_certain or abs(change) < effect:
        is_large = (
            difference.low is not None
            and difference.high is not None
            and (difference.low > effect or difference.high < -effect)
        )
        return difference._replace(verdict=Verdict.UNCERTAIN if is_large else Verdict.NOISE)
    is_better = (change > 0) == figure.is_more_better
    return difference._replace(verdict=Verdict.BETTER if is_better else Verdict.WORSE)
