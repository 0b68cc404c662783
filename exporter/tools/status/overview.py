"""What several sidecars show, as one: feeds with their worst states, and how bad it is. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from exporter.decoding.batch import MAX_TIMESTAMP_MS
from exporter.feeds.states import FeedState
from exporter.ingestion.view.states import SourceState
from exporter.tools.status.sections import (
    PortfolioState,
    PortfolioStatus,
    RateStatus,
    SourceStatus,
    merged_portfolios,
    merged_rates,
    merged_sources,
    read_portfolios,
    read_rates,
    read_sources,
)

# The worst first.
ORDER = (
    FeedState.SIDECAR_STALLED,
    FeedState.SILENT,
    FeedState.REJECTED,
    FeedState.FROZEN,
    FeedState.DELAYED,
    FeedState.PARTIAL,
    FeedState.UNKNOWN,
    FeedState.OK,
    FeedState.MAINTENANCE,
)
FINE = (FeedState.OK, FeedState.MAINTENANCE)
DEGRADED = (FeedState.UNKNOWN, FeedState.PARTIAL, FeedState.DELAYED)
# Exit codes; 2 is wrong usage.
WELL, DEGRADATION, FAILURE = 0, 1, 3


class MalformedError(ValueError):
    """The response is not that of a sidecar: its text names the member."""


class FeedStatus(NamedTuple):
    """A feed in one sidecar or in several: counts and rates are sums, `state` is the worst, with its reasons.

    `sidecar` is where it has that state, None where no sidecar reads it. Times are Unix milliseconds of the sidecar,
    `age_ms` is that of the last batch by its clock, and rates are per second; None: unknown.
    """

    name: str
    state: FeedState | None
    reasons: tuple[str, ...]
    since_ms: int | None
    sidecar: str | None
    batches: int
    messages: int
    batches_per_second: float | None
    messages_per_second: float | None
    symbols: int
    age_ms: int | None
    anomalies: int


class SidecarStatus(NamedTuple):
    """One sidecar; `error` is the reason why it gives no answer; all else is then empty."""

    url: str
    error: str = ""
    instance: str = ""
    version: str = ""
    is_ready: bool = False
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    risk_errors: tuple[str, ...] = ()
    partitions: int = 0
    lag_records: int = 0
    backlog_ratio: float = 0.0
    rejected: int = 0
    feeds: tuple[FeedStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    rates: tuple[RateStatus, ...] = ()
    portfolios: tuple[PortfolioStatus, ...] = ()


class Overview(NamedTuple):
    """All sidecars, and each feed, source, rate and portfolio once, feeds with the worst first."""

    sidecars: tuple[SidecarStatus, ...]
    feeds: tuple[FeedStatus, ...]
    sources: tuple[SourceStatus, ...] = ()
    rates: tuple[RateStatus, ...] = ()
    portfolios: tuple[PortfolioStatus, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return how bad it is: WELL, DEGRADATION or FAILURE."""
        states = {feed.state for feed in self.feeds} - {None, *FINE}
        sources = {each.state for each in self.sources} - {SourceState.OK}
        portfolios = {each.state for each in self.portfolios} - {PortfolioState.OK}
        is_stopped = SourceState.SILENT in sources or PortfolioState.STOPPED in portfolios
        if is_stopped or any(each.error for each in self.sidecars) or not states <= {*DEGRADED}:
            return FAILURE
        is_old = any(each.is_old for each in self.rates)
        is_impaired = any(each.risk_errors or not each.is_ready for each in self.sidecars)
        return DEGRADATION if is_impaired or is_old or states or sources or portfolios else WELL


def read(url: str, data: Mapping[str, Any], risk: Mapping[str, Any] | None = None) -> SidecarStatus:
    """Return what a sidecar shows, by the `data` of `/api/v1/status` and `/api/v1/risk`; raise `MalformedError`."""
    try:
        ready, lag, sidecar = data["ready"], data["lag"], data["sidecar"]
        instance, now_ms, ingestion = str(sidecar["instance"]), int(data["now_ms"]), data.get("ingestion")
        rows = [dict(zip(data["columns"], row, strict=True)) for row in data["feeds"]]
        return SidecarStatus(
            url,
            instance=instance,
            version=str(sidecar["version"]),
            is_ready=bool(ready["ok"]),
            reasons=tuple(map(str, ready["reasons"])),
            warnings=tuple(map(str, ready["warnings"])),
            risk_errors=() if risk is None else tuple(f"{kind}: {error}" for kind, error in risk["errors"].items()),
            partitions=int(lag["partitions"]),
            lag_records=int(lag["records"]),
            backlog_ratio=float(data["backlog"]["ratio"]),
            rejected=int(data["totals"]["rejected"]),
            feeds=tuple(_feed(row, instance, now_ms) for row in rows),
            sources=() if ingestion is None else read_sources(ingestion, instance, now_ms),
            rates=() if ingestion is None else read_rates(ingestion, instance, now_ms),
            portfolios=() if risk is None else read_portfolios(risk, instance),
        )
    except KeyError as error:
        raise MalformedError(f"it is not the status of a sidecar: {error} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise MalformedError(f"it is not the status of a sidecar: {error}") from None


def _feed(row: Mapping[str, Any], sidecar: str, now_ms: int) -> FeedStatus:
    state, received_ms = row["state"], row["last_received_ms"]
    return FeedStatus(
        str(row["name"]),
        None if state is None else FeedState(state),
        tuple(map(str, row["reasons"])),
        _time(row["state_since_ms"]),
        None if state is None else sidecar,
        int(row["batches"]),
        int(row["messages"]),
        row["batches_per_second"],
        row["messages_per_second"],
        int(row["symbols"]),
        None if received_ms is None else max(0, now_ms - int(received_ms)),
        int(row["anomalies"]),
    )


def _time(value: object) -> int | None:
    if value is None or (isinstance(value, int) and 0 <= value <= MAX_TIMESTAMP_MS):
        return value
    raise ValueError(f"{value!r} is no time in milliseconds")


def overview(sidecars: Iterable[SidecarStatus]) -> Overview:
    """Return the sidecars in their order, with each of their feeds once."""
    sidecars = tuple(sidecars)
    found = defaultdict[str, list[FeedStatus]](list)
    for feed in (feed for each in sidecars for feed in each.feeds):
        found[feed.name].append(feed)
    return Overview(
        sidecars,
        tuple(sorted(map(_one, found.values()), key=lambda feed: (rank(feed.state), feed.name))),
        merged_sources(source for each in sidecars for source in each.sources),
        merged_rates(rate for each in sidecars for rate in each.rates),
        merged_portfolios(portfolio for each in sidecars for portfolio in each.portfolios),
    )


def rank(state: FeedState | None) -> int:
    """Return the place of a state in an order that begins with the worst; a feed that is not read is the last."""
    return len(ORDER) if state is None else ORDER.index(state)


def _one(feeds: Sequence[FeedStatus]) -> FeedStatus:
    """Return a feed as one of what each sidecar shows of it."""
    worst = min(feeds, key=lambda feed: rank(feed.state))
    return worst._replace(
        batches=sum(feed.batches for feed in feeds),
        messages=sum(feed.messages for feed in feeds),
        batches_per_second=_total(feed.batches_per_second for feed in feeds),
        messages_per_second=_total(feed.messages_per_second for feed in feeds),
        symbols=max(feed.symbols for feed in feeds),
        age_ms=min((feed.age_ms for feed in feeds if feed.age_ms is not None), default=None),
        anomalies=sum(feed.anomalies for feed in feeds),
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
