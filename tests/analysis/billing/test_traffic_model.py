import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.analysis.billing.traffic_model import days_until, forecast_sums

AHEAD = 20


def _noise(draw, days, deviation=0.05):
    return 1 + deviation * draw.normal(size=days)


def _walk(draw, days):
    return np.exp(np.cumsum(0.03 * draw.normal(size=days)))


# The days of each kind of traffic; benchmarks/truth.py makes the table with more of them and more repetitions.
TRAFFIC = {
    "independent": lambda draw, past: 2_000 * _noise(draw, past + AHEAD),
    "random walk": lambda draw, past: 2_000 * _walk(draw, past + AHEAD) * _noise(draw, past + AHEAD),
    "growth of 0.3 %": lambda draw, past: 2_000 * 1.003 ** np.arange(past + AHEAD) * _noise(draw, past + AHEAD),
    "growth of 1 %": lambda draw, past: 2_000 * 1.01 ** np.arange(past + AHEAD) * _noise(draw, past + AHEAD),
    "a step": lambda draw, past: (
        np.where(np.arange(past + AHEAD) < past - 7, 1_000, 1_400) * _noise(draw, past + AHEAD)
    ),
    "small counts": lambda draw, past: draw.poisson(np.where(np.arange(past + AHEAD) % 7 < 5, 5, 0.2)).astype(float),
}


@given(
    week=st.lists(st.integers(0, 10**6), min_size=7, max_size=7),
    past=st.integers(14, 56),
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    weekday=st.integers(0, 6),
)
def test_identical_weeks_are_continued(week, past, weights, weekday):
    days = np.array([week[(weekday + day) % 7] for day in range(past + len(weights))], np.float64)
    found = forecast_sums(days[:past], weekday, np.array(weights))
    expected = pytest.approx(np.cumsum(days[past:] * weights).tolist(), rel=1e-9, abs=1e-6)
    assert found.expected.tolist() == found.low.tolist() == found.high.tolist() == expected


@pytest.mark.parametrize(("kind", "past"), [*((kind, 28) for kind in TRAFFIC), ("growth of 1 %", 56), ("a step", 56)])
def test_the_sum_is_within_the_interval_in_nine_of_ten_months(kind, past):
    held = 0
    for repeat in range(12):
        days = TRAFFIC[kind](np.random.default_rng((1, past, repeat)), past)
        found = forecast_sums(days[:past], 0, np.ones(AHEAD))
        held += found.low[-1] <= days[past:].sum() <= found.high[-1]
    assert held >= 10  # at a coverage of 95 %, fewer are held in 2 of 100 cases


def test_more_history_narrows_the_interval_of_flat_traffic():
    days = TRAFFIC["independent"](np.random.default_rng(1), 56)
    short, long = (forecast_sums(days[56 - past : 56], 0, np.ones(AHEAD)) for past in (28, 56))
    assert long.high[-1] - long.low[-1] < 0.8 * (short.high[-1] - short.low[-1])


def test_the_forecast_follows_growth_and_a_step():
    days = 1_000 * 1.01 ** np.arange(56 + AHEAD) * _noise(np.random.default_rng(1), 56 + AHEAD)
    assert forecast_sums(days[:56], 0, np.ones(AHEAD)).expected[-1] == pytest.approx(days[56:].sum(), rel=0.05)
    days = TRAFFIC["a step"](np.random.default_rng(1), 56)
    assert forecast_sums(days[:56], 0, np.ones(AHEAD)).expected[-1] == pytest.approx(days[56:].sum(), rel=0.05)


def test_a_holiday_of_the_past_is_left_out_and_one_ahead_widens_the_interval():
    days = TRAFFIC["independent"](np.random.default_rng(1), 28)
    is_holiday = np.isin(np.arange(28 + AHEAD), [10, 11, 12])
    with_holiday = np.where(is_holiday, 100, days)
    plain = forecast_sums(days[:28], 0, np.ones(AHEAD))
    found = forecast_sums(with_holiday[:28], 0, np.ones(AHEAD), is_holiday)
    assert found.expected[-1] == pytest.approx(plain.expected[-1], rel=0.03)
    ahead = forecast_sums(days[:28], 0, np.ones(AHEAD), np.isin(np.arange(28 + AHEAD), [35, 36, 37]))
    assert ahead.high[-1] - ahead.low[-1] > 1.2 * (plain.high[-1] - plain.low[-1])


@pytest.mark.parametrize("kind", ["independent", "random walk", "a step"])
def test_the_forecast_of_a_month_is_the_start_of_that_of_a_year(kind):
    days = TRAFFIC[kind](np.random.default_rng(1), 56)[:56]
    is_holiday = np.isin(np.arange(56 + 366), [60, 61, 300])
    month, year = (forecast_sums(days, 3, np.ones(ahead), is_holiday[: 56 + ahead]) for ahead in (30, 366))
    for name in ("expected", "low", "high"):
        assert getattr(year, name)[:30].tolist() == getattr(month, name).tolist()


def test_the_same_history_has_the_same_forecast():
    days = TRAFFIC["random walk"](np.random.default_rng(1), 28)
    first, second = (forecast_sums(days[:28], 0, np.ones(AHEAD)) for _ in range(2))
    assert first.high.tolist() == second.high.tolist()


def test_the_interval_is_never_negative_and_never_decreases():
    found = forecast_sums(np.array([0.0, 0, 0, 90, 0, 0, 0] * 2) + np.arange(14) % 5, 0, np.ones(30))
    assert (found.low >= 0).all()
    assert (np.diff(found.low) >= 0).all()
    assert (np.diff(found.high) >= 0).all()
    assert ((found.low <= found.expected) & (found.expected <= found.high)).all()


@pytest.mark.parametrize(
    ("amount", "days"),
    [(0, 0), (-5, 0), (1, 0.05), (10, 0.5), (25, 1.0), (40, 1.5), (45, 3.0), (50, 3.5), (51, np.inf)],
)
def test_a_sum_is_reached_within_the_day_that_passes_it(amount, days):
    ends = np.array([0.5, 1.5, 2.5, 3.5])
    assert days_until(amount, np.array([10.0, 40.0, 40.0, 50.0]), ends) == pytest.approx(days)
