"""Lasting changes of a figure over many runs."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.analysis.change_detection.lasting_changes import MIN_RUNS, find_bursts, find_lasting_changes

RUNS = 60


def noise(seed: int, runs: int = RUNS) -> np.ndarray:
    return 100 * (1 + 0.03 * np.random.default_rng(seed).normal(size=runs))


def starts(values: np.ndarray) -> list[int]:
    return [it.start for it in find_lasting_changes({"p99": values.tolist()})["p99"].changes]


@pytest.mark.parametrize("factor", [1.1, 1 / 1.1])
def test_a_level_that_stays_is_found_with_its_run_and_size(factor: float) -> None:
    values = noise(1)
    values[35:] *= factor
    (change,) = find_lasting_changes({"p99": values.tolist()})["p99"].changes
    assert abs(change.start - 35) <= 2
    assert change.after / change.before == pytest.approx(factor, rel=0.02)
    assert change.p_corrected < 0.01


def test_equal_runs_have_no_change() -> None:
    assert sum(map(bool, (starts(noise(seed)) for seed in range(40)))) <= 1


def test_a_burst_of_slow_runs_is_no_change_and_is_marked() -> None:
    values = noise(2)
    values[20:25] *= 1.5
    values[-4:] *= 1.3
    found = find_lasting_changes({"p99": values.tolist()})["p99"]
    assert found.changes == []
    assert set(np.flatnonzero(found.is_burst)) >= {20, 21, 22, 23, 24, 56, 57, 58, 59}
    assert found.levels == pytest.approx(np.full(RUNS, 100), rel=0.02)


def test_a_level_that_went_back_is_two_changes() -> None:
    values = noise(3)
    values[20:40] *= 1.12
    first, second = starts(values)
    assert abs(first - 20) <= 2
    assert abs(second - 40) <= 2


def test_two_steps_are_two_changes() -> None:
    values = noise(4)
    values[20:] *= 1.15
    values[40:] *= 1.15
    first, second = starts(values)
    assert (abs(first - 20) <= 2, abs(second - 40) <= 2) == (True, True)


def test_a_change_below_2_percent_or_the_least_difference_is_not_reported() -> None:
    steady = np.concatenate([np.linspace(100, 100.1, 30), np.linspace(101, 101.1, 30)])
    assert starts(steady) == []
    failed = np.concatenate([np.zeros(30), np.full(30, 0.05)]) + np.linspace(0, 0.001, 60)
    levels = find_lasting_changes({"failed": failed.tolist()}, min_difference={"failed": 0.1})
    assert levels["failed"].changes == []


def test_runs_with_a_share_of_0_change_if_others_fail_for_good() -> None:
    failed = np.zeros(RUNS)
    failed[40:] = 2 + 0.1 * np.random.default_rng(5).normal(size=20)
    assert starts(failed) == [40]


def test_missing_values_are_left_out_and_the_run_is_still_the_right_one() -> None:
    values = noise(6)
    values[30:] *= 1.2
    values[[3, 4, 10, 45]] = np.nan
    assert starts(values) == [30]


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 60, [np.nan] * 20, list(range(2 * MIN_RUNS - 1))])
def test_few_or_equal_values_have_no_change(values: list[float]) -> None:
    assert starts(np.array(values, float)) == []


def test_the_result_of_one_figure_depends_on_the_number_of_figures_only_by_the_correction() -> None:
    values = noise(7)
    values[30:] *= 1.2
    alone = find_lasting_changes({"p99": values.tolist()})["p99"]
    others = {str(seed): noise(seed).tolist() for seed in range(10, 15)}
    among = find_lasting_changes({"p99": values.tolist(), **others})
    assert among["p99"].changes[0].start == alone.changes[0].start
    assert among["p99"].changes[0].p_corrected == pytest.approx(6 * alone.changes[0].p_corrected)
    assert all(among[name].changes == [] for name in others)


def test_a_burst_is_at_most_5_runs() -> None:
    values = noise(8)
    values[20:26] *= 1.5
    assert not find_bursts(values)[22:24].any()
