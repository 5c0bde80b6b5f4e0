"""The oracle against simulated services: right ones are never accused, and planted faults are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.windows import Fixed, Forgetful, Right, Service

from toolkit.api.rate_rules import Rule
from toolkit.load_test.generator.checks.rate_limit_oracle import Age, Finding, Sent, judge_all, resets_ns
from toolkit.load_test.generator.checks.rate_limit_oracle import judge as judge_each
from toolkit.load_test.plan.expectations import ServiceClock

MS = 1_000_000
S = 1000 * MS
RULES = (Rule(1, 60), Rule(3, 600))
EPOCH_NS = 1_700_000_000 * S


def probe(service: Service, chance: Random, clock: ServiceClock, cycles: int = 12) -> list[Sent]:
    """Send to one mobile, over and over: in a burst, and in small steps across the edge of what the rules allow."""
    now_ns = EPOCH_NS + chance.randrange(S)
    sends: list[Sent] = []

    def send() -> None:
        nonlocal now_ns
        decided_ns = now_ns + chance.randrange(20_000)
        ended_ns = decided_ns + chance.randrange(20_000)
        sends.append(Sent(now_ns, ended_ns, service(decided_ns)))
        now_ns = ended_ns + 50_000

    for _ in range(cycles):
        for _ in range(3):
            send()
        first_ns, last_ns = resets_ns(sends, RULES, clock)
        now_ns = max(now_ns, first_ns - 3 * MS)
        while not sends[-1].accepted and now_ns < last_ns + 3 * MS:
            send()
        now_ns += chance.randrange(round(20 * S / clock.speed))
    return sends


def judge(sends: Sequence[Sent], clock: ServiceClock, rules: Sequence[Rule] = RULES) -> Finding:
    return judge_all([sends], rules, clock)


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Sent], tuple[Rule, ...], ServiceClock]:
    """Sends to a right service, many of them near the edges; they overlap, and some are never answered."""
    speed = draw(st.sampled_from([1.0, 60.0, 7.0, 0.5, 2.5]))
    rules = tuple(draw(st.lists(st.sampled_from([Rule(1, 2), Rule(2, 3), Rule(3, 10)]), max_size=3)))
    spans_ns = [0, *(ServiceClock(speed).window_ns(rule) for rule in rules)]
    near_ns = st.tuples(st.sampled_from(spans_ns), st.integers(-2 * MS, 2 * MS)).map(sum)
    gaps_ns = st.lists(near_ns | st.integers(0, 3 * S), min_size=1, max_size=30)
    width_ns = st.integers(0, 2 * MS) | st.integers(0, S)
    service, decided_ns, sends = Right(rules, speed), EPOCH_NS, []
    for gap_ns in draw(gaps_ns):
        decided_ns += max(0, gap_ns)
        accepted = service(decided_ns)
        known = accepted if draw(st.integers(0, 9)) else None
        sends.append(Sent(decided_ns - draw(width_ns), decided_ns + draw(width_ns), known))
    return sends, rules, ServiceClock(speed)


@settings(max_examples=300, deadline=None)
@given(sessions())
def test_a_right_service_is_never_accused(session: tuple[list[Sent], tuple[Rule, ...], ServiceClock]) -> None:
    sends, rules, clock = session
    finding = judge(sends, clock, rules)
    assert (finding.over_admissions, finding.false_refusals) == (0, 0)
    assert finding.sends == len(sends)


def age_by_definition(send: Sent, sends: Sequence[Sent], rule: Rule) -> Age:
    """Look at all sends for the n-th latest one that was accepted, or may have been."""
    ends_ns = [
        inf if it.accepted is None else it.ended_ns
        for it in sends
        if it is not send and it.accepted is not False and it.began_ns <= send.ended_ns
    ]
    began_ns = [it.began_ns for it in sends if it is not send and it.accepted and it.ended_ns < send.ended_ns]
    latest_ns = [([-inf] * rule.count + sorted(times_ns))[-rule.count] for times_ns in (ends_ns, began_ns)]
    return Age(rule, send.began_ns - latest_ns[0], send.ended_ns - min(send.began_ns, latest_ns[1]))


@settings(max_examples=300, deadline=None)
@given(sessions())
def test_the_ages_are_those_of_the_definition(session: tuple[list[Sent], tuple[Rule, ...], ServiceClock]) -> None:
    sends, rules, clock = session
    assume(len({it.ended_ns for it in sends}) == len(sends))
    for judged in judge_each(sends, rules, clock):
        if judged.send.accepted is not None:
            assert judged.ages == tuple(age_by_definition(judged.send, sends, rule) for rule in rules)


def test_a_mobile_may_have_a_hundred_thousand_sends() -> None:
    sends = [Sent(number * 10 * S, number * 10 * S + MS, number % 6 == 0) for number in range(100_000)]
    found = judge(sends, ServiceClock(), [Rule(1, 60)])
    assert (found.sends, found.over_admissions, found.false_refusals) == (100_000, 0, 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), speed=st.sampled_from([1.0, 60.0]))
def test_a_probed_right_service_is_never_accused_and_most_is_decided(seed: int, speed: float) -> None:
    clock = ServiceClock(speed)
    finding = judge(probe(Right(RULES, speed), Random(seed), clock), clock)
    assert (finding.over_admissions, finding.false_refusals) == (0, 0)
    assert finding.decided > 0.6 * finding.sends  # the others came in the tick in which the window ends
    assert finding.clock_slack_ms < speed  # one tick of the wall


FAULTS: dict[str, tuple[Callable[[float], Service], str]] = {
    "one more": (lambda speed: Right(RULES, speed, more=1), "over_admissions"),
    "one less": (lambda speed: Right((Rule(1, 60), Rule(2, 600)), speed), "false_refusals"),
    "a tick short": (lambda speed: Right(RULES, speed, longer_ms=-int(speed)), "over_admissions"),
    "a tick long": (lambda speed: Right(RULES, speed, longer_ms=int(speed)), "false_refusals"),
    "fixed windows": (lambda speed: Fixed(RULES, speed), "over_admissions"),
    "forgets on restart": (lambda speed: Forgetful(RULES, speed), "over_admissions"),
    "no limit": (lambda speed: lambda at_ns: True, "over_admissions"),
    "refuses all": (lambda speed: lambda at_ns: False, "false_refusals"),
}


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), speed=st.sampled_from([1.0, 60.0]))
def test_each_planted_fault_is_found_with_three_mobiles(fault: str, seed: int, speed: float) -> None:
    plant, named = FAULTS[fault]
    chance, clock = Random(seed), ServiceClock(speed)  # one mobile's probes may all miss a fault of a single tick
    findings = [judge(probe(plant(speed), chance, clock), clock) for _ in range(3)]
    assert sum(getattr(finding, named) for finding in findings) > 0


@given(seed=st.integers(0, 2**32), off_ms=st.integers(-40, 40))
def test_the_boundary_is_where_the_service_has_it(seed: int, off_ms: int) -> None:
    rule, clock = RULES[0], ServiceClock()
    service = Right([rule], longer_ms=off_ms)
    found = judge(sweep(service, Random(seed), rule, 50 * MS), clock, [rule]).boundaries[str(rule)]
    assert found.last_refused_ms is not None
    assert found.first_accepted_ms is not None
    assert found.last_refused_ms < rule.window_ms + off_ms < found.first_accepted_ms + 1.1
    assert found.first_accepted_ms - found.last_refused_ms < 0.3


def sweep(service: Service, chance: Random, rule: Rule, around_ns: int) -> list[Sent]:
    """Send every tenth of a ms, from before a window's end until it accepts."""
    now_ns = EPOCH_NS + chance.randrange(S)
    sends = [Sent(now_ns, now_ns + 1000, service(now_ns))]
    now_ns += rule.window_ms * MS - around_ns
    while len(sends) == 1 or not sends[-1].accepted:
        sends.append(Sent(now_ns, now_ns + 1000, service(now_ns)))
        now_ns += MS // 10
    return sends


