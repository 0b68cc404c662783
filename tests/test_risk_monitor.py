"""The thread of risk: what it does without positions or states, when an assignment changes, and by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.config.risk_schema import RiskConfig, SafetyLimits
from exporter.model import Partition, RiskEventType
from exporter.risk.engine import News
from exporter.risk.guard import PortfolioState
from exporter.risk.monitor import Generation, RiskMonitor
from exporter.risk.portfolios import Portfolio
from exporter.risk.position_file import PositionsError
from exporter.risk.prices import Prices
from exporter.risk.state_topic import StateError
from exporter.runtime.threads import start

PARTITIONS = frozenset({Partition("topic", 0)})


class Time:
    """A clock that goes on by a second at each look at the time of day."""

    def __init__(self) -> None:
        self.seconds = 1_760_000_400.0

    def now_ms(self) -> int:
        """See Clock."""
        self.seconds += 1
        return round(1000 * self.seconds)

    def monotonic(self) -> float:
        """See Clock."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """See Clock."""


class Topic:
    """A topic of risk events, the positions, and a market with one symbol."""

    def __init__(self) -> None:
        self.committed: list[News] = []
        self.stored: dict[str, PortfolioState] = {}
        self.generation: Generation = (1,)
        self.waits = self.fails = self.loses = False
        self.found: list[Portfolio] | None = [Portfolio("main", {"A": 1.0})]
        self.price = 100.0
        self.reads = 0

    def read(self) -> list[Portfolio] | None:
        """See Positions."""
        if self.found == []:
            raise PositionsError("wrong")
        found, self.found = self.found, None
        return found

    def close(self) -> None:
        """See Positions."""

    def prices(self, symbols: Collection[str], now_ms: int) -> Prices:
        """The price of each symbol."""
        if self.price < 0:
            raise ValueError("of the program")
        return Prices(dict.fromkeys(symbols, self.price), PARTITIONS, frozenset())

    def settled(self, known: Generation | None) -> Generation | None:
        """See Outbox."""
        return known if known == self.generation else None if self.waits else self.generation

    def states(self, names: Collection[str]) -> dict[str, PortfolioState]:
        """See Outbox."""
        self.reads += 1
        if self.fails:
            raise StateError("no answer")
        return {name: self.stored[name] for name in names if name in self.stored}

    def publish(
        self,
        news: Sequence[News],
        states: Mapping[str, PortfolioState],
        partitions: Collection[Partition],
        generation: Generation,
    ) -> bool:
        """See Outbox."""
        assert partitions == PARTITIONS
        if self.loses or generation != self.generation:
            self.loses = False
            return False
        self.committed += news
        self.stored |= states
        return True

    def told(self) -> list[RiskEventType]:
        """The types of all events but reports."""
        return [each.type for each in self.committed if each.type is not RiskEventType.REPORT]


def monitored() -> tuple[RiskMonitor, Topic]:
    topic = Topic()
    config = RiskConfig(interval=1.0, safety=SafetyLimits(drawdown=0.1))
    return RiskMonitor(config, topic, topic.prices, topic, Time()), topic


def test_each_tick_evaluates_and_publishes() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.price = 80.0
    for _ in range(3):
        monitor.tick()
    assert topic.told() == [RiskEventType.STOP]
    assert monitor.snapshot is not None
    assert monitor.snapshot.portfolios["main"].risk.value.value == 80
    assert (monitor.counts.evaluations, monitor.counts.failed, topic.reads) == (4, 0, 1)


def test_after_a_change_of_the_assignment_it_goes_on_from_what_is_committed() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.generation = (2,)
    topic.price = 80.0
    monitor.tick()
    assert (topic.told(), topic.reads) == ([RiskEventType.STOP], 2)
    topic.generation = (3,)
    monitor.tick()
    assert (topic.told(), topic.reads) == ([RiskEventType.STOP], 3)


def test_news_that_were_not_taken_are_made_again_and_published_once() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.price, topic.loses = 80.0, True
    monitor.tick()
    assert topic.told() == []
    monitor.tick()
    assert topic.told() == [RiskEventType.STOP]
    assert [each.number for each in topic.committed] == [1, 2, 3]


def test_nothing_is_evaluated_while_earlier_news_wait_or_states_are_unknown() -> None:
    monitor, topic = monitored()
    topic.waits = True
    monitor.tick()
    assert monitor.errors == {"events": "the assignment has changed, and earlier events wait to be published"}
    topic.waits, topic.fails = False, True
    monitor.tick()
    assert (monitor.errors, monitor.snapshot) == ({"states": "no answer"}, None)
    topic.fails = False
    monitor.tick()
    assert monitor.errors == {}
    assert monitor.snapshot is not None
    assert monitor.counts.failed == 2


def test_positions_that_cannot_be_read_leave_those_before_in_force() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.found, topic.price = [], 99.0
    monitor.tick()
    assert monitor.errors == {"positions": "wrong"}
    assert monitor.snapshot is not None
    assert monitor.snapshot.portfolios["main"].risk.value.value == 99


def test_a_portfolio_that_is_new_has_its_committed_state() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.found = [Portfolio("main", {"A": 1.0}), Portfolio("other", {"A": 2.0})]
    monitor.tick()
    assert topic.reads == 2
    assert topic.stored.keys() == {"main", "other"}


def test_an_error_of_the_program_is_told_and_the_next_tick_goes_on() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.price = -1.0
    monitor.tick()
    assert monitor.errors["evaluation"].startswith("ValueError in ")
    topic.price = 80.0
    monitor.tick()
    assert monitor.errors == {}
    assert topic.told() == [RiskEventType.STOP]


def test_a_stop_is_lifted_by_hand_in_the_thread() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.price = 80.0
    monitor.tick()
    topic.price = 100.0
    lifted, again, none = (monitor.lift(name) for name in ("main", "main", "none"))
    monitor.start(start)
    assert [future.result(20) for future in (lifted, again, none)] == [True, False, False]
    monitor.stop()
    assert topic.told()[:2] == [RiskEventType.STOP, RiskEventType.LIFTED]


def test_a_stop_is_lifted_right_after_the_assignment_has_changed() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.price = 80.0
    monitor.tick()
    topic.price, topic.generation = 100.0, (2,)
    future = monitor.lift("main")
    monitor.start(start)
    assert future.result(20)
    monitor.stop()
    assert topic.told()[:2] == [RiskEventType.STOP, RiskEventType.LIFTED]
    assert [each.number for each in topic.committed] == list(range(1, len(topic.committed) + 1))


def test_before_the_first_evaluation_nothing_can_be_lifted() -> None:
    monitor, topic = monitored()
    topic.found = []
    future = monitor.lift("main")
    monitor.start(start)
    assert not future.result(20)
    monitor.stop()
