"""The planner finds the rules of simulated APIs, and keeps its cap."""

from __future__ import annotations

from random import Random

import pytest
from support.limited import Clock, FirstSend, LeakyBucket, Rule, Sliding, TokenBucket
from support.probed import Limiter, draw, probe

from toolkit.probe.findings import conclude
from toolkit.probe.limiter_models import Kind, Scope
from toolkit.probe.planner import Attempt, Outcome, Planner

START_S = 1_800_000_007.0


@pytest.mark.parametrize(
    "rule",
    [
        Sliding(1, 60),
        Sliding(5, 3600),
        Sliding(3, 47.3),
        Clock(4, 60),
        FirstSend(3, 300),
        TokenBucket(5, 60),
        LeakyBucket(3, 30),
    ],
    ids=str,
)
def test_a_single_rule_is_found(rule: Rule) -> None:
    run = probe(Limiter((rule,)), seed=1)
    assert run.is_right == (True,)
    assert run.findings.messages <= max(3 * rule.count, 5)


def test_the_three_usual_rules_are_found() -> None:
    run = probe(Limiter((Sliding(1, 60), Sliding(5, 3600), Sliding(10, 86_400))), seed=2)
    assert run.is_right == (True, True, True)
    assert run.findings.rule_options == ("--rule 1/60s", "--rule 5/3600s", "--rule 10/86400s")


@pytest.mark.parametrize("rules", [(Sliding(1, 60), Sliding(3, 300)), (Sliding(2, 60), Sliding(4, 300))], ids=str)
@pytest.mark.parametrize("response_s", [0.04, 0.8], ids=str)
def test_a_pause_tells_windows_apart_though_another_rule_holds(rules: tuple[Rule, ...], response_s: float) -> None:
    run = probe(Limiter(rules), seed=1, max_messages=20, duration_s=7200, response_s=response_s)
    assert run.findings.rule_options == tuple(f"--rule {it.count}/{it.window_s:g}s" for it in rules)


def test_a_rule_of_the_app_is_told_from_one_of_the_mobile() -> None:
    run = probe(Limiter((Sliding(1, 60), TokenBucket(6, 600)), has_app_rule=True), seed=3)
    assert run.is_right == (True, True)


@pytest.mark.parametrize("seed", range(4))
def test_the_cap_is_kept(seed: int) -> None:
    run = probe(draw(seed), seed, max_messages=4)
    assert run.findings.messages <= 4


def test_a_rule_whose_window_did_not_end_is_reported_as_not_reached() -> None:
    run = probe(Limiter((Sliding(2, 86_400),)), seed=4, duration_s=3600)
    (rule,) = run.findings.rules
    assert (rule.count, rule.window_s, rule.rule) == (2, None, None)
    assert 3000 < rule.window_low_s < 86_400
    assert any("a daily rule needs 24 h" in it for it in run.findings.not_reached)
    assert run.findings.rule_options == ()


def test_a_send_without_an_answer_costs_and_proves_nothing() -> None:
    planner = Planner(mobiles=2, max_messages=2, until_s=START_S + 100)
    for mobile in (0, 1):
        due = planner.next_send(START_S)
        assert due is not None
        assert due.mobile == mobile
        planner.observe(Attempt(mobile, START_S, START_S + 0.1, Outcome.UNKNOWN))
    assert (planner.messages, planner.limits) == (2, [])
    assert planner.next_send(START_S + 1) is None
    assert planner.stopped == "the cap of 2 messages was reached"


def test_without_refusals_no_rule_is_found() -> None:
    planner = Planner(mobiles=1, max_messages=5, until_s=START_S + 100)
    for second in range(5):
        assert planner.next_send(START_S + second)
        planner.observe(Attempt(0, START_S + second, START_S + second + 0.05, Outcome.ACCEPTED))
    assert planner.next_send(START_S + 6) is None
    assert planner.limits == []


def test_a_mobile_without_sends_tells_the_scope() -> None:
    planner = Planner(mobiles=2, max_messages=9, until_s=START_S + 100)
    planner.observe(Attempt(0, START_S, START_S + 0.05, Outcome.ACCEPTED))
    planner.observe(Attempt(0, START_S + 0.1, START_S + 0.15, Outcome.REFUSED))
    due = planner.next_send(START_S + 0.2)
    assert due is not None
    assert due.mobile == 1
    planner.observe(Attempt(1, START_S + 0.3, START_S + 0.35, Outcome.REFUSED))
    (limit,) = planner.limits
    assert {it.scope for it in limit.classes()} == {Scope.APP}
    assert {it.kind for it in limit.classes()} == {Kind.SLIDING, Kind.CLOCK}


