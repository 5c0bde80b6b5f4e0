import numpy as np
import pytest

from toolkit.analysis.change_detection.seasonality import seasonal_component
from toolkit.analysis.timestamps import NS_PER_HOUR

HOURS = np.arange(30 * 24) + 24 * 20_000
WAVE = np.sin(2 * np.pi * HOURS / 24)
WEEKEND = np.where(HOURS // 24 % 7 >= 5, 1.0, 0.0)


def _left(levels, hours=HOURS):
    """What isn't rhythm, from its median."""
    left = levels - seasonal_component(hours, levels, hours * NS_PER_HOUR + NS_PER_HOUR // 2)
    return left - np.median(left)


def test_a_level_that_follows_the_hour_is_all_seasonal():
    assert _left(WAVE) == pytest.approx(np.zeros(len(HOURS)), abs=1e-9)


def test_the_component_is_linear_between_hours():
    at = HOURS[50] * NS_PER_HOUR + NS_PER_HOUR * np.array([2, 3, 4]) // 4
    first, middle, last = seasonal_component(HOURS, WAVE, at)
    assert first < middle < last or first > middle > last


def test_a_level_that_follows_the_day_of_the_week_is_seasonal_except_at_the_start_of_days():
    left = _left(WEEKEND)
    assert np.mean(np.abs(left) < 0.1) > 0.9


@pytest.mark.parametrize("at", [24 * 3, 24 * 15 + 7, 24 * 15 + 12, 24 * 22])
def test_a_lasting_change_is_not_seasonal(at):
    change = np.where(np.arange(len(HOURS)) >= at, 5.0, 0.0)
    left = _left(WAVE + change)
    assert left - left[0] == pytest.approx(change, abs=0.05)


def test_an_incident_is_not_seasonal():
    incident = np.zeros(len(HOURS))
    incident[400:410] = 9
    assert _left(WAVE + incident) == pytest.approx(incident, abs=0.05)


def test_fewer_than_4_days_have_no_seasonal_component():
    hours = HOURS[:95]
    assert seasonal_component(hours, WAVE[:95], hours * NS_PER_HOUR).tolist() == [0.0] * 95


def test_nights_without_calls_keep_the_daily_component():
    awake = HOURS % 24 >= 7
    assert _left(WAVE[awake], HOURS[awake]) == pytest.approx(np.zeros(awake.sum()), abs=0.2)


def test_no_hours_have_no_component():
    none = np.array([], np.int64)
    assert seasonal_component(none, np.array([]), none).tolist() == []
