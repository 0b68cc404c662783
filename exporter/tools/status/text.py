"""The text of `status`: sidecars, then feeds, the worst first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from exporter.events.encoding import utc_text
from exporter.runtime.foreign_text import printable
from exporter.tools.columns import NONE, Line, duration, table
from exporter.tools.status.overview import FAILURE, FINE, ORDER, FeedStatus, Overview, SidecarStatus

REASON_CHARACTERS = 200
_SIDECARS = ("SIDECAR", "VERSION", "READY", "FEEDS", "BATCHES/S", "PARTITIONS", "LAG", "BACKLOG", "REJECTED", "URL")
_FEEDS = ("STATE", "FEED", "BATCHES/S", "MESSAGES/S", "SYMBOLS", "AGE", "ANOMALIES", "SINCE", "SIDECAR", "REASON")
_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


def as_text(shown: Overview, now_ms: int, *, problems: bool = False, colors: bool = False) -> str:
    """Return the text; with `problems` without feeds that are `ok` or in `maintenance`, or that no sidecar reads."""
    feeds = [feed for feed in shown.feeds if not problems or feed.state not in (None, *FINE)]
    lines = [_headline(shown, now_ms), "", *_sidecars(shown.sidecars)]
    if feeds:
        lines += ["", *table([_FEEDS, *map(_feed, feeds)])]
    text = "\n".join(lines)
    return _colored(text, shown.exit_code) if colors else text


def _headline(shown: Overview, now_ms: int) -> str:
    states = Counter(feed.state for feed in shown.feeds)
    counted = ", ".join(f"{states[state]} {state}" for state in ORDER if states[state])
    return f"{utc_text(now_ms)[:19]}Z  sidecars: {len(shown.sidecars)}, feeds: {len(shown.feeds)}" + (
        f" ({counted})" if counted else ""
    )


def _sidecars(sidecars: Sequence[SidecarStatus]) -> Iterator[str]:
    """Yield the table of the sidecars, each followed by the reasons that it gives."""
    first, *rows = table([_SIDECARS, *map(_sidecar, sidecars)])
    yield first
    for row, sidecar in zip(rows, sidecars, strict=True):
        yield row
        yield from (f"  not ready: {_text(reason)}" for reason in sidecar.reasons if not sidecar.is_ready)
        yield from (f"  warning: {_text(warning)}" for warning in sidecar.warnings)
        if sidecar.error:
            yield f"  no answer: {_text(sidecar.error)}"


def _sidecar(sidecar: SidecarStatus) -> Line:
    if sidecar.error:
        return (*[NONE] * (len(_SIDECARS) - 1), sidecar.url)
    rates = [feed.batches_per_second for feed in sidecar.feeds if feed.batches_per_second is not None]
    return (
        _text(sidecar.instance),
        _text(sidecar.version),
        "yes" if sidecar.is_ready else "no",
        f"{len(sidecar.feeds):,}",
        _rate(sum(rates) if rates else None),
        f"{sidecar.partitions:,}",
        f"{sidecar.lag_records:,}",
        f"{sidecar.backlog_ratio:.0%}",
        f"{sidecar.rejected:,}",
        sidecar.url,
    )


def _feed(feed: FeedStatus) -> Line:
    return (
        feed.state or NONE,
        _text(feed.name),
        _rate(feed.batches_per_second),
        _rate(feed.messages_per_second),
        f"{feed.symbols:,}",
        duration(feed.age_ms),
        f"{feed.anomalies:,}",
        NONE if feed.since_ms is None else f"{utc_text(feed.since_ms)[:19]}Z",
        _text(feed.sidecar or NONE),
        _text(", ".join(feed.reasons)),
    )


def _text(text: str) -> str:
    return printable(text, REASON_CHARACTERS)


def _rate(per_second: float | None) -> str:
    return NONE if per_second is None else f"{per_second:,.1f}"


def _colored(text: str, exit_code: int) -> str:
    """Return the text with its first line in the colour of the worst state."""
    first, _, rest = text.partition("\n")
    color = {0: "", FAILURE: _RED}.get(exit_code, _YELLOW)
    return f"{color}{first}{_PLAIN}\n{rest}" if color else text
