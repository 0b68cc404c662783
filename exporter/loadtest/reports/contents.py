"""A run as the document that its reports show. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from exporter.loadtest.bottleneck import NONE
from exporter.loadtest.reports import figures
from exporter.loadtest.reports.changes import comparison
from exporter.loadtest.reports.clean import clean
from exporter.loadtest.reports.differences import Difference
from exporter.loadtest.reports.document import (
    Block,
    Bullets,
    Cell,
    Document,
    Section,
    Table,
    Text,
    Tile,
    Tone,
    number,
)
from exporter.loadtest.reports.over_time import (
    PLACES,
    named_latencies,
    percentile_chart,
    resource_charts,
    target_charts,
)
from exporter.loadtest.reports.steps import breaking_point, held_and_broke, step_tiles
from exporter.loadtest.reports.surroundings import is_crowded, others_cores, used_cores
from exporter.loadtest.results import Bottleneck, Distribution, Ended, Outcome, Run, TargetResult
from exporter.loadtest.verdict import exit_code

_TONES = {Outcome.MET: Tone.GOOD, Outcome.MISSED: Tone.BAD, Outcome.NOT_MEASURED: Tone.OPEN}
# By exit code.
_VERDICTS = (
    ("All targets met", Tone.GOOD),
    ("Targets missed", Tone.BAD),
    ("Not all targets could be measured", Tone.OPEN),
)
_TITLES = {"http": "HTTP", "kafka": "Kafka", "redis": "Redis"}
_QUANTILES = (("mean", "mean"), ("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p99.9", "p99_9"))


def document(run: Run, earlier: Run | None, differences: Sequence[Difference]) -> Document:
    """Return the document; `differences` are those to the earlier run, if there is one."""
    verdict, tone = _VERDICTS[exit_code(run.checks, run.ended)]
    sections = [
        Section("Verdict", list(_verdict(run))),
        Section("What limits", list(_limits(run))),
        Section("Breaking point", list(breaking_point(run))),
        Section("Compared with an earlier run", list(comparison(run, earlier, differences))),
        Section("Response times", list(_response_times(run))),
        *(Section(f"Over time: {target.name}", target_charts(target)) for target in run.targets),
        Section("Errors", list(_errors(run))),
        Section("Resources", [*_resources(run), *resource_charts(run)]),
        Section("How it was measured", list(_method(run))),
    ]
    return Document(
        title=f"Load test: {clean(run.profile)}",
        verdict=verdict,
        tone=tone,
        summary=_summary(run),
        facts=_facts(run),
        tiles=list(step_tiles(run) if run.breaking_point else chain(*(_tiles(run, each) for each in run.targets))),
        sections=[section for section in sections if section.blocks],
    )


def _summary(run: Run) -> str:
    length = figures.seconds(run.seconds)
    ended = "Finished" if run.ended is Ended.FINISHED else f"Ended early, {run.ended},"
    sentences = [f"{ended} after {length}.", clean(run.ended_because)]
    if run.breaking_point is None:
        sentences += [_throughput(target) for target in run.targets]
    else:
        sentences.append(held_and_broke(run.breaking_point))
    if run.generator is not None and run.generator.is_limit:
        sentences.append("The load test itself was the limit: its targets may be capable of more.")
    elif run.bottleneck is not None:
        sentences.append(_named(run.bottleneck))
    return " ".join(sentence for sentence in sentences if sentence)


def _named(found: Bottleneck) -> str:
    return "Nothing was at its limit." if found.name == NONE else f"The bottleneck: {clean(found.name)}."


def _throughput(target: TargetResult) -> str:
    rate = figures.digits(target.per_second)
    slowest = "" if target.latency is None else f", 99 % of them within {figures.ms(target.latency.p99)}"
    return f"{_TITLES.get(target.name, target.name)}: {rate} {target.unit} a second{slowest}."


def _facts(run: Run) -> list[tuple[str, str]]:
    machine = run.machine
    return [
        ("Started", figures.moment(run.started_ms)),
        ("Duration", figures.seconds(run.seconds)),
        ("End", str(run.ended)),
        (
            "Machine",
            clean(f"{machine.processor}, {figures.digits(machine.cores)} cores, {figures.size(machine.memory_bytes)}"),
        ),
        ("System", clean(f"{machine.system}, Python {machine.python}, marketdata-exporter {machine.version}")),
        ("Command", clean(run.command)),
    ]


def _tiles(run: Run, target: TargetResult) -> Iterator[Tile]:
    name = target.name
    tones = {check.name: _TONES[check.outcome] for check in run.checks if check.target == name}
    wanted = target.wanted_per_second
    of = "" if wanted is None else f"of {figures.digits(wanted)} wanted"
    yield Tile(name, f"{target.unit} a second", figures.digits(target.per_second), of)
    if target.latency is not None:
        yield _p95_tile(name, "p95", target.latency, tones.get("p95", Tone.PLAIN))
    bad = target.failed + target.unanswered
    ratio, text = bad / target.sent if target.sent else None, f"{bad:,} of {target.sent:,} {target.unit}"
    yield Tile(name, "errors", figures.percent(ratio), text, tones.get("errors", Tone.PLAIN))
    for place, arrived in sorted(target.end_to_end.items()):
        figure = f"p95 to {PLACES.get(place, place)}"
        yield _p95_tile(name, figure, arrived, tones.get(figure, Tone.PLAIN))
    if target.lost is not None:
        tone = tones.get("lost", Tone.PLAIN)
        repeated = "" if target.repeated is None else f"{figures.count(target.repeated)} repeated"
        yield Tile(name, "lost", figures.count(target.lost), repeated, tone)


def _p95_tile(group: str, name: str, latency: Distribution, tone: Tone) -> Tile:
    return Tile(
        group, name, figures.ms(latency.p95), f"p99 {figures.ms(latency.p99)}, max {figures.ms(latency.max)}", tone
    )


def _verdict(run: Run) -> Iterator[Block]:
    if run.ended is not Ended.FINISHED:
        yield Text(f"The run ended early: {run.ended}. {clean(run.ended_because)}", Tone.BAD)
    rows = [
        (
            Cell(f"{clean(check.target)}: {clean(check.name)}"),
            number(clean(check.wanted)),
            number(clean(check.measured)),
            Cell(str(check.outcome), _TONES[check.outcome]),
        )
        for check in run.checks
    ]
    if rows:
        yield Table("What was wanted, and what was measured", ("Figure", "Wanted", "Measured", "Outcome"), rows)
    if run.skipped:
        yield Bullets([f"{clean(name)} was not tested: {clean(reason)}" for name, reason in run.skipped.items()])


def _limits(run: Run) -> Iterator[Block]:
    if run.bottleneck is not None:
        yield Text(_named(run.bottleneck))
        yield Bullets([clean(line) for line in run.bottleneck.evidence])
    if (cost := run.generator) is None:
        return
    if cost.is_limit:
        yield Text(
            "The load test itself is the limit: these figures are its own, not those of what it loads.", Tone.BAD
        )
        yield Bullets([clean(line) for line in cost.evidence])
    else:
        yield Text("The load test itself had room for more: it does not limit these figures.", Tone.GOOD)
    if is_crowded(run):
        yield Text(
            f"The processors of the machine were busy, {figures.cores(used_cores(run))} of {run.machine.cores:g}, of "
            f"which programs that are not watched took {figures.cores(others_cores(run))}: response times are theirs, "
            "too.",
            Tone.OPEN,
        )
    lag = cost.lag
    rows = [
        (Cell("processor, mean"), number(figures.cores(cost.cpu_cores))),
        (Cell("processor, most"), number(figures.cores(cost.cpu_cores_max))),
        (Cell("memory"), number(figures.size(cost.memory_bytes))),
        (Cell("requests sent late, p50"), number(figures.ms(lag.p50 if lag else None))),
        (Cell("requests sent late, p99"), number(figures.ms(lag.p99 if lag else None))),
    ]
    yield Table("What the load test itself takes", ("Figure", "Value"), rows)


def _response_times(run: Run) -> Iterator[Block]:
    rows = [row for target in run.targets for row in _latency_rows(target)]
    if rows:
        names = ("Requests", "Answered", *(name for name, _ in _QUANTILES), "max")
        yield Table("Response times", names, rows)
    if (chart := percentile_chart(run)) is not None:
        yield chart


def _latency_rows(target: TargetResult) -> Iterator[tuple[Cell, ...]]:
    for name, latency, _ in named_latencies(target):
        yield _latency_row(name, latency)
    for part in target.parts if len(target.parts) > 1 else ():
        if part.latency is not None:
            yield _latency_row(f"{target.name}: {clean(part.name)}", part.latency)


def _latency_row(name: str, latency: Distribution) -> tuple[Cell, ...]:
    values = [getattr(latency, field) for _, field in _QUANTILES]
    return (
        Cell(name),
        number(figures.count(latency.count)),
        *(number(figures.ms(one)) for one in (*values, latency.max)),
    )


def _errors(run: Run) -> Iterator[Block]:
    rows = [
        (
            Cell(f"{target.name}: {clean(kind)}"),
            number(figures.count(amount)),
            number(figures.percent(amount / target.sent)),
        )
        for target in run.targets
        for kind, amount in (*target.errors.items(), ("no answer before the end", target.unanswered))
        if amount and target.sent
    ]
    if rows:
        yield Table("Errors by kind", ("Kind", "Number", "Share"), rows)
    elif run.targets:
        yield Text("There were none: each request was answered.", Tone.GOOD)


def _resources(run: Run) -> Iterator[Block]:
    names = dict.fromkeys(name for sample in run.samples for name in sample.processes)
    rows = [
        (
            Cell("machine"),
            *_mean_and_most([each.machine.cpu_cores for each in run.samples], figures.cores),
            number(figures.NONE),
            number(figures.size(max((each.machine.memory_used_bytes for each in run.samples), default=None))),
        )
    ]
    for name in names:
        found = [sample.processes[name] for sample in run.samples if name in sample.processes]
        threads = [one.busiest_thread_cores for one in found if one.busiest_thread_cores is not None]
        cells = _mean_and_most([one.cpu_cores for one in found], figures.cores)
        memory = max(one.memory_bytes for one in found)
        busiest = number(figures.cores(max(threads, default=None)))
        rows.append((Cell(clean(name)), *cells, busiest, number(figures.size(memory))))
    if run.samples:
        columns = ("Of", "Processor, mean", "Processor, most", "Busiest thread", "Memory, most")
        yield Table("Resources, in samples of some seconds", columns, rows)


def _mean_and_most(values: Sequence[float], shown: Callable[[float], str]) -> tuple[Cell, Cell]:
    return number(shown(sum(values) / len(values))) if values else number(figures.NONE), number(
        shown(max(values, default=0.0))
    )


def _method(run: Run) -> Iterator[Block]:
    lines = [
        "An open schedule: requests are due whether or not those before were answered, and response times count from "
        "when they were due, so a stall is in the figures of all that waited."
        if any(target.is_open for target in run.targets)
        else "Response times count from when a request was sent.",
        "Quantiles are within 1 %; mean and max are exact. Errors have no response time.",
        "A second without an answer is a gap in the lines of response times.",
    ]
    yield Bullets([*lines, *(clean(note) for note in _notes(run))])
    rows = [(Cell(clean(name)), Cell(clean(str(value)))) for name, value in run.settings.items() if value is not None]
    if rows:
        yield Table("Settings", ("Setting", "Value"), rows)


def _notes(run: Run) -> Iterable[str]:
    yield from run.notes
    for target in run.targets:
        yield from (f"{target.name}: {note}" for note in target.notes)
