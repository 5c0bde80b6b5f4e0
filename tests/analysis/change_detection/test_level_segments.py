import math

import numpy as np
import pytest

from toolkit.analysis.change_detection.level_segments import ChangeTest, find_boundaries, find_changes
from toolkit.analysis.change_detection.series import LevelSegment, LogLatencies, OutcomeCounts

N = 2_000


def _running(values):
    return np.concatenate([[0.0], np.cumsum(values)])


def _times(logs):
    return LogLatencies(_running(logs), _running(np.ones(len(logs))))


def _counts(found, expected, share=0.05):
    return OutcomeCounts(_running(found), _running(np.full(len(found), float(expected))), share)


def _change_test(series, observations=N, least_ratio=1.5):
    return ChangeTest.of(series, np.arange(observations + 1), least_ratio)


def _clusters(draw, kept, spread):
    """A level that wanders: each value keeps a part of the one before."""
    noise = draw.normal(0, spread * math.sqrt(1 - kept**2), N)
    for place in range(1, N):
        noise[place] += kept * noise[place - 1]
    return noise


def test_the_noise_of_independent_calls_is_1_at_all_scales():
    draw = np.random.default_rng(1)
    test = _change_test(_counts(draw.poisson(50, N), 50))
    assert test.noise.tolist() == pytest.approx([1.0] * len(test.noise), abs=0.5)


def test_clustered_noise_grows_with_the_scale():
    noise = _change_test(_times(_clusters(np.random.default_rng(1), 0.8, 0.1))).noise
    assert noise[0] == pytest.approx(0.01, rel=0.6)
    assert noise[4] > 4 * noise[0]
    assert (np.diff(noise) >= 0).all()


def test_noise_is_not_raised_by_incidents_and_lasting_changes():
    draw = np.random.default_rng(1)
    quiet = draw.normal(0, 0.1, N)
    changed = quiet + np.where(np.arange(N) > 900, 2, 0) + np.where(np.arange(N) // 8 == 30, 5, 0)
    assert _change_test(_times(changed)).noise[:4] == pytest.approx(_change_test(_times(quiet)).noise[:4], rel=0.25)


def test_the_gain_of_latencies_is_the_squared_difference_of_means_over_its_variance():
    series = _times(np.array([1.0, 3.0, 5.0, 5.0]))
    assert float(series.gain(LevelSegment(0, 2), LevelSegment(2, 4))) == pytest.approx((5 - 2) ** 2 / (1 / 2 + 1 / 2))


def test_the_gain_of_counts_is_at_most_the_likelihood_ratio():
    def log_likelihood(found, rate):
        return found * math.log(rate) - rate if found else -rate

    for left, right in ((40, 80), (0, 12), (200, 30), (0, 0)):
        both = (left + right) / 2
        wanted = 2 * (
            log_likelihood(left, left or 1e-9)
            + log_likelihood(right, right or 1e-9)
            - log_likelihood(left, both or 1e-9)
            - log_likelihood(right, both or 1e-9)
        )
        gain = float(_counts([left, right], 50).gain(LevelSegment(0, 1), LevelSegment(1, 2)))
        assert gain <= wanted + 1e-6
        assert gain >= 0.4 * wanted - 1e-6


def test_a_reportable_change_has_the_ratio_of_odds_and_10_calls():
    series = _counts([50, 74, 76, 9, 0], 50, 0.0001)
    told = [bool(series.is_reportable(LevelSegment(0, 1), LevelSegment(it, it + 1), 1.5)) for it in (1, 2)]
    assert told == [False, True]
    few = OutcomeCounts(_running([0, 9, 10]), _running([100.0, 0.1, 0.1]), 0.0001)
    told = [bool(few.is_reportable(LevelSegment(0, 1), LevelSegment(it, it + 1), 1.5)) for it in (1, 2)]
    assert told == [False, True]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.8])
def test_a_drifting_level_has_no_changes(kept):
    for seed in range(10):
        test = _change_test(_times(_clusters(np.random.default_rng(seed), kept, 0.1)), least_ratio=1.05)
        assert find_boundaries(test).tolist() == [0, N]


def test_a_constant_level_has_no_changes():
    assert find_boundaries(_change_test(_times(np.full(N, 16.0)))).tolist() == [0, N]


def test_a_step_is_found_where_it_is():
    draw = np.random.default_rng(1)
    test = _change_test(_times(draw.normal(0, 0.1, N) + np.where(np.arange(N) >= 1234, 0.5, 0)))
    assert find_boundaries(test).tolist() == [0, 1234, N]


def test_an_incident_is_one_change_with_its_end():
    draw = np.random.default_rng(1)
    level = np.where((np.arange(N) >= 500) & (np.arange(N) < 504), 1.5, 0)
    (change,) = find_changes(_change_test(_times(draw.normal(0, 0.1, N) + level)))
    assert (int(change.after.start), change.until) == (500, 504)


def test_an_incident_that_gets_worse_is_two_changes_that_end_together():
    draw, place = np.random.default_rng(1), np.arange(N)
    level = np.where((place >= 500) & (place < 600), 1, 0) + np.where((place >= 550) & (place < 600), 1, 0)
    changes = find_changes(_change_test(_times(draw.normal(0, 0.1, N) + level)))
    assert [(int(it.after.start), it.until) for it in changes] == [(500, 600), (550, 600)]


def test_a_level_that_goes_back_beyond_its_start_is_another_change():
    draw, place = np.random.default_rng(1), np.arange(N)
    level = np.where((place >= 500) & (place < 600), 1, 0) - np.where(place >= 600, 1, 0)
    first, second = find_changes(_change_test(_times(draw.normal(0, 0.1, N) + level)))
    assert (first.until, second.until) == (600, None)
    assert (int(second.before.start), int(second.before.end), int(second.after.start)) == (0, 500, 600)


def test_slight_changes_of_a_rare_outcome_are_found_between_coarse_edges():
    draw = np.random.default_rng(1)
    found = draw.poisson(np.where(np.arange(N) >= 800, 0.15, 0.03)).astype(float)
    test, coarser = _change_test(_counts(found, 0.03, 0.0001)), np.arange(0, N + 1, 100)
    (change,) = find_changes(test, coarser)
    assert int(change.after.start) == pytest.approx(800, abs=30)
    assert change.until is None


def test_fewer_than_8_observations_have_no_changes():
    assert find_changes(_change_test(_times(np.array([0.0] * 3 + [9.0] * 4)), 7)) == []


def test_the_example_of_the_module_has_the_gains_that_it_states():
    raised, slightly = (
        _change_test(_counts([9, 11, 10, 8, 12, 10, 9, 11, *middle, 10, 9, 12, 8, 11, 10], 10), 18)
        for middle in ([30, 33, 28, 31], [17, 16, 10, 11])
    )
    assert (raised.noise.tolist(), round(raised.penalty, 1)) == ([1.0], 11.6)
    gains = [
        raised.gain(LevelSegment(*it), LevelSegment(it[1], end)) for *it, end in ((0, 8, 12), (8, 12, 18), (0, 4, 8))
    ]
    assert [round(float(gain), 1) for gain in gains] == [59.5, 53.4, 0.2]
    (change,) = find_changes(raised)
    assert (change.start, change.until, round(change.gain**0.5, 1)) == (8, 12, 7.7)
    assert round(float(slightly.gain(LevelSegment(0, 8), LevelSegment(8, 10))), 1) == 5.4
    assert find_changes(slightly) == []
