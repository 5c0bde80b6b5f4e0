"""Find the values of one dimension in which an outcome concentrates, and how much each explains.

Problem. A dimension, such as the prefix, has thousands of values. Some have a higher share of the outcome by chance, or
always had one, or differ a little because all values differ. Report only those that explain the outcome.

Method. Each value is compared with all other values together:

1. Expected calls with the outcome = calls of the value * share elsewhere * its lift before the period. The lift before
   is lowered by one standard error and is at least 1: uncertain or low values before don't make a value stand out.
2. Overdispersion: if there are 20 values, the median of (found - expected)**2 / expected over all values, relative to
   its median under independence, is the factor by which values vary anyway. The counts are divided by it.
3. Significance: the binomial probability of as many calls with the outcome in this value, times the number of values
   (Bonferroni), is below 0.05, and the 95 % interval of the lift (Katz) is above 1.
4. Score: coverage * (log2 lift - (1 - 1 / lift) / ln 2), in bits: how much less surprising a call with the outcome is
   if its value is known. Values below 0.01 are dropped.

Worked example. 100 of 1,000 calls failed: 60 of the 100 calls with prefix A, all 3 calls with prefix B, and 37 of the
other 897. Of the calls without prefix A 4.4 % failed, so the lift of A is 13.3. Its coverage is 0.6 and its score 0.6 *
(3.74 - 1.33) = 1.44 bits. The lift of B is 10.2, but its coverage is 0.03 and its score 0.06 bits: three failures don't
explain a hundred.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from toolkit.analysis.change_detection.time_buckets import Floats
from toolkit.analysis.intervals import Z95

COUNTS = ["calls", "found", "calls_before", "found_before"]
_MIN_SCORE = 0.01  # bits; lower reports values that explain next to nothing
_SIGNIFICANT = 0.05  # for all values of a dimension together
_PRIOR_FOUND = 5.0  # calls with the outcome before, as if expected: more ignore a lift before, fewer trust few calls
_MIN_VALUES = 20  # for the overdispersion: fewer values can't distinguish it from a cause
_MEDIAN_CHI2 = 0.4549364231195724  # the median of chi-square with one degree of freedom


def concentrated_values(values: pd.DataFrame) -> pd.DataFrame:
    """Return the values that stand out, in any order, with the columns that ``explain`` documents.

    ``values``: one row per value, with the columns value, calls, found (calls with the outcome), calls_before and
    found_before.
    """
    calls, found = values["calls"], values["found"]
    elsewhere, found_elsewhere = calls.sum() - calls, found.sum() - found
    prior_lift, prior_variance = _prior_lift(values["calls_before"], values["found_before"])
    # Half a call with the outcome is added elsewhere, so that the share is positive also if there is none.
    expected = calls * prior_lift * (found_elsewhere + 0.5) / (elsewhere + 1)
    noise = _overdispersion(found, expected)
    chance = _binomial_tail(found / noise, found_elsewhere / noise, calls * prior_lift, elsewhere)
    rows = values.assign(
        found_ratio=found / calls,
        found_ratio_elsewhere=found_elsewhere / elsewhere.where(elsewhere > 0),
        found_ratio_before=values["found_before"] / values["calls_before"].where(values["calls_before"] > 0),
        lift=found / expected,
        coverage_ratio=found / found.sum(),
        excess=found - expected,
        strength=_cramers_v(calls, found),
        variance=noise * (1 / (found_elsewhere + 0.5) - 1 / (elsewhere + 1)) + prior_variance,
    )
    rows = rows.loc[(found > expected) & (chance * len(values) < _SIGNIFICANT)]
    # The interval of a ratio of two shares: D. Katz et al., Obtaining confidence intervals for the risk ratio in cohort
    # studies, Biometrics 34 (1978).
    variance = rows["variance"] + noise * (1 / rows["found"] - 1 / rows["calls"])
    reach, lift = np.exp(Z95 * np.sqrt(variance)), rows["lift"]
    score = rows["coverage_ratio"] * (np.log2(lift) - (1 - 1 / lift) / math.log(2))
    rows = rows.assign(lift_low=lift / reach, lift_high=lift * reach, score=score)
    concentrated: pd.DataFrame = rows.loc[(lift > reach) & (score >= _MIN_SCORE)]
    return concentrated


def _binomial_tail(found: pd.Series, found_elsewhere: pd.Series, weight: pd.Series, elsewhere: pd.Series) -> Floats:
    """Return the probability that at least ``found`` of all calls with the outcome have the value."""
    from scipy.special import betainc  # takes half a second to import

    tail = betainc(np.maximum(found, 0.5), found_elsewhere + 1, weight / (weight + elsewhere))
    return np.asarray(tail, np.float64)


def _prior_lift(calls: pd.Series, found: pd.Series) -> tuple[pd.Series, pd.Series | float]:
    """Return each value's lift before the period, less one standard error and at least 1, and its log's variance."""
    if not calls.any():
        return pd.Series(1.0, calls.index), 0.0
    elsewhere, found_elsewhere = calls.sum() - calls, found.sum() - found
    expected = calls * (found_elsewhere + 0.5) / (elsewhere + 1)
    ratio = (found + _PRIOR_FOUND) / (expected + _PRIOR_FOUND)
    variance = 1 / (found + _PRIOR_FOUND) + 1 / (found_elsewhere + _PRIOR_FOUND)
    lift = (ratio * np.exp(-np.sqrt(variance))).clip(lower=1.0)
    return lift.where(elsewhere > 0, 1.0), variance


def _overdispersion(found: pd.Series, expected: pd.Series) -> float:
    """Return the variance of the values' counts relative to that of independent calls; at least 1."""
    found, expected = found[expected >= 1], expected[expected >= 1]
    if len(found) < _MIN_VALUES or not (usual := float((found / expected).median())):
        return 1.0
    chi2 = (found - usual * expected) ** 2 / (usual * expected)
    return max(1.0, float(chi2.median()) / _MEDIAN_CHI2)


def _cramers_v(calls: pd.Series, found: pd.Series) -> float:
    """Return how much the share depends on the value, 0..1.

    W. Bergsma, A bias-correction for Cramér's V and Tschuprow's T, Journal of the Korean Statistical Society 42 (2013).
    """
    n, values, share = int(calls.sum()), int((calls > 0).sum()), found.sum() / calls.sum()
    if not 0 < share < 1 or not 1 < values < n:  # with a different value for each call, the correction divides by 0
        return 0.0
    chi2 = ((found - calls * share) ** 2 / (calls * share * (1 - share)))[calls > 0].sum()
    squared = max(0.0, chi2 / n - (values - 1) / (n - 1))
    corrected = [size - (size - 1) ** 2 / (n - 1) for size in (values, 2)]
    return float(math.sqrt(squared / (min(corrected) - 1)))
