"""The page at `/`, with all values escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from itertools import islice
from string import Template

from exporter.model import Status

ROWS_MAX = 1000
ABSENT = "\N{EN DASH}"
COLUMNS = 8


def static(name: str) -> str:
    """Return the text of a file in `static/`."""
    return files("exporter.web").joinpath("static", name).read_text("utf-8")


def page(
    template: str,
    version: str,
    links: Iterable[str],
    states: Mapping[str, Status],
    feeds: Collection[Mapping[str, object]],
) -> str:
    """Return the page, with the first feeds of a long list; `states` maps words such as `ready` to a status."""
    return Template(template).substitute(
        version=escape(version),
        links="\n".join(f'<a href="{escape(link)}">{escape(link)}</a>' for link in links),
        states="\n".join(_state(word, status) for word, status in states.items()),
        count=f"{len(feeds):,}" if len(feeds) <= ROWS_MAX else f"{ROWS_MAX:,} of {len(feeds):,}",
        rows="\n".join(map(_row, islice(feeds, ROWS_MAX))) or f'<tr><td class="none" colspan="{COLUMNS}">none yet</tr>',
    )


def _state(word: str, status: Status) -> str:
    reasons = "".join(f"<li>{escape(reason)}" for reason in status.reasons)
    reasons += "".join(f'<li class="warning">{escape(warning)}' for warning in status.warnings)
    label = f"<b>{escape(word)}</b>" if status.ok else f"<b>not {escape(word)}</b>"
    return f'<div class="state{" ok" if status.ok else ""}">{label}{f"<ul>{reasons}</ul>" if reasons else ""}</div>'


def _row(feed: Mapping[str, object]) -> str:
    name = ":".join(str(feed.get(part)) for part in ("region", "exchange", "request_type"))
    cells = (
        _number(feed.get("batches")),
        _number(feed.get("messages")),
        _number(feed.get("last_batch_size")),
        _number(feed.get("last_batch_unique_symbols")),
        _number(feed.get("last_batch_cache_efficiency")),
        _time_text(feed.get("last_received_ms")),
    )
    return f"<tr><td>{escape(name)}{_feed_state(feed)}{''.join(f'<td>{escape(cell)}' for cell in cells)}</tr>"


def _feed_state(feed: Mapping[str, object]) -> str:
    """Return the cell of a feed's state with its reasons; the tooltip has the full text."""
    state, reasons = feed.get("state"), feed.get("reasons")
    if state is None:
        return f"<td>{ABSENT}"
    text = escape("; ".join(map(str, reasons))) if isinstance(reasons, list | tuple) else ""
    word = escape(str(state))
    return f'<td class="feed {word}" title="{text}"><b>{word}</b>' + (f"<small>{text}</small>" if text else "")


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}"
    return f"{value:,}" if isinstance(value, int) else ABSENT


def _time_text(milliseconds: object) -> str:
    """Return a time as text; a stamp beyond the calendar counts as unknown."""
    if not isinstance(milliseconds, int | float):
        return ABSENT
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ABSENT
