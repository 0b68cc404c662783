"""Figures of portfolios: histories, evaluations, results of the day, and scenarios, beside figures computed by hand."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.risk import (
    Book,
    Evaluation,
    Figure,
    Market,
    Performance,
    Portfolio,
    PriceHistory,
    Results,
    Scenario,
    StressTestEngine,
    TailKey,
    conditional_value_at_risk,
    liquidation_plan,
    maximum_drawdown,
    value_at_risk,
    volatility,
)
from exporter.risk.evaluation import TAIL_KEYS
from exporter.risk.measures import DECAY

few = settings(max_examples=30)
STEP = 1000
SYMBOLS = st.sampled_from("ABCDEF")
NONE = Figure(None, "no positions")


def number(figure: Figure) -> float:
    assert figure.value is not None, figure.reason
    return figure.value


def market(book: Book, prices: dict[str, list[float]]) -> Market:
    """A market with these prices of each symbol, of which the last are the present ones."""
    history = np.column_stack([prices[symbol] for symbol in book.symbols])
    return Market(book.prices({symbol: each[-1] for symbol, each in prices.items()}), history)


def walks(symbols: str, length: int, seed: int = 1) -> dict[str, list[float]]:
    chance = np.random.default_rng(seed)
    return {symbol: (100 * np.cumprod(1 + chance.standard_t(5, length) / 200)).tolist() for symbol in symbols}


# Histories.


def test_a_history_keeps_the_last_samples() -> None:
    history = PriceHistory(3, STEP, ["A", "B"])
    for number_ in range(5):
        history.sample({"A": 10.0 + number_, "B": 1.0}, number_ * STEP)
    assert history.prices(["B", "A"]).tolist() == [[1, 12], [1, 13], [1, 14]]
    assert history.returns(["A"])[:, 0] == pytest.approx([1 / 12, 1 / 13])


def test_a_step_without_a_sample_or_a_price_is_a_gap() -> None:
    history = PriceHistory(6, STEP, ["A"])
    for at, price in ((0, 1.0), (1, 2.0), (2, math.nan), (3, 4.0), (5, 5.0)):
        history.sample({"A": price}, at * STEP)
    assert history.prices(["A"])[:, 0].tolist() == pytest.approx([1, 2, math.nan, 4, math.nan, 5], nan_ok=True)
    assert np.isfinite(history.returns(["A"])[:, 0]).sum() == 1


@pytest.mark.parametrize("price", [0.0, -1.0, math.inf, None])
def test_what_is_no_price_is_a_gap(price: float | None) -> None:
    history = PriceHistory(2, STEP, ["A"])
    history.sample({} if price is None else {"A": price}, 0)
    assert np.isnan(history.prices(["A"])).all()


def test_a_sample_that_is_late_by_less_than_half_a_step_is_that_of_its_step() -> None:
    history = PriceHistory(4, STEP, ["A"])
    for at in (0, 1400, 2000, 2300):
        history.sample({"A": 1.0 + at}, at)
    assert history.prices(["A"])[:, 0].tolist() == pytest.approx([math.nan, 1, 1401, 2301], nan_ok=True)


@pytest.mark.parametrize("at", [-2 * STEP, 100 * STEP])
def test_a_history_begins_again_after_a_clock_that_jumps(at: int) -> None:
    history = PriceHistory(4, STEP, ["A"])
    for time_ms in (0, STEP, at):
        history.sample({"A": 7.0}, time_ms)
    assert np.isfinite(history.prices(["A"])).sum() == 1
    history.sample({"A": 8.0}, at + STEP)
    assert history.returns(["A"])[-1, 0] == pytest.approx(1 / 7)


def test_symbols_that_stay_keep_their_prices() -> None:
    history = PriceHistory(3, STEP, ["A", "B"])
    history.sample({"A": 1.0, "B": 2.0}, 0)
    history.hold(["C", "B"])
    history.sample({"B": 3.0, "C": 4.0}, STEP)
    assert history.prices(["B"])[:, 0].tolist() == pytest.approx([math.nan, 2, 3], nan_ok=True)
    assert history.prices(["C", "A"])[-1].tolist() == pytest.approx([4, math.nan], nan_ok=True)


def test_the_memory_of_a_history_is_that_of_its_samples() -> None:
    history = PriceHistory(100, STEP, [str(each) for each in range(50)])
    for at in range(1000):
        history.sample({"7": 1.0}, at * STEP)
    assert history.prices(["7"]).nbytes == 100 * 8
    assert history.length == 100


@pytest.mark.parametrize(("length", "step"), [(1, 1000), (10, 0)])
def test_a_history_without_returns_is_refused(length: int, step: int) -> None:
    with pytest.raises(ValueError, match="a history has at least 2 samples"):
        PriceHistory(length, step)


# Portfolios.


def test_a_portfolio_is_worth_its_cash_and_positions() -> None:
    book = Book([Portfolio("main", {"A": 2, "B": -1, "C": 0}, cash=50)])
    assert book.symbols == ("A", "B")
    found = Evaluation(book, market(book, {"A": [100.0] * 3, "B": [30.0] * 3})).portfolios()["main"]
    assert (number(found.value), number(found.total)) == (220, 230)
    assert number(found.leverage) == 230 / 220
    assert number(found.hhi) == pytest.approx((200 / 230) ** 2 + (30 / 230) ** 2)
    assert (found.largest_symbol, number(found.largest_share)) == ("A", 200 / 230)


def test_the_leverage_of_a_portfolio_worth_nothing_is_infinite() -> None:
    book = Book([Portfolio("lost", {"A": 1}, cash=-100), Portfolio("empty", {}, cash=5)])
    found = Evaluation(book, market(book, {"A": [100.0] * 30})).portfolios()
    assert found["lost"].leverage == Figure(math.inf)
    assert found["lost"].volatility == Figure(None, "no value above 0")
    assert (found["empty"].value, found["empty"].leverage) == (Figure(5.0), Figure(0.0))
    assert (found["empty"].hhi, found["empty"].largest_share, found["empty"].largest_symbol) == (NONE, NONE, "")


def test_a_symbol_without_a_fresh_price_makes_the_figures_that_need_it_unknown() -> None:
    book = Book([Portfolio("both", {"A": 1, "B": 1}), Portfolio("one", {"A": 1})])
    prices = walks("AB", 150)
    stale = market(book, prices)._replace(prices=book.prices({"A": prices["A"][-1]}))
    found = Evaluation(book, stale).portfolios()
    lost = Figure(None, "no fresh price of B")
    both = found["both"]
    assert {both.value, both.total, both.leverage, both.volatility, both.hhi, both.mean_correlation} == {lost}
    assert {*both.var.values(), *both.cvar.values()} == {lost}
    assert found["one"].value == Figure(prices["A"][-1])
    assert all(each.is_known for each in found["one"].var.values())


def test_the_reason_names_a_few_symbols() -> None:
    book = Book([Portfolio("many", dict.fromkeys("FEDCBA", 1.0))])
    found = Evaluation(book, Market(book.prices({}), np.ones((2, 6)))).portfolios()["many"]
    assert found.value.reason == "no fresh price of A, B, C and 3 more"


def test_the_risk_of_a_portfolio_is_that_of_its_present_positions_in_the_past() -> None:
    book = Book([Portfolio("main", {"A": 3, "B": -2}, cash=1000)])
    prices = walks("AB", 160)
    found = Evaluation(book, market(book, prices)).portfolios()["main"]
    returns = {symbol: np.diff(each) / np.array(each[:-1]) for symbol, each in prices.items()}
    profits = 3 * prices["A"][-1] * returns["A"] - 2 * prices["B"][-1] * returns["B"]
    for key in TAIL_KEYS:
        decay = DECAY if key.method == "exponential" else None
        assert number(found.var[key]) == pytest.approx(number(value_at_risk(profits, key.confidence, decay)), rel=1e-9)
        expected = number(conditional_value_at_risk(profits, key.confidence, decay))
        assert number(found.cvar[key]) == pytest.approx(expected, rel=1e-9)
    value = number(found.value)
    assert number(found.volatility) == pytest.approx(number(volatility(profits)) / value, rel=1e-9)
    assert number(found.exponential_volatility) == pytest.approx(number(volatility(profits, DECAY)) / value, rel=1e-9)
    assert number(found.mean_correlation) == pytest.approx(np.corrcoef(returns["A"], returns["B"])[0, 1], rel=1e-9)


def test_the_risk_of_a_symbol_is_that_of_one_unit() -> None:
    book = Book([Portfolio("main", {"A": -5, "B": 1})])
    prices = walks("AB", 160)
    found = Evaluation(book, market(book, prices)).symbols()["A"]
    returns = np.diff(prices["A"]) / np.array(prices["A"][:-1])
    assert number(found.price) == prices["A"][-1]
    assert number(found.volatility) == pytest.approx(number(volatility(returns)), rel=1e-9)
    assert number(found.maximum_drawdown) == pytest.approx(number(maximum_drawdown(prices["A"])), rel=1e-9)
    assert number(found.var[TailKey("historical", 0.99)]) == pytest.approx(number(value_at_risk(returns, 0.99)))
    assert number(found.cvar[TailKey("exponential", 0.95)]) == pytest.approx(
        number(conditional_value_at_risk(returns, 0.95, DECAY))
    )


def test_steps_without_a_symbol_that_is_held_do_not_count() -> None:
    book = Book([Portfolio("both", {"A": 1, "B": 1}), Portfolio("one", {"A": 1})])
    prices = walks("AB", 150)
    prices["B"][10] = prices["B"][70] = math.nan
    found = Evaluation(book, market(book, prices)).portfolios()
    kept = [step for step in range(149) if step not in (9, 10, 69, 70)]
    returns = {symbol: (np.diff(each) / np.array(each[:-1]))[kept] for symbol, each in prices.items()}
    profits = prices["A"][-1] * returns["A"] + prices["B"][-1] * returns["B"]
    key = TailKey("historical", 0.95)
    assert number(found["both"].var[key]) == pytest.approx(number(value_at_risk(profits)), rel=1e-9)
    assert number(found["both"].volatility) == pytest.approx(
        number(volatility(profits)) / number(found["both"].value), rel=1e-9
    )


def test_with_too_few_returns_only_what_needs_no_history_is_known() -> None:
    book = Book([Portfolio("main", {"A": 1, "B": 1})])
    found = Evaluation(book, market(book, walks("AB", 20))).portfolios()["main"]
    assert found.value.is_known
    assert found.volatility == Figure(None, "19 of 20 returns")
    assert found.var[TailKey("historical", 0.99)] == Figure(None, "19 of 100 returns")
    assert found.mean_correlation == Figure(None, "a symbol without enough changes")
    more = Evaluation(book, market(book, walks("AB", 21))).portfolios()["main"]
    assert more.var[TailKey("historical", 0.95)].is_known
    assert not more.var[TailKey("exponential", 0.99)].is_known


def test_no_portfolios_are_no_figures() -> None:
    book = Book([])
    assert Evaluation(book, Market(book.prices({}), np.empty((5, 0)))).portfolios() == {}


# Results of the day and from the peak.


def results(performance: Performance, book: Book, day: int = 1, **prices: float) -> Results:
    return performance.update(book, book.prices(prices), day)[book.names[0]]


def test_profits_and_falls_follow_the_prices() -> None:
    book, performance = Book([Portfolio("main", {"A": 10}, cash=100)]), Performance()
    assert results(performance, book, A=90.0) == Results(Figure(0.0), Figure(0.0), Figure(0.0))
    assert results(performance, book, A=100.0).day_profit == Figure(100.0)
    fallen = results(performance, book, A=79.0)
    assert number(fallen.day_profit) == -110
    assert number(fallen.drawdown) == pytest.approx(1 - 890 / 1100)
    risen = results(performance, book, A=101.0)
    assert (number(risen.day_profit), number(risen.drawdown)) == (110, 0)
    assert risen.maximum_drawdown == fallen.drawdown


def test_a_day_begins_without_profit() -> None:
    book, performance = Book([Portfolio("main", {"A": -1}, cash=100)]), Performance()
    results(performance, book, 1, A=50.0)
    assert results(performance, book, 1, A=60.0).day_profit == Figure(-10.0)
    assert results(performance, book, 2, A=61.0).day_profit == Figure(-1.0)


def test_a_clock_that_is_set_back_over_midnight_begins_no_day() -> None:
    book, performance = Book([Portfolio("main", {"A": 1}, cash=100)]), Performance()
    results(performance, book, 2, A=50.0)
    assert results(performance, book, 2, A=40.0).day_profit == Figure(-10.0)
    assert results(performance, book, 1, A=39.0).day_profit == Figure(-11.0)
    assert results(performance, book, 2, A=38.0).day_profit == Figure(-12.0)


def test_a_deposit_and_a_trade_are_neither_profit_nor_loss() -> None:
    performance = Performance()
    results(performance, Book([Portfolio("main", {"A": 1}, cash=100)]), A=50.0)
    traded = results(performance, Book([Portfolio("main", {"A": 3}, cash=90)]), A=40.0)
    assert number(traded.day_profit) == -10
    assert number(traded.drawdown) == pytest.approx(10 / 150)
    assert results(performance, Book([Portfolio("main", {"A": 3}, cash=90)]), A=41.0).day_profit == Figure(-7.0)


def test_the_move_of_a_stale_price_counts_when_it_is_fresh_again() -> None:
    book, performance = Book([Portfolio("main", {"A": 1, "B": 1})]), Performance()
    results(performance, book, A=10.0, B=10.0)
    assert results(performance, book, A=11.0) == Results(*[Figure(None, "no fresh price of B")] * 3)
    assert results(performance, book, A=11.0, B=8.0).day_profit == Figure(-1.0)


def test_another_process_goes_on_where_one_ended() -> None:
    book, first = Book([Portfolio("main", {"A": 1})]), Performance()
    for price in (100.0, 110.0, 99.0):
        results(first, book, A=price)
    successor = Performance({"main": first.track("main")})
    assert results(successor, book, A=88.0) == results(first, book, A=88.0)
    assert first.track("main") == successor.track("main")


def test_a_successor_counts_the_profits_of_what_was_held_before() -> None:
    first = Performance()
    results(first, Book([Portfolio("main", {"A": 2, "B": 1})]), A=100.0, B=10.0)
    successor = Performance({"main": first.track("main")})
    assert results(successor, Book([Portfolio("main", {"A": 5})]), A=90.0).day_profit == Figure(-20.0)
    assert results(successor, Book([Portfolio("main", {"A": 5})]), A=91.0).day_profit == Figure(-15.0)


@few
@given(st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=1, max_size=20))
def test_profits_add_up_to_the_change_of_the_value(path: list[tuple[float, float]]) -> None:
    book, performance = Book([Portfolio("main", {"A": 2, "B": -1}, cash=30)]), Performance()
    found = [results(performance, book, A=one, B=other) for one, other in path]
    worth = [30 + 2 * one - other for one, other in path]
    assert number(found[-1].day_profit) == pytest.approx(worth[-1] - worth[0], rel=1e-9, abs=1e-6)
    if worth[0] > 0:
        expected = number(maximum_drawdown(worth))
        assert number(found[-1].maximum_drawdown) == pytest.approx(expected, rel=1e-6, abs=1e-9)


# Scenarios.


@pytest.fixture
def stressed() -> tuple[Book, Market]:
    """A long and a short position; both symbols have 200 returns."""
    book = Book([Portfolio("main", {"A": 10, "B": -5}, cash=100)])
    return book, market(book, walks("AB", 201))


def test_the_usual_scenarios_are_as_computed_by_hand(stressed: tuple[Book, Market]) -> None:
    book, present = stressed
    a, b = present.prices.tolist()
    value, total, net = 100 + 10 * a - 5 * b, 10 * a + 5 * b, 10 * a - 5 * b
    found = StressTestEngine().run(book, present)["main"]
    crash = found["market_crash"]
    assert number(crash.loss) == pytest.approx(0.2 * net)
    assert number(crash.value) == pytest.approx(value - 0.2 * net)
    assert number(crash.leverage) == pytest.approx(0.8 * total / (value - 0.2 * net))
    assert number(found["liquidity_crisis"].loss) == pytest.approx(0.05 * total)
    plain = Evaluation(book, present).portfolios()["main"]
    for confidence in (0.95, 0.99):
        base_var = number(plain.var[TailKey("historical", confidence)])
        base_cvar = number(plain.cvar[TailKey("historical", confidence)])
        assert number(found["volatility_spike"].var[confidence]) == pytest.approx(3 * base_var)
        assert number(found["volatility_spike"].cvar[confidence]) == pytest.approx(3 * base_cvar)
        assert number(crash.cvar[confidence]) == pytest.approx(0.8 * base_cvar)
        assert number(found["liquidity_crisis"].var[confidence]) == pytest.approx(base_var)
    assert found["volatility_spike"].loss == found["correlation_breakdown"].loss == Figure(0.0)


def test_with_correlations_of_1_the_risks_of_long_positions_add_up() -> None:
    book = Book([Portfolio("main", {"A": 10, "B": 5}), Portfolio("a", {"A": 10}), Portfolio("b", {"B": 5})])
    present = market(book, walks("AB", 201))
    together = StressTestEngine().run(book, present)["main"]["correlation_breakdown"]
    single = Evaluation(book, present).portfolios()
    key = TailKey("historical", 0.95)
    assert number(together.var[0.95]) == pytest.approx(number(single["a"].var[key]) + number(single["b"].var[key]))
    assert number(together.cvar[0.95]) == pytest.approx(number(single["a"].cvar[key]) + number(single["b"].cvar[key]))
    assert number(together.cvar[0.95]) > number(single["main"].cvar[key])


def test_scenarios_of_ones_own_combine_what_happens(stressed: tuple[Book, Market]) -> None:
    book, present = stressed
    a, b = present.prices.tolist()
    own = Scenario(name="own", prices={"*": -0.1, "B": 0.5}, liquidity=0.02, volatility=2)
    found = StressTestEngine([own]).run(book, present)["main"]["own"]
    total = 10 * a * 0.9 + 5 * b * 1.5
    assert number(found.total) == pytest.approx(total)
    assert number(found.loss) == pytest.approx(10 * a * 0.1 + 5 * b * 0.5 + 0.02 * total)


def test_a_scenario_fits_positions_that_name_their_feed() -> None:
    book = Book([Portfolio("main", {"korea:upbit:ticker/KRW-BTC": 1, "KRW-BTC": 1, "korea:upbit:ticker/BTC/USD": 1})])
    prices = np.full(3, 100.0)
    scenario = Scenario(name="own", prices={"KRW-*": -0.1, "korea:*": -0.2, "BTC/*": -0.5})
    result = StressTestEngine([scenario]).run(book, Market(prices, prices[None]))["main"]["own"]
    assert result.loss == Figure(20.0 + 10.0 + 50.0)


def test_a_scenario_without_prices_or_history_is_unknown(stressed: tuple[Book, Market]) -> None:
    book, present = stressed
    stale = StressTestEngine().run(book, present._replace(prices=book.prices({"A": 1.0})))["main"]
    assert {each.loss for each in stale.values()} == {Figure(None, "no fresh price of B")}
    short = StressTestEngine().run(book, present._replace(history=present.history[:1]))["main"]["market_crash"]
    assert short.loss.is_known
    assert short.var[0.95] == Figure(None, "0 of 20 returns")


# The plan of liquidation.


def test_the_smallest_impact_comes_first() -> None:
    portfolio = Portfolio("main", {"A": 100, "B": -4, "C": 1, "D": 2}, volumes={"A": 400, "B": 400, "C": 0})
    plan = liquidation_plan(portfolio, {"A": 1.0, "B": 50.0, "C": 7.0, "D": 3.0}, {"A": 0.1, "B": 0.2, "C": 0.1})
    assert [(step.symbol, step.side, step.quantity, step.exposure) for step in plan] == [
        ("B", "buy", 4, 200),
        ("A", "sell", 100, 100),
        ("D", "sell", 2, 6),
        ("C", "sell", 1, 7),
    ]
    assert [step.impact.value for step in plan] == [pytest.approx(0.02), pytest.approx(0.05), None, None]
    assert plan[2].impact.reason == "no volatility or volume"


@few
@given(st.dictionaries(SYMBOLS, st.floats(-1e3, 1e3)), st.dictionaries(SYMBOLS, st.floats(1, 1e3)))
def test_a_plan_closes_each_position_once(quantities: dict[str, float], volumes: dict[str, float]) -> None:
    portfolio = Portfolio("main", quantities, volumes=volumes)
    plan = liquidation_plan(portfolio, dict.fromkeys("ABC", 5.0), dict.fromkeys("ABCDEF", 0.01))
    closed = {step.symbol: step.quantity if step.side == "sell" else -step.quantity for step in plan}
    assert closed == {symbol: quantity for symbol, quantity in quantities.items() if quantity}
    impacts = [math.inf if step.impact.value is None else step.impact.value for step in plan]
    assert impacts == sorted(impacts)


# Without NumPy.


def test_without_numpy_one_line_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import exporter.risk

    for name in [name for name in sys.modules if name.startswith(("exporter.risk.", "numpy"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    lazy: Any = exporter.risk
    with pytest.raises(ImportError) as error:
        _ = lazy.value_at_risk
    assert str(error.value) == "exporter.risk.value_at_risk needs numpy: pip install 'marketdata-exporter[risk]'"
    assert lazy.LimitMonitor.__name__ == "LimitMonitor"
