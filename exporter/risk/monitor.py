"""Evaluates the risk of all portfolios in a thread of its own, and hands what is new to the loop to be published."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from exporter.config.risk_schema import RiskConfig
from exporter.model import Partition
from exporter.risk.engine import ModelFigures, News, RiskEngine, RiskSnapshot
from exporter.risk.guard import PortfolioState
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionsError
from exporter.risk.prices import Prices
from exporter.risk.state_topic import StateError
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.threads import Start, described

log = logs.logger("risk")

Generation = tuple[int, ...]


class Positions(Protocol):
    """Where portfolios come from."""

    def read(self) -> list[Portfolio] | None:
        """Return the portfolios if they have changed, None if not; raise `PositionsError` when they cannot be read."""

    def close(self) -> None:
        """Release what is open."""


class Outbox(Protocol):
    """The way of news to the topic of risk events, exactly once, as far as the configured delivery allows."""

    def settled(self, known: Generation | None) -> Generation | None:
        """Return the present assignment if it is the one that is known, or nothing of earlier news waits; else None."""

    def states(self, names: Collection[str]) -> dict[str, PortfolioState]:
        """Return the published states of portfolios; raise `StateError`."""

    def publish(
        self,
        news: Sequence[News],
        states: Mapping[str, PortfolioState],
        partitions: Collection[Partition],
        generation: Generation,
    ) -> bool:
        """Publish news with the positions of the partitions that they come from, and the states after them.

        Returns False without publishing anything if the assignment is another one by now.
        """


class NoOutbox:
    """Publishes nothing, so that nothing is known of a predecessor."""

    def settled(self, known: Generation | None) -> Generation:
        """See Outbox."""
        return ()

    def states(self, names: Collection[str]) -> dict[str, PortfolioState]:
        """See Outbox."""
        return {}

    def publish(
        self,
        news: Sequence[News],
        states: Mapping[str, PortfolioState],
        partitions: Collection[Partition],
        generation: Generation,
    ) -> bool:
        """See Outbox."""
        return True


class RiskCounts(NamedTuple):
    """Evaluations since the start, the seconds that they took, and how many of them were hindered by an error."""

    evaluations: int = 0
    seconds: float = 0.0
    failed: int = 0


class RiskMonitor:
    """The risk of all portfolios, evaluated every interval.

    `snapshot` is the last evaluation, None before the first; `errors` are what hinders the next, or makes it outdated.
    Other threads read them, and call `lift`.
    """

    def __init__(
        self,
        config: RiskConfig,
        positions: Positions,
        prices: Callable[[Collection[str], int], Prices],
        outbox: Outbox,
        clock: Clock,
        model: Callable[[], ModelFigures] = ModelFigures,
    ) -> None:
        self.snapshot: RiskSnapshot | None = None
        self.errors: dict[str, str] = {}
        self.counts = RiskCounts()
        self.config = config
        self._engine = RiskEngine(config)
        self._positions = positions
        self._prices = prices
        self._outbox = outbox
        self._clock = clock
        self._model = model
        self._generation: Generation | None = None
        self._recovered: frozenset[str] = frozenset()  # the portfolios whose published states are known
        self._partitions: frozenset[Partition] = frozenset()  # those that the last prices came from
        self._has_positions = False
        self._lifts: queue.SimpleQueue[tuple[str, Future[bool]]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._waking = threading.Event()

    def start(self, start_thread: Start) -> None:
        """Begin to evaluate."""
        start_thread("risk", self.run)

    def stop(self) -> None:
        """End `run` soon; from any thread."""
        self._stopping.set()
        self._waking.set()

    def run(self) -> None:
        """Evaluate every interval until stopped."""
        due = self._clock.monotonic()
        while not self._stopping.is_set():
            self._waking.clear()
            self._take_lifts()
            now = self._clock.monotonic()
            if now >= due:
                due = max(due + self.config.interval, now)
                self.tick()
            self._waking.wait(max(0.0, due - self._clock.monotonic()))
        self._positions.close()
        while not self._lifts.empty():
            self._lifts.get()[1].set_result(False)

    def _take_lifts(self) -> None:
        while not self._lifts.empty():
            portfolio, future = self._lifts.get()
            try:
                future.set_result(self._lift(portfolio))
            except Exception as error:  # as in `tick`
                self._generation = None
                future.set_exception(error)

    def tick(self) -> None:
        """Evaluate once, if positions and earlier states are known."""
        began = self._clock.monotonic()
        try:
            if self._read_positions() and self._recover():
                self._evaluate(self._clock.now_ms())
            self._clear("evaluation")
        except Exception as error:  # whatever is wrong here must not end the sidecar
            self._generation = None
            if self._fail("evaluation", described(error)):
                log.error("risk cannot be evaluated, retrying", extra={"error": described(error)})
        finally:
            seconds = self._clock.monotonic() - began
            count, total, failed = self.counts
            self.counts = RiskCounts(count + 1, total + seconds, failed + bool(self.errors))

    def lift(self, portfolio: str) -> Future[bool]:
        """Lift the stop of a portfolio by hand; the result is whether that was in force. From any thread."""
        future: Future[bool] = Future()
        self._lifts.put((portfolio, future))
        self._waking.set()
        return future

    def _read_positions(self) -> bool:
        """Return whether there are portfolios."""
        try:
            found = self._positions.read()
            self._clear("positions")
        except PositionsError as error:
            if self._fail("positions", str(error)):
                log.warning("positions cannot be read, those read before stay in force", extra={"error": str(error)})
            found = None
        if found is not None:
            self._has_positions = True
            self._engine.hold(found)
            names = self._engine.names
            log.info("positions read", extra={"portfolios": len(names), "symbols": len(self._engine.symbols)})
            if not names <= self._recovered:
                self._generation = None
        return self._has_positions

    def _recover(self) -> bool:
        """Go on from the published states after a change of the assignment; return whether these are known."""
        generation = self._outbox.settled(self._generation)
        if generation is None:
            self._fail("events", "the assignment has changed, and earlier events wait to be published")
            return False
        self._clear("events")
        if generation == self._generation:
            return True
        names = self._engine.names
        try:
            states = self._outbox.states(names)
            self._clear("states")
        except StateError as error:
            if self._fail("states", str(error)):
                log.warning("states of portfolios cannot be read, nothing is evaluated", extra={"error": str(error)})
            return False
        self._engine.restore(states)
        self._generation, self._recovered = generation, names
        return True

    def _evaluate(self, now_ms: int) -> None:
        prices = self._prices(self._engine.symbols, now_ms)
        snapshot, news = self._engine.evaluate(prices.fresh, now_ms, self._model(), prices.elsewhere)
        if self._publish(news, prices.partitions):
            self.snapshot = snapshot
            self._partitions = prices.partitions

    def _publish(self, news: Sequence[News], partitions: Collection[Partition]) -> bool:
        """Hand over news; if that fails, the published states are those to go on from."""
        if not news:
            return True
        states = {name: self._engine.state(name) for name in {each.portfolio for each in news}}
        is_published = self._outbox.publish(news, states, partitions, self._generation or ())
        if not is_published:
            self._generation = None
        return is_published

    def _lift(self, portfolio: str) -> bool:
        now_ms, known = self._clock.now_ms(), self._generation
        if not self._recover():
            return False
        if self._generation != known:
            self._evaluate(now_ms)
        view = None if self.snapshot is None else self.snapshot.portfolios.get(portfolio)
        if view is None or not view.is_here:
            return False
        news = self._engine.lift(portfolio, view, now_ms)
        return news is not None and self._publish([news], self._partitions)

    def _fail(self, kind: str, error: str) -> bool:
        """Keep an error, and return whether it is another one than before."""
        is_new = self.errors.get(kind) != error
        self.errors = {**self.errors, kind: error}
        return is_new

    def _clear(self, kind: str) -> None:
        self.errors = {name: error for name, error in self.errors.items() if name != kind}
