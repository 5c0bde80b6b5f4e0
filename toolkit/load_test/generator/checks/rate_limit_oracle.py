"""Judge from outside which sends to a mobile the rate limits should have accepted. No I/O, no clock.

Problem
-------
A rule "n sends in w seconds" is a sliding window: a send at time t is accepted if fewer than n accepted sends lie in
(t - w, t]. The instant of the service's decision cannot be observed. It lies between the first byte of a send,
``began_ns``, and its response, ``ended_ns``. A load test must not fail a correct service, and must still find a window
that is wrong by one tick of the service's clock.

Method
------
Take a send S, and the n-th latest accepted send A before it. The age of A, as S is decided, lies within bounds:

    A      |-------a-------|                         a: decided at some time in here
    S                                |----s----|     s: decided at some time in here

           |<------------ most ------------->  |     S ended - A began
                           |<- least ->|             S began - A ended

- ``most < w``: A was in the window for sure, so S had to be refused. An accepted S is an over-admission.
- ``least >= w`` for all rules: the window had room for sure, so S had to be accepted. A refused S is a false refusal.
- otherwise either response may be right, and nothing is decided.

For ``least``, sends without a response count as accepted, as they may have been, and as decided arbitrarily late. For
``most`` they count as refused. So doubt only ever moves a send to the third case. Of accepted sends whose times
overlap, any may have been decided last; as all count the same, the one with the last response is taken.

Sends are judged in the order of their ends. Only the latest accepted ones matter, as many as the longest rule counts,
so a mobile with a hundred thousand sends takes about a second.

Example: the rule 1/60s, A from 0 to 2 ms, both in the caller's time:

    S from 59,990 to 59,995 ms   most  59,995 < 60,000   S had to be refused
    S from 60,003 to 60,005 ms   least 60,001 >= 60,000  S had to be accepted
    S from 59,999 to 60,004 ms   most 60,004, least 59,997: not decided

Tolerances
----------
TICK_NS      1 ms. The service reads its clock in whole ms, so a correct one may accept up to a tick early.
slack        0 on one machine at a whole speed. A clock of another machine may drift by ``drift_ratio``; then windows
             that are wrong by less than that are not found.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter

from toolkit.api.rate_rules import Rule
from toolkit.load_test.plan.expectations import TICK_NS, ServiceClock


@dataclass(frozen=True, slots=True)
class Sent:
    """One send to a mobile.

    Attributes:
        began_ns: when the first byte left.
        ended_ns: when the response was complete, by the same clock.
        accepted: the service's decision; None if no response shows it.
    """

    began_ns: int
    ended_ns: float
    accepted: bool | None


@dataclass(frozen=True, slots=True)
class Age:
    """Bounds of the age of a rule's n-th latest accepted send when a send was decided; inf without such a send."""

    rule: Rule
    least_ns: float
    most_ns: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A send and the response that the rules require.

    Attributes:
        send: the send.
        ages: the bounds for each rule.
        expected: True if it had to be accepted, False if it had to be refused, None if either response is right.
        slack_ns: how far the response was off the exact rules at least, if the clocks explain that; else 0.
    """

    send: Sent
    ages: tuple[Age, ...]
    expected: bool | None
    slack_ns: float


@dataclass(frozen=True, slots=True)
class Boundary:
    """The evidence about one rule.

    Attributes:
        last_refused_ms: the highest age at which this rule alone refused a send, in the service's ms; None if it never
            did, so that the rule is not tested.
        first_accepted_ms: the lowest age at which a send was accepted, in the service's ms; None: never.
        over_admissions: sends that were accepted and had to be refused by this rule.
    """

    last_refused_ms: float | None
    first_accepted_ms: float | None
    over_admissions: int


@dataclass(frozen=True, slots=True)
class Finding:
    """The findings about the rules from sends to one or more mobiles.

    Attributes:
        mobiles, sends: the number of mobiles and of sends.
        unanswered: sends whose decision isn't known.
        decided: sends for which the rules allow only one response.
        over_admissions: sends that were accepted and had to be refused.
        false_refusals: sends that were refused and had to be accepted.
        clock_slack_ms: the most that a right response was off the exact rules, in the service's ms.
        boundaries: by the rule's text.
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
    """Judge all sends to each of several mobiles, from the very first on.

    >>> sends = [Sent(0, 2_000_000, True), Sent(30_000_000_000, 30_002_000_000, True)]
    >>> judge_all([sends], [Rule(1, 60)], ServiceClock()).over_admissions
    1
    """
    each = [judge(sends, rules, clock) for sends in mobiles]
    judged = [it for of_mobile in each for it in of_mobile]
    return Finding(
        mobiles=len(each),
        sends=len(judged),
        unanswered=sum(it.send.accepted is None for it in judged),
        decided=sum(it.expected is not None and it.send.accepted is not None for it in judged),
        over_admissions=sum(it.expected is False and it.send.accepted is True for it in judged),
        false_refusals=sum(it.expected is True and it.send.accepted is False for it in judged),
        clock_slack_ms=clock.ms(max((it.slack_ns for it in judged), default=0)),
        boundaries={str(rule): _boundary(rule, judged, clock) for rule in rules},
    )


