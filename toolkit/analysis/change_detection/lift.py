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

Strata. An app that uses a broken template more than others has a high share of the outcome, although it isn't the
cause. So the calls can be split by a cause that is already known, and each value is compared with the others within
each stratum. The lift is then that of N. Mantel and W. Haenszel, Statistical aspects of the analysis of data from
retrospective studies of disease, JNCI 22 (1959), with the variance of S. Greenland and J. Robins, Estimation of a
common effect parameter from sparse follow-up data, Biometrics 41 (1985); with one stratum, both are those above.
Strata in which all calls have the value show nothing about it and are left out. The binomial probability takes the mean
chance over the strata, which overstates the variance (W. Hoeffding, 1956), so it never makes a value stand out.

Worked example. 100 of 1,000 calls failed: 60 of the 100 calls with prefix A, all 3 calls with prefix B, and 37 of the
other 897. Of the calls without prefix A 4.4 % failed, so the lift of A is 13.3. Its coverage is 0.6 and its score 0.6 *
(3.74 - 1.33) = 1.44 bits. The lift of B is 10.2, but its coverage is 0.03 and its score 0.06 bits: three failures don't
explain a hundred.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis.change_detection.time_buckets import Floats
from toolkit.analysis.intervals import Z95

COUNTS = ["calls", "found", "calls_before", "found_before"]
_MIN_SCORE = 0.01  # bits; lower reports values that explain next to nothing
_SIGNIFICANT = 0.05  # for all values of a dimension together
_PRIOR_FOUND = 5.0  # calls with the outcome before, as if expected: more ignore a lift before, fewer trust few calls
_MIN_VALUES = 20  # for the overdispersion: fewer values can't distinguish it from a cause
_MEDIAN_CHI2 = 0.4549364231195724  # the median of chi-square with one degree of freedom


def concentrated_values(values: pd.DataFrame, tests: int = 0) -> pd.DataFrame:
    """Return the values that stand out, in any order, with the columns that ``explain`` documents.

    ``values``: one row per value, or per stratum and value, with the columns value, calls, found (calls with the
    outcome), calls_before and found_before, and stratum, if the calls are split. ``tests``: the number of values,
    if not all have a row.
    """
    value = values.groupby("value", dropna=False, sort=False).ngroup().to_numpy()
    rows = values.assign(row=value).groupby("row").agg({"value": "first"} | dict.fromkeys(COUNTS, "sum"))
    strata = _by_stratum(values, value)
    calls, found, elsewhere, found_elsewhere = strata[:4]
    prior_lift, prior_variance = _prior_lift(*strata[4:])
    is_compared = (calls > 0) & (elsewhere > 0)
    # Half a call with the outcome is added elsewhere, so that the share is positive also if there is none.
    wanted, others = found_elsewhere + 0.5, elsewhere + 1
    weight = np.where(is_compared, others / (calls + others), 0.0)
    weighted_found, weighted_wanted = (weight * found).sum(0), (weight * calls * wanted / others).sum(0)
    expected = (is_compared * calls * wanted / others).sum(0) * prior_lift
    noise = _overdispersion(pd.Series((is_compared * found).sum(0)), pd.Series(expected))
    chance = _binomial_tail(is_compared, found, found_elsewhere, calls * prior_lift, elsewhere, noise)
    size = calls + others
    spread = np.where(is_compared, (found + wanted) * calls * others / size**2 - found * wanted / size, 0.0).sum(0)
    weighted_found[weighted_found == 0] = np.nan  # without the outcome, a value has no lift
    lift = weighted_found / (weighted_wanted * prior_lift)
    reach = np.exp(Z95 * np.sqrt(noise * spread / (weighted_found * weighted_wanted) + prior_variance))
    coverage = rows["found"] / rows["found"].sum()
    all_elsewhere = rows["calls"].sum() - rows["calls"]
    rows = rows.assign(
        found_ratio=rows["found"] / rows["calls"],
        found_ratio_elsewhere=(rows["found"].sum() - rows["found"]) / all_elsewhere.where(all_elsewhere > 0),
        found_ratio_before=rows["found_before"] / rows["calls_before"].where(rows["calls_before"] > 0),
        lift=lift,
        coverage_ratio=coverage,
        excess=rows["found"] - rows["found"] / lift,
        strength=_cramers_v(rows["calls"], rows["found"]),
        lift_low=lift / reach,
        lift_high=lift * reach,
        score=coverage * (np.log2(lift) - (1 - 1 / lift) / math.log(2)),
    )
    is_significant = (chance * max(len(rows), tests) < _SIGNIFICANT) & (rows["lift_low"] > 1)
    concentrated: pd.DataFrame = rows.loc[is_significant & (rows["score"] >= _MIN_SCORE)]
    return concentrated.reset_index(drop=True)


def _by_stratum(values: pd.DataFrame, value: npt.NDArray[np.integer[Any]]) -> list[Floats]:
    """Return arrays of (strata, values): calls and found, both elsewhere, then the same four before."""
    stratum = values["stratum"].to_numpy() if "stratum" in values else np.zeros(len(values), np.int64)
    arrays = []
    for names in (COUNTS[:2], COUNTS[2:]):
        counts = np.zeros((2, stratum.max() + 1, value.max() + 1))
        for count, name in zip(counts, names, strict=True):
            np.add.at(count, (stratum, value), values[name].to_numpy(np.float64))
        arrays += [*counts, *(counts.sum(2, keepdims=True) - counts)]
    return arrays


def _binomial_tail(
    is_compared: npt.NDArray[np.bool_],
    found: Floats,
    found_elsewhere: Floats,
    weight: Floats,
    elsewhere: Floats,
    noise: float,
) -> Floats:
    """Return the probability that at least ``found`` of the calls with the outcome have the value."""
    from scipy.special import betainc  # takes half a second to import

    both = np.where(is_compared, found + found_elsewhere, 0.0)
    share = weight / np.maximum(weight + elsewhere, 1.0)
    all_found = both.sum(0)
    mean = np.where(all_found > 0, (both * share).sum(0) / np.maximum(all_found, 1.0), 1.0)
    mine = (is_compared * found).sum(0)
    tail = betainc(np.maximum(mine / noise, 0.5), (all_found - mine) / noise + 1, np.minimum(mean, 1.0))
    return np.asarray(tail, np.float64)


def _prior_lift(
    calls: Floats, found: Floats, elsewhere: Floats, found_elsewhere: Floats
) -> tuple[Floats, Floats | float]:
    """Return each value's lift before the period, less one standard error and at least 1, and its log's variance."""
    if not calls.any():
        return np.ones(calls.shape[1]), 0.0
    is_compared = elsewhere > 0
    expected = (is_compared * calls * (found_elsewhere + 0.5) / (elsewhere + 1)).sum(0)
    mine, others = (is_compared * found).sum(0), (is_compared * found_elsewhere).sum(0)
    ratio = (mine + _PRIOR_FOUND) / (expected + _PRIOR_FOUND)
    variance = 1 / (mine + _PRIOR_FOUND) + 1 / (others + _PRIOR_FOUND)
    lift = np.maximum(ratio * np.exp(-np.sqrt(variance)), 1.0)
    return np.where(is_compared.any(0), lift, 1.0), variance


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
