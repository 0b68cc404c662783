"""Evaluates the risk of all portfolios in a thread of its own, and hands what is new to the loop to be published."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Literal, NamedTuple, Protocol

from exporter.config.risk_schema import RiskConfig
from exporter.model import Partition
from exporter.risk.engine import ModelFigures, News, RiskEngine, RiskSnapshot
from exporter.risk.lifts import COMMIT_POLL_SECONDS, Lifts
from exporter.risk.outbox import Generation, Outbox
from exporter.risk.plausibility import LOOK_SECONDS, JumpCounts
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionsError
from exporter.risk.prices import Prices
from exporter.risk.state_topic import StateError
from exporter.runtime import logs
from exporter.runtime.clock import Clock
from exporter.runtime.threads import Start, described

log = logs.logger("risk")

TakePrices = Callable[[Collection[str], int], Prices]


class Positions(Protocol):
    """Where portfolios come from."""

    def read(self) -> list[Portfolio] | None:
        """Return the portfolios if they have changed, None if not; raise `PositionsError` when they cannot be read."""

    def close(self) -> None:
        """Release what is open."""


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
        prices: TakePrices,
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
        self._is_evaluated = False  # since the published states were read
        self._wanted: queue.SimpleQueue[tuple[RiskConfig, TakePrices]] = queue.SimpleQueue()
        self._lifts = Lifts(self._lift, self._is_lifted, clock.monotonic)
        self._due = 0.0
        self._looked_at = 0.0
        self._stopping = threading.Event()
        self._waking = threading.Event()

    def start(self, start_thread: Start) -> None:
        """Begin to evaluate."""
        start_thread("risk", self.run)

    def stop(self) -> None:
        """End `run` soon; from any thread."""
        self._stopping.set()
        self._waking.set()

    def reconfigure(self, config: RiskConfig, prices: TakePrices) -> None:
        """Go on with another configuration, before the next evaluation; from any thread."""
        self._wanted.put((config, prices))
        self._waking.set()

    def lift(self, portfolio: str) -> Future[bool | None]:
        """Lift the stop of a portfolio by hand; from any thread.

        The result is there once the event is committed: whether a stop was in force, None if that is still unknown
        when the monitor ends, or after a minute.
        """
        future = self._lifts.ask(portfolio)
        self._waking.set()
        return future

    def run(self) -> None:
        """Evaluate every interval until stopped."""
        self._due = self._clock.monotonic()
        while not self._stopping.is_set():
            self._waking.clear()
            self.take_requests()
            self._waking.wait(max(0.0, self._turn() - self._clock.monotonic()))
        self._positions.close()
        self._lifts.close()

    def take_requests(self) -> None:
        """Do what other threads have asked for; in the thread of the monitor."""
        while not self._wanted.empty():
            self.config, self._prices = self._wanted.get()
            self._engine.reconfigure(self.config)
            self._due = min(self._due, self._clock.monotonic() + self.config.interval)
        self._lifts.advance()

    def _turn(self) -> float:
        """Evaluate if that is due, and return when there is more to do."""
        now = self._clock.monotonic()
        is_due = now >= self._due
        if is_due or (self._engine.filter.is_waiting and now >= self._looked_at + LOOK_SECONDS):
            self._due = max(self._due + self.config.interval, now) if is_due else self._due
            self._looked_at = now
            self.tick(is_look=not is_due)
        due = [self._due]
        if self._engine.filter.is_waiting:
            due.append(self._looked_at + LOOK_SECONDS)
        if self._lifts:
            due.append(now + COMMIT_POLL_SECONDS)
        return min(due)

    def tick(self, *, is_look: bool = False) -> None:
        """Evaluate once, if positions and earlier states are known; a look does only if it decides about a jump."""
        began = self._clock.monotonic()
        is_evaluated = False
        try:
            if self._read_positions() and self._recover():
                is_evaluated = self._evaluate(self._clock.now_ms(), is_look=is_look)
            self._clear("evaluation")
        except Exception as error:  # whatever is wrong here must not end the sidecar
            self._generation = None
            if self._fail("evaluation", described(error)):
                log.error("risk cannot be evaluated, retrying", extra={"error": described(error)})
        if is_evaluated or not is_look:
            seconds = self._clock.monotonic() - began
            count, total, failed = self.counts
            self.counts = RiskCounts(count + 1, total + seconds, failed + bool(self.errors))

    @property
    def jumps(self) -> JumpCounts:
        """Jumps of prices since the start; from any thread."""
        return self._engine.filter.counts

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
            # Events go on without what is left out: when it comes back, its last state is to be read again.
            self._recovered &= names
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
        self._generation, self._recovered, self._is_evaluated = generation, names, False
        return True

    def _evaluate(self, now_ms: int, *, is_look: bool = False) -> bool:
        """Return whether figures were evaluated: with a look, only if prices were confirmed or refuted."""
        prices, decided = self._prices(self._engine.symbols, now_ms), self._engine.filter.decided
        accepted = self._engine.accept(prices.fresh, now_ms)
        if is_look and self._engine.filter.decided == decided:
            return False
        snapshot, news = self._engine.evaluate(accepted, now_ms, self._model(), prices.elsewhere)
        if self._publish(news, prices.partitions):
            self.snapshot = snapshot
            self._partitions = prices.partitions
            self._is_evaluated = True
        return True

    def _publish(self, news: Sequence[News], partitions: Collection[Partition]) -> bool:
        """Hand over news; if that fails, the published states are those to go on from."""
        if not news:
            return True
        states = {name: self._engine.state(name) for name in {each.portfolio for each in news}}
        is_published = self._outbox.publish(news, states, partitions, self._generation or ())
        if not is_published:
            self._generation = None
        return is_published

    def _lift(self, portfolio: str, *, is_repeated: bool) -> Generation | Literal[False] | None:
        """See Attempt."""
        try:
            if not self._recover():
                return None
            if not self._is_evaluated:
                self._evaluate(self._clock.now_ms())
            snapshot = self.snapshot
            if snapshot is None or portfolio not in snapshot.portfolios or not self._engine.is_stopped(portfolio):
                return False
            view = snapshot.portfolios[portfolio]
            if not view.is_here:
                return None if is_repeated else False
            news = self._engine.lift(portfolio, view, self._clock.now_ms())
            if news is None or not self._publish([news], self._partitions):
                return None
            self.snapshot = self._engine.refreshed(snapshot, portfolio)
            return self._generation
        except Exception:
            self._generation = None  # what was published is known, not what was lifted here
            raise

    def _is_lifted(self, portfolio: str, generation: Generation) -> bool | None:
        """See Lifts."""
        is_committed = self._outbox.has_committed_lifts(generation)
        if is_committed is not False:
            return is_committed
        return not self._engine.is_stopped(portfolio) if self._recover() else None

    def _fail(self, kind: str, error: str) -> bool:
        """Keep an error, and return whether it is another one than before."""
        is_new = self.errors.get(kind) != error
        self.errors = {**self.errors, kind: error}
        return is_new

    def _clear(self, kind: str) -> None:
        self.errors = {name: error for name, error in self.errors.items() if name != kind}
