"""Fit the window length of each rule within its bounds, preferring round lengths, and decide on the window's shape.

A refused send that only this rule explains bounds a sliding window from below, an accepted send bounds it from above.
With many sends the bounds are close, and usually one round length lies between them: 60 s between 59.7 s and 60.1 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, isinf, isnan, log, nan

import numpy as np

from toolkit.analysis.rate_limits.candidates import (
    CHINA_OFFSET_S,
    DAY_S,
    AttemptSlice,
    RuleFamily,
    WindowShape,
    score_sends,
)
from toolkit.analysis.rate_limits.rule_cover import InferredRule, is_unexplained
from toolkit.analysis.rate_limits.send_attempts import Bools
from toolkit.api.rate_rules import ROUND_WINDOWS_S

UNDECIDED = "undecided"

_FOREIGN_SHARES = (0.0, 0.01, 0.05)  # of the refusals, with another cause: larger fits noisy logs, and wrong windows
_EXTRA_BREACHES = 1.2  # times as many breaches for a round window as for the best threshold
_SHAPE_ROWS = 3.0  # rows of refusals that other shapes must leave unexplained before "sliding" is certain


@dataclass(frozen=True, slots=True)
class WindowEstimate:
    """The window length of a rule in seconds: the best estimate and its bounds; NaN if unknown."""

    window_s: float
    low_s: float = nan
    high_s: float = nan
    note: str = ""


def fit_windows(sends: AttemptSlice, rules: Sequence[InferredRule]) -> list[tuple[InferredRule, WindowEstimate]]:
    """Return the rules, scored on all sends of a slice, with their windows; the shortest window first."""
    rules = [replace(rule, scores=score_sends(sends, rule.scores.family)) for rule in rules]
    is_certain = ~sends.attempts.refused.is_after_loss[sends.refusals]
    estimates = [_estimate(rule, explained_alone(rules, rule) & is_certain) for rule in rules]
    fitted = []
    for rule, estimate in zip(rules, estimates, strict=True):
        if rule.scores.family.shape is WindowShape.SLIDING and not isnan(estimate.window_s):
            breaches = int((rule.scores.accepted < estimate.window_s).sum())
            fitted.append((replace(rule, threshold=estimate.window_s, breaches=breaches), estimate))
        else:
            fitted.append((rule, estimate))
    return sorted(fitted, key=lambda it: (it[0].scores.family.window_s or it[0].threshold, it[0].count))


def explained_alone(rules: Sequence[InferredRule], rule: InferredRule) -> Bools:
    """Return for each refusal whether this rule is the only one that explains it."""
    others = [other for other in rules if other is not rule]
    return rule.explains & is_unexplained(others, len(rule.scores.refused))


def window_shape(sends: AttemptSlice, rule: InferredRule, estimate: WindowEstimate, alone: Bools) -> str:
    """Return the shape of a rule's windows; "undecided" if fixed windows of the same length explain the same."""
    if rule.scores.family.shape is not WindowShape.SLIDING:
        return rule.scores.family.shape.value
    if isnan(estimate.window_s):
        return UNDECIDED
    window_s = int(estimate.window_s)
    others = [RuleFamily(WindowShape.CLOCK, 0, window_s)]
    if window_s == DAY_S:
        others.append(RuleFamily(WindowShape.CLOCK, 0, window_s, CHINA_OFFSET_S))
    if rule.count > 1:  # with one send a window, "first send" and "sliding" are the same
        others.append(RuleFamily(WindowShape.FIRST_SEND, 0, window_s))
    rows = sends.attempts.refused.rows[sends.refusals] * alone
    unexplained = min(float(rows[-score_sends(sends, other).refused < rule.count].sum()) for other in others)
    return WindowShape.SLIDING.value if unexplained >= _SHAPE_ROWS else UNDECIDED


def _estimate(rule: InferredRule, alone: Bools) -> WindowEstimate:
    """Return the roundest window length within the bounds that the refusals explained by this rule alone give."""
    family = rule.scores.family
    if family.shape is not WindowShape.SLIDING:
        return WindowEstimate(
            family.window_s, note=f"begins at {family.offset_s // 3600}:00 UTC" if family.offset_s else ""
        )
    ages = np.sort(rule.scores.refused[alone]) if alone.any() else np.zeros(1)
    if isinf(rule.threshold):
        return WindowEstimate(nan, float(ages[-1]), nan, "no accepted send bounds it from above")
    high_s = rule.threshold
    if rule.breaches:
        accepted = np.sort(rule.scores.accepted)
        high_s = float(accepted[min(int(rule.breaches * _EXTRA_BREACHES), len(accepted) - 1)])
    for foreign_share in _FOREIGN_SHARES:
        low_s = float(ages[ceil(len(ages) * (1 - foreign_share)) - 1])
        for tier in ROUND_WINDOWS_S:
            if fitting := [window_s for window_s in tier if low_s <= window_s <= high_s]:
                middle = (log(max(low_s, 1.0)) + log(high_s)) / 2
                nearest = min(fitting, key=lambda window_s: abs(log(window_s) - middle))
                others = ", ".join(f"{window_s} s" for window_s in fitting if window_s != nearest)
                return WindowEstimate(nearest, low_s, high_s, f"{others} would fit as well" if others else "")
    return WindowEstimate(nan, float(ages[-1]), high_s)
