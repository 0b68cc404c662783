"""Events about the risk of portfolios, as the schemas describe them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from exporter.events.encoding import Encoder, utc_text
from exporter.events.factory import Event
from exporter.model import EVENT_PREFIX, Partition, RiskEventType
from exporter.risk.engine import News, PortfolioView
from exporter.risk.evaluation import TAIL_KEYS
from exporter.risk.figure import Figure
from exporter.risk.guard import PortfolioState
from exporter.risk.limits import LimitKey

# The header with the state of the portfolio after the event: JSON, for a successor.
STATE_HEADER = "marketdata_risk_state"


class RiskEventFactory:
    """Factory of the events of one sidecar, keyed by portfolio.

    The `ce_id` is made of the portfolio and of numbers that count, so that the same event has the same one, whichever
    process publishes it.
    """

    def __init__(self, encoder: Encoder, instance: str, topic: str) -> None:
        self._encoder = encoder
        self._topic = topic
        self._common = [
            ("ce_specversion", b"1.0"),
            ("ce_source", instance.encode()),
            ("content-type", encoder.content_type),
        ]

    def event(self, news: News, state: PortfolioState | None, partitions: Iterable[Partition]) -> Event:
        """Return the event of news: none when one of the partitions is lost; a state becomes a header."""
        owned = frozenset(partitions)
        headers = [
            *self._common,
            ("ce_type", EVENT_PREFIX + news.type.encode()),
            ("ce_id", identity(news).encode()),
            ("ce_time", utc_text(news.time_ms).encode()),
            *([] if state is None else [(STATE_HEADER, msgspec.json.encode(state))]),
        ]

        def rest(gone: Container[Partition]) -> Event | None:
            return None if any(partition in gone for partition in owned) else self.event(news, state, owned)

        body = self._encoder.encode(news.type, value(news))
        source = min(owned, default=Partition(self._topic, 0))
        return Event(news.type, self._topic, news.portfolio.encode(), body, headers, source, rest)


def identity(news: News) -> str:
    """Return the text that names an event of a portfolio for ever."""
    parts = ["risk", news.portfolio, news.type.value]
    if news.limit is not None:
        parts += [_limit_name(news.limit.key), str(news.limit.number)]
    else:
        parts.append(str(news.number if news.stop is None else news.stop.number))
    return "/".join(parts)


def value(news: News) -> dict[str, Any]:
    """Return the record that the schema of the event describes."""
    head = {
        "event_type": news.type.value,
        "event_timestamp_utc": utc_text(news.time_ms),
        "portfolio": news.portfolio,
        "number": news.number,
    }
    return head | _FIELDS[news.type](news)


def _report(news: News) -> dict[str, Any]:
    view, risk = news.view, news.view.risk
    return {
        **{name: figure.value for name, figure in plain_figures(view)},
        "largest_symbol": risk.largest_symbol,
        "tails": [{**key._asdict(), "var": risk.var[key].value, "cvar": risk.cvar[key].value} for key in TAIL_KEYS],
        "scenarios": [
            {"scenario": name, "loss": each.loss.value, "value": each.value.value, "cvar": each.cvar[0.99].value}
            for name, each in view.scenarios.items()
        ],
        "breaches": sorted(map(_limit_name, view.breaches)),
        "tripped": [measure.value for measure in view.safety.tripped],
        "emergency_stop": view.stop.since_ms is not None,
        "unknown": sorted({figure.reason for _, figure in figures(view) if not figure.is_known}),
    }


def plain_figures(view: PortfolioView) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a portfolio that depend on no method, by their names in events."""
    risk, results = view.risk, view.results
    yield from (
        ("value", risk.value),
        ("total", risk.total),
        ("leverage", risk.leverage),
        ("daily_profit", results.day_profit),
        ("drawdown", results.drawdown),
        ("maximum_drawdown", results.maximum_drawdown),
        ("volatility", risk.volatility),
        ("exponential_volatility", risk.exponential_volatility),
        ("hhi", risk.hhi),
        ("largest_share", risk.largest_share),
        ("mean_correlation", risk.mean_correlation),
        ("uncertainty", view.uncertainty),
        ("confidence", view.confidence),
    )


def figures(view: PortfolioView) -> Iterator[tuple[str, Figure]]:
    """Yield all figures of a portfolio, but those of scenarios."""
    yield from plain_figures(view)
    for kind, tails in (("var", view.risk.var), ("cvar", view.risk.cvar)):
        yield from ((f"{kind}_{key.method}_{100 * key.confidence:g}", figure) for key, figure in tails.items())


def _limit(news: News) -> dict[str, Any]:
    change = news.limit
    assert change is not None  # noqa: S101, news of these types have one
    return {
        "limit": change.key.kind.value,
        "symbol": change.key.symbol or None,
        "breach": change.number,
        "since_utc": utc_text(change.since_ms),
        "value": change.value,
        "threshold": change.limit,
    }


def _stop(news: News) -> dict[str, Any]:
    stop, view = news.stop, news.view
    assert stop is not None  # noqa: S101, news of this type have one
    return {
        "stop": stop.number,
        "reasons": list(stop.reasons),
        "value": view.risk.value.value,
        "daily_profit": view.results.day_profit.value,
        "drawdown": view.results.drawdown.value,
        "liquidation_plan": [{**step._asdict(), "impact": step.impact.value} for step in news.plan],
    }


def _lifted(news: News) -> dict[str, Any]:
    stop = news.stop
    assert stop is not None  # noqa: S101, news of this type have one
    return {
        "stop": stop.number,
        "reasons": list(stop.reasons),
        "since_utc": utc_text(stop.since_ms),
        "by_hand": stop.by_hand,
    }


def _limit_name(key: LimitKey) -> str:
    return f"{key.kind}/{key.symbol}" if key.symbol else key.kind.value


_FIELDS: Mapping[RiskEventType, Callable[[News], dict[str, Any]]] = {
    RiskEventType.REPORT: _report,
    RiskEventType.BREACHED: _limit,
    RiskEventType.CLEARED: _limit,
    RiskEventType.STOP: _stop,
    RiskEventType.LIFTED: _lifted,
}
