"""Lifts: by how much the values of a dimension have more calls with an outcome than the others would give them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from toolkit.analysis.change_detection.time_buckets import Floats
from toolkit.analysis.intervals import Z95

COUNTS = ["calls", "found", "calls_before", "found_before"]
_LEAST_SCORE = 0.01  # bits: less explains nothing
_SIGNIFICANT = 0.05  # for all values of a dimension together
_PRIOR_FOUND = 5.0  # calls with the outcome before, by which a value is taken to have been like the others
_LEAST_VALUES = 20  # to tell from them how much values differ anyway
_MEDIAN_CHI2 = 0.4549364231195724  # of one degree of freedom


def judge(values: pd.DataFrame) -> pd.DataFrame:
    """Return the values that stand out, in no order, with what ``explain`` says of them.

    ``values``: one row per value; columns: value, and those of COUNTS.
    """
    calls, found = values["calls"], values["found"]
    elsewhere, found_elsewhere = calls.sum() - calls, found.sum() - found
    ahead, variance_before = _ahead(values["calls_before"], values["found_before"])
    # As if half a call had been found elsewhere, so that there is a share also where none was.
    expected = calls * ahead * (found_elsewhere + 0.5) / (elsewhere + 1)
    noise = _noise(found, expected)
    chance = _chance(found / noise, found_elsewhere / noise, calls * ahead, elsewhere)
    rows = values.assign(
        share=found / calls,
        share_elsewhere=found_elsewhere / elsewhere.where(elsewhere > 0),
        share_before=values["found_before"] / values["calls_before"].where(values["calls_before"] > 0),
        lift=found / expected,
        coverage=found / found.sum(),
        excess=found - expected,
        strength=_cramers_v(calls, found),
        variance=noise * (1 / (found_elsewhere + 0.5) - 1 / (elsewhere + 1)) + variance_before,
    )
    return _rank(rows.loc[(found > expected) & (chance * len(values) < _SIGNIFICANT)], noise)


def _rank(rows: pd.DataFrame, noise: float) -> pd.DataFrame:
    """Keep the rows whose lift is certainly more than 1, and that explain something.

    D. Katz et al., Obtaining confidence intervals for the risk ratio in cohort studies, Biometrics 34 (1978).
    """
    variance = rows["variance"] + noise * (1 / rows["found"] - 1 / rows["calls"])
    reach, lift = np.exp(Z95 * np.sqrt(variance)), rows["lift"]
    score = rows["coverage"] * (np.log2(lift) - (1 - 1 / lift) / math.log(2))
    rows = rows.assign(lift_low=lift / reach, lift_high=lift * reach, score=score)
    kept: pd.DataFrame = rows.loc[(lift > reach) & (score >= _LEAST_SCORE)]
    return kept


def _chance(found: pd.Series, found_elsewhere: pd.Series, weight: pd.Series, elsewhere: pd.Series) -> Floats:
    """Return the chance that at least so many of all that were found are in one place, by the binomial distribution."""
    from scipy.special import betainc  # takes half a second to import

    chance = betainc(np.maximum(found, 0.5), found_elsewhere + 1, weight / (weight + elsewhere))
    return np.asarray(chance, np.float64)


def _ahead(calls: pd.Series, found: pd.Series) -> tuple[pd.Series, pd.Series | float]:
    """Return how many times as many were found before as the others would have given, and its logarithm's variance.

    It is at least 1, and so much nearer to it as is uncertain; 1 as well where there were no others.
    """
    if not calls.any():
        return pd.Series(1.0, calls.index), 0.0
    elsewhere, found_elsewhere = calls.sum() - calls, found.sum() - found
    expected = calls * (found_elsewhere + 0.5) / (elsewhere + 1)
    ratio = (found + _PRIOR_FOUND) / (expected + _PRIOR_FOUND)
    variance = 1 / (found + _PRIOR_FOUND) + 1 / (found_elsewhere + _PRIOR_FOUND)
    certain = (ratio * np.exp(-np.sqrt(variance))).clip(lower=1.0)
    return certain.where(elsewhere > 0, 1.0), variance


def _noise(found: pd.Series, expected: pd.Series) -> float:
    """Return the variance of what most values have, as a multiple of what it is where calls are found one by one."""
    found, expected = found[expected >= 1], expected[expected >= 1]
    if len(found) < _LEAST_VALUES or not (usual := float((found / expected).median())):
        return 1.0
    chi2 = (found - usual * expected) ** 2 / (usual * expected)
    return max(1.0, float(chi2.median()) / _MEDIAN_CHI2)


def _cramers_v(calls: pd.Series, found: pd.Series) -> float:
    """Return by how much the share depends on the value, 0..1.

    W. Bergsma, A bias-correction for Cramér's V and Tschuprow's T, Journal of the Korean Statistical Society 42 (2013).
    """
    n, values, share = int(calls.sum()), int((calls > 0).sum()), found.sum() / calls.sum()
    if not 0 < share < 1 or values < 2:
        return 0.0
    chi2 = ((found - calls * share) ** 2 / (calls * share * (1 - share)))[calls > 0].sum()
    squared = max(0.0, chi2 / n - (values - 1) / (n - 1))
    corrected = [size - (size - 1) ** 2 / (n - 1) for size in (values, 2)]
    return float(math.sqrt(squared / (min(corrected) - 1)))
