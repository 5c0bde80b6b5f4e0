"""Oracle: which sends to a mobile were due a refusal by the frequency rules, judged from outside. No I/O, no clock.

When the service decided on a send isn't known, only that it did so between the send's first byte and its answer. So an
answer is called wrong only where no instants within these bounds explain it; and where either answer could have been
right, nothing is decided. Refused sends count for nothing; sends without an answer may have been accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter

from toolkit.api.rate_rules import Rule
from toolkit.load_test.plan.expectations import TICK_NS, ServiceClock


@dataclass(frozen=True, slots=True)
class Sent:
    """One send to a mobile: first byte out, answer in, in ns of one clock. ``accepted`` None: no verdict came."""

    began_ns: int
    ended_ns: float
    accepted: bool | None


@dataclass(frozen=True, slots=True)
class Age:
    """How long before a send its rule's count-th latest accepted one lay: at least, and at most; inf for never."""

    rule: Rule
    least_ns: float
    most_ns: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A send and what the rules say about it.

    ``due``: whether it had to be accepted, None where both answers are right. ``slack_ns``: by how much the answer was
    off the exact rules, at the least, where the clocks explain that; else 0.
    """

    send: Sent
    ages: tuple[Age, ...]
    due: bool | None
    slack_ns: float


@dataclass(frozen=True, slots=True)
class Boundary:
    """After how many of the service's ms a rule was last seen to refuse, and first seen to accept; None: never seen."""

    last_refused_ms: float | None
    first_accepted_ms: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What the sends to one or more mobiles show of the rules.

    ``decided``: answers of which only one could be right. ``over_admissions``: accepted, though surely due a refusal;
    ``false_refusals`` the other way round. ``clock_slack_ms``: the widest that a right answer was off the exact rules,
    in the service's ms. ``boundaries``: by the rule's text.
    """

    mobiles: int
    sends: int
    unanswered: int
    decided: int
    over_admissions: int
    false_refusals: int
    clock_slack_ms: float
    boundaries: Mapping[str, Boundary]


def judge_all(mobiles: Iterable[Sequence[Sent]], rules: Sequence[Rule], clock: ServiceClock) -> Finding:
    """ThresholdMonitor all sends to each of several mobiles, from its very first on."""
    each = [judge(sends, rules, clock) for sends in mobiles]
    judged = [it for of_mobile in each for it in of_mobile]
    return Finding(
        mobiles=len(each),
        sends=len(judged),
        unanswered=sum(it.send.accepted is None for it in judged),
        decided=sum(it.due is not None and it.send.accepted is not None for it in judged),
        over_admissions=sum(it.due is False and it.send.accepted is True for it in judged),
        false_refusals=sum(it.due is True and it.send.accepted is False for it in judged),
        clock_slack_ms=clock.ms(max((it.slack_ns for it in judged), default=0)),
        boundaries={str(rule): _boundary(rule, judged, clock) for rule in rules},
    )


def judge(sends: Sequence[Sent], rules: Sequence[Rule], clock: ServiceClock) -> list[Judged]:
    """ThresholdMonitor all sends to one mobile, from its very first on."""
    maybe = [it for it in sends if it.accepted is not False]
    before: list[Sent] = []
    judged = [Judged(it, (), None, 0) for it in sends if it.accepted is None]
    # Whichever of some accepted sends was decided on last: what was answered last stands for it, as all count the same.
    for send in sorted((it for it in sends if it.accepted is not None), key=attrgetter("ended_ns")):
        maybe_before = [it for it in maybe if it.began_ns <= send.ended_ns and it is not send]
        judged.append(_judge_one(send, before, maybe_before, rules, clock))
        if send.accepted:
            before.append(send)
    return judged


def resets_ns(sends: Sequence[Sent], rules: Sequence[Rule], clock: ServiceClock) -> tuple[int, int]:
    """Return the earliest and the latest instant from which the next send is within all rules; 0 where it is now."""
    accepted = [it for it in sends if it.accepted]
    first_ns = _reset_ns([it.began_ns for it in accepted], rules, clock)
    return first_ns, _reset_ns([it.ended_ns for it in accepted], rules, clock)


def _judge_one(
    send: Sent, before: Sequence[Sent], maybe_before: Sequence[Sent], rules: Sequence[Rule], clock: ServiceClock
) -> Judged:
    ages = tuple(
        Age(
            rule,
            send.began_ns - _latest((_end_ns(it) for it in maybe_before), rule.count),
            send.ended_ns - min(send.began_ns, _latest((it.began_ns for it in before), rule.count)),
        )
        for rule in rules
    )
    early_ns = [clock.window_ns(age.rule) - age.most_ns for age in ages]
    late_ns = [age.least_ns - clock.window_ns(age.rule) for age in ages]
    slacks_ns = [clock.slack_ns(rule) for rule in rules]
    if any(early >= TICK_NS + slack for early, slack in zip(early_ns, slacks_ns, strict=True)):
        return Judged(send, ages, False, 0)
    if all(late >= slack for late, slack in zip(late_ns, slacks_ns, strict=True)):
        return Judged(send, ages, True, 0)
    off_ns = max(early_ns, default=0) if send.accepted else min(late_ns, default=0)
    return Judged(send, ages, None, max(0, off_ns))


def _reset_ns(times_ns: Sequence[float], rules: Sequence[Rule], clock: ServiceClock) -> int:
    resets = [_latest(times_ns, rule.count) + clock.window_ns(rule) for rule in rules]
    return int(max([0, *resets]))


def _boundary(rule: Rule, judged: Iterable[Judged], clock: ServiceClock) -> Boundary:
    refused, accepted = list[float](), list[float]()
    for it in judged:
        for age in it.ages:
            if age.rule != rule:
                continue
            if it.send.accepted and age.most_ns < math.inf:
                accepted.append(clock.ms(age.most_ns))
            elif not it.send.accepted and _is_only_suspect(age, it.ages, clock):
                refused.append(clock.ms(age.least_ns))
    return Boundary(max(refused, default=None), min(accepted, default=None))


def _is_only_suspect(age: Age, ages: Iterable[Age], clock: ServiceClock) -> bool:
    """Tell whether no other rule can have refused the send."""
    others = all(it.least_ns >= clock.window_ns(it.rule) for it in ages if it is not age)
    return others and 0 <= age.least_ns < math.inf


def _latest(times_ns: Iterable[float], count: int) -> float:
    """Return the ``count``-th latest of the times, -inf where there are fewer."""
    latest = nlargest(count, times_ns)
    return latest[-1] if len(latest) == count else -math.inf


def _end_ns(send: Sent) -> float:
    return math.inf if send.accepted is None else send.ended_ns
