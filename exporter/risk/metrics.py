"""The families of the risk of portfolios, made at each scrape from the last evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from exporter.config.risk_schema import LimitKind
from exporter.risk.engine import PortfolioView
from exporter.risk.figure import Figure
from exporter.risk.monitor import RiskMonitor

NAMES: dict[str, tuple[str, Callable[[PortfolioView], Figure]]] = {
    "value": ("Cash and all positions, in the currency of the prices.", lambda view: view.risk.value),
    "exposure": ("The sum of the absolute exposures.", lambda view: view.risk.total),
    "leverage_ratio": ("Exposure by value; infinite if the value is not above 0.", lambda view: view.risk.leverage),
    "daily_profit": ("Profit of the day, by the moves of prices alone.", lambda view: view.results.day_profit),
    "drawdown_ratio": ("Fall from the peak, as a share of it.", lambda view: view.results.drawdown),
    "maximum_drawdown_ratio": ("Largest fall from the peak.", lambda view: view.results.maximum_drawdown),
    "concentration_hhi_ratio": ("Sum of the squared shares of the exposure.", lambda view: view.risk.hhi),
    "largest_share_ratio": ("Largest share of the exposure.", lambda view: view.risk.largest_share),
    "mean_correlation_ratio": (
        "Mean correlation of each two symbols, weighted by exposure.",
        lambda view: view.risk.mean_correlation,
    ),
    "model_uncertainty_ratio": ("Uncertainty of predictions, as their program reports it.", lambda v: v.uncertainty),
    "model_confidence_ratio": ("Confidence of predictions, as their program reports it.", lambda v: v.confidence),
}
PREFIX = "marketdata_risk_"


class RiskMetrics(Collector):
    """The families of one monitor. What is unknown is absent."""

    def __init__(self, monitor: RiskMonitor, registry: CollectorRegistry) -> None:
        self._monitor = monitor
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are those of no other family."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        snapshot, counts = self._monitor.snapshot, self._monitor.counts
        yield SummaryMetricFamily(
            f"{PREFIX}evaluation_seconds", "Duration of an evaluation.", counts.evaluations, counts.seconds
        )
        failed = "Evaluations that were hindered or outdated by an error."
        yield CounterMetricFamily(f"{PREFIX}evaluations_failed", failed, counts.failed)
        jumps = CounterMetricFamily(
            f"{PREFIX}price_jumps", "Jumps of prices that following prices confirmed or refuted.", labels=["outcome"]
        )
        for outcome, count in self._monitor.jumps._asdict().items():
            jumps.add_metric([outcome], count)
        yield jumps
        every = {} if snapshot is None else snapshot.portfolios
        views = {name: view for name, view in every.items() if view.is_here}
        if snapshot is not None:
            text = "Unix time of the last evaluation."
            yield GaugeMetricFamily(f"{PREFIX}last_evaluation_timestamp_seconds", text, snapshot.time_ms / 1000)
            text = "Symbols whose last price does not count before following prices confirm it."
            yield GaugeMetricFamily(f"{PREFIX}unconfirmed_prices", text, len(snapshot.unconfirmed))
        for name, (text, read) in NAMES.items():
            yield _gauge(name, text, ["portfolio"], (([portfolio], read(view)) for portfolio, view in views.items()))
        yield from _tails(views.items())
        yield from _states(views.items())
        known = (([name], Figure(float(view.risk.value.is_known))) for name, view in every.items())
        yield _gauge("value_known", "Whether each position has a fresh price here.", ["portfolio"], known)


def _tails(views: Iterable[tuple[str, PortfolioView]]) -> Iterator[Metric]:
    views = list(views)
    labels = ["portfolio", "method", "confidence"]
    for name, text, kind in (
        ("value_at_risk", "Loss of an interval that is not exceeded with this confidence.", "var"),
        ("conditional_value_at_risk", "Mean of the losses beyond the value at risk.", "cvar"),
    ):
        found = (
            ([portfolio, key.method, f"{key.confidence:g}"], figure)
            for portfolio, view in views
            for key, figure in getattr(view.risk, kind).items()
        )
        yield _gauge(name, text, labels, found)
    spreads = (
        ([portfolio, method], figure)
        for portfolio, view in views
        for method, figure in (
            ("historical", view.risk.volatility),
            ("exponential", view.risk.exponential_volatility),
        )
    )
    yield _gauge("volatility_ratio", "Standard deviation of an interval.", ["portfolio", "method"], spreads)
    losses = (([portfolio, name], each.loss) for portfolio, view in views for name, each in view.scenarios.items())
    yield _gauge("scenario_loss", "Loss at once in a scenario.", ["portfolio", "scenario"], losses)


def _states(views: Iterable[tuple[str, PortfolioView]]) -> Iterator[Metric]:
    views = list(views)
    breached = (
        ([portfolio, kind.value], Figure(float(sum(key.kind is kind for key in view.breaches))))
        for portfolio, view in views
        for kind in LimitKind
    )
    yield _gauge("limits_breached", "Limits that are broken now.", ["portfolio", "limit"], breached)
    tripped = (([name], Figure(float(view.safety.since_ms is not None))) for name, view in views)
    yield _gauge("safety_tripped", "Whether the safety controller has tripped.", ["portfolio"], tripped)
    stopped = (([name], Figure(float(view.stop.since_ms is not None))) for name, view in views)
    yield _gauge("emergency_stop", "Whether an emergency stop is in force.", ["portfolio"], stopped)


def _gauge(name: str, text: str, labels: list[str], figures: Iterable[tuple[list[str], Figure]]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, figure in figures:
        if figure.value is not None:
            family.add_metric(values, figure.value)
    return family
