"""Charts as inline SVG, coloured by the style of the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from exporter.loadtest.reports.axes import UNITS, Axis, gaps, x_axis, y_axis
from exporter.loadtest.reports.document import Chart, Series

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 12, 10, 40
_DOT_RADIUS = 3
# Readings under the pointer: more than these are narrower than the pointer.
_READINGS_MAX = 120


class _Frame(NamedTuple):
    """Where values of a chart are on the drawing."""

    x: Axis
    y: Axis

    def across(self, value: float) -> float:
        return _LEFT + self.x.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def down(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - min(1.0, max(0.0, self.y.place(value))) * (_HEIGHT - _TOP - _BOTTOM)


def svg(chart: Chart, identifier: str) -> str:
    """Return the drawing; `identifier` is unique on the page."""
    frame = _Frame(x_axis(chart), y_axis(chart))
    label = escape(f"{chart.title}. {chart.text}")
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{identifier}">',
        f'<title id="{identifier}">{label}</title>',
        *_grid(frame),
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(chart.x_title)}</text>',
        *(line for series in chart.series for line in _lines(series, frame)),
        *_readings(chart, frame),
        "</svg>",
    ]
    return "".join(parts)


def legend(chart: Chart) -> str:
    """Return the names of the lines with samples of them, as HTML."""
    items = [f"<li>{_sample(series)}{escape(series.name)}</li>" for series in chart.series]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _sample(series: Series) -> str:
    return (
        '<svg class="sample" viewBox="0 0 22 8" aria-hidden="true">'
        f'<line class="{_style(series)}" x1="0" y1="4" x2="22" y2="4"/></svg>'
    )


def _style(series: Series) -> str:
    dashed = " dashed" if series.is_dashed else ""
    return f"line hue{series.hue} shade{series.shade}{dashed}"


def _grid(frame: _Frame) -> Iterator[str]:
    for tick in frame.y.ticks:
        y = frame.down(tick.at)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="axis" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(tick.label)}</text>'
    for tick in frame.x.ticks:
        x = frame.across(tick.at)
        place = f'x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}"'
        yield f'<text class="axis" {place} text-anchor="middle">{escape(tick.label)}</text>'


def _lines(series: Series, frame: _Frame) -> Iterator[str]:
    style = _style(series)
    for piece in gaps(series.points):
        places = [f"{frame.across(x):.1f},{frame.down(y):.1f}" for x, y in piece]
        if len(places) == 1:
            x, y = places[0].split(",")
            yield f'<circle class="{style}" cx="{x}" cy="{y}" r="{_DOT_RADIUS}"/>'
        else:
            yield f'<polyline class="{style}" points="{" ".join(places)}"/>'


def _readings(chart: Chart, frame: _Frame) -> Iterator[str]:
    """Yield invisible bars with the figures at a place of x, which browsers show under the pointer."""
    if chart.x_ticks is not None:
        return
    columns: dict[float, list[str]] = {}
    for series in chart.series:
        for x, y in series.points:
            if y is not None:
                columns.setdefault(x, []).append(f"{series.name}: {UNITS[chart.unit](y)}")
    places = sorted(columns)[:: -(-len(columns) // _READINGS_MAX) or 1]
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(places))
    for x in places:
        text = escape(f"{x:,.0f} s\n" + "\n".join(columns[x]))
        left = frame.across(x) - width / 2
        yield (
            f'<rect class="reading" x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}">'
            f"<title>{text}</title></rect>"
        )
