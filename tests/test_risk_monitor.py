"""The thread of risk: what it does without positions or states, when an assignment changes, and by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.config.risk_schema import PlausibilityRule, RiskConfig, SafetyLimits
from exporter.model import Partition, RiskEventType
from exporter.risk.engine import News
from exporter.risk.guard import PortfolioState
from exporter.risk.monitor import RiskMonitor
from exporter.risk.outbox import Generation
from exporter.risk.plausibility import JumpCounts, Quote
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
        self.waits = self.fails = self.loses = self.is_committing = False
        self.found: list[Portfolio] | None = [Portfolio("main", {"A": 1.0})]
        self.price = 100.0
        self.reads = 0
        self.elsewhere: frozenset[str] = frozenset()
        self.time = Time()

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
        return Prices(dict.fromkeys(symbols, Quote(self.price, now_ms)), PARTITIONS, self.elsewhere)

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

    def has_committed_lifts(self, generation: Generation) -> bool | None:
        """See Outbox."""
        return None if self.is_committing else generation == self.generation

    def told(self) -> list[RiskEventType]:
        """The types of all events but reports."""
        return [each.type for each in self.committed if each.type is not RiskEventType.REPORT]


AT_ONCE = PlausibilityRule(confirmations=0)


def monitored(plausibility: PlausibilityRule = AT_ONCE) -> tuple[RiskMonitor, Topic]:
    topic = Topic()
    config = RiskConfig(interval=1.0, safety=SafetyLimits(drawdown=0.1), plausibility=plausibility)
    return RiskMonitor(config, topic, topic.prices, topic, topic.time), topic


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


def test_a_portfolio_that_comes_back_goes_on_from_its_last_event() -> None:
    monitor, topic = monitored()
    main, other = Portfolio("main", {"A": 1.0}), Portfolio("other", {"A": 0.0}, cash=1.0)
    topic.found = [main, other]
    monitor.tick()
    topic.price = 80.0
    monitor.tick()
    for portfolios in ([other], [main, other]):
        topic.found = portfolios
        monitor.tick()
    assert topic.told() == [RiskEventType.STOP]
    numbers = [each.number for each in topic.committed if each.portfolio == "main"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert monitor.snapshot is not None
    assert monitor.snapshot.portfolios["main"].stop.since_ms is not None


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


def stopped() -> tuple[RiskMonitor, Topic]:
    """A monitor whose stop is in force, while the price is as before again."""
    monitor, topic = monitored()
    monitor.tick()
    topic.price = 80.0
    monitor.tick()
    topic.price = 100.0
    return monitor, topic


def test_a_stop_is_lifted_by_hand_once_and_that_is_told_when_it_is_committed() -> None:
    monitor, topic = stopped()
    topic.is_committing = True
    lifted, again, none = (monitor.lift(name) for name in ("main", "main", "none"))
    for _ in range(3):
        monitor.take_requests()
        assert (lifted.done(), again.done(), none.result(0)) == (False, False, False)
    topic.is_committing = False
    monitor.take_requests()
    assert [lifted.result(0), again.result(0)] == [True, True]
    assert topic.told() == [RiskEventType.STOP, RiskEventType.LIFTED]
    assert monitor.snapshot is not None
    assert monitor.snapshot.portfolios["main"].stop.since_ms is None
    late = monitor.lift("main")
    monitor.take_requests()
    assert late.result(0) is False


def test_a_lift_that_was_lost_with_its_assignment_is_made_again_once() -> None:
    monitor, topic = stopped()
    before = dict(topic.stored)
    lifted = monitor.lift("main")
    monitor.take_requests()
    # The new assignment knows nothing of the lift: it was dropped with the partitions.
    topic.generation, topic.stored, topic.committed = (2,), before, topic.committed[:-1]
    monitor.take_requests()
    assert not lifted.done()
    monitor.take_requests()
    assert lifted.result(0) is True
    assert topic.told() == [RiskEventType.STOP, RiskEventType.LIFTED]


def test_a_lift_that_is_committed_while_the_assignment_changes_is_not_made_again() -> None:
    monitor, topic = stopped()
    lifted = monitor.lift("main")
    monitor.take_requests()
    topic.generation, topic.waits = (2,), True
    monitor.take_requests()
    assert not lifted.done()
    topic.waits = False
    monitor.take_requests()
    assert lifted.result(0) is True
    assert topic.told() == [RiskEventType.STOP, RiskEventType.LIFTED]


def test_a_lift_that_was_lost_is_made_again_once_the_prices_are_here_again() -> None:
    monitor, topic = stopped()
    before = dict(topic.stored)
    lifted = monitor.lift("main")
    monitor.take_requests()
    topic.generation, topic.stored, topic.committed = (2,), before, topic.committed[:-1]
    topic.elsewhere = frozenset({"A"})
    for _ in range(3):
        monitor.tick()
        monitor.take_requests()
    elsewhere = monitor.lift("main")
    monitor.take_requests()
    assert not lifted.done()
    topic.elsewhere = frozenset()
    monitor.tick()
    for _ in range(2):
        monitor.take_requests()
    assert [lifted.result(0), elsewhere.result(0)] == [True, True]
    assert topic.told() == [RiskEventType.STOP, RiskEventType.LIFTED]


def test_a_stop_is_not_lifted_where_its_prices_are_not_read() -> None:
    monitor, topic = stopped()
    topic.elsewhere = frozenset({"A"})
    monitor.tick()
    lifted = monitor.lift("main")
    monitor.take_requests()
    assert lifted.result(0) is False


def test_a_lift_waits_for_the_states_for_a_minute() -> None:
    monitor, topic = stopped()
    topic.generation, topic.fails = (2,), True
    lifted = monitor.lift("main")
    monitor.take_requests()
    assert not lifted.done()
    topic.fails = False
    for _ in range(2):
        monitor.take_requests()
    assert lifted.result(0) is True
    topic.price = 80.0
    monitor.tick()
    topic.generation, topic.fails = (3,), True
    given_up = monitor.lift("main")
    monitor.take_requests()
    assert not given_up.done()
    topic.time.seconds += 60
    monitor.take_requests()
    assert given_up.result(0) is None


def test_an_error_while_a_stop_is_lifted_is_told_and_the_stop_stays_in_force() -> None:
    monitor, topic = stopped()
    topic.generation, topic.price = (2,), -1.0
    lifted = monitor.lift("main")
    monitor.take_requests()
    assert isinstance(lifted.exception(0), ValueError)
    topic.price = 100.0
    monitor.tick()
    assert monitor.snapshot is not None
    assert monitor.snapshot.portfolios["main"].stop.since_ms is not None


def test_a_lift_that_is_not_committed_at_the_end_is_told_to_be_unknown() -> None:
    monitor, topic = stopped()
    topic.is_committing = True
    lifted = monitor.lift("main")
    monitor.take_requests()
    late = monitor.lift("other")
    monitor.stop()
    monitor.run()
    assert [lifted.result(0), late.result(0)] == [None, None]


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


def test_another_configuration_is_in_force_with_the_next_evaluation() -> None:
    monitor, topic = monitored()
    monitor.tick()
    topic.price = 95.0
    monitor.tick()
    assert topic.told() == []
    config = RiskConfig(interval=5.0, safety=SafetyLimits(drawdown=0.04), plausibility=AT_ONCE)
    monitor.reconfigure(config, lambda symbols, now_ms: topic.prices(symbols, now_ms))
    monitor.take_requests()
    monitor.tick()
    assert topic.told() == [RiskEventType.STOP]
    assert monitor.config == config
    assert topic.reads == 1


class Steps:
    """Ends a monitor at its so-manieth look at the prices, and follows what is evaluated."""

    def __init__(self, monitor: RiskMonitor, topic: Topic, levels: list[float]) -> None:
        self._monitor, self._topic, self._levels = monitor, topic, levels
        self.evaluated: list[int] = []
        monitor.reconfigure(monitor.config, self.prices)

    def prices(self, symbols: Collection[str], now_ms: int) -> Prices:
        """The next level."""
        self.evaluated.append(self._monitor.counts.evaluations)
        self._topic.price = self._levels.pop(0)
        if not self._levels:
            self._monitor.stop()
        return self._topic.prices(symbols, now_ms)


def test_while_a_jump_is_unconfirmed_prices_are_looked_at_and_its_end_is_evaluated_at_once() -> None:
    topic = Topic()
    rule = PlausibilityRule(confirmations=3, wait=3600.0)
    config = RiskConfig(interval=86_400.0, safety=SafetyLimits(drawdown=0.1), plausibility=rule)
    monitor = RiskMonitor(config, topic, topic.prices, topic, Time())
    steps = Steps(monitor, topic, [100.0, 100.0, 100.0, 100.0])
    monitor.run()
    # The first evaluation is due; then three looks confirm the first price.
    assert steps.evaluated == [0, 1, 1, 1]
    assert monitor.counts.evaluations == 2
    assert monitor.snapshot is not None
    assert monitor.snapshot.portfolios["main"].risk.value.value == 100
    assert monitor.jumps == JumpCounts()


def test_before_the_first_evaluation_nothing_can_be_lifted() -> None:
    monitor, topic = monitored()
    topic.found = []
    future = monitor.lift("main")
    monitor.start(start)
    assert not future.result(20)
    monitor.stop()
