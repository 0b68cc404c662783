"""Makes what evaluates the risk of portfolios, beside the loop of the batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from exporter.config.layers import Problem
from exporter.config.loader import ConfigError
from exporter.config.risk_schema import RiskConfig
from exporter.config.schema import Config
from exporter.events import framing
from exporter.feed_loop import FeedLoop
from exporter.instrument.groups import Groups
from exporter.kafka.credentials import KafkaLogin
from exporter.model import Partition, RiskEventType, Status
from exporter.publishing.dispatch import Dispatch
from exporter.runtime.clock import Clock
from exporter.runtime.handover import NotTaken
from exporter.status import SidecarStatus
from exporter.web.interface import Row

if TYPE_CHECKING:
    from exporter.risk.engine import News
    from exporter.risk.events import RiskEventFactory
    from exporter.risk.guard import PortfolioState
    from exporter.risk.monitor import RiskMonitor, TakePrices
    from exporter.risk.outbox import Generation
    from exporter.risk.prices import FeedPrices, Prices
    from exporter.risk.state_topic import StateTopic

# A turn of the loop, with a rebalance in it.
HANDOVER_SECONDS = 20.0


def make_risk(
    config: Config,
    loop: FeedLoop,
    status: SidecarStatus,
    clock: Clock,
    registry: CollectorRegistry,
    groups: Groups | None,
    login: KafkaLogin,
) -> RiskMonitor | None:
    """Return what evaluates risk; None unless `risk.enabled`. Raises `ConfigError` without NumPy.

    `groups` are the programs that push, which may report figures of models.
    """
    if not config.risk.enabled:
        return None
    if find_spec("numpy") is None:
        install = (
            "NumPy is not installed, expected the extra: pip install 'marketdata-exporter[risk]', "
            "for the image: docker build --build-arg EXTRA=risk"
        )
        raise ConfigError((Problem("risk.enabled", install),))
    # NumPy would start a thread for each processor, beside a loop that needs one of them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from exporter.risk.events import RiskEventFactory
    from exporter.risk.metrics import RiskMetrics
    from exporter.risk.models import model_figures
    from exporter.risk.monitor import RiskMonitor
    from exporter.risk.outbox import NoOutbox
    from exporter.risk.position_file import PositionFile
    from exporter.risk.position_topic import PositionTopic
    from exporter.risk.state_topic import StateTopic

    risk = config.risk
    factory = RiskEventFactory(framing.encoder(config.output, RiskEventType), config.instance, risk.topic)
    outbox = LoopOutbox(loop, clock, factory, StateTopic(config, login)) if config.output.enabled else NoOutbox()
    positions = PositionFile(risk.positions.file) if risk.positions.file is not None else PositionTopic(config, login)
    monitor = RiskMonitor(risk, positions, _take_prices(risk, status), outbox, clock, partial(model_figures, groups))
    RiskMetrics(monitor, registry)
    return monitor


def prepare_risk(monitor: RiskMonitor, status: SidecarStatus, running: Config, wanted: Config) -> Callable[[], None]:
    """See Prepare: its thread adopts the configuration before the next evaluation."""
    if running.risk == wanted.risk:
        return lambda: None
    return partial(monitor.reconfigure, wanted.risk, _take_prices(wanted.risk, status))


def risk_view(monitor: RiskMonitor | None) -> RiskView | None:
    """Return what the server shows of risk."""
    return None if monitor is None else RiskView(monitor)


class RiskView:
    """What the server shows of risk, and lets clients do; see `exporter.web.risk.Risk`."""

    def __init__(self, monitor: RiskMonitor) -> None:
        from exporter.risk.rows import readiness, risk_rows

        self._monitor = monitor
        self._rows, self._readiness = risk_rows, readiness

    def rows(self) -> Row:
        """See Risk."""
        return self._rows(self._monitor.snapshot, self._monitor.errors)

    def ready(self) -> Status:
        """See Risk."""
        return self._readiness(self._monitor.snapshot, self._monitor.errors)

    def lift(self, portfolio: str) -> Future[bool | None]:
        """See Risk."""
        return self._monitor.lift(portfolio)


def _take_prices(risk: RiskConfig, status: SidecarStatus) -> TakePrices:
    from exporter.risk.prices import FeedPrices

    return partial(_prices, FeedPrices(risk.feeds, round(1000 * risk.price_age)), status)


def _prices(prices: FeedPrices, status: SidecarStatus, symbols: Collection[str], now_ms: int) -> Prices:
    return prices.take(symbols, status.feeds(), status.each, now_ms)


class LoopOutbox:
    """Publishes news through the backlog of the loop; see `exporter.risk.outbox.Outbox`.

    News are committed with the positions of the partitions that they come from. So they are refused by Kafka when this
    process is no longer a member of the group, and dropped with partitions that are lost.
    """

    def __init__(self, loop: FeedLoop, clock: Clock, factory: RiskEventFactory, states: StateTopic) -> None:
        self._loop = loop
        self._clock = clock
        self._factory = factory
        self.states = states.read

    def settled(self, known: Generation | None) -> Generation | None:
        """See Outbox."""
        if known == self._generation():
            return known
        found: list[Generation] = []
        try:
            self._loop.handover.run(lambda: found.extend(self._settled()), HANDOVER_SECONDS)
        except NotTaken:
            return None
        return found[0] if found else None

    def publish(
        self,
        news: Sequence[News],
        states: Mapping[str, PortfolioState],
        partitions: Collection[Partition],
        generation: Generation,
    ) -> bool:
        """See Outbox."""
        last = {each.portfolio: each for each in news}
        events = [
            self._factory.event(each, states[each.portfolio] if each is last[each.portfolio] else None, partitions)
            for each in news
        ]
        taken: list[bool] = []

        def offer() -> None:
            if self._generation() == generation:
                owned = self._loop.pipeline.partitions
                positions = {partition: owned[partition].position for partition in partitions}
                self._loop.publisher.backlog.offer(Dispatch(events, positions), self._clock.monotonic())
                taken.append(True)

        try:
            self._loop.handover.run(offer, HANDOVER_SECONDS)
        except NotTaken:
            return False
        return bool(taken)

    def has_committed_lifts(self, generation: Generation) -> bool | None:
        """See Outbox."""
        found: list[bool | None] = []
        try:
            self._loop.handover.run(lambda: found.append(self._has_committed_lifts(generation)), HANDOVER_SECONDS)
        except NotTaken:
            return None
        return found[0]

    def _has_committed_lifts(self, generation: Generation) -> bool | None:
        """See Outbox; in the thread of the loop."""
        if generation != self._generation():
            return False
        return None if self._is_waiting((RiskEventType.LIFTED,)) else True

    def _is_waiting(self, types: Iterable[RiskEventType]) -> bool:
        backlog = self._loop.publisher.backlog
        return any(each.counts[kind] for each in (*backlog.sent, *backlog.waiting) for kind in types)

    def _settled(self) -> list[Generation]:
        """Return the assignment, unless earlier news wait; in the thread of the loop."""
        return [] if self._is_waiting(RiskEventType) else [self._generation()]

    def _generation(self) -> Generation:
        """Return what changes when published states may be others than those that are known here.

        After a commit whose outcome was unclear, its events may not be there although their positions are.
        """
        return self._loop.generation, self._loop.publisher.counts.commit_failures["unclear"]
