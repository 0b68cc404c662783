"""Reports of load tests show the figures of their results, whatever texts are in these."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from msgspec.structs import replace
from playwright.sync_api import Browser

from exporter.cli import main
from exporter.loadtest.distributions import LatencyHistogram
from exporter.loadtest.reports import figures
from exporter.loadtest.reports.axes import UNITS, gaps, x_axis, y_axis
from exporter.loadtest.reports.comparison import compare
from exporter.loadtest.reports.contents import document
from exporter.loadtest.reports.document import Chart, Series
from exporter.loadtest.reports.html import html
from exporter.loadtest.reports.markdown import escaped, markdown
from exporter.loadtest.reports.table import table
from exporter.loadtest.reports.writing import write_reports
from exporter.loadtest.results import (
    Bottleneck,
    BreakingPoint,
    Check,
    Distribution,
    Ended,
    GeneratorCost,
    Machine,
    MachineSample,
    Outcome,
    Part,
    ProcessSample,
    Run,
    Sample,
    Step,
    TargetResult,
    encode,
)
from exporter.loadtest.timeline import Timeline
from tests.support.browser import NARROW, WIDE, Window, chromium

MIB = 1 << 20
SECONDS = 24
HOSTILE = (
    "<img src=x onerror=hacked=1>",
    "</title></style><script>hacked=1</script>",
    '" onmouseover="hacked=1',
    '=HYPERLINK("https://evil.example")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "- item\n# heading\n\n| a | b |\n|---|---|",
    "[click](https://evil.example) ![x](https://evil.example/x.png) https://evil.example www.evil.example",
    "$\\frac{1}{$",
    "`code` **bold** _it_ ~~no~~ &lt; \\",
    "\x1b[31mred\x00\u202eevil\u2028next",
    "이름 שם" + "L" * 3000,
)


def distribution(*values: float) -> Distribution:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    found = histogram.distribution()
    assert found is not None
    return found


def target(name: str, unit: str, base_ms: float, text: str = "timed out", **fields: object) -> TargetResult:
    timeline, values = Timeline(), []
    for second in range(SECONDS):
        if second in (10, 11):
            timeline.failed(second)
            continue
        for number in range(20):
            values.append(base_ms * (1 + number / 10) * (400 if second == 12 else 1))
            timeline.answered(second, values[-1])
    latency = distribution(*values)
    given: dict[str, object] = {
        "sent": len(values) + 3,
        "answered": len(values),
        "errors": {text: 2},
        "unanswered": 1,
        "wanted_per_second": 25.0,
        "parts": (
            Part(name=f"{name} {text}", answered=3, errors={text: 1}, latency=distribution(1.0, 2.0, 3.0)),
            Part(name="other", answered=0, errors={text: 1}, latency=None),
        ),
        "timeline": timeline.intervals(SECONDS),
        "slices": timeline.slices(),
        "notes": (f"note {text}",),
    }
    return TargetResult(
        name=name,
        unit=unit,
        seconds=float(SECONDS),
        is_open=True,
        latency=latency,
        **(given | fields),  # type: ignore[arg-type]
    )


def sample(at: float, text: str) -> Sample:
    machine = MachineSample(cpu_cores=1.5, memory_used_bytes=2 * MIB, memory_total_bytes=8 * MIB)
    process = ProcessSample(cpu_cores=0.5 + at / 100, memory_bytes=MIB, busiest_thread_cores=0.4)
    return Sample(at=at, machine=machine, processes={"load test": process, f"sidecar {text}": process})


def run(text: str = "as usual", factor: float = 1.0, **fields: object) -> Run:
    places = {"event": distribution(20.0, 25.0), "metrics": distribution(900.0, 1300.0)}
    given: dict[str, object] = {
        "profile": f"smoke {text}",
        "command": f"marketdata-exporter loadtest {text}",
        "settings": {"users": 5, "note": text},
        "ended": Ended.FINISHED,
        "ended_because": text,
        "targets": (
            target("http", "requests", 3.0 * factor, text),
            target("kafka", "messages", 0.5 * factor, text, lost=0, repeated=2, end_to_end=places),
        ),
        "skipped": {"redis": f"no address {text}"},
        "samples": tuple(sample(5.0 * number, text) for number in range(1, 5)),
        "generator": GeneratorCost(
            cpu_cores=0.4,
            cpu_cores_max=0.6,
            memory_bytes=90 * MIB,
            lag=distribution(0.1, 7.0),
            is_limit=True,
            evidence=(f"lag {text}",),
        ),
        "bottleneck": Bottleneck(name=f"broker {text}", evidence=(f"answers in 312 ms {text}",)),
        "checks": (
            Check(target="http", name="p95", wanted="≤ 1,000 ms", measured="2,320 ms", outcome=Outcome.MISSED),
            Check(target="kafka", name=f"lost {text}", wanted="≤ 0", measured=text, outcome=Outcome.MET),
        ),
        "notes": (f"general {text}",),
    }
    machine = Machine(
        system="Linux", processor=f"x {text}", cores=2.0, memory_bytes=8 << 30, python="3.11", version="0"
    )
    fixed = {"started_ms": 1_760_031_213_693, "seconds": float(SECONDS), "machine": machine}
    return Run(**(fixed | given | fields))  # type: ignore[arg-type]


def point(text: str = "latencies rise", held: float | None = 4000.0) -> BreakingPoint:
    steps = [
        Step(wanted_per_second=rate, sent_per_second=rate, arrived_per_second=41, p99=7.0, held=is_held, reason=why)
        for rate, is_held, why in ((held or 1.0, held is not None, ""), (4400.0, False, text))
    ]
    return BreakingPoint(held_per_second=held, broke_per_second=4400.0, steps=tuple(steps))


BARE = run(targets=(), samples=(), generator=None, bottleneck=None, breaking_point=None, checks=(), skipped={})


class Texts(HTMLParser):
    """The texts of a page, its elements, and all values of attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: set[str] = set()
        self.attributes: dict[str, set[str | None]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value)

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        self.texts.append(data)


