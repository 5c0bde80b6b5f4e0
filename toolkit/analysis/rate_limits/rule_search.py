"""Search the rules of a slice on a sample of mobiles, then prove them on all mobiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.analysis.rate_limits.candidates import (
    AttemptSlice,
    RuleFamily,
    fixed_families,
    score_sends,
    sliding_families,
)
from toolkit.analysis.rate_limits.rule_cover import BREACH_COST, InferredRule, cover_refusals, is_unexplained
from toolkit.analysis.rate_limits.send_attempts import Bools, Ints, SendAttempts, is_sampled
from toolkit.analysis.timestamps import NS_PER_S

_SAMPLE_REFUSALS = 4_000  # whose mobiles are searched; more costs time, fewer misses rules that refuse rarely
_ROUNDS = 3
_NOISE_ROWS, _NOISE_RATIO = 5.0, 0.005  # unexplained rows and breaches that are noise: a number, or a share of all rows


def find_rules(sends: AttemptSlice) -> list[InferredRule]:
    """Return the rules of a slice.

    Search all families on the mobiles of about 4,000 refusals, and prove the families found on all mobiles. If more
    than noise stays unexplained, add mobiles with unexplained refusals to the sample and search again.
    """
    attempts, rules = sends.attempts, list[InferredRule]()
    unexplained, sample = np.ones(len(sends.refusals), np.bool_), np.zeros(attempts.mobile_count, np.bool_)
    for _ in range(_ROUNDS):
        sample |= sample_refused_mobiles(attempts, sends.refusals[unexplained], _SAMPLE_REFUSALS)
        sampled = sends.of_mobiles(sample)
        families = list(sliding_families(sampled))
        found = _cover(sampled, families, len(families))
        if leaves_more_than_noise(sampled, found):
            families += fixed_families()
            found = _cover(sampled, families, len(families))
        before, rules = rules, _cover(sends, [rule.scores.family for rule in found], len(families))
        unexplained = is_unexplained(rules, len(sends.refusals))
        is_settled = [rule.scores.family for rule in before] == [rule.scores.family for rule in rules]
        if is_settled or not leaves_more_than_noise(sends, rules):
            break
    return rules


def _cover(sends: AttemptSlice, families: Sequence[RuleFamily], tried: int) -> list[InferredRule]:
    refused = sends.attempts.refused
    weight, rows = refused.weight[sends.refusals], refused.rows[sends.refusals]
    lowest = int(weight.sum() / BREACH_COST) + 2  # more breaches cost more than all refusals weigh
    scores = [score_sends(sends, family, lowest) for family in families]
    return cover_refusals(scores, weight, rows, int(sends.is_bounding.sum()), tried)


def residual_cost(sends: AttemptSlice, rules: Sequence[InferredRule]) -> float:
    """Return the cost, as in ``rule_cover``, of the breaches and of the unexplained refusals with a known past."""
    breaches = sum(rule.breaches for rule in rules)
    return float(sends.attempts.refused.weight[_unexplained(sends, rules)].sum()) + BREACH_COST * breaches


def leaves_more_than_noise(sends: AttemptSlice, rules: Sequence[InferredRule]) -> bool:
    """Return whether unexplained refusals and breaches are more than noise."""
    rows = sends.attempts.refused.rows
    noise = max(_NOISE_ROWS, _NOISE_RATIO * float(rows[sends.refusals].sum()))
    return float(rows[_unexplained(sends, rules)].sum()) + sum(rule.breaches for rule in rules) > noise


def _unexplained(sends: AttemptSlice, rules: Sequence[InferredRule]) -> Ints:
    is_known = sends.attempts.refused.start_ns[sends.refusals] >= known_history_start_ns(sends.attempts, rules)
    return sends.refusals[is_unexplained(rules, len(sends.refusals)) & is_known]


def known_history_start_ns(attempts: SendAttempts, rules: Sequence[InferredRule]) -> int:
    """Return from when on the log holds all the sends that rules count, in ns.

    That is their longest window after the start of the log, but at most a quarter of the log.
    """
    windows_s = [rule.scores.family.window_s or rule.threshold for rule in rules]
    longest_ns = max((window_s for window_s in windows_s if window_s < np.inf), default=0) * NS_PER_S
    return attempts.first_ns + int(min(longest_ns, (attempts.last_ns - attempts.first_ns) / 4))


def sample_refused_mobiles(attempts: SendAttempts, refusals: Ints, size: int) -> Bools:
    """Return for each mobile whether it is in a sample that has about ``size`` of some refusals."""
    is_refused = np.zeros(attempts.mobile_count, np.bool_)
    is_refused[attempts.refused.mobile[refusals]] = True
    return is_refused & is_sampled(np.arange(len(is_refused)), size / max(len(refusals), 1))
