import math

import numpy as np
import pytest

from toolkit.analysis.change_detection.level_segments import Judge, find_changes, find_segments
from toolkit.analysis.change_detection.series import Counts, Stretch, Times

N = 2_000


def _running(values):
    return np.concatenate([[0.0], np.cumsum(values)])


def _times(logs):
    return Times(_running(logs), _running(np.ones(len(logs))))


def _counts(found, expected, share=0.05):
    return Counts(_running(found), _running(np.full(len(found), float(expected))), share)


def _judge(series, observations=N, least_ratio=1.5):
    return Judge.of(series, np.arange(observations + 1), least_ratio)


def _clusters(draw, kept, spread):
    """A level that wanders: each value keeps a part of the one before."""
    noise = draw.normal(0, spread * math.sqrt(1 - kept**2), N)
    for place in range(1, N):
        noise[place] += kept * noise[place - 1]
    return noise


def test_noise_is_that_of_independent_calls_and_the_same_over_longer_stretches():
    draw = np.random.default_rng(1)
    judge = _judge(_counts(draw.poisson(50, N), 50))
    assert judge.noise.tolist() == pytest.approx([1.0] * len(judge.noise), abs=0.5)


def test_noise_that_clusters_is_more_over_longer_stretches():
    noise = _judge(_times(_clusters(np.random.default_rng(1), 0.8, 0.1))).noise
    assert noise[0] == pytest.approx(0.01, rel=0.6)
    assert noise[4] > 4 * noise[0]
    assert (np.diff(noise) >= 0).all()


def test_noise_is_not_raised_by_incidents_and_lasting_changes():
    draw = np.random.default_rng(1)
    quiet = draw.normal(0, 0.1, N)
    changed = quiet + np.where(np.arange(N) > 900, 2, 0) + np.where(np.arange(N) // 8 == 30, 5, 0)
    assert _judge(_times(changed)).noise[:4] == pytest.approx(_judge(_times(quiet)).noise[:4], rel=0.25)


def test_a_gain_of_times_is_the_squared_difference_of_means_over_its_variance():
    series = _times(np.array([1.0, 3.0, 5.0, 5.0]))
    assert float(series.gain(Stretch(0, 2), Stretch(2, 4))) == pytest.approx((5 - 2) ** 2 / (1 / 2 + 1 / 2))


def test_a_gain_of_counts_is_at_most_that_of_the_likelihood():
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
        gain = float(_counts([left, right], 50).gain(Stretch(0, 1), Stretch(1, 2)))
        assert gain <= wanted + 1e-6
        assert gain >= 0.4 * wanted - 1e-6


def test_what_is_told_is_odds_that_many_times_as_large_and_10_calls():
    series = _counts([50, 74, 76, 9, 0], 50, 0.0001)
    told = [bool(series.is_told(Stretch(0, 1), Stretch(it, it + 1), 1.5)) for it in (1, 2)]
    assert told == [False, True]
    few = Counts(_running([0, 9, 10]), _running([100.0, 0.1, 0.1]), 0.0001)
    assert [bool(few.is_told(Stretch(0, 1), Stretch(it, it + 1), 1.5)) for it in (1, 2)] == [False, True]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.8])
def test_a_level_that_wanders_has_no_changes(kept):
    for seed in range(10):
        judge = _judge(_times(_clusters(np.random.default_rng(seed), kept, 0.1)), least_ratio=1.05)
        assert find_segments(judge).tolist() == [0, N]


def test_a_constant_level_has_no_changes():
    assert find_segments(_judge(_times(np.full(N, 16.0)))).tolist() == [0, N]


def test_a_step_is_found_where_it_is():
    draw = np.random.default_rng(1)
    judge = _judge(_times(draw.normal(0, 0.1, N) + np.where(np.arange(N) >= 1234, 0.5, 0)))
    assert find_segments(judge).tolist() == [0, 1234, N]


def test_an_incident_is_one_change_with_its_end():
    draw = np.random.default_rng(1)
    level = np.where((np.arange(N) >= 500) & (np.arange(N) < 504), 1.5, 0)
    (change,) = find_changes(_judge(_times(draw.normal(0, 0.1, N) + level)))
    assert (int(change.after.start), change.until) == (500, 504)


def test_an_incident_that_gets_worse_is_two_changes_that_end_together():
    draw, place = np.random.default_rng(1), np.arange(N)
    level = np.where((place >= 500) & (place < 600), 1, 0) + np.where((place >= 550) & (place < 600), 1, 0)
    changes = find_changes(_judge(_times(draw.normal(0, 0.1, N) + level)))
    assert [(int(it.after.start), it.until) for it in changes] == [(500, 600), (550, 600)]


def test_what_goes_back_beyond_where_it_came_from_is_a_change_again():
    draw, place = np.random.default_rng(1), np.arange(N)
    level = np.where((place >= 500) & (place < 600), 1, 0) - np.where(place >= 600, 1, 0)
    first, second = find_changes(_judge(_times(draw.normal(0, 0.1, N) + level)))
    assert (first.until, second.until) == (600, None)
    assert (int(second.before.start), int(second.before.end), int(second.after.start)) == (0, 500, 600)


def test_slight_changes_of_a_rare_outcome_show_between_coarser_places():
    draw = np.random.default_rng(1)
    found = draw.poisson(np.where(np.arange(N) >= 800, 0.15, 0.03)).astype(float)
    judge, coarser = _judge(_counts(found, 0.03, 0.0001)), np.arange(0, N + 1, 100)
    (change,) = find_changes(judge, coarser)
    assert int(change.after.start) == pytest.approx(800, abs=30)
    assert change.until is None


def test_of_fewer_than_8_observations_nothing_is_told():
    assert find_changes(_judge(_times(np.array([0.0] * 3 + [9.0] * 4)), 7)) == []
