import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chi2_contingency

from toolkit.analysis.change_detection.lift import COUNTS, concentrated_values

PREFIXES = 500


def _values(rows):
    """Make the counts of values: calls and found now, then before."""
    counts = pd.DataFrame([(*row, 0, 0)[:4] for row in rows.values()], columns=COUNTS)
    return counts.assign(value=list(rows))


def _told(rows):
    found = concentrated_values(_values(rows)).sort_values("score", ascending=False)
    return found["value"].tolist()


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.floats(0, 1), st.integers(0, 500), st.floats(0, 1)), min_size=1, max_size=30
    )
)
def test_the_columns_of_a_value_agree_with_counting_by_hand(drawn):
    rows = {f"v{i}": (n, round(n * p), m, round(m * q)) for i, (n, p, m, q) in enumerate(drawn)}
    if not sum(row[1] for row in rows.values()):
        return
    calls, found, calls_before, _ = map(sum, zip(*rows.values(), strict=True))
    for row in concentrated_values(_values(rows)).to_dict("records"):
        mine = rows[row["value"]]
        assert row["found_ratio"] == pytest.approx(mine[1] / mine[0])
        assert row["found_ratio_elsewhere"] == pytest.approx((found - mine[1]) / (calls - mine[0]))
        assert row["coverage_ratio"] == pytest.approx(mine[1] / found)
        assert row["excess"] == pytest.approx(mine[1] - mine[1] / row["lift"])
        assert 1 < row["lift_low"] < row["lift"] < row["lift_high"]
        wanted = mine[1] / mine[0] / ((found - mine[1] + 0.5) / (calls - mine[0] + 1))
        assert row["lift"] <= wanted * (1 + 1e-9)
        assert calls_before or row["lift"] == pytest.approx(wanted)


def test_a_cause_scores_higher_than_3_of_3_and_than_the_largest_value_with_a_small_lift():
    others = {f"p{i}": (100, 3) for i in range(PREFIXES)}
    assert _told(others | {"rare": (3, 3), "cause": (2_000, 1_500)}) == ["cause"]
    assert _told({"small": (300, 240), "large": (50_000, 1_750), "rest": (50_000, 1_500)})[0] == "small"


def test_the_score_is_the_information_of_the_value_in_bits():
    (row,) = concentrated_values(_values({"hot": (1_000, 800), "cold": (9_000, 180)})).to_dict("records")
    lift = 800 / (1_000 * 180.5 / 9_001)
    assert row["score"] == pytest.approx(800 / 980 * (math.log2(lift) - (1 - 1 / lift) / math.log(2)))


def test_of_equal_values_one_stands_out_only_by_chance():
    draw, told = np.random.default_rng(1), 0
    for _ in range(200):
        calls = draw.integers(20, 200, PREFIXES)
        told += bool(_told({f"p{i}": (n, draw.binomial(n, 0.05)) for i, n in enumerate(calls)}))
    assert told <= 17


def test_of_overdispersed_values_only_one_that_differs_more_stands_out():
    draw = np.random.default_rng(1)
    shares = 0.05 * draw.gamma(4, 1 / 4, PREFIXES)
    rows = {f"p{i}": (400, draw.binomial(400, share)) for i, share in enumerate(shares)}
    assert _told(rows) == []
    assert _told(rows | {"hot": (400, 380)}) == ["hot"]


def test_two_values_are_tested_with_the_binomial_distribution():
    def is_told(found):
        return bool(_told({"one": (1_000, found), "other": (1_000, 30)}))

    least = next(found for found in range(30, 100) if is_told(found))
    chance = [binom.sf(found - 1, found + 30, 0.5) * 2 for found in (least - 1, least)]
    assert chance[1] < 0.05 <= chance[0]


def test_a_lift_before_counts_against_the_lift_now():
    before = {"always": (10_000, 900, 20_000, 1_800), "rest": (30_000, 900, 60_000, 1_800)}
    assert _told(before) == []
    assert _told(before | {"new": (1_000, 300, 2_000, 60)}) == ["new"]
    (row,) = concentrated_values(_values(before | {"always": (10_000, 3_600, 20_000, 1_800)})).to_dict("records")
    assert row["lift"] == pytest.approx(4, rel=0.05)
    assert row["found_ratio_before"] == pytest.approx(0.09)


def test_a_value_that_was_below_the_others_and_is_now_equal_does_not_stand_out():
    assert _told({"calm": (10_000, 300, 20_000, 20), "rest": (30_000, 900, 60_000, 1_800)}) == []


def test_a_lift_before_of_few_calls_counts_less():
    lifts = []
    for few in (10, 1_000):
        rows = {"v": (10_000, 2_000, few * 10, few * 2), "rest": (90_000, 2_700, few * 90, few * 3)}
        (row,) = concentrated_values(_values(rows)).to_dict("records") or [{"lift": 1.0}]
        lifts.append(row["lift"])
    assert lifts[0] > lifts[1]


def test_a_value_with_all_calls_has_no_share_elsewhere():
    assert _told({"only": (1_000, 500)}) == []
    assert _told({"only": (1_000, 500, 900, 3), "gone": (0, 0, 900, 3)}) == []


def test_the_strength_is_bias_corrected_cramers_v():
    rows = {"a": (1_000, 500), "b": (1_000, 50), "c": (1_000, 60)}
    chi2 = chi2_contingency([[found, calls - found] for calls, found in rows.values()], correction=False).statistic
    strength = concentrated_values(_values(rows))["strength"].iloc[0]
    assert strength == pytest.approx((chi2 / 3_000) ** 0.5, abs=0.002)
    assert strength < (chi2 / 3_000) ** 0.5


def test_the_example_of_the_module_has_the_scores_that_it_states():
    counts = {"calls": [100, 3, 300, 300, 297], "found": [60, 3, 12, 12, 13]}
    values = pd.DataFrame({"value": list("ABCDE"), **counts, "calls_before": 0, "found_before": 0})
    found = concentrated_values(values).set_index("value")
    assert found["lift"].round(1).to_dict() == {"A": 13.3, "B": 10.2}
    assert found["coverage_ratio"].to_dict() == {"A": 0.6, "B": 0.03}
    assert found["score"].round(2).to_dict() == {"A": 1.44, "B": 0.06}


def test_values_of_one_call_each_say_nothing_about_the_share():
    # Each array once divided by zero: a warning on stderr, or an error that ended the report.
    for found in ([1, 0], [0, 0, 1], [1, 0, 0, 1]):
        rows = {f"msg-{i}": (1, is_found) for i, is_found in enumerate(found)}
        assert _told(rows) == []


@given(st.lists(st.integers(0, 3).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=5))
def test_few_calls_raise_no_warning(drawn):
    rows = {f"v{i}": row for i, row in enumerate(drawn)}
    if sum(found for _, found in drawn):
        assert concentrated_values(_values(rows))["strength"].between(0, 1 + 1e-9).all()