class Reports(NamedTuple):
    """The texts of the reports of a run."""

    html: str
    markdown: str
    csv: str


def reports(of: Run, earlier: Run | None = None) -> Reports:
    differences = [] if earlier is None else compare(earlier, of)
    shown = document(of, earlier, differences)
    return Reports(html(shown), markdown(shown, "picture.png"), table(of, differences))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_report_in_each_format_has_the_figures_of_the_run(tmp_path: Path) -> None:
    paths = write_reports(run(), tmp_path, run(factor=0.7))
    assert [path.name for path in paths] == [
        "load_test_report_20251009_173333.html",
        "load_test_report_20251009_173333.md",
        "load_test_results_20251009_173333.csv",
        "performance_analysis_20251009_173333.png",
    ]
    page = " ".join(Texts(paths[0].read_text()).texts)
    told = ("Targets missed", "18.3/s", "p99.9", "312 ms", "0.60 cores", "3.48 s", "worse", "noise")
    for text in (page, paths[1].read_text()):
        assert [part for part in told if part not in text] == []
    height, width, _ = imread(paths[3]).shape
    assert width > 1000 < height


def test_a_table_has_each_second_of_a_run_and_each_quantile() -> None:
    first = run().targets[0]
    assert first.latency is not None
    lines = rows(reports(run(), run()).csv)
    http = [line for line in lines if line["target"] == "http"]
    (p99,) = [line for line in http if (line["kind"], line["part"], line["figure"]) == ("latency", "", "p99")]
    assert float(p99["value"]) == pytest.approx(first.latency.p99)
    answered = [line["value"] for line in http if (line["kind"], line["figure"]) == ("second", "answered")]
    assert [int(value) for value in answered] == [each.count for each in first.timeline]
    kinds = {"check", "summary", "latency", "part", "error", "second", "resource", "comparison"}
    assert {line["kind"] for line in lines} == kinds


def test_a_stress_test_is_summed_up_by_what_held_and_what_broke() -> None:
    found = reports(run(breaking_point=point()))
    for text in (" ".join(Texts(found.html).texts), found.markdown):
        assert "The highest rate that held is 4,000/s; the lowest that did not is 4,400/s." in text
        assert "broke: latencies rise" in text
        assert "99 % of them within" not in text
    nothing = reports(run(breaking_point=point(held=None))).markdown
    assert "No rate held; the lowest that did not is 4,400/s." in nothing


@pytest.mark.parametrize(
    ("earlier", "told"),
    [
        (run(breaking_point=point(held=2000.0)), "has changed by +100.0 % from that of the earlier run"),
        (run(breaking_point=point(held=3700.0)), "The breaking point is the same"),
        (run(breaking_point=point(held=None)), "in one of the runs no rate held"),
        (run(breaking_point=point(), settings={"targets": "redis"}), "of different targets"),
        (run(), "compared with another stress test only"),
    ],
)
def test_a_stress_test_is_compared_with_another_by_the_rates_that_held(earlier: Run, told: str) -> None:
    found = reports(run(breaking_point=point()), earlier).markdown
    assert told in found
    assert "Figures of both runs" not in found


