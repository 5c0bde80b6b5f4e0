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
_MAX_BAD = 0.5  # of the calls: above, the queue grows without end, and the share depends on the length of the trial
_NEAR_LIMIT = 5.0  # times the allowed share: above, bad calls vary more than at the limit
_MAX_BEYOND = math.log(1.5)  # of the tried loads: a crossing farther away is a guess
_MAX_LOGIT = 30.0
_PRIOR_CALLS = 0.5  # added as good and as bad: keeps the slope finite if no call below the crossing was bad


@dataclass(frozen=True, slots=True)
class Crossing:
    """The estimated load at which a limit is reached.

    Args:
        load: The load.
        error_ratio: Its relative standard error.
        dispersion: Variance of the number of bad calls near the limit, divided by the variance that independent calls
            would have; at least 1.
    """

    load: float
    error_ratio: float
    dispersion: float = 1.0

    def margin(self, load: float) -> float:
        """Return the distance of a load below the crossing, in standard errors."""
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
    >>> round(crossing.load), round(crossing.error_ratio, 3), crossing.dispersion
    (105, 0.005, 1.0)
    """
    trials = [it for it in trials if sum(it[1].bad) <= _MAX_BAD * sum(it[1].calls)]
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
    if not x.min() - _MAX_BEYOND < at < x.max() + _MAX_BEYOND:
        return None
    gradient = np.array([-1.0, -at]) / slope
    shares = _share(design, beta)
    dispersion = max(1.0, _of_batches(trials, shares), _of_trials(trials, shares))
    variance = dispersion * float(gradient @ np.linalg.solve(information, gradient))
    near = shares <= _NEAR_LIMIT * allowed
    at_limit = max(1.0, _of_batches([it for it, is_near in zip(trials, near, strict=True) if is_near], shares[near]))
    return Crossing(math.exp(at + loads.mean()), math.sqrt(variance), at_limit)


def _share(design: Floats, beta: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(design @ beta, -_MAX_LOGIT, _MAX_LOGIT))))


def _of_batches(trials: Sequence[tuple[float, Evidence]], shares: Floats) -> float:
    """Return the variance of the bad calls of batches, as a multiple of a binomial one."""
    batches = [
        _surprise(bad, calls, float(share))
        for (_, it), share in zip(trials, shares, strict=True)
        for bad, calls in zip(it.bad, it.calls, strict=True)
        if calls
    ]
    return sum(batches) / max(1, len(batches) - 2)


def _of_trials(trials: Sequence[tuple[float, Evidence]], shares: Floats) -> float:
    """Return the variance of the bad calls of whole trials, as a multiple of a binomial one; 0 for two trials."""
    found = [
        _surprise(sum(it.bad), sum(it.calls), float(share))
        for (_, it), share in zip(trials, shares, strict=True)
        if sum(it.calls)
    ]
    return sum(found) / (len(trials) - 2) if len(trials) > 2 else 0.0


def _surprise(bad: float, calls: int, share: float) -> float:
    """Return the squared distance of bad calls from their expected number, as a multiple of the binomial variance."""
    return (bad - share * calls) ** 2 / (calls * share * (1 - share))
