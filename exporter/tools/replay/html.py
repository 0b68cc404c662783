"""The report of a replay as one HTML page: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice

from exporter.feeds.states import FeedState
from exporter.tools.columns import Line
from exporter.tools.replay.report import Document
from exporter.tools.replay.text import headlines, moment, sections, with_ends

# Of one feed: more changes are narrower than a pixel.
DRAWN = 2000
COLORS = {
    FeedState.OK: "#2f8f5b",
    FeedState.DELAYED: "#c98a00",
    FeedState.SILENT: "#c0392b",
    FeedState.FROZEN: "#2a6fbb",
    FeedState.REJECTED: "#8e44ad",
    FeedState.PARTIAL: "#b5b200",
    FeedState.SIDECAR_STALLED: "#7f3f00",
    FeedState.MAINTENANCE: "#8aa0b0",
    FeedState.UNKNOWN: "#c8c8c8",
}
_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;text-align:left;vertical-align:top}
th{font-size:.8em;color:#666}tr+tr td{border-top:1px solid #ddd}
svg{display:block;width:100%;height:18px}.name{margin-top:.6em}.key span{margin-right:1em}
.wide{overflow-x:auto}h1{overflow-wrap:anywhere}@media(max-width:600px){body{margin:1em}}
.key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(shown: Document) -> str:
    """Return the page of a document."""
    title = escape(f"Replay of {shown['source']}")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{title}</title>'
    )
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head><body><h1>{title}</h1>',
            *(f"<p>{escape(line)}</p>" for line in headlines(shown)),
            *_timelines(shown),
            *(text for section in sections(shown) for text in _table(section)),
            "</body></html>\n",
        ]
    )


def _timelines(shown: Document) -> Iterator[str]:
    if shown["from_ms"] is None:
        return
    yield f"<h2>States from {moment(shown['from_ms'])} to {moment(shown['to_ms'])}</h2>"
    key = (f'<span><i style="background:{color}"></i>{state.value}</span>' for state, color in COLORS.items())
    yield f'<p class="key">{"".join(key)}</p>'
    begin_ms, span_ms = shown["from_ms"], max(1, shown["to_ms"] - shown["from_ms"])
    for feed in shown["feeds"]:
        yield f'<div class="name">{escape(feed["feed"])}</div>'
        bars = "".join(
            _bar(*each, begin_ms, span_ms) for each in islice(with_ends(feed["timeline"], shown["to_ms"]), DRAWN)
        )
        name = escape(f"States of {feed['feed']}")
        yield f'<svg viewBox="0 0 1000 18" preserveAspectRatio="none" role="img" aria-label="{name}">{bars}</svg>'


def _bar(entered: Document, until_ms: int, begin_ms: int, span_ms: int) -> str:
    left = (entered["at_ms"] - begin_ms) * 1000 / span_ms
    width = (until_ms - entered["at_ms"]) * 1000 / span_ms
    state = entered["state"]
    title = escape(f"{state} from {moment(entered['at_ms'])} to {moment(until_ms)}: {'; '.join(entered['reasons'])}")
    color = COLORS[FeedState(state)]
    return f'<rect x="{left:.3f}" width="{width:.3f}" height="18" fill="{color}"><title>{title}</title></rect>'


def _table(lines: Iterable[Line]) -> Iterator[str]:
    yield '<div class="wide" tabindex="0"><table>'
    for number, line in enumerate(lines):
        tag = "td" if number else "th"
        yield "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line) + "</tr>"
    yield "</table></div>"