def test_the_memory_of_processes_has_a_scale_of_its_own() -> None:
    page = Texts(reports(run()).html).texts
    assert {"Memory of the machine", "Memory of processes"} <= set(page)


@pytest.mark.parametrize("earlier", [None, BARE])
def test_a_run_that_measured_nothing_has_a_report(tmp_path: Path, earlier: Run | None) -> None:
    *_, picture = write_reports(BARE, tmp_path, earlier)
    found = reports(BARE, earlier)
    assert "Not all targets could be measured" in found.html
    assert rows(found.csv) == []
    assert imread(picture).any()


@pytest.mark.parametrize("ended", [each for each in Ended if each is not Ended.FINISHED])
def test_a_report_tells_that_a_run_ended_early(ended: Ended) -> None:
    found = reports(run(ended=ended, ended_because="The cause is known."))
    assert f"The run ended early: {ended}. The cause is known." in found.markdown
    assert f"Ended early, {ended}," in found.html


def test_the_load_test_is_not_blamed_while_it_has_room() -> None:
    blamed, cost = "The load test itself is the limit", run().generator
    assert cost is not None
    assert blamed in reports(run()).html
    assert blamed not in reports(run(generator=replace(cost, is_limit=False))).html


@pytest.mark.parametrize(("cores", "is_told"), [(0.5, True), (1.9, False)])
def test_a_machine_that_others_use_is_named(cores: float, is_told: bool) -> None:
    used = MachineSample(cpu_cores=1.95, memory_used_bytes=MIB, memory_total_bytes=MIB)
    own = ProcessSample(cpu_cores=cores, memory_bytes=MIB)
    busy = run(samples=(Sample(at=5.0, machine=used, processes={"load test": own}),))
    found = reports(busy, run()).markdown
    assert ("of which programs that are not watched took 1.45 cores" in found) == is_told
    assert ("busy in the present run: differences may be theirs" in found) == is_told


def test_a_page_needs_nothing_from_elsewhere() -> None:
    found = Texts(reports(run(), run()).html)
    assert not found.elements & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not found.attributes.keys() & {"src", "srcset", "style", "onclick"}
    assert all(value and value.startswith("#s") for value in found.attributes["href"])
    style = (Path(__file__).parents[1] / "exporter/loadtest/reports/report.css").read_text()
    assert not re.search(r"url\(|@import|//", style)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_texts(text: str) -> None:
    usual, found = (reports(run(each, breaking_point=point(each))) for each in ("as usual", text))
    usual_page, page = Texts(usual.html), Texts(found.html)
    assert (page.elements, page.attributes.keys()) == (usual_page.elements, usual_page.attributes.keys())
    assert not [each for each in page.texts if re.search(r"[\x00-\x08\x1b\u202e\u2028]", each)]
    assert len(found.html) < 2 * len(usual.html)
    cells = [cell for row in csv.reader(io.StringIO(found.csv, newline="")) for cell in row]
    assert [cell for cell in cells if re.match(r"[=+@\t\r]|-(?![\d.e-]+$)", cell) or "\n" in cell] == []
    assert found.markdown.count("\n") == usual.markdown.count("\n")
    assert not re.search(r"<|://|(?<!\\)\[click", found.markdown)


@given(st.text(max_size=60))
def test_a_text_in_markdown_is_on_one_line_and_marks_nothing(text: str) -> None:
    line = escaped(text)
    assert not re.search(r"[\n\r<>@]|(?<!\\)(?:\\\\)*[`*_{}\[\]|~!$]", line)
    assert not re.match(r"\d*[-+.)]\s|[-=+\s]+$", line)


@given(st.floats(0.001, 1e12), st.sampled_from(["ms", "per second", "cores", "bytes", "bytes per second"]))
def test_the_ticks_of_an_axis_are_few_different_and_around_the_values(high: float, unit: str) -> None:
    for low, is_log in ((0.0, False), (high / 1000, True)):
        points = [(0.0, low), (1.0, high), (2.0, None)]
        axis = y_axis(Chart("t", "x", unit, [Series("s", points)], is_log))
        labels = [tick.label for tick in axis.ticks]
        assert 2 <= len(labels) <= 8
        assert len(set(labels)) == len(labels)
        assert 0 <= axis.place(high) <= 1
        assert all(-1e-9 <= axis.place(tick.at) <= 1 + 1e-9 for tick in axis.ticks)
        assert axis.is_log == is_log


