"""Choose the fewest rules that explain the refusals and that next to no accepted send breaks.

A rule explains the refusals whose score is below its threshold, and an accepted send with such a score is a breach.
Choosing rules is a weighted set cover, whose cost is

    weight of the unexplained refusals + 20 * breaches + 1 * rules.

The greedy algorithm adds the rule that lowers the cost most until none does (V. Chvátal, A greedy heuristic for the
set-covering problem, Mathematics of Operations Research 4, 1979). Each rule is then replaced by the best one given the
others, which repairs a choice that a later rule made poor. Last, rules that chance would explain as well are removed.

``infer`` shows a worked example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lgamma, log

import numpy as np

from toolkit.analysis.rate_limits.candidates import MIN_ROWS, FamilyScores, WindowShape
from toolkit.analysis.rate_limits.send_attempts import Bools, Floats, Ints

BREACH_COST = 20.0  # refusals to explain per breach; lower finds rules that leak more, and more false ones
_RULE_COST = 1.0  # refusals to explain per rule; higher merges rules that overlap
_MAX_CHANCE = 0.01  # of a rule among refusals at random; higher finds rules in smaller logs, and more false ones
_ROUNDS = 10  # of replacing rules; two or three suffice
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class InferredRule:
    """A rule of one family.

    ``threshold``: it refuses sends with a lower score; infinite if no accepted send bounds it. ``breaches``: accepted
    sends with a lower score. ``chance``: bound on the probability that refusals at random would give such a rule.
    """

    scores: FamilyScores
    threshold: float
    breaches: int
    chance: float = 1.0

    @property
    def explains(self) -> Bools:
        """Return for each refusal whether the rule explains it."""
        return self.scores.refused < self.threshold

    @property
    def count(self) -> int:
        """Return the number of sends that the rule accepts in a window."""
        return self.scores.family.count or int(1 - self.threshold)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The candidate rules of one family: those whose threshold is the score of an accepted send.

    A threshold between two accepted scores has the same breaches as the higher one, and explains no more. Candidate i
    explains the first ``explained[i]`` refusals of ``order`` and has ``breaches[i]`` breaches.
    """

    scores: FamilyScores
    thresholds: Floats
    breaches: Ints
    order: Ints
    explained: Ints

    @classmethod
    def of(cls, scores: FamilyScores) -> _Candidates:
        order = np.argsort(scores.refused)
        thresholds = scores.accepted
        if scores.family.shape is WindowShape.SLIDING and scores.bounding == len(thresholds):
            thresholds = np.append(thresholds, np.inf)
        breaches = np.searchsorted(scores.accepted, thresholds)
        return cls(scores, thresholds, breaches, order, np.searchsorted(scores.refused[order], thresholds))

    def best(self, weight: Floats) -> tuple[float, InferredRule | None]:
        """Return the candidate that lowers the cost most, and by how much."""
        if not len(self.thresholds):
            return 0.0, None
        cumulative = np.concatenate([[0.0], weight[self.order].cumsum()])
        gain = cumulative[self.explained] - BREACH_COST * self.breaches - _RULE_COST
        best = int(gain.argmax())
        return float(gain[best]), InferredRule(self.scores, float(self.thresholds[best]), int(self.breaches[best]))


def cover_refusals(
    families: Sequence[FamilyScores], weight: Floats, rows: Floats, accepted: int, tried: int
) -> list[InferredRule]:
    """Return the rules that explain refusals at the least cost.

    ``weight`` and ``rows`` are those of the refusals, ``accepted`` is the number of accepted sends, ``tried`` the
    number of families among which the rules were searched.
    """
    candidates = [_Candidates.of(scores) for scores in families]
    rules: list[InferredRule] = []
    while (best := _best_addition(candidates, rules, weight)) is not None:
        rules.append(best)
    for _ in range(_ROUNDS):
        improved = list(rules)
        for rule in rules:
            others = [other for other in improved if other is not rule]
            best = _best_addition(candidates, others, weight)
            improved = others if best is None else [*others, best]
        if _cost(improved, weight) >= _cost(rules, weight) - _TOLERANCE:
            break
        rules = improved
    return _remove_chance_rules(rules, rows, accepted, tried)


def is_unexplained(rules: Sequence[InferredRule], count: int) -> Bools:
    """Return for each of ``count`` refusals whether none of the rules explains it."""
    unexplained = np.ones(count, np.bool_)
    for rule in rules:
        unexplained &= ~rule.explains
    return unexplained


def _best_addition(
    candidates: Sequence[_Candidates], rules: Sequence[InferredRule], weight: Floats
) -> InferredRule | None:
    """Return the rule that lowers the cost of ``rules`` most; None if none does."""
    remaining = weight * is_unexplained(rules, len(weight))
    highest, best = _TOLERANCE, None
    for family in candidates:
        gain, rule = family.best(remaining)
        if gain > highest + _TOLERANCE:
            highest, best = gain, rule
    return best


def _cost(rules: Sequence[InferredRule], weight: Floats) -> float:
    of_rules = sum(BREACH_COST * rule.breaches + _RULE_COST for rule in rules)
    return float(weight[is_unexplained(rules, len(weight))].sum()) + of_rules


def _remove_chance_rules(rules: list[InferredRule], rows: Floats, accepted: int, tried: int) -> list[InferredRule]:
    """Compute each rule's chance, and remove the rule with the highest one until all are significant."""
    while rules:
        tested = [replace(rule, chance=_chance(rule, rules, rows, accepted, tried)) for rule in rules]
        worst = max(tested, key=lambda rule: rule.chance)
        if worst.chance <= _MAX_CHANCE:
            return tested
        rules = [rule for rule, it in zip(rules, tested, strict=True) if it is not worst]
    return rules


def _chance(rule: InferredRule, rules: Sequence[InferredRule], rows: Floats, accepted: int, tried: int) -> float:
    """Bound the probability of a rule if each send had been refused by a coin, whatever its score.

    The coin's bias p is the share of refusals among all sends. Of the lowest n + b scores, n rows that no other rule
    explains were refused and b were accepted: C(n + b, n) * p ** n, times the number of families that were tried.
    """
    remaining = rows * is_unexplained([other for other in rules if other is not rule], len(rows))
    alone, whole = float(remaining[rule.explains].sum()), float(remaining.sum())
    if alone < MIN_ROWS:
        return 1.0
    log_combinations = lgamma(alone + rule.breaches + 1) - lgamma(alone + 1) - lgamma(rule.breaches + 1)
    log_bias = log(whole) - log(whole + accepted) if whole else 0.0
    return float(np.exp(min(log(tried) + log_combinations + alone * log_bias, 0.0)))
