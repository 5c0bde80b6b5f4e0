import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.analysis.billing.weekday_model import days_until, forecast_sums


def _errors(draw, days, rho):
    """Draw errors of which each is like the one before."""
    errors = draw.normal(0, 1, days + 50)
    for day in range(1, len(errors)):
        errors[day] = rho * errors[day - 1] + np.sqrt(1 - rho**2) * errors[day]
    return errors[50:]


@given(
    week=st.lists(st.integers(0, 10**6), min_size=7, max_size=7),
    past=st.integers(14, 56),
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    weekday=st.integers(0, 6),
)
def test_identical_weeks_are_continued(week, past, weights, weekday):
    days = np.array([week[(weekday + day) % 7] for day in range(past + len(weights))], np.float64)
    found = forecast_sums(days[:past], weekday, np.array(weights))
    assert found.expected.tolist() == pytest.approx(np.cumsum(days[past:] * weights).tolist(), rel=1e-9, abs=1e-6)
    assert found.half_width.max() == pytest.approx(0, abs=1e-3)


def test_the_expected_value_is_the_mean_of_the_weekday():
    past = np.arange(21.0)
    expected = np.cumsum([7, 8, 9, 10, 11, 12, 13, 7, 8])
    assert forecast_sums(past, 3, np.ones(9)).expected.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("rho", "past", "least"), [(0, 14, 0.92), (0, 56, 0.92), (0.5, 14, 0.84), (0.5, 56, 0.89), (0.8, 56, 0.85)]
)
def test_the_interval_has_about_its_nominal_coverage(rho, past, least):
    draw, ahead, held = np.random.default_rng(7), 20, 0
    for _ in range(200):
        days = 1000 + 200 * np.cos(np.arange(past + ahead) % 7) + 80 * _errors(draw, past + ahead, rho)
        found, true = forecast_sums(days[:past], 0, np.ones(ahead)), days[past:].sum()
        held += abs(found.expected[-1] - true) <= found.half_width[-1]
    assert least <= held / 200 <= 0.99


def test_correlated_days_widen_the_interval():
    draw = np.random.default_rng(3)
    reach = [
        np.mean([forecast_sums(1000 + _errors(draw, 56, rho), 0, np.ones(20)).half_width[-1] for _ in range(30)])
        for rho in (0, 0.8)
    ]
    assert reach[1] > 1.8 * reach[0]


def test_the_interval_is_never_negative_and_never_decreases():
    found = forecast_sums(np.array([0.0, 0, 0, 90, 0, 0, 0] * 2) + np.arange(14) % 5, 0, np.ones(30))
    low, high = found.interval()
    assert (low >= 0).all()
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    assert ((low <= found.expected) & (found.expected <= high)).all()


@pytest.mark.parametrize(
    ("amount", "days"),
    [(0, 0), (-5, 0), (1, 0.05), (10, 0.5), (25, 1.0), (40, 1.5), (45, 3.0), (50, 3.5), (51, np.inf)],
)
def test_a_sum_is_reached_within_the_day_that_passes_it(amount, days):
    ends = np.array([0.5, 1.5, 2.5, 3.5])
    assert days_until(amount, np.array([10.0, 40.0, 40.0, 50.0]), ends) == pytest.approx(days)