def judge(sends: Sequence[Sent], rules: Sequence[Rule], clock: ServiceClock) -> list[Judged]:
    """Judge all sends to one mobile, from the very first on."""
    most = max((rule.count for rule in rules), default=0)
    began, ended = _Latest(most), _Latest(most + 1)  # of accepted sends before; of those that may be before, and itself
    maybe = sorted((it for it in sends if it.accepted is not False), key=attrgetter("began_ns"), reverse=True)
    judged = [Judged(it, (), None, 0) for it in sends if it.accepted is None]
    for send in sorted((it for it in sends if it.accepted is not None), key=attrgetter("ended_ns")):
        while maybe and maybe[-1].began_ns <= send.ended_ns:
            other = maybe.pop()
            ended.add(math.inf if other.accepted is None else other.ended_ns)
        itself_ns = send.ended_ns if send.accepted else None
        ages = tuple(
            Age(
                rule,
                send.began_ns - ended.find(rule.count, itself_ns),
                send.ended_ns - min(send.began_ns, began.find(rule.count)),
            )
            for rule in rules
        )
        judged.append(_judge_one(send, ages, clock))
        if send.accepted:
            began.add(send.began_ns)
    return judged


def resets_ns(sends: Sequence[Sent], rules: Sequence[Rule], clock: ServiceClock) -> tuple[int, int]:
    """Return the earliest and the latest instant from which the next send is within all rules; 0 if it is now."""
    accepted = [it for it in sends if it.accepted]
    began_ns, ended_ns = [it.began_ns for it in accepted], [it.ended_ns for it in accepted]
    first_ns, last_ns = (
        int(max([0, *(_latest(times_ns, rule.count) + clock.window_ns(rule) for rule in rules)]))
        for times_ns in (began_ns, ended_ns)
    )
    return first_ns, last_ns


def _judge_one(send: Sent, ages: tuple[Age, ...], clock: ServiceClock) -> Judged:
    early_ns = [clock.window_ns(age.rule) - age.most_ns for age in ages]
    late_ns = [age.least_ns - clock.window_ns(age.rule) for age in ages]
    if any(_is_too_early(age, clock) for age in ages):
        return Judged(send, ages, False, 0)
    if all(late >= clock.slack_ns(age.rule) for late, age in zip(late_ns, ages, strict=True)):
        return Judged(send, ages, True, 0)
    off_ns = max(early_ns, default=0) if send.accepted else min(late_ns, default=0)
    return Judged(send, ages, None, max(0, off_ns))


def _boundary(rule: Rule, judged: Iterable[Judged], clock: ServiceClock) -> Boundary:
    refused, accepted = list[float](), list[float]()
    over_admissions = 0
    for it in judged:
        for age in it.ages:
            if age.rule != rule:
                continue
            if it.send.accepted and age.most_ns < math.inf:
                accepted.append(clock.ms(age.most_ns))
                over_admissions += _is_too_early(age, clock)
            elif not it.send.accepted and 0 <= age.least_ns < math.inf:
                others = (other for other in it.ages if other is not age)
                if all(other.least_ns >= clock.window_ns(other.rule) for other in others):  # no other rule refused it
                    refused.append(clock.ms(age.least_ns))
    return Boundary(max(refused, default=None), min(accepted, default=None), over_admissions)


def _is_too_early(age: Age, clock: ServiceClock) -> bool:
    """Return whether a rule had to refuse a send for sure."""
    return clock.window_ns(age.rule) - age.most_ns >= TICK_NS + clock.slack_ns(age.rule)


class _Latest:
    """The latest of some times, in ns. Earlier ones are forgotten."""

    def __init__(self, count: int) -> None:
        self._count, self._times_ns = count, list[float]()

    def add(self, time_ns: float) -> None:
        """Add a time."""
        insort(self._times_ns, time_ns)
        del self._times_ns[: -self._count]

    def find(self, count: int, excluded_ns: float | None = None) -> float:
        """Return the ``count``-th latest time, -inf if there are fewer; one of ``excluded_ns`` is left out."""
        place = len(self._times_ns) - count
        if place >= 0 and excluded_ns is not None and excluded_ns >= self._times_ns[place]:
            place -= 1
        return self._times_ns[place] if place >= 0 else -math.inf


def _latest(times_ns: Iterable[float], count: int) -> float:
    """Return the ``count``-th latest of the times, -inf if there are fewer."""
    latest = nlargest(count, times_ns)
    return latest[-1] if len(latest) == count else -math.inf
