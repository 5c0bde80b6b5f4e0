"""Settling: what a line on an axis means as a rule: how long its window is, round if it can be, and how it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, isinf, isnan, log, nan

import numpy as np

from toolkit.analysis.rate_limits.candidates import CHINAS_DAY_S, DAY_S, Measure, Shape, View, lay
from toolkit.analysis.rate_limits.rule_cover import Line, left
from toolkit.analysis.rate_limits.send_attempts import Bools

UNDECIDED = "undecided"

# The rounder, the earlier.
_ROUND_S = (
    (60, 3600, 86_400),
    (1, 5, 10, 30, 120, 300, 600, 900, 1800, 7200, 43_200, 604_800, 2_592_000),
    (2, 3, 4, 15, 20, 45, 90, 180, 240, 1200, 2700, 5400, 10_800, 14_400, 21_600, 28_800, 172_800, 259_200),
)
_STRANGE = (0.0, 0.01, 0.05)  # which share of a rule's refusals may have another cause, until a round window fits
_LEAKIER = 1.2  # how many times as many sends may break a rule if its window is a round one
_TELLING_ROWS = 3.0  # of refusals, that windows of another shape don't explain


@dataclass(frozen=True, slots=True)
class Window:
    """How long a rule's window is, s: most likely, at least and at most; NaN where that isn't known."""

    window_s: float
    low_s: float = nan
    high_s: float = nan
    note: str = ""


def settle(view: View, lines: Sequence[Line]) -> list[tuple[Line, Window]]:
    """Return the rules on all of a view, each with its window, the shortest first."""
    drawn = [replace(line, axis=lay(view, line.axis.measure)) for line in lines]
    known = ~view.attempts.refused.is_after_loss[view.refusals]
    windows = [_window(line, alone(drawn, line) & known) for line in drawn]
    drawn = [_redrawn(line, window) for line, window in zip(drawn, windows, strict=True)]
    rules = list(zip(drawn, windows, strict=True))
    return sorted(rules, key=lambda it: (it[0].axis.measure.window_s or it[0].at, it[0].count))


def alone(lines: Sequence[Line], line: Line) -> Bools:
    """Tell which refusals only one of the rules explains."""
    return line.explains & left([it for it in lines if it is not line], len(line.axis.refused))


def shape(view: View, line: Line, window: Window, alone: Bools) -> str:
    """Tell how the windows lie, if others of the same length don't explain what only this rule does as well."""
    if line.axis.measure.shape is not Shape.SLIDING:
        return line.axis.measure.shape.value
    if isnan(window.window_s):
        return UNDECIDED
    window_s = int(window.window_s)
    others = [Measure(Shape.CLOCK, 0, window_s)]
    others += [Measure(Shape.CLOCK, 0, window_s, CHINAS_DAY_S)] if window_s == DAY_S else []
    # From one send on, windows of one send are the same as those that slide.
    others += [Measure(Shape.FIRST_SEND, 0, window_s)] if line.count > 1 else []
    rows = view.attempts.refused.rows[view.refusals] * alone
    rest = min(float(rows[-lay(view, it).refused < line.count].sum()) for it in others)
    return Shape.SLIDING.value if rest >= _TELLING_ROWS else UNDECIDED


def _window(line: Line, alone: Bools) -> Window:
    """Settle on the window of a rule by what only it explains: the roundest that lies within its bounds."""
    measure = line.axis.measure
    if measure.shape is not Shape.SLIDING:
        return Window(measure.window_s, note=f"begins at {measure.offset_s // 3600}:00 UTC" if measure.offset_s else "")
    ages = np.sort(line.axis.refused[alone]) if alone.any() else np.zeros(1)
    if isinf(line.at):
        return Window(nan, float(ages[-1]), nan, "no accepted send bounds it from above")
    high_s = _high_s(line)
    for strange in _STRANGE:
        low_s = float(ages[ceil(len(ages) * (1 - strange)) - 1])
        for tier in _ROUND_S:
            if fits := [it for it in tier if low_s <= it <= high_s]:
                return _nearest(fits, low_s, high_s)
    return Window(nan, float(ages[-1]), high_s)


def _high_s(line: Line) -> float:
    """Return the upper bound of a window; where some break the rule, some more may."""
    if not line.broken:
        return line.at
    accepted = np.sort(line.axis.accepted)
    return float(accepted[min(int(line.broken * _LEAKIER), len(accepted) - 1)])


def _nearest(fits: Sequence[int], low_s: float, high_s: float) -> Window:
    """Choose of windows that are as round the one nearest to the middle of the bounds, as factors."""
    middle = (log(max(low_s, 1.0)) + log(high_s)) / 2
    window_s = min(fits, key=lambda it: abs(log(it) - middle))
    others = ", ".join(f"{it} s" for it in fits if it != window_s)
    return Window(window_s, low_s, high_s, f"{others} would fit as well" if others else "")


def _redrawn(line: Line, window: Window) -> Line:
    """Draw the line at the window that was settled on."""
    if line.axis.measure.shape is not Shape.SLIDING or isnan(window.window_s):
        return line
    return replace(line, at=window.window_s, broken=int((line.axis.accepted < window.window_s).sum()))
