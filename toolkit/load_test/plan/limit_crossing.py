"""Estimate the load at which a limit is reached exactly, with its uncertainty, from trials around it. No I/O.

Near the capacity the share of bad calls grows with the load like a power, until it approaches all calls. A logistic
regression of that share on the logarithm of the load describes this:

    share(load) = 1 / (1 + exp(-(a + b * ln(load))))          the crossing: share(load) = allowed share

Bad calls come in bursts, so they vary more than independent calls would. The variance is that of a binomial
distribution times a dispersion, which is estimated from the batches of the trials and from whole trials; the larger one
counts (quasi-likelihood: P. McCullagh and J. Nelder, Generalized Linear Models, 2nd ed., ch. 4.5 and 9). The standard
error of the crossing follows by the delta method.

    share    |            x                trials at 470, 503, 527 and 560/s
       1 %   |- - - - - x- - - - -         crossing at 515/s, with a standard error of 0.8 %
             |__x__x______________
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.load_test.plan.trial_evidence import Evidence

Floats: TypeAlias = NDArray[np.float64]

_STEPS = 50
_MOST_BAD = 0.5  # of the calls: beyond, the queue grows without end, and the share depends on the length of the trial
_MOST_BEYOND = math.log(1.5)  # of the tried loads: a crossing farther away is a guess
_MAX_LOGIT = 30.0
_PRIOR_CALLS = 0.5  # added as good and as bad: keeps the slope finite if no call below the crossing was bad


@dataclass(frozen=True, slots=True)
class Crossing:
    """The estimated load at which a limit is reached, and its relative standard error."""

    load: float
    error_ratio: float

    def margin(self, load: float) -> float:
        """Return by how many standard errors a load is below the crossing."""
        return math.log(self.load / load) / self.error_ratio


def find_crossing(trials: Sequence[tuple[float, Evidence]]) -> Crossing | None:
    """Estimate a crossing from the loads and the evidence of trials under one limit.

    Args:
        trials: Trials at two loads or more, on both sides of the crossing.

    Returns:
        The crossing; None if the trials do not show that bad calls grow with the load, or do not reach the limit.

    >>> def trial(bad):
    ...     return Evidence("failed < 1%", 0.01, (float(bad),) * 10, (1000,) * 10)
    >>> crossing = find_crossing([(100.0, trial(5)), (110.0, trial(20))])
    >>> round(crossing.load), round(crossing.error_ratio, 3)
    (105, 0.005)
    """
    trials = [it for it in trials if sum(it[1].bad) <= _MOST_BAD * sum(it[1].calls)]
    allowed = trials[0][1].allowed if trials else 0.0
    if not 0 < allowed < 1 or len({load for load, _ in trials}) < 2:
        return None
    loads = np.log([load for load, _ in trials])
    x = loads - loads.mean()
    calls = np.array([sum(it.calls) for _, it in trials], np.float64)
    bad = np.array([sum(it.bad) for _, it in trials], np.float64)
    design = np.column_stack([np.ones_like(x), x])
    total, wrong = calls + 2 * _PRIOR_CALLS, bad + _PRIOR_CALLS
    beta = np.array([math.log(wrong.sum() / (total.sum() - wrong.sum())), 0.0])
    for _ in range(_STEPS):
        share = _share(design, beta)
        weights = total * share * (1 - share)
        information = design.T @ (design * weights[:, None])
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (wrong - total * share))
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-8:
            break
    intercept, slope = beta
    if slope <= 0:
        return None
    at = (math.log(allowed / (1 - allowed)) - intercept) / slope
    if not x.min() - _MOST_BEYOND < at < x.max() + _MOST_BEYOND:
        return None
    gradient = np.array([-1.0, -at]) / slope
    variance = _dispersion(trials, _share(design, beta)) * float(gradient @ np.linalg.solve(information, gradient))
    return Crossing(math.exp(at + loads.mean()), math.sqrt(variance))


def _share(design: Floats, beta: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(design @ beta, -_MAX_LOGIT, _MAX_LOGIT))))


def _dispersion(trials: Sequence[tuple[float, Evidence]], shares: Floats) -> float:
    """Return the variance of bad calls as a multiple of a binomial one: of batches or of trials, at least 1."""
    batches = trial_sum = 0.0
    count = 0
    for (_, it), share in zip(trials, shares, strict=True):
        variance = float(share * (1 - share))
        for bad, calls in zip(it.bad, it.calls, strict=True):
            if calls:
                batches += (bad - share * calls) ** 2 / (calls * variance)
                count += 1
        total = sum(it.calls)
        if total:
            trial_sum += (sum(it.bad) - share * total) ** 2 / (total * variance)
    of_trials = trial_sum / (len(trials) - 2) if len(trials) > 2 else 0.0
    return max(1.0, batches / max(1, count - 2), of_trials)
