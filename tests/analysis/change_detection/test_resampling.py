from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from toolkit.analysis.change_detection.resampling import bootstrap, cohen_h, holm, newcombe, permuted_p


def _t_squared(calls, found, is_b):
    """The squared difference of two ratios of sums over its variance, from the textbook."""
    shares, variance = [], 0
    for side in (False, True):
        n = [c for c, b in zip(calls, is_b, strict=True) if b == side]
        k = [f for f, b in zip(found, is_b, strict=True) if b == side]
        share = sum(k) / sum(n)
        rest = sum((f - share * c) ** 2 for f, c in zip(k, n, strict=True))
        shares.append(share)
        variance += rest / sum(n) ** 2 * len(n) / (len(n) - 1)
    return (shares[1] - shares[0]) ** 2 / variance if shares[0] != shares[1] else 0.0


def test_the_permuted_p_value_is_near_that_of_all_permutations():
    draw = np.random.default_rng(3)
    calls = draw.integers(5, 40, 12).astype(float)
    found = draw.binomial(calls.astype(int), np.where(np.arange(12) < 6, 0.2, 0.5)).astype(float)
    sides = [[place in picked for place in range(12)] for picked in combinations(range(12), 6)]
    seen = _t_squared(calls, found, [place >= 6 for place in range(12)])
    exact = np.mean([_t_squared(calls, found, side) >= seen * (1 - 1e-9) for side in sides])
    (p,) = permuted_p(calls, found[:, None], np.arange(12) >= 6, 20_000, 1)
    assert 0 < exact < 0.2
    assert p == pytest.approx(exact, abs=0.005)


def _clustered(draw, buckets, share=0.05):
    """Calls and refusals of buckets, some of which have an incident that refuses many."""
    calls = draw.poisson(200, buckets).astype(float)
    level = np.where(draw.random(buckets) < 0.1, 0.3, share)
    return calls, draw.binomial(calls.astype(int), level).astype(float)


def _p(draw, share_b):
    (calls_a, found_a), (calls_b, found_b) = _clustered(draw, 30), _clustered(draw, 40, share_b)
    calls, found = np.concatenate([calls_a, calls_b]), np.concatenate([found_a, found_b])
    (p,) = permuted_p(calls, found[:, None], np.arange(70) >= 30, 399, 1)
    table = [[found_a.sum(), calls_a.sum() - found_a.sum()], [found_b.sum(), calls_b.sum() - found_b.sum()]]
    return p, chi2_contingency(table).pvalue


def test_equal_clustered_sides_differ_in_5_percent_of_tests_and_in_half_by_chi_square():
    draw = np.random.default_rng(1)
    permuted, chi_square = np.array([_p(draw, 0.05) for _ in range(200)]).T
    assert np.mean(permuted < 0.05) <= 0.075  # what 200 pairs may have of 5 %
    assert np.mean(chi_square < 0.05) > 0.3


def test_a_planted_difference_is_found():
    draw = np.random.default_rng(1)
    assert np.mean([_p(draw, 0.15)[0] < 0.05 for _ in range(50)]) > 0.95


def test_sides_of_very_different_traffic_have_no_more_false_alarms():
    draw, alarms = np.random.default_rng(2), 0
    for _ in range(200):
        calls = np.concatenate([draw.poisson(20, 25), draw.poisson(2000, 25)]).astype(float)
        found = draw.binomial(calls.astype(int), 0.05 * draw.gamma(2, 1 / 2, 50)).astype(float)
        alarms += permuted_p(calls, found[:, None], np.arange(50) >= 25, 399, 1)[0] < 0.05
    assert alarms <= 17


def test_sides_without_spread_have_the_smallest_p_value_or_1():
    calls, is_b = np.full(20, 10.0), np.arange(20) >= 10
    found = np.column_stack([np.where(is_b, 10.0, 0.0), np.full(20, 5.0), np.zeros(20)])
    assert permuted_p(calls, found, is_b, 999, 1).tolist() == pytest.approx([0.001, 1, 1])


def test_the_bootstraps_interval_covers_the_difference_of_clustered_sides():
    draw, covered = np.random.default_rng(1), 0
    for _ in range(200):
        sides = [np.column_stack(_clustered(draw, 40)) for _ in range(2)]
        low, high = bootstrap(*sides, lambda sums: sums[:, 1:] / sums[:, :1], 300, 1)
        covered += bool(low[0] <= 0 <= high[0])
    assert covered >= 182


def test_newcombes_interval_is_that_of_his_paper():
    low, high = newcombe(48, 80, 56, 70)
    assert (float(low), float(high)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_interval_of_two_shares_of_0_is_not_empty():
    low, high = newcombe([0], [1000], [0], [1000])
    assert (low.tolist(), high.tolist()) == ([pytest.approx(-0.00383, abs=1e-5)], [pytest.approx(0.00383, abs=1e-5)])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_correction_agrees_with_its_definition(p):
    corrected = holm(np.array([*p, np.nan]))
    assert np.isnan(corrected[-1])
    least = 0.0
    for step, place in enumerate(sorted(range(len(p)), key=lambda it: p[it])):
        least = max(least, min(1, p[place] * (len(p) - step)))
        assert corrected[place] == pytest.approx(least)


def test_the_effect_is_pi_between_0_and_1_and_0_between_equals():
    assert cohen_h([0, 0.3], [1, 0.3]).tolist() == pytest.approx([np.pi, 0])


def test_one_bad_hour_is_chance_and_a_bad_day_is_not():
    is_b = np.arange(48) >= 24
    hour, day = np.where(np.arange(48) == 30, 50.0, 1.0), np.where(is_b, 3.0, 1.0)
    assert permuted_p(np.full(48, 1000.0), np.column_stack([hour, day]), is_b, 9_999, 1).tolist() == [1.0, 0.0001]
