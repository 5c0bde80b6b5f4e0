"""Conclude a probe: the rules with their confidence, the open questions, and the cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from toolkit import number_format
from toolkit.api.rate_rules import ROUND_WINDOWS_S, Rule
from toolkit.probe.hypotheses import APP, CHINA_OFFSET_S, RuleClass, bounds_s
from toolkit.probe.limiter_models import KINDS, Kind, Rules, Scope
from toolkit.probe.planner import Outcome, Planner

DAY_S = 86_400
_MIN_CONFIDENCE = 0.9  # of a rule that is offered as an option
_SHOWN_SHARE = 0.01  # of an alternative
_NEAR = 0.1  # of the window: other windows count as another rule
_ALIGNED_S = 3.0  # difference of two clocks up to which windows count as beginning at a multiple of their length


@dataclass(frozen=True, slots=True)
class FoundRule:
    """A rule that a probe found.

    Attributes:
        scope: The sends that it counts together.
        kind: The kind of limiter.
        count: Sends accepted in a window, or tokens of a bucket.
        window_s: The likeliest window, in s; of a bucket, the time in which it fills. None if no send was accepted
            after the refusals, so that only ``window_low_s`` is known.
        window_low_s: Lower bound of the window, in s.
        window_high_s: Upper bound of the window, in s; None like ``window_s``.
        confidence: Probability of the scope, the kind, the count and a window within a tenth of the likeliest one,
            0..1, if the rule is of one of the known kinds.
        begins: When windows by the clock begin, in words; "" for other kinds.
        alternatives: The other scopes, kinds, counts and windows that fit, with their probability.
    """

    scope: Scope
    kind: Kind
    count: int
    window_s: float | None
    window_low_s: float
    window_high_s: float | None
    confidence: float
    begins: str = ""
    alternatives: tuple[str, ...] = ()

    @property
    def rule(self) -> Rule | None:
        """The rule as an option of other commands; None if an exact sliding window can't express it."""
        if self.kind is Kind.SLIDING and self.window_s and self.window_s >= 1 and self.window_s.is_integer():
            return Rule(self.count, int(self.window_s))
        return None

    def __str__(self) -> str:
        sends = f"{_sends(self.count)} per {self.scope}"
        if self.window_s is None:
            return f"{sends} in more than {self.window_low_s:,.0f} s, of a kind that is not known yet"
        window = _seconds(self.window_s)
        shape = {
            Kind.SLIDING: f"{sends} in any {window} (sliding window)",
            Kind.CLOCK: f"{sends} in each {window} by the clock (fixed window{self.begins})",
            Kind.FIRST_SEND: f"{sends} within {window} of the first one (fixed window)",
            Kind.BUCKET: f"{sends} at once, and one more each {_seconds(self.window_s / self.count)} (token bucket)",
        }
        return shape[self.kind]


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a probe.

    Attributes:
        rules: The rules that were found, the shortest window first.
        not_reached: Open questions, in words.
        messages: Accepted sends, and sends without a usable response: the cost.
        refused: Refused sends, which cost nothing.
        unknown: Sends without a usable response, part of ``messages``.
        elapsed_s: Duration by the target's clock.
        stopped: Why the probe ended.
        retry_after: How the Retry-After of refusals compares with later outcomes, in words; "" without the header.
    """

    rules: tuple[FoundRule, ...]
    not_reached: tuple[str, ...]
    messages: int
    refused: int
    unknown: int
    elapsed_s: float
    stopped: str
    retry_after: str

    @property
    def rule_options(self) -> tuple[str, ...]:
        """The options for ``smscode serve`` and ``smscode load frequency_limits``: of the rules that are likely."""
        return tuple(
            f"--{'rule' if it.scope is Scope.MOBILE else 'app-rule'} {it.rule}"
            for it in self.rules
            if it.rule and it.confidence >= _MIN_CONFIDENCE
        )

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON values."""
        rules = [asdict(it) | {"rule": str(it.rule) if it.rule else None, "description": str(it)} for it in self.rules]
        return asdict(self) | {"rules": rules, "rule_options": list(self.rule_options)}


def find_rules(planner: Planner) -> Iterator[FoundRule]:
    """Yield the most probable rule of each limit, the shortest window first."""
    limits = [it for it in planner.limits if len(it.candidates)]
    for limit in sorted(limits, key=lambda it: bounds_s(it.members(it.best))):
        best, members = limit.best, limit.members(limit.best)
        low_s, high_s = bounds_s(members)
        share = limit.classes()[best]
        alternatives = [
            f"{_words(it)}: {other:.0%}"
            for it, other in limit.classes().items()
            if it != best and other >= _SHOWN_SHARE
        ]
        is_known = limit.has_reopened(planner.histories)
        window_s = _likeliest_s(members, low_s, high_s) if is_known else None
        if window_s is not None:
            is_near = abs(members.window_s - window_s) <= window_s * (_NEAR + members.step)
            elsewhere = share * (1 - float(members.weight[is_near].sum() / members.weight.sum()))
            share -= elsewhere
            if elsewhere >= _SHOWN_SHARE:
                alternatives.append(f"another window, {_seconds(low_s)} to {_seconds(high_s)}: {elsewhere:.0%}")
        yield FoundRule(
            best.scope,
            best.kind,
            best.count,
            window_s,
            low_s,
            high_s if is_known else None,
            share,
            _begins(members, window_s) if best.kind is Kind.CLOCK and window_s else "",
            tuple(alternatives),
        )


