"""Covers: the fewest rules that explain refusals and that next to no accepted send breaks.

Found step by step, the rule that explains most first, then each again in the light of the others: a set cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

from toolkit.analysis.rate_limits.candidates import LEAST_ROWS, Axis, Shape
from toolkit.analysis.rate_limits.send_attempts import Bools, Floats, Ints

BREACH_COST = 20.0  # refusals that a rule has to explain for each accepted send that breaks it
_RULE_COST = 1.0  # and for being one more
_CHANCE = 0.01  # how likely a rule may be if what is refused were chance
_ROUNDS = 10
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """A rule: an axis, where on it the line is drawn (infinite where nothing accepted bounds it), who breaks it.

    chance: how likely it is that an axis has at its low end so many rows of refusals that no other rule explains, if
    they came by chance.
    """

    axis: Axis
    at: float
    broken: int
    chance: float = 1.0

    @property
    def explains(self) -> Bools:
        """Tell which refusals it explains."""
        return self.axis.refused < self.at

    @property
    def count(self) -> int:
        """Return how many sends it allows in a window."""
        return self.axis.measure.count or int(1 - self.at)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines that an axis offers, by where the refusals lie: line i explains the first upto[i] of order."""

    axis: Axis
    at: Floats
    broken: Ints
    order: Ints
    upto: Ints

    @classmethod
    def of(cls, axis: Axis) -> _Lines:
        order = np.argsort(axis.refused)
        at, ascending = axis.accepted, axis.refused[order]
        if axis.measure.shape is Shape.SLIDING and axis.bounded == len(at):
            at = np.append(at, np.inf)
        return cls(axis, at, np.searchsorted(axis.accepted, at), order, np.searchsorted(ascending, at))

    def best(self, weight: Floats) -> tuple[float, Line | None]:
        """Return the line that is worth most, and what it is worth."""
        if not len(self.at):
            return 0.0, None
        whole = np.concatenate([[0.0], weight[self.order].cumsum()])
        worth = whole[self.upto] - BREACH_COST * self.broken - _RULE_COST
        place = int(worth.argmax())
        return float(worth[place]), Line(self.axis, float(self.at[place]), int(self.broken[place]))


def cover(axes: Sequence[Axis], weight: Floats, rows: Floats, accepted: int, tried: int) -> list[Line]:
    """Return the rules for refusals of so much weight in so many rows, where so many sends were accepted.

    ``tried``: how many axes there were to choose from.
    """
    offers = [_Lines.of(axis) for axis in axes]
    found: list[Line] = []
    while (more := _best(offers, found, weight)) is not None:
        found.append(more)
    for _ in range(_ROUNDS):
        again = _reconsider(offers, found, weight)
        if _cost(again, weight) >= _cost(found, weight) - _TIE:
            break
        found = again
    return _without_chance(found, rows, accepted, tried)


def left(lines: Sequence[Line], count: int) -> Bools:
    """Tell which of so many refusals none of the rules explains."""
    found = np.ones(count, np.bool_)
    for line in lines:
        found &= ~line.explains
    return found


def _best(offers: Sequence[_Lines], found: Sequence[Line], weight: Floats) -> Line | None:
    """Return the line that is worth most beside those found, if any is worth anything."""
    rest = weight * left(found, len(weight))
    most, best = _TIE, None
    for offer in offers:
        worth, line = offer.best(rest)
        if worth > most + _TIE:
            most, best = worth, line
    return best


def _reconsider(offers: Sequence[_Lines], found: Sequence[Line], weight: Floats) -> list[Line]:
    """Put in the place of each line the one that is worth most beside the others, or none."""
    kept = list(found)
    for line in found:
        others = [it for it in kept if it is not line]
        better = _best(offers, others, weight)
        kept = others if better is None else [*others, better]
    return kept


def _cost(lines: Sequence[Line], weight: Floats) -> float:
    rules = sum(BREACH_COST * line.broken + _RULE_COST for line in lines)
    return float(weight[left(lines, len(weight))].sum()) + rules


def _without_chance(found: list[Line], rows: Floats, accepted: int, tried: int) -> list[Line]:
    """Leave out rules that chance would explain as well, the likeliest first."""
    while found:
        judged = [_judge(line, found, rows, accepted, tried) for line in found]
        worst = max(judged, key=lambda line: line.chance)
        if worst.chance <= _CHANCE:
            return judged
        found = [line for line, it in zip(found, judged, strict=True) if it is not worst]
    return found


def _judge(line: Line, found: Sequence[Line], rows: Floats, accepted: int, tried: int) -> Line:
    rest = rows * left([it for it in found if it is not line], len(rows))
    alone, whole = float(rest[line.explains].sum()), float(rest.sum())
    # Of the lowest sends on the axis as many as ``alone`` were refused and ``broken`` not, by a coin of this bias.
    ways = lgamma(alone + line.broken + 1) - lgamma(alone + 1) - lgamma(line.broken + 1)
    bias = log(whole) - log(whole + accepted) if whole else 0.0
    likely = log(tried) + ways + alone * bias
    return Line(
        line.axis, line.at, line.broken, 1.0 if alone < LEAST_ROWS else min(1.0, float(np.exp(min(likely, 0.0))))
    )
