"""The charts of a report as a PNG, by matplotlib; imported when it is there."""

from __future__ import annotations

import io
import warnings
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from exporter.loadtest.reports.axes import Axis, x_axis, y_axis
from exporter.loadtest.reports.document import Chart, Document, Series, Tone

_HUES = ("#2160c4", "#b35a00", "#0b7a4b", "#6d35c9", "#bf2016", "#586173")
_OPACITIES = (1.0, 0.7, 0.48)
_TONES = {Tone.GOOD: "#0b7a4b", Tone.BAD: "#bf2016", Tone.OPEN: "#7a6400", Tone.PLAIN: "#12161f"}
_INK, _FAINT, _LINE = "#12161f", "#586173", "#e4e7ec"
_WIDTH, _ROW_HEIGHT, _HEAD_HEIGHT = 14.0, 3.4, 1.3
_DPI = 110
# Names are those of services and processes: no formulas, whatever is in them.
_SETTINGS: Any = {"text.parse_math": False, "font.size": 9, "axes.edgecolor": _LINE, "text.color": _INK}


def png(document: Document) -> bytes:
    """Return a picture of all charts of a document."""
    charts = [block for section in document.sections for block in section.blocks if isinstance(block, Chart)]
    odd = len(charts) % 2
    rows = max(1, len(charts) // 2 + odd)
    height = _HEAD_HEIGHT + rows * _ROW_HEIGHT
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that its font does not have
        figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        _head(figure, document, height)
        top = 1 - _HEAD_HEIGHT / height
        grid = figure.add_gridspec(
            rows, 2, left=0.075, right=0.985, top=top, bottom=0.55 / height, hspace=0.5, wspace=0.2
        )
        if odd:
            _draw(figure.add_subplot(grid[0, :]), charts[0])
        for number, chart in enumerate(charts[odd:], start=2 * odd):
            _draw(figure.add_subplot(grid[number // 2, number % 2]), chart)
        out = io.BytesIO()
        figure.savefig(out, format="png")
    return out.getvalue()


def _head(figure: Figure, document: Document, height: float) -> None:
    def place(inches: float) -> float:
        return 1 - inches / height

    figure.text(0.015, place(0.38), document.title, fontsize=16, weight="bold")
    figure.text(
        0.985, place(0.38), document.verdict, fontsize=14, weight="bold", color=_TONES[document.tone], ha="right"
    )
    facts = "   ".join(f"{name}: {value}" for name, value in document.facts[:4])
    figure.text(0.015, place(0.66), facts, fontsize=9, color=_FAINT)


def _draw(axes: Axes, chart: Chart) -> None:
    axes.set_title(chart.title, loc="left", fontsize=10.5, weight="bold")
    for series in chart.series:
        _line(axes, series)
    x, y = x_axis(chart), y_axis(chart)
    if y.is_log:
        axes.set_yscale("log")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    _ticks(axes, x, y)
    axes.set_xlabel(chart.x_title, color=_FAINT, fontsize=8)
    axes.grid(axis="y", color=_LINE)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=_FAINT, length=0)
    if chart.series:
        axes.legend(fontsize=8, frameon=False, ncols=2 if len(chart.series) > 3 else 1, labelcolor=_INK)


def _line(axes: Axes, series: Series) -> None:
    values = [float("nan") if y is None else y for _, y in series.points]
    axes.plot(
        [x for x, _ in series.points],
        values,
        color=_HUES[series.hue % len(_HUES)],
        alpha=_OPACITIES[series.shade],
        linestyle="--" if series.is_dashed else "-",
        linewidth=1.5,
        marker="o" if len(series.points) == 1 else "",
        label=series.name,
    )


def _ticks(axes: Axes, x: Axis, y: Axis) -> None:
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks([tick.at for tick in y.ticks], [tick.label for tick in y.ticks])
    axes.set_xticks([tick.at for tick in x.ticks], [tick.label for tick in x.ticks])