def test_clocks_that_drift_apart_are_forgiven_as_much_as_they_may_drift() -> None:
    rule = Rule(1, 60)
    early = [Sent(0, 0, True), Sent(59_995 * MS, 59_995 * MS, True)]
    assert judge(early, ServiceClock(), [rule]).over_admissions == 1
    forgiven = judge(early, ServiceClock(drift_ratio=1e-4), [rule])
    assert (forgiven.over_admissions, forgiven.clock_slack_ms) == (0, 5.0)


def test_of_sends_at_once_no_more_than_the_rule_may_be_accepted() -> None:
    burst = [Sent(n, 10 * MS + n, n < 4) for n in range(10)]
    assert judge(burst, ServiceClock(), [Rule(3, 60)]).over_admissions == 1
    assert judge(burst, ServiceClock(), [Rule(4, 60)]).over_admissions == 0


def test_a_refusal_is_excused_by_a_send_that_may_have_been_accepted() -> None:
    refused = Sent(S, S, False)
    assert judge([refused], ServiceClock()).false_refusals == 1
    assert judge([Sent(0, 5 * S, None), refused], ServiceClock()).false_refusals == 0


def test_without_rules_every_send_is_due_acceptance() -> None:
    finding = judge([Sent(0, 0, True), Sent(1, 1, False)], ServiceClock(), [])
    assert (finding.decided, finding.false_refusals) == (2, 1)
