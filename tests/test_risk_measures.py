"""Measures of risk: closed forms, a published library, and what holds for any series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.risk import (
    Figure,
    concentration,
    conditional_value_at_risk,
    correlations,
    maximum_drawdown,
    simple_returns,
    value_at_risk,
    volatility,
)
from exporter.risk.measures import Array, Tails, deviations, drawdowns, exponential_weights
from tests.support.beside import installed

few = settings(max_examples=40)
PROFITS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
CONFIDENCE = st.floats(0.5, 0.995)
DECAY = st.none() | st.floats(0.8, 0.999)
LENGTHS = (100, 101, 200, 201, 500, 1001)


def number(figure: Figure) -> float:
    assert figure.value is not None, figure.reason
    return figure.value


def tails(profits: Any, confidence: float, decay: float | None = None) -> tuple[float, float]:
    """VaR and CVaR of few observations as well."""
    losses = -np.array(profits)
    weights = None if decay is None else exponential_weights(len(losses), decay)
    found = Tails(losses).at([confidence], weights)[0]
    return float(found.var[0]), float(found.cvar[0])


# Closed forms.


def test_of_losses_from_1_to_100_value_at_risk_is_the_confidence() -> None:
    profits = [-float(loss) for loss in range(1, 101)]
    assert number(value_at_risk(profits, 0.95)) == 95
    assert number(value_at_risk(profits, 0.99)) == 99
    assert number(conditional_value_at_risk(profits, 0.95)) == pytest.approx(98, rel=1e-12)
    assert number(conditional_value_at_risk(profits, 0.99)) == pytest.approx(100, rel=1e-12)


def test_the_observation_at_the_boundary_counts_in_part() -> None:
    # Of 30 losses the tail of 5 % is 1.5 observations: the worst, and half of the second.
    profits = [-float(loss) for loss in range(1, 31)]
    assert number(value_at_risk(profits, 0.95)) == 29
    assert number(conditional_value_at_risk(profits, 0.95)) == pytest.approx((30 + 0.5 * 29) / 1.5, rel=1e-12)


def test_profits_in_the_tail_are_a_negative_value_at_risk() -> None:
    assert number(value_at_risk([3.0] * 100, 0.99)) == -3
    assert number(conditional_value_at_risk([3.0] * 100, 0.99)) == pytest.approx(-3, rel=1e-12)


def test_exponential_weights_are_a_geometric_series() -> None:
    weights = exponential_weights(4, 0.5)
    assert weights.tolist() == pytest.approx([1 / 15, 2 / 15, 4 / 15, 8 / 15], rel=1e-12)


def test_the_newest_loss_is_the_tail_when_its_weight_is_that_of_the_tail() -> None:
    profits = [0.0] * 99 + [-7.0]
    assert number(value_at_risk(profits, 0.95, decay=0.9)) == 7
    assert number(conditional_value_at_risk(profits, 0.95, decay=0.9)) == pytest.approx(7, rel=1e-12)
    aged = [*profits[1:], *[0.0] * 50]
    assert number(value_at_risk(aged, 0.95, decay=0.9)) == 0


def test_half_of_the_tail_is_a_loss_whose_weight_is_half_of_it() -> None:
    count, decay = 100, 0.9
    profits = [0.0] * count
    share = (1 - decay) / (1 - decay**count) * decay**10
    profits[-11] = -100.0
    found = number(conditional_value_at_risk(profits, 0.95, decay=decay))
    assert found == pytest.approx(100 * share / 0.05, rel=1e-9)


def test_volatility_is_that_of_the_sample() -> None:
    returns = [0.01, -0.01] * 20
    assert number(volatility(returns)) == pytest.approx(0.01 * math.sqrt(40 / 39), rel=1e-12)
    assert number(volatility([0.02] * 30)) == pytest.approx(0, abs=1e-15)


def test_the_drawdown_is_that_from_the_running_peak() -> None:
    assert number(maximum_drawdown([100, 120, 90, 110, 130, 117])) == pytest.approx(0.25, rel=1e-12)
    assert number(maximum_drawdown([1, 2, 3])) == 0
    assert number(maximum_drawdown([100, math.nan, 80])) == pytest.approx(0.2, rel=1e-12)
    assert number(maximum_drawdown([5, 0])) == 1


def test_correlations_of_multiples_are_1_and_minus_1() -> None:
    base = np.sin(np.arange(50.0))
    found = correlations(np.column_stack([base, 3 * base + 1, -base, np.ones(50)]))
    assert found[:3, :3] == pytest.approx(np.array([[1, 1, -1], [1, 1, -1], [-1, -1, 1]]), rel=1e-12)
    assert np.isnan(found[3]).all()
    gapped = correlations(np.column_stack([base, np.where(np.arange(50) < 3, np.nan, 0.1), 2 * base]))
    assert gapped[0, 2] == pytest.approx(1, rel=1e-12)
    assert np.isnan(gapped[1]).all()


def test_the_concentration_of_equal_positions_is_their_reciprocal() -> None:
    found = concentration([5, -5, 5, 5])
    assert found is not None
    assert (found.hhi, found.largest_share) == (0.25, 0.25)
    single = concentration([0, -3])
    assert single is not None
    assert tuple(single) == (1.0, 1.0, 1)
    assert concentration([0.0, 0.0]) is None


def test_a_return_needs_both_prices() -> None:
    found = simple_returns([100, 110, math.nan, 121, 0, 5])
    assert found.tolist() == pytest.approx([0.1, math.nan, math.nan, math.nan, math.nan], nan_ok=True)


# Too little data is unknown.


@pytest.mark.parametrize(("confidence", "least"), [(0.95, 20), (0.99, 100), (0.999, 1000)])
def test_a_confidence_needs_as_many_returns_as_its_tail_has_one_of(confidence: float, least: int) -> None:
    for measure in (value_at_risk, conditional_value_at_risk):
        assert measure([0.0] * (least - 1), confidence) == Figure(None, f"{least - 1} of {least} returns")
        assert measure([0.0] * least, confidence).value == 0
        assert not measure([math.nan] * 10 + [0.0] * (least - 1), confidence).is_known


def test_few_values_are_unknown() -> None:
    assert volatility([0.01] * 19) == Figure(None, "19 of 20 returns")
    assert maximum_drawdown([]) == Figure(None, "no value above 0")
    assert np.isnan(correlations(np.zeros((5, 2)))).all()


@pytest.mark.parametrize("confidence", [0, 1, 1.5, -0.1])
def test_a_confidence_is_between_0_and_1(confidence: float) -> None:
    with pytest.raises(ValueError, match="a confidence is between 0 and 1"):
        value_at_risk([0.0] * 1000, confidence)


def test_infinite_values_and_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="values are finite"):
        value_at_risk([math.inf] * 1000)
    with pytest.raises(ValueError, match="one dimension, not 2"):
        volatility([[1.0, 2.0]])


# Beside a published library.


@pytest.fixture(scope="module")
def empyrical() -> Iterator[Any]:
    """Empyrical."""
    with installed("measures"):
        import empyrical

        yield empyrical


def walk(length: int, seed: int) -> Array:
    """Returns with fat tails."""
    return np.random.default_rng(seed).standard_t(4, length) / 100


@pytest.mark.parametrize("length", LENGTHS)
def test_measures_are_those_of_empyrical(empyrical: Any, length: int) -> None:
    returns = walk(length, length)
    assert number(volatility(returns)) == pytest.approx(empyrical.annual_volatility(returns, annualization=1), rel=1e-9)
    values = np.concatenate([[1.0], np.cumprod(1 + returns)])
    assert number(maximum_drawdown(values)) == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)
    for tail in (0.05, 0.01):
        # Where its interpolation falls on an observation, and its tail has a whole number of them, both agree.
        if length % 100 == 1:
            expected = -empyrical.value_at_risk(returns, tail)
            assert number(value_at_risk(returns, 1 - tail)) == pytest.approx(expected, rel=1e-9)
        else:
            expected = -empyrical.conditional_value_at_risk(returns, tail)
            assert number(conditional_value_at_risk(returns, 1 - tail)) == pytest.approx(expected, rel=1e-9)


def test_weighted_tails_are_those_of_empyrical_with_each_loss_as_often_as_its_weight(empyrical: Any) -> None:
    losses = -walk(60, 7)
    often = np.random.default_rng(8).integers(1, 9, 60)
    often[0] += -often.sum() % 100
    repeated = -np.repeat(losses, often)
    found = Tails(losses).at((0.95, 0.99), often)
    for tail, (at_risk, shortfall) in zip((0.05, 0.01), found, strict=True):
        assert shortfall[0] == pytest.approx(-empyrical.conditional_value_at_risk(repeated, tail), rel=1e-9)
        assert at_risk[0] == np.quantile(-repeated, 1 - tail, method="inverted_cdf")


@pytest.mark.parametrize("decay", [0.9, 0.97, 0.995])
def test_exponential_volatility_is_that_of_pandas(empyrical: Any, decay: float) -> None:
    import pandas

    returns = walk(300, 3)
    expected = pandas.Series(returns).ewm(alpha=1 - decay).std(bias=True).iloc[-1]
    assert number(volatility(returns, decay)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("decay", [0.9, 0.97, 0.995])
def test_exponential_value_at_risk_is_the_weighted_quantile_of_numpy(decay: float) -> None:
    returns = walk(333, 4)
    weights = exponential_weights(333, decay)
    for confidence in (0.95, 0.99):
        expected = np.quantile(-returns, confidence, weights=weights, method="inverted_cdf")
        assert number(value_at_risk(returns, confidence, decay)) == pytest.approx(expected, rel=1e-9)


def test_correlations_are_those_of_pandas(empyrical: Any) -> None:
    import pandas

    returns = np.column_stack([walk(200, seed) for seed in range(5)])
    returns[:, 1] += returns[:, 0]
    assert correlations(returns) == pytest.approx(np.corrcoef(returns.T), rel=1e-9, abs=1e-12)
    returns[3, 2] = math.nan
    returns[150:, 4] = math.nan
    expected = pandas.DataFrame(returns).corr().to_numpy()
    assert correlations(returns) == pytest.approx(expected, rel=1e-9, abs=1e-12)


# What holds for any series.


@few
@given(PROFITS, CONFIDENCE, DECAY)
def test_cvar_is_at_least_var(profits: list[float], confidence: float, decay: float | None) -> None:
    at_risk, shortfall = tails(profits, confidence, decay)
    assert shortfall >= at_risk - 1e-6
    assert at_risk in [-profit for profit in profits]
    assert shortfall <= max(-profit for profit in profits) + 1e-6


@few
@given(PROFITS, CONFIDENCE, CONFIDENCE, DECAY)
def test_both_grow_with_the_confidence(profits: list[float], one: float, other: float, decay: float | None) -> None:
    low, high = tails(profits, min(one, other), decay), tails(profits, max(one, other), decay)
    assert low[0] <= high[0]
    assert low[1] <= high[1] + 1e-6


@few
@given(PROFITS, CONFIDENCE, DECAY, st.floats(0.01, 100))
def test_twice_the_positions_have_twice_the_risk(
    profits: list[float], confidence: float, decay: float | None, factor: float
) -> None:
    scaled = tails([factor * profit for profit in profits], confidence, decay)
    assert scaled == about_both(tails(profits, confidence, decay), lambda risk: factor * risk, factor)


@few
@given(PROFITS, CONFIDENCE, DECAY, st.floats(-1e6, 1e6))
def test_a_sure_profit_lowers_both_by_itself(
    profits: list[float], confidence: float, decay: float | None, sure: float
) -> None:
    moved = tails([profit + sure for profit in profits], confidence, decay)
    assert moved == about_both(tails(profits, confidence, decay), lambda risk: risk - sure)


def about_both(risks: tuple[float, float], change: Any, factor: float = 1.0) -> Any:
    return pytest.approx([change(risk) for risk in risks], rel=1e-9, abs=1e-6 * max(1.0, factor))


@few
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=60), CONFIDENCE, DECAY)
def test_together_two_portfolios_have_at_most_the_cvar_of_both(
    pairs: list[tuple[float, float]], confidence: float, decay: float | None
) -> None:
    one, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    together = tails([sum(pair) for pair in pairs], confidence, decay)[1]
    assert together <= tails(one, confidence, decay)[1] + tails(other, confidence, decay)[1] + 1e-5


@few
@given(PROFITS, CONFIDENCE, DECAY, st.lists(st.integers(0, 60), max_size=10))
def test_missing_observations_are_as_if_they_were_not_there(
    profits: list[float], confidence: float, decay: float | None, places: list[int]
) -> None:
    weights = exponential_weights(len(profits), decay or 1.0).tolist()
    gapped, gapped_weights = list(profits), list(weights)
    for place in places:
        gapped.insert(place, math.nan)
        gapped_weights.insert(place, 0.7)
    (found,) = Tails(-np.array(gapped)).at([confidence], gapped_weights)
    assert (found.var[0], found.cvar[0]) == about_both(tails(profits, confidence, decay), lambda risk: risk)


@few
@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=8), min_size=1, max_size=5), CONFIDENCE)
def test_rows_are_computed_as_each_alone(rows: list[list[float]], confidence: float) -> None:
    (together,) = Tails(rows).at([confidence])
    alone = [tails([-loss for loss in row], confidence) for row in rows]
    assert list(zip(together.var.tolist(), together.cvar.tolist(), strict=True)) == alone


@few
@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40))
def test_a_drawdown_is_the_worst_of_all_pairs(values: list[float]) -> None:
    worst = max(1 - later / earlier for place, earlier in enumerate(values) for later in values[place:])
    assert number(maximum_drawdown(values)) == pytest.approx(worst, rel=1e-9, abs=1e-12)


def test_columns_without_values_are_not_numbers() -> None:
    table = np.array([[math.nan, 1.0], [math.nan, 2.0]])
    assert np.isnan(drawdowns(table)).tolist() == [True, False]
    assert np.isnan(deviations(table)).tolist() == [True, False]
    (found,) = Tails([[math.nan, math.nan]]).at([0.95])
    assert np.isnan(found.var[0])
    assert np.isnan(found.cvar[0])
