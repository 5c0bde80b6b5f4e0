"""Split a log by app or in time where one set of rules can't explain it.

Apps can have different rules, and rules change. A log is split only if its rules leave more than noise, and if the
parts together leave at most half the cost. The split in time is searched roughly, on a sample of refusals, and then
refined: the rules before and after are inferred, and the time is moved to where the two sets of rules cost least, with
round windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.analysis.rate_limits.candidates import AttemptSlice, score_sends
from toolkit.analysis.rate_limits.rule_cover import BREACH_COST, InferredRule
from toolkit.analysis.rate_limits.rule_search import (
    find_rules,
    leaves_more_than_noise,
    residual_cost,
    sample_refused_mobiles,
)
from toolkit.analysis.rate_limits.send_attempts import AcceptedSends, Bools, Floats, RefusedSends, SendAttempts
from toolkit.analysis.rate_limits.window_fit import fit_windows

_SAMPLE_REFUSALS = 2_000  # for the rough search in time; more costs time, fewer misses rules that refuse rarely
_MAX_COST_RATIO = 0.5  # of the parts to the whole; higher splits at noise, lower misses a change of one rule of many
_SPLIT_TIMES = 16  # tried in the rough search; a period shorter than a sixteenth of the refusals may be missed
_REFINED_SPLITS = 2  # of those tried: the change is between two of them, and the nearer one may have fewer sends
_REFINEMENTS = 3
_MAX_DEPTH = 3  # at most eight parts


@dataclass(frozen=True, slots=True)
class RuleScope:
    """An app (None: all apps) and a period in ns, ``until_ns`` excluded, with the rules that hold there.

    ``cost``: residual cost of the rules; ``is_noisy``: whether they leave more than noise.
    """

    app: int | None
    since_ns: int
    until_ns: int
    rules: list[InferredRule]
    cost: float
    is_noisy: bool

    def select(self, attempts: SendAttempts) -> AttemptSlice:
        """Return the sends of the app in the period."""
        return _select(attempts, self.app, self.since_ns, self.until_ns)


def split_log(attempts: SendAttempts) -> list[RuleScope]:
    """Return the fewest scopes, by app and time, that need separate rules."""
    whole = _infer(attempts, None, attempts.first_ns, attempts.last_ns + 1)
    is_sampled = sample_refused_mobiles(attempts, np.arange(len(attempts.refused)), _SAMPLE_REFUSALS)
    scopes = _split(attempts, attempts.of_mobiles(is_sampled), whole, _MAX_DEPTH)
    return sorted(scopes, key=lambda scope: (scope.app is not None and scope.app, scope.since_ns))


def _split(attempts: SendAttempts, sample: SendAttempts, scope: RuleScope, depth: int) -> list[RuleScope]:
    """Split a scope whose rules leave more than noise, by app or in time, if the parts cost much less."""
    if not depth or not scope.is_noisy:
        return [scope]
    apps = [] if scope.app is not None else np.unique(attempts.refused.app).tolist()
    by_app = [_infer(attempts, app, scope.since_ns, scope.until_ns) for app in apps]
    splits = [split for split in (by_app, _split_in_time(attempts, sample, scope)) if len(split) > 1]
    best = min(splits, key=_cost, default=[scope])
    if _cost(best) > _MAX_COST_RATIO * scope.cost:
        return [scope]
    return [part for half in best for part in _split(attempts, sample, half, depth - 1)]


def _cost(scopes: Sequence[RuleScope]) -> float:
    return sum(scope.cost for scope in scopes)


def _split_in_time(attempts: SendAttempts, sample: SendAttempts, scope: RuleScope) -> list[RuleScope]:
    """Return the halves of a scope at the time where they cost least; none if no time halves the cost of the sample."""
    refused_ns = np.unique(sample.refused.start_ns[scope.select(sample).refusals])
    numbers = np.unique(np.linspace(0, len(refused_ns), _SPLIT_TIMES + 1).astype(np.int64)[1:-1])
    splits = sorted((_halves(sample, scope, int(refused_ns[number])) for number in numbers if number), key=_cost)
    if (
        not splits
        or _cost(splits[0]) > _MAX_COST_RATIO * _infer(sample, scope.app, scope.since_ns, scope.until_ns).cost
    ):
        return []
    return min((_refine(attempts, scope, halves) for halves in splits[:_REFINED_SPLITS]), key=_cost)


def _refine(attempts: SendAttempts, scope: RuleScope, halves: list[RuleScope]) -> list[RuleScope]:
    """Split a scope at the time at which the rules of both halves cost least; return it whole if that is at its end."""
    at_ns = 0
    for _ in range(_REFINEMENTS):
        last_ns, at_ns = at_ns, _change_ns(scope.select(attempts), *(_fitted(attempts, half) for half in halves))
        if at_ns == last_ns:
            break
        if not scope.since_ns < at_ns < scope.until_ns:
            return [scope]
        halves = _halves(attempts, scope, at_ns)
    return halves


def _fitted(attempts: SendAttempts, scope: RuleScope) -> list[InferredRule]:
    """Return the rules of a scope with the roundest windows that fit.

    Without them a window would be as long as the accepted sends allow, often hours longer than it is, and would explain
    refusals of the other half.
    """
    return [rule for rule, _ in fit_windows(scope.select(attempts), scope.rules)]


def _change_ns(sends: AttemptSlice, earlier: Sequence[InferredRule], later: Sequence[InferredRule]) -> int:
    """Return the time at which changing from the earlier to the later rules costs least; 0 if no time is better.

    It is the start of the first send after the change that only one set of rules agrees with.
    """
    attempts = sends.attempts
    extra_cost = _send_costs(sends, earlier) - _send_costs(sends, later)
    start_ns = np.concatenate(
        [attempts.accepted.start_ns[sends.is_bounding], attempts.refused.start_ns[sends.refusals]]
    )
    differing = np.flatnonzero(extra_cost)
    differing = differing[np.argsort(start_ns[differing], kind="stable")]
    cumulative = np.concatenate([[0.0], extra_cost[differing].cumsum()])
    change = int(cumulative.argmin())
    return int(start_ns[differing[change]]) if change < len(differing) else 0


def _send_costs(sends: AttemptSlice, rules: Sequence[InferredRule]) -> Floats:
    """Return the cost of each accepted send that breaks rules, then of each refusal that they don't explain."""
    refused = sends.attempts.refused
    breach_cost, unexplained = np.zeros(len(sends.attempts.accepted)), np.ones(len(sends.refusals), np.bool_)
    for rule in rules:
        scores = score_sends(sends, rule.scores.family)
        breach_cost[scores.positions[scores.accepted < rule.threshold]] += BREACH_COST
        unexplained &= scores.refused >= rule.threshold
    return np.concatenate([breach_cost[sends.is_bounding], refused.weight[sends.refusals] * unexplained])


