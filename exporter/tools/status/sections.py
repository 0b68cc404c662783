"""What parts beside the feeds show, if they are on: sources and rates of ingestion, portfolios of risk. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from exporter.ingestion.view.states import SourceState

T = TypeVar("T")


class PortfolioState(StrEnum):
    """How a portfolio is, the worst first."""

    STOPPED = "stopped"  # an emergency stop is in force
    UNKNOWN = "unknown"  # its value is not known
    BREACHED = "breached"  # a limit is breached, or a measure of safety holds
    OK = "ok"


# The worst first. A replica that does not read the topics of a source now knows nothing of it.
SOURCES = (SourceState.SILENT, SourceState.DELAYED, SourceState.PARTIAL, SourceState.OK, SourceState.UNKNOWN)
PORTFOLIOS = tuple(PortfolioState)


class SourceStatus(NamedTuple):
    """A source of ingestion events; `age_ms` is that of its last event."""

    name: str
    state: SourceState
    reason: str
    begun: int
    completed: int
    overdue: int
    open: int
    usual_ms: int | None
    age_ms: int | None
    sidecar: str


class RateStatus(NamedTuple):
    """A rate, how long ago it was updated, and whether that is longer than `ingestion.rate_age`."""

    currency: str
    age_ms: int
    is_old: bool
    sidecar: str


class PortfolioStatus(NamedTuple):
    """A portfolio; figures are None while unknown. `is_here`: its feeds are read by this sidecar."""

    name: str
    state: PortfolioState
    reasons: tuple[str, ...]
    value: float | None
    daily_profit: float | None
    leverage: float | None
    drawdown: float | None
    is_here: bool
    sidecar: str


def read_sources(section: Mapping[str, Any], sidecar: str, now_ms: int) -> tuple[SourceStatus, ...]:
    """Return the sources in the section `ingestion`; raise KeyError, TypeError or ValueError for another shape."""
    return tuple(_source(row, sidecar, now_ms) for row in section["sources"])


def _source(row: Mapping[str, Any], sidecar: str, now_ms: int) -> SourceStatus:
    last_ms, usual_ms = row["last_event_ms"], row["usual_ms"]
    return SourceStatus(
        str(row["name"]),
        SourceState(row["state"]),
        str(row["reason"]),
        int(row["begun"]),
        int(row["completed"]),
        int(row["overdue"]),
        int(row["open"]),
        None if usual_ms is None else int(usual_ms),
        None if last_ms is None else max(0, now_ms - int(last_ms)),
        sidecar,
    )


def read_rates(section: Mapping[str, Any], sidecar: str, now_ms: int) -> tuple[RateStatus, ...]:
    """Return the rates in the section; raise as `read_sources`."""
    ages = [(str(currency), max(0, now_ms - int(updated_ms))) for currency, updated_ms in section["rates"]]
    return tuple(RateStatus(name, age_ms, age_ms > int(section["rate_limit_ms"]), sidecar) for name, age_ms in ages)


def read_portfolios(data: Mapping[str, Any], sidecar: str) -> tuple[PortfolioStatus, ...]:
    """Return the portfolios in the `data` of `/api/v1/risk`; raise as `read_sources`."""
    return tuple(_portfolio(row, sidecar) for row in data["portfolios"])


def _portfolio(row: Mapping[str, Any], sidecar: str) -> PortfolioStatus:
    figures, stop = row["figures"], row["emergency_stop"]
    breaches = [" ".join(filter(None, (str(each["limit"]), each["symbol"]))) for each in row["breaches"]]
    tripped = [str(each) for each in row["safety"]["tripped"]]
    value = _figure(figures, "value")
    if stop["is_in_force"]:
        state, reasons = PortfolioState.STOPPED, [str(each) for each in stop["reasons"]]
    elif value is None:
        state, reasons = PortfolioState.UNKNOWN, [str(figures["value"].get("reason", ""))]
    else:
        reasons = [f"limit {each}" for each in breaches] + [f"safety {each}" for each in tripped]
        state = PortfolioState.BREACHED if reasons else PortfolioState.OK
    return PortfolioStatus(
        str(row["portfolio"]),
        state,
        tuple(reasons),
        value,
        _figure(figures, "daily_profit"),
        _figure(figures, "leverage"),
        _figure(figures, "drawdown"),
        bool(row["is_here"]),
        sidecar,
    )


def _figure(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures[name]["value"]
    return None if value is None else float(value)


def merged_sources(found: Iterable[SourceStatus]) -> tuple[SourceStatus, ...]:
    """Return each source once: with its worst state where it is known; its counts are sums."""
    return tuple(
        min(same, key=lambda each: SOURCES.index(each.state))._replace(
            begun=sum(each.begun for each in same),
            completed=sum(each.completed for each in same),
            overdue=sum(each.overdue for each in same),
            age_ms=min((each.age_ms for each in same if each.age_ms is not None), default=None),
        )
        for same in _by_name((each.name, each) for each in found)
    )


def merged_rates(found: Iterable[RateStatus]) -> tuple[RateStatus, ...]:
    """Return each rate once, as of its last update, the oldest first."""
    newest = [min(same, key=lambda each: each.age_ms) for same in _by_name((each.currency, each) for each in found)]
    return tuple(sorted(newest, key=lambda each: -each.age_ms))


def merged_portfolios(found: Iterable[PortfolioStatus]) -> tuple[PortfolioStatus, ...]:
    """Return each portfolio once: from the sidecars that read its feeds, if any, the worst."""
    return tuple(
        min(same, key=lambda each: (not each.is_here, PORTFOLIOS.index(each.state)))
        for same in _by_name((each.name, each) for each in found)
    )


def _by_name(named: Iterable[tuple[str, T]]) -> Iterable[Sequence[T]]:
    groups = defaultdict[str, list[T]](list)
    for name, each in named:
        groups[name].append(each)
    return [groups[name] for name in sorted(groups)]