def conclude(planner: Planner, elapsed_s: float) -> Findings:
    """Return the findings at the end of a probe."""
    _drop_redundant(planner)
    rules = tuple(find_rules(planner))
    outcomes = [it.outcome for it in planner.attempts]
    return Findings(
        rules,
        tuple(_not_reached(planner, rules, elapsed_s)),
        planner.messages,
        outcomes.count(Outcome.REFUSED),
        outcomes.count(Outcome.UNKNOWN),
        elapsed_s,
        planner.stopped,
        _judge_retry_after(planner),
    )


def _likeliest_s(members: Rules, low_s: float, high_s: float) -> float:
    """Return the round window of most weight; else the middle one, in whole seconds if its bounds allow that."""
    windows, which = np.unique(members.window_s, return_inverse=True)
    weights = np.bincount(which, members.weight)
    rounds = np.array([it for tier in ROUND_WINDOWS_S for it in tier])
    scale = int(members.count[0]) if KINDS[members.kind[0]] is Kind.BUCKET else 1
    is_round = np.isin(windows, np.concatenate([rounds, rounds * scale]))
    if is_round.any():
        return float(windows[np.where(is_round, weights, 0.0).argmax()])
    middle_s = float(windows[np.searchsorted(weights.cumsum(), weights.sum() / 2)])
    whole_s = max(ceil(low_s), min(round(middle_s), floor(high_s)))
    return float(whole_s) if low_s <= whole_s <= high_s else middle_s


def _begins(members: Rules, window_s: float) -> str:
    starts = members.start_s[members.window_s == window_s] if (members.window_s == window_s).any() else members.start_s
    offset_s = float(np.median(starts)) % window_s
    for aligned_s, words in ((0.0, "multiples of its length, UTC"), (CHINA_OFFSET_S % window_s, "midnight in China")):
        if min(abs(offset_s - aligned_s), window_s - abs(offset_s - aligned_s)) <= _ALIGNED_S:
            return f", begins at {words}"
    return f", begins {offset_s:,.0f} s after multiples of its length, UTC"


def _seconds(value_s: float) -> str:
    return f"{value_s:,.{0 if value_s >= 1000 or value_s.is_integer() else 1}f} s"


def _sends(count: int) -> str:
    return number_format.plural(count, "send")


def _words(which: RuleClass) -> str:
    return f"{which.kind} of {which.count} per {which.scope}"


def _drop_redundant(planner: Planner) -> None:
    """Drop limits whose refusals other limits explain as well: they were added before the others were settled."""
    tolerance_s = 2 * planner.tolerance_s
    for limit in sorted(planner.limits, key=lambda it: (it.has_reopened(planner.histories), it.classes()[it.best])):
        others = [it for it in planner.limits if it is not limit]
        if others and all(
            any(it.may_refuse(refusal, planner.histories, tolerance_s) for it in others)
            for refusal in planner.refusals.values()
        ):
            planner.limits.remove(limit)


def _not_reached(planner: Planner, rules: tuple[FoundRule, ...], elapsed_s: float) -> Iterator[str]:
    for it in rules:
        if it.window_s is None:
            yield f"window and kind of the rule after {_sends(it.count)} per {it.scope}: no send was accepted since"
        elif it.alternatives:
            yield f"certainty about {it}: {'; '.join(it.alternatives)}"
    per_mobile = max((len(it) for key, it in planner.histories.items() if key != APP), default=0)
    if not any(it.scope is Scope.MOBILE and it.count >= per_mobile for it in rules):
        yield f"rules of more than {_sends(per_mobile)} to one mobile"
    app = len(planner.histories[APP])
    if not any(it.scope is Scope.APP for it in rules):
        yield f"rules of more than {_sends(app)} of the app"
    if planner.mobiles < 2:
        yield "whether a rule counts the sends to a mobile or all of the app: that needs a second mobile"
    if elapsed_s < DAY_S:
        yield f"rules with a window longer than the probe took, {elapsed_s:,.0f} s: a daily rule needs 24 h"
    if doubtful := planner.doubtful_mobiles():
        mobiles = number_format.plural(len(doubtful), "mobile")
        yield f"why the first send to {mobiles} was refused: by sends before the probe, or by a limit of the app"
    if planner.unexplained:
        yield f"the reason of {number_format.plural(planner.unexplained, 'refusal')}, which no rule explains"
    if planner.unknown:
        yield f"whether the API accepted {_sends(planner.unknown)}: a count of the app may be too low by as many"


def _judge_retry_after(planner: Planner) -> str:
    """Compare each Retry-After with the outcomes after it: early if a send was refused at that time or later."""
    early = late = other = 0
    retry_at: dict[int, float] = {}
    for attempt in planner.attempts:
        if attempt.outcome is Outcome.REFUSED:
            retry_at_s = retry_at.get(attempt.mobile)
            if retry_at_s is not None and attempt.began_s > retry_at_s + 1:
                early += 1
                retry_at.pop(attempt.mobile)
            if attempt.retry_after_s is not None:
                retry_at.setdefault(attempt.mobile, attempt.ended_s + attempt.retry_after_s)
        elif attempt.mobile in retry_at:
            retry_at_s = retry_at.pop(attempt.mobile)
            late += attempt.ended_s < retry_at_s - 2
            other += attempt.ended_s >= retry_at_s - 2
    if not early + late + other:
        return ""
    right, short, long = (number_format.plural(it, "time") for it in (other, early, late))
    return f"Retry-After was correct {right}, too short {short}, too long {long}"
