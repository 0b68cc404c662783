"""Single wrong prices count for nothing; a crash and a gap that lasts count after a stated delay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.risk_schema import LimitRule, PlausibilityRule, RiskConfig, SafetyLimits
from exporter.model import RiskEventType
from exporter.risk.engine import RiskEngine
from exporter.risk.plausibility import CHANGES_NEEDED, JumpCounts, PriceFilter, Quote
from exporter.risk.portfolios import Portfolio

START_MS = 1_760_000_400_000
SECOND, MINUTE = 1000, 60_000
RULE = PlausibilityRule()
few = settings(max_examples=60)
# A price of another unit, a slipped digit, a tick of another symbol.
WRONG = (100.0, 0.01, 1400.0, 1 / 1400, 10.0, 2.0, 0.5, 1.03, 0.97)


class Looks:
    """A filter of one symbol, looked at once a second unless told otherwise."""

    def __init__(self, rule: PlausibilityRule = RULE, age_ms: int = MINUTE) -> None:
        self.filter = PriceFilter(rule)
        self.filter.hold(["A"])
        self.now_ms = START_MS
        self.age_ms = age_ms
        self._quote: Quote | None = None

    def see(self, price: float, passed_ms: int = SECOND) -> float | None:
        """Another price, and what counts then."""
        self._quote = Quote(price, self.now_ms + passed_ms)
        return self.wait(passed_ms)

    def wait(self, passed_ms: int = SECOND) -> float | None:
        """What counts a while later, without another price."""
        self.now_ms += passed_ms
        quotes = {} if self._quote is None else {"A": self._quote}
        return self.filter.accept(quotes, self.now_ms, self.age_ms).get("A")

    def all(self, prices: Iterable[float]) -> list[float | None]:
        return [self.see(price) for price in prices]

    def settled(self, price: float = 100.0) -> Looks:
        """A while with this price."""
        self.all([price] * (CHANGES_NEEDED + 5))
        return self


@pytest.mark.parametrize("factor", WRONG)
@pytest.mark.parametrize("number", [1, 2])
def test_fewer_wrong_prices_than_have_to_confirm_count_for_nothing(factor: float, number: int) -> None:
    looks = Looks().settled()
    assert looks.all([*[100 * factor] * number, 100.5, 100.0]) == [*[100.0] * number, 100.5, 100.0]
    assert looks.filter.counts == JumpCounts(confirmed=0, refuted=1)
    assert looks.filter.unconfirmed == {}


@pytest.mark.parametrize("price", [0.0, -5.0, float("nan"), float("inf")])
def test_what_is_no_price_changes_nothing(price: float) -> None:
    looks = Looks().settled()
    assert looks.all([price] * 5) == [100.0] * 5
    assert (looks.filter.counts, looks.filter.unconfirmed) == (JumpCounts(), {})


def test_an_unconfirmed_price_is_known_with_what_counts_meanwhile() -> None:
    looks = Looks().settled()
    looks.see(10_000.0)
    assert looks.filter.is_waiting
    (found,) = looks.filter.unconfirmed.values()
    assert found == (10_000.0, looks.now_ms, 100.0)


@pytest.mark.parametrize("confirmations", [1, 2, 5])
@pytest.mark.parametrize("level", [80.0, 130.0, 9000.0])
def test_a_gap_that_lasts_counts_with_the_price_that_confirms_it_last(confirmations: int, level: float) -> None:
    looks = Looks(PlausibilityRule(confirmations=confirmations)).settled()
    assert looks.all([level] * (confirmations + 1)) == [*[100.0] * confirmations, level]
    assert looks.filter.counts == JumpCounts(confirmed=1, refuted=0)
    assert looks.see(100.0) == level


def test_a_price_that_nothing_follows_counts_after_the_wait() -> None:
    looks = Looks(PlausibilityRule(wait=10.0)).settled()
    looks.see(70.0)
    assert [looks.wait() for _ in range(10)] == [*[100.0] * 9, 70.0]


def test_of_prices_that_confirm_a_jump_the_smallest_counts() -> None:
    looks = Looks().settled()
    assert looks.all([200.0, 10_000.0, 300.0]) == [100.0, 100.0, 200.0]


def test_prices_on_both_sides_do_not_confirm_each_other() -> None:
    looks = Looks().settled()
    assert looks.all([10_000.0, 1.0, 10_000.0, 1.0, 100.0]) == [100.0] * 5
    assert looks.filter.counts == JumpCounts(confirmed=0, refuted=4)


@pytest.mark.parametrize("step", [0.005, 0.03, 0.1])
def test_a_crash_that_goes_on_is_followed_as_many_prices_later_as_have_to_confirm(step: float) -> None:
    looks = Looks().settled()
    prices = [100.0 * (1 - step) ** number for number in range(1, 9)]
    found = looks.all(prices)
    late = 2 if step > 0.02 else 0
    # Steps within the band count at once until they add up to more than it.
    assert found[late:] == prices[: len(prices) - late] if late else found[:3] == prices[:3]
    assert all(price is not None and price <= 100.0 for price in found)


def test_a_crash_of_20_percent_in_10_minutes_is_never_later_than_2_prices() -> None:
    looks = Looks().settled()
    prices = [100.0 - 20.0 * minute / 60 for minute in range(1, 61)]
    found = [looks.see(price, 10 * SECOND) for price in prices]
    assert found == prices
    assert looks.filter.counts == JumpCounts()


def test_a_symbol_that_bounces_widens_its_own_band() -> None:
    looks = Looks()
    bounces = [100.0, 104.0] * CHANGES_NEEDED
    assert looks.all(bounces)[-4:] == [100.0, 104.0, 100.0, 104.0]
    assert looks.see(10_000.0) == 104.0


def test_wrong_prices_do_not_widen_the_band() -> None:
    looks = Looks().settled()
    for _ in range(40):
        assert looks.all([100.0, 100.1, 100.0, 100.1, 10_000.0]) == [100.0, 100.1, 100.0, 100.1, 100.1]


# First prices.


def test_a_first_price_counts_once_others_are_near_it() -> None:
    assert Looks().all([100.0, 100.1, 99.9]) == [None, None, 99.9]


@pytest.mark.parametrize("factor", WRONG)
def test_a_wrong_first_price_never_counts(factor: float) -> None:
    found = Looks().all([100 * factor, 100.0, 100.1, 100.0])
    assert found[-1] == 100.0
    assert set(found) <= {None, 100.0, 100.1}


def test_first_prices_that_never_agree_count_as_their_median() -> None:
    assert Looks().all([100.0, 110.0, 90.0, 105.0, 95.0]) == [None] * 4 + [100.0]


def test_a_first_price_that_nothing_follows_counts_after_the_wait() -> None:
    looks = Looks()
    looks.see(100.0)
    assert [looks.wait(5 * SECOND), looks.wait(5 * SECOND)] == [None, 100.0]


def test_a_price_of_an_earlier_process_is_a_reference_and_no_price() -> None:
    looks = Looks()
    looks.filter.refer({"A": 100.0, "other": 1.0})
    assert looks.wait() is None
    assert looks.all([10_000.0, 100.2]) == [None, 100.2]
    looks.filter.refer({"A": 5.0})
    assert looks.see(100.1) == 100.1
    looks.filter.refer({"A": 5.0}, is_newer=True)
    assert looks.all([100.1, 5.01]) == [None, 5.01]


# Times.


def test_the_accepted_price_counts_for_its_age_only() -> None:
    looks = Looks(PlausibilityRule(wait=3600.0)).settled()
    found = [looks.see(10_000.0 if number % 2 else 1.0, 10 * SECOND) for number in range(8)]
    assert found == [100.0] * 6 + [None] * 2


def test_a_clock_that_is_set_back_neither_confirms_nor_forgets() -> None:
    looks = Looks().settled()
    looks.see(10_000.0)
    looks.now_ms -= 3600 * SECOND
    assert [looks.wait() for _ in range(9)] == [100.0] * 9
    assert looks.see(100.2) == 100.2


@pytest.mark.parametrize("rule", [PlausibilityRule(confirmations=0), PlausibilityRule(wait=0.0)])
def test_without_confirmations_or_wait_each_price_counts_at_once(rule: PlausibilityRule) -> None:
    assert Looks(rule).all([100.0, 10_000.0, 1.0]) == [100.0, 10_000.0, 1.0]


def test_a_symbol_that_is_no_longer_held_is_forgotten() -> None:
    looks = Looks().settled()
    looks.see(10_000.0)
    looks.filter.hold(["B"])
    assert looks.wait() is None
    assert looks.filter.unconfirmed == {}


# Whatever comes.

prices = st.floats(0.01, 1e6)
rules = st.builds(
    PlausibilityRule,
    deviations=st.floats(0, 50),
    least=st.floats(0, 0.2),
    confirmations=st.integers(0, 4),
    wait=st.floats(0, 20),
)


@few
@given(rules, st.lists(prices, max_size=60))
def test_what_counts_is_one_of_the_last_prices(rule: PlausibilityRule, found: list[float]) -> None:
    looks = Looks(rule)
    for number, price in enumerate(found):
        accepted = looks.see(price)
        assert accepted is None or accepted in found[: number + 1]
    assert len(looks.filter.unconfirmed) <= 1


@few
@given(rules, st.lists(prices, max_size=CHANGES_NEEDED // 2), prices)
def test_whatever_came_before_a_price_that_lasts_counts_after_its_confirmations(
    rule: PlausibilityRule, before: list[float], last: float
) -> None:
    """The delay is stated: twice as many while not even a first price counts."""
    looks = Looks(rule)
    is_known = bool(before) and looks.all(before)[-1] is not None
    found = looks.all([last] * (rule.confirmations + 1 if is_known else 2 * rule.confirmations + 1))[-1]
    assert found is not None
    assert max(found / last, last / found) <= 1 + rule.least + 1e-9


@few
@given(st.lists(st.sampled_from([99.9, 100.0, 100.1]), min_size=3, max_size=80), st.data())
def test_single_wrong_prices_change_nothing_that_is_computed(calm: list[float], data: st.DataObject) -> None:
    clean, noisy = Looks().settled(), Looks().settled()
    for price in calm:
        if data.draw(st.booleans()):
            before = noisy.wait()
            assert noisy.see(100 * data.draw(st.sampled_from(WRONG))) == before
        assert noisy.see(price) == clean.see(price)


# In the engine.

CONFIG = RiskConfig(
    interval=10.0,
    limits=(LimitRule(daily_loss=5.0, total=2000.0, leverage=2.0),),
    safety=SafetyLimits(drawdown=0.05),
)


def judged(engine: RiskEngine, looks: Iterable[Mapping[str, float]], step_ms: int = 10 * SECOND) -> list[RiskEventType]:
    """The news of these prices, one after another, but reports."""
    news, now_ms = [], START_MS
    for prices in looks:
        now_ms += step_ms
        quotes = {symbol: Quote(price, now_ms) for symbol, price in prices.items()}
        news += engine.evaluate(engine.accept(quotes, now_ms), now_ms)[1]
    return [each.type for each in news if each.type is not RiskEventType.REPORT]


@pytest.mark.parametrize("quantity", [10.0, -10.0])
@pytest.mark.parametrize("factor", WRONG)
@pytest.mark.parametrize("at", [0, 1, 5, 30])
def test_a_single_wrong_price_breaks_no_limit_and_fires_no_stop(quantity: float, factor: float, at: int) -> None:
    engine = RiskEngine(CONFIG)
    engine.hold([Portfolio("main", {"A": quantity}, cash=100.0 + max(0.0, -quantity) * 200)])
    calm = [{"A": 100.0 + (number % 2) / 100} for number in range(40)]
    assert judged(engine, [*calm[:at], {"A": 100 * factor}, *calm[at:]]) == []


def test_nor_does_a_wrong_price_right_after_a_restart() -> None:
    engine = RiskEngine(CONFIG)
    engine.hold([Portfolio("main", {"A": 10.0}, cash=100.0)])
    calm = [{"A": 100.0}] * 5
    assert judged(engine, calm) == []
    successor = RiskEngine(CONFIG)
    successor.restore({"main": engine.state("main")})
    successor.hold([Portfolio("main", {"A": 10.0}, cash=100.0)])
    assert judged(successor, [{"A": 1.0}, *calm]) == []
    assert successor.filter.counts == JumpCounts(confirmed=0, refuted=1)


def test_a_real_gap_fires_the_stop_with_its_second_confirmation() -> None:
    engine = RiskEngine(CONFIG)
    engine.hold([Portfolio("main", {"A": 10.0}, cash=100.0)])
    calm, fallen = [{"A": 100.0}] * 5, [{"A": 80.0}]
    assert judged(engine, [*calm, *fallen * 2], step_ms=SECOND) == []
    assert judged(engine, fallen, step_ms=8 * SECOND) == [RiskEventType.BREACHED, RiskEventType.STOP]
