"""The text of `status`: sidecars, then feeds, the worst first, then parts that are on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from exporter.events.encoding import utc_text
from exporter.ingestion.view.states import SourceState
from exporter.runtime.foreign_text import printable
from exporter.tools.columns import NONE, Line, duration, fitted, table
from exporter.tools.status.overview import FAILURE, FINE, ORDER, FeedStatus, Overview, SidecarStatus
from exporter.tools.status.sections import PortfolioState, PortfolioStatus, RateStatus, SourceStatus

REASON_CHARACTERS = 200
_SIDECARS = ("SIDECAR", "VERSION", "READY", "FEEDS", "BATCHES/S", "PARTITIONS", "LAG", "BACKLOG", "REJECTED", "URL")
_FEEDS = ("STATE", "FEED", "BATCHES/S", "MESSAGES/S", "SYMBOLS", "AGE", "ANOMALIES", "SINCE", "SIDECAR", "REASON")
_SOURCES = ("STATE", "SOURCE", "BEGUN", "COMPLETED", "OPEN", "OVERDUE", "USUAL", "AGE", "SIDECAR", "REASON")
_RATES = ("RATE", "AGE", "SIDECAR", "")
_PORTFOLIOS = ("STATE", "PORTFOLIO", "VALUE", "TODAY", "LEVERAGE", "DRAWDOWN", "SIDECAR", "REASON")
# The oldest of them.
RATES_MAX = 10
_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


def as_text(
    shown: Overview, now_ms: int, *, problems: bool = False, colors: bool = False, size: tuple[int, int] | None = None
) -> str:
    """Return the text; with `problems` without feeds that are `ok` or in `maintenance`, or that no sidecar reads.

    `size` are the columns and rows that it may take.
    """
    lines = [_headline(shown, now_ms), "", *_sidecars(shown.sidecars)]
    feeds = [feed for feed in shown.feeds if not problems or feed.state not in (None, *FINE)]
    sources = [each for each in shown.sources if not problems or each.state is not SourceState.OK]
    rates = [each for each in shown.rates if not problems or each.is_old]
    portfolios = [each for each in shown.portfolios if not problems or each.state is not PortfolioState.OK]
    lines += [*_part(_FEEDS, map(_feed, feeds)), *_part(_SOURCES, map(_source, sources))]
    lines += _part(_RATES, map(_rate_line, rates[:RATES_MAX]))
    lines += [f"and {len(rates) - RATES_MAX} newer"] if len(rates) > RATES_MAX else []
    lines += _part(_PORTFOLIOS, map(_portfolio, portfolios))
    text = "\n".join(lines if size is None else fitted(lines, *size))
    return _colored(text, shown.exit_code) if colors else text


def _part(head: Line, rows: Iterable[Line]) -> Iterator[str]:
    """Yield a table behind an empty line; nothing without rows."""
    if lines := list(rows):
        yield ""
        yield from table([head, *lines])


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
        yield from (f"  risk: {_text(error)}" for error in sidecar.risk_errors)
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


def _source(source: SourceStatus) -> Line:
    return (
        source.state,
        _text(source.name),
        f"{source.begun:,}",
        f"{source.completed:,}",
        f"{source.open:,}",
        f"{source.overdue:,}",
        duration(source.usual_ms),
        duration(source.age_ms),
        _text(source.sidecar),
        _text(source.reason),
    )


def _rate_line(rate: RateStatus) -> Line:
    return _text(rate.currency), duration(rate.age_ms), _text(rate.sidecar), "too old" if rate.is_old else ""


def _portfolio(portfolio: PortfolioStatus) -> Line:
    figures = (portfolio.value, portfolio.daily_profit, portfolio.leverage, portfolio.drawdown)
    return (
        portfolio.state,
        _text(portfolio.name),
        *map(_figure, figures),
        _text(portfolio.sidecar),
        _text(", ".join(portfolio.reasons)),
    )


def _figure(figure: float | None) -> str:
    if figure is None:
        return NONE
    return f"{figure:,.4g}" if abs(figure) < 1000 else f"{figure:,.0f}"


def _text(text: str) -> str:
    return printable(text, REASON_CHARACTERS)


def _rate(per_second: float | None) -> str:
    return NONE if per_second is None else f"{per_second:,.1f}"


def _colored(text: str, exit_code: int) -> str:
    """Return the text with its first line in the colour of the worst state."""
    first, _, rest = text.partition("\n")
    color = {0: "", FAILURE: _RED}.get(exit_code, _YELLOW)
    return f"{color}{first}{_PLAIN}\n{rest}" if color else text
