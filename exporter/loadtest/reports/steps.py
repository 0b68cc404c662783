"""The steps of a stress test in a report: what held and what broke. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.loadtest.reports import figures
from exporter.loadtest.reports.clean import clean
from exporter.loadtest.reports.document import Block, Cell, Table, Text, Tile, Tone, number
from exporter.loadtest.reports.over_time import steps_chart
from exporter.loadtest.results import BreakingPoint, Run


def step_tiles(run: Run) -> Iterator[Tile]:
    """Yield what held and what broke: figures of all steps together are those of no rate."""
    if (point := run.breaking_point) is None:
        return
    steps = {step.wanted_per_second: step for step in point.steps}
    unit = next((f"{target.unit} a second" for target in run.targets), "")
    for name, rate, tone in (("held", point.held_per_second, Tone.GOOD), ("broke", point.broke_per_second, Tone.BAD)):
        if rate is not None and (step := steps.get(rate)) is not None:
            text = clean(step.reason) or f"p99 {figures.ms(step.p99)}"
            yield Tile("breaking point", f"{unit}: {name}", figures.per_second(rate), text, tone)


def held_and_broke(point: BreakingPoint) -> str:
    """Return what is known of the breaking point: a search may end before a rate held, or before one broke."""
    held, broke = figures.per_second(point.held_per_second), figures.per_second(point.broke_per_second)
    most = f"The highest rate that held is {held}" if point.held_per_second is not None else "No rate held"
    least = f"the lowest that did not is {broke}" if point.broke_per_second is not None else "none broke"
    return f"{most}; {least}."


def breaking_point(run: Run) -> Iterator[Block]:
    """Yield what held and what did not, and each rate that was tried."""
    if (point := run.breaking_point) is None:
        return
    yield Text(held_and_broke(point))
    rows = [
        (
            Cell(f"step {count}"),
            number(figures.per_second(step.wanted_per_second)),
            Cell("held" if step.held else f"broke: {clean(step.reason)}", Tone.GOOD if step.held else Tone.BAD),
            number(figures.per_second(step.sent_per_second)),
            number(figures.per_second(step.arrived_per_second)),
            number(figures.ms(step.p99)),
        )
        for count, step in enumerate(point.steps, start=1)
    ]
    if rows:
        yield steps_chart(point.steps)
        yield Table("Rates that were tried", ("Step", "Wanted", "Outcome", "Sent", "Arrived", "p99"), rows)