def _halves(attempts: SendAttempts, scope: RuleScope, at_ns: int) -> list[RuleScope]:
    periods = ((scope.since_ns, at_ns), (at_ns, scope.until_ns))
    return [_infer(attempts, scope.app, *period) for period in periods]


def _infer(attempts: SendAttempts, app: int | None, since_ns: int, until_ns: int) -> RuleScope:
    """Infer the rules of a scope, without the refusals that a send with a lost response may explain."""
    sends = _select(attempts, app, since_ns, until_ns)
    certain = sends.refusals[~attempts.refused.is_after_loss[sends.refusals]]
    sends = AttemptSlice(attempts, sends.is_bounding, certain)
    rules = find_rules(sends)
    is_noisy = leaves_more_than_noise(sends, rules)
    return RuleScope(app, since_ns, until_ns, rules, residual_cost(sends, rules), is_noisy)


def _select(attempts: SendAttempts, app: int | None, since_ns: int, until_ns: int) -> AttemptSlice:
    def is_selected(sends: AcceptedSends | RefusedSends) -> Bools:
        is_in: Bools = (sends.start_ns >= since_ns) & (sends.start_ns < until_ns)
        return is_in if app is None else is_in & (sends.app == app)

    return AttemptSlice(attempts, is_selected(attempts.accepted), np.flatnonzero(is_selected(attempts.refused)))
