"""The part of a report about the differences to an earlier run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.loadtest.reports import figures
from exporter.loadtest.reports.clean import clean
from exporter.loadtest.reports.differences import ALPHA, EFFECT, PIECES_MIN, Difference, Verdict
from exporter.loadtest.reports.document import Block, Bullets, Cell, Table, Text, Tone, number
from exporter.loadtest.reports.pieces import Figure
from exporter.loadtest.reports.surroundings import is_crowded, others_cores
from exporter.loadtest.results import Ended, Run
from exporter.loadtest.search import TOLERANCE

_TONES = {
    Verdict.BETTER: Tone.GOOD,
    Verdict.WORSE: Tone.BAD,
    Verdict.NOISE: Tone.PLAIN,
    Verdict.UNCERTAIN: Tone.OPEN,
    Verdict.UNKNOWN: Tone.OPEN,
    Verdict.OTHER: Tone.OPEN,
}
_HOW = (
    "How this is decided: both runs are cut into pieces of the same seconds. If nothing had changed, it would make no "
    "difference to exchange pieces between the runs. So they are exchanged at random a thousand times, and a "
    "difference is real if hardly any exchange gives one as large: of comparisons of equal runs, at most "
    f"{100 * ALPHA:.0f} % raise a false alarm, with all figures together. A difference below {100 * EFFECT:.0f} % is "
    "called noise in any case. The range is where the change is with a probability of 95 %: what is not seen may be as "
    "large."
)
_ONCE = (
    "Each run is one: what was different on the machine at that time is in the difference, too. Repeat the earlier run "
    "to separate a change of the software from one of its surroundings."
)
# Of a processor core: more of it, and programs beside the test slow it down noticeably.
_OTHERS_CORES = 0.25
# These may differ between runs of one kind.
_OWN_SETTINGS = {"topic", "event_topic", "report_folder"}


def comparison(run: Run, earlier: Run | None, differences: Sequence[Difference]) -> Iterator[Block]:
    """Yield the part of a report about an earlier run; nothing without one."""
    if earlier is None:
        return
    is_stress = run.breaking_point is not None or earlier.breaking_point is not None
    yield Text(*(_moved(run, earlier) if is_stress else _conclusion(differences)))
    yield Bullets(
        [f"The earlier run: {figures.moment(earlier.started_ms)}, {clean(earlier.profile)}.", *_context(run, earlier)]
    )
    rows = [_row(one) for one in differences if one.now is not None or one.earlier is not None]
    if rows:
        yield Table("Figures of both runs", ("Figure", "Earlier", "Now", "Change", "Range", "Verdict"), rows)
    if any(one.verdict is Verdict.UNKNOWN for one in differences):
        yield Text(f"Too little data: fewer than {PIECES_MIN} pieces of both runs have the same length.", Tone.OPEN)
    yield from _breaking_points(run, earlier)
    if not is_stress:
        yield Text(_HOW)
    yield Text(_ONCE)


def _conclusion(differences: Sequence[Difference]) -> tuple[str, Tone]:
    worse, better, uncertain = (
        ", ".join(f"{one.target} {one.figure.name}" for one in differences if one.verdict is verdict)
        for verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.UNCERTAIN)
    )
    if worse:
        more = f" Better: {better}." if better else ""
        return f"Worse than in the earlier run: {worse}.{more}", Tone.BAD
    if better:
        return f"Better than in the earlier run: {better}.", Tone.GOOD
    if uncertain:
        return f"Nothing is certain; large, but possible by chance: {uncertain}. Longer runs show more.", Tone.OPEN
    if any(one.verdict is Verdict.NOISE for one in differences):
        return "No difference that is more than noise.", Tone.PLAIN
    return "The runs cannot be compared.", Tone.OPEN


def _moved(run: Run, earlier: Run) -> tuple[str, Tone]:
    """Return whether the breaking point is another one than in the earlier run."""
    before, now = earlier.breaking_point, run.breaking_point
    if before is None or now is None:
        return "A stress test is compared with another stress test only.", Tone.OPEN
    if run.settings.get("targets") != earlier.settings.get("targets"):
        return "The stress tests are of different targets.", Tone.OPEN
    if before.held_per_second is None or now.held_per_second is None:
        return "The breaking points cannot be compared: in one of the runs no rate held.", Tone.OPEN
    change = now.held_per_second / before.held_per_second - 1
    if abs(change) <= 2 * (TOLERANCE - 1):  # each is known within a tenth
        return "The breaking point is the same, as far as two runs show it: each finds it within 10 %.", Tone.PLAIN
    text = f"The highest rate that held has changed by {figures.signed_percent(change)} from that of the earlier run."
    return text, Tone.GOOD if change > 0 else Tone.BAD


def _row(one: Difference) -> tuple[Cell, ...]:
    changed = figures.signed_points if one.figure.is_share else figures.signed_percent
    range_ = "" if one.low is None else f"{changed(one.low)} … {changed(one.high)}"
    return (
        Cell(f"{one.target}: {one.figure.name}"),
        number(_value(one.figure, one.earlier)),
        number(_value(one.figure, one.now)),
        number(changed(one.change)),
        number(range_),
        Cell(str(one.verdict), _TONES[one.verdict]),
    )


def _value(figure: Figure, value: float | None) -> str:
    shown = {"ms": figures.ms, "per second": figures.per_second, "%": figures.percent}
    return shown[figure.unit](value)


def _context(run: Run, earlier: Run) -> Iterator[str]:
    """Yield what else was different, which may be the cause."""
    changed = [
        f"{clean(name)} {clean(str(earlier.settings.get(name)))} → {clean(str(value))}"
        for name, value in run.settings.items()
        if name not in _OWN_SETTINGS and earlier.settings.get(name) != value
    ]
    if changed:
        yield f"The settings differ, which may be the cause of differences: {', '.join(changed)}."
    if (run.machine.processor, run.machine.cores) != (earlier.machine.processor, earlier.machine.cores):
        yield f"The machines differ: {clean(earlier.machine.processor)} → {clean(run.machine.processor)}."
    if run.machine.version != earlier.machine.version:
        yield f"Versions: {clean(earlier.machine.version)} → {clean(run.machine.version)}."
    for name, one in (("earlier run", earlier), ("present run", run)):
        if one.ended is not Ended.FINISHED:
            yield f"The {name} ended early ({one.ended}); the seconds of both are compared."
    crowded = [name for name, one in (("earlier", earlier), ("present", run)) if is_crowded(one)]
    if crowded:
        runs = f"the {' and the '.join(crowded)} run"
        yield f"Programs that are not watched kept the processors busy in {runs}: differences may be theirs."
    before, now = others_cores(earlier), others_cores(run)
    if before is not None and now is not None and not crowded and abs(now - before) > _OTHERS_CORES:
        yield (
            f"Programs that are not watched took {figures.cores(before)} in the earlier run and {figures.cores(now)} "
            "in this one, which may be the cause of differences."
        )


def _breaking_points(run: Run, earlier: Run) -> Iterator[Block]:
    before, now = earlier.breaking_point, run.breaking_point
    if before is None or now is None:
        return
    rows = [
        (Cell(name), number(figures.per_second(one.held_per_second)), number(figures.per_second(one.broke_per_second)))
        for name, one in (("earlier", before), ("now", now))
    ]
    yield Table("Breaking points", ("Run", "Highest rate that held", "Lowest that did not"), rows)