def test_retry_after_is_a_hint_when_to_ask() -> None:
    planner = Planner(mobiles=1, max_messages=9, until_s=START_S + 1000)
    planner.observe(Attempt(0, START_S, START_S + 0.05, Outcome.ACCEPTED))
    planner.observe(Attempt(0, START_S + 30, START_S + 30.05, Outcome.REFUSED, retry_after_s=1.0))
    due = planner.next_send(START_S + 30.1)
    assert due is not None
    assert due.at_s == pytest.approx(START_S + 31, abs=0.5)


def refuse(planner: Planner, mobile: int, at_s: float) -> None:
    planner.observe(Attempt(mobile, at_s, at_s + 0.04, Outcome.REFUSED))


def test_a_mobile_that_is_refused_at_its_first_send_proves_no_rule() -> None:
    planner = Planner(mobiles=3, max_messages=9, until_s=START_S + 1000)
    refuse(planner, 0, START_S)
    planner.observe(Attempt(1, START_S + 1, START_S + 1.04, Outcome.ACCEPTED))
    refuse(planner, 2, START_S + 2)
    due = planner.next_send(START_S + 3)
    assert due is not None
    assert (due.mobile, planner.retired, planner.limits) == (1, {0, 2}, [])
    findings = conclude(planner, 3.0)
    assert findings.rule_options == ()
    assert any("2 mobiles was refused: by sends before the probe" in it for it in findings.not_reached)


def test_a_mobile_that_a_limit_of_the_app_refused_at_first_is_no_open_question() -> None:
    planner = Planner(mobiles=3, max_messages=9, until_s=START_S + 1000)
    planner.observe(Attempt(0, START_S, START_S + 0.04, Outcome.ACCEPTED))
    refuse(planner, 1, START_S + 1)
    assert any("first send to 1 mobile was refused" in it for it in conclude(planner, 1.0).not_reached)
    refuse(planner, 2, START_S + 2)
    findings = conclude(planner, 2.0)
    assert (planner.retired, findings.rules[0].scope) == (set(), Scope.APP)
    assert not [it for it in findings.not_reached if "was refused" in it]


def test_one_send_is_written_without_an_s() -> None:
    planner = Planner(mobiles=2, max_messages=9, until_s=START_S + 1000)
    planner.observe(Attempt(0, START_S, START_S + 0.04, Outcome.ACCEPTED))
    planner.observe(Attempt(1, START_S + 1, START_S + 1.04, Outcome.UNKNOWN))
    texts = conclude(planner, 1.0).not_reached
    assert {"rules of more than 1 send to one mobile", "rules of more than 1 send of the app"} <= {*texts}
    assert "whether the API accepted 1 send: a count of the app may be too low by as many" in texts


def test_a_probe_whose_mobiles_are_all_refused_at_first_ends_without_a_rule() -> None:
    planner = Planner(mobiles=2, max_messages=9, until_s=START_S + 1000)
    for second, mobile in enumerate((0, 1)):
        due = planner.next_send(START_S + second)
        assert due is not None
        refuse(planner, due.mobile, START_S + second)
        assert planner.retired >= {mobile}
    assert planner.next_send(START_S + 3) is None
    assert "no mobile is left" in planner.stopped
    assert conclude(planner, 3.0).rules == ()


def test_random_answers_end_in_findings_and_not_in_an_error() -> None:
    random = Random(1)
    for _ in range(20):
        planner = Planner(mobiles=4, max_messages=12, until_s=START_S + 4000)
        now_s = START_S
        for _ in range(60):
            due = planner.next_send(now_s)
            if due is None:
                break
            now_s = due.at_s
            outcome = Outcome.ACCEPTED if random.random() < 0.5 else Outcome.REFUSED
            planner.observe(Attempt(due.mobile, now_s, now_s + 0.04, outcome))
        assert conclude(planner, now_s - START_S).messages <= 12