@pytest.mark.parametrize("seconds", [0, 1, 9, 60, 1800, 100_000, 10_000_000])
def test_seconds_have_few_ticks(seconds: int) -> None:
    axis = x_axis(Chart("t", "x", "ms", [Series("s", [(0.0, 1.0), (float(seconds), 1.0)])]))
    assert 1 <= len(axis.ticks) <= 9 or seconds > 500_000
    assert axis.high >= seconds


@pytest.mark.parametrize(
    ("seconds", "last"), [(60, "60 s"), (360, "6 min"), (1800, "30 min"), (14_400, "4 h"), (700_000, "192 h")]
)
def test_times_are_in_a_unit_that_suits_the_length_of_a_run(seconds: int, last: str) -> None:
    axis = x_axis(Chart("t", "x", "ms", [Series("s", [(0.0, 1.0), (float(seconds), 1.0)])]))
    assert (axis.ticks[0].label, axis.ticks[-1].label) == ("0", last)


def test_a_line_has_gaps_where_nothing_is_known() -> None:
    assert gaps([(0, None), (1, 1.0), (2, 2.0), (3, None), (4, 4.0)]) == [[(1, 1.0), (2, 2.0)], [(4, 4.0)]]


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figures.ms(0.1234), "0.123 ms"),
        (figures.ms(12.34), "12.3 ms"),
        (figures.ms(999.4), "999 ms"),
        (figures.ms(999.6), "1 s"),
        (figures.ms(None), "-"),
        (figures.size(1536 * MIB), "1.50 GiB"),
        (figures.byte_rate(100), "100 B/s"),
        (figures.percent(0.0123), "1.23 %"),
        (figures.seconds(59.2), "59.2 s"),
        (figures.seconds(3723), "1 h 2 min 3 s"),
        (figures.per_second(1234567.8), "1,234,568/s"),
        (figures.signed_percent(0.234), "+23.4 %"),
        (UNITS["cores"](0.5), "0.500 cores"),
    ],
)
def test_figures_have_three_digits_and_a_unit(shown: str, text: str) -> None:
    assert shown == text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for the tests of this file."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with everything in it, and with hostile texts."""
    folder = tmp_path_factory.mktemp("reports")
    return write_reports(run(" ".join(HOSTILE)), folder, run(factor=0.7))[0].as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_barriers_and_no_script_runs_in_it(browser: Browser, page: str, scheme: str) -> None:
    with Window(browser, 1, viewport=WIDE, color_scheme=scheme, bypass_csp=True) as window:
        window.page.goto(page)
        assert window.find("svg.chart").count() >= 7
        assert window.barriers() == []
        assert window.page.evaluate("typeof hacked") == "undefined"
        assert window.complaints == []


def test_the_page_fits_a_telephone(browser: Browser, page: str) -> None:
    with Window(browser, 1, viewport=NARROW) as window:
        window.page.goto(page)
        assert window.overflows() <= 0
        assert window.complaints == []


def test_the_command_writes_reports_beside_the_results_or_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now, earlier, bad = tmp_path / "now.json", tmp_path / "earlier.json", tmp_path / "bad.json"
    now.write_bytes(encode(run()))
    earlier.write_bytes(encode(run(factor=0.7)))
    bad.write_bytes(encode(run(started_ms=10**18)))

    def report(*arguments: object) -> tuple[int, str, str]:
        code = main(["report", *map(str, arguments)])
        return code, *capsys.readouterr()

    folder = tmp_path / "new" / "folder"
    code, out, error = report(now, "--compare", earlier, "--output", folder)
    assert (code, error) == (0, "")
    paths = [Path(line) for line in out.splitlines()]
    assert [path.parent for path in paths] == [folder] * 4
    assert "Worse than in the earlier run: http mean" in paths[1].read_text()
    missing = f"report: {tmp_path}/none.json: No such file or directory\n"
    assert report(tmp_path / "none.json") == (2, "", missing)
    for arguments, code, start in (
        ((__file__,), 2, f"report: {__file__}: no results of a load test: "),
        ((now, "--output", now), 1, f"report: {now}: File exists"),
        ((bad,), 2, "report: figures that no load test has: "),
    ):
        found = report(*arguments)
        assert found[:2] == (code, "")
        assert found[2].startswith(start)
