"""The verdict of each check on calls that are made up; no service is needed."""

from __future__ import annotations

from collections import Counter
from math import nan

import pytest

from toolkit.api.errors import InputError, NotConnectedError, TransportError
from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import ApiResponse, Endpoint
from toolkit.load_test.generator.checks.registry import (
    BRUTE_FORCE,
    CODES_JUDGED,
    FREQUENCY_LIMITS,
    JOURNEY,
    REPLAY,
    THROUGHPUT,
    Check,
    CheckResult,
    Evidence,
    Figures,
    Violation,
)
from toolkit.load_test.generator.steps import Call, Outcome, Send, Verify
from toolkit.load_test.plan.expectations import Expectations, ServiceClock
from toolkit.runs.thresholds import Status, parse_threshold

EXPECTATIONS = Expectations(rules=(Rule(1, 60),), tries=3, failures_per_hour=5)
S = 1_000_000_000
OK, WRONG, RATE = ReturnCode.SUCCESS, ReturnCode.INVALID_CODE, ReturnCode.OUT_OF_FREQ


def seen(
    check: Check,
    endpoint: Endpoint,
    code: ReturnCode | None,
    at_s: float = 0,
    *,
    mobile: str = "",
    msg_id: str = "",
    expected: ReturnCode | None = None,
    error: TransportError | None = None,
) -> Evidence:
    """Return what one call shows."""
    call: Call = (
        Send(mobile, expected=expected) if endpoint is Endpoint.SEND else Verify(msg_id, "123456", expected=expected)
    )
    sent = msg_id if code is OK and endpoint is Endpoint.SEND else None
    answer = None if code is None else ApiResponse(code.http_status, code, code.message, msg_id=sent)
    row = check.row(call, Outcome(endpoint, int(at_s * S), 1000, answer, error))
    return Counter() if row is None else Counter([row])


def judge(check: Check, *evidence: Evidence) -> CheckResult:
    return check.judge(sum(evidence, Counter()), EXPECTATIONS)


def send(code: ReturnCode | None, at_s: float, mobile: str = "13800138000") -> Evidence:
    error = None if code else TransportError("lost")
    return seen(FREQUENCY_LIMITS, Endpoint.SEND, code, at_s, mobile=mobile, error=error)


def guesses(*codes: ReturnCode, msg_id: str = "a", at_s: float = 1) -> Evidence:
    sent = seen(BRUTE_FORCE, Endpoint.SEND, OK, mobile="13800138000", msg_id=msg_id)
    tried = [seen(BRUTE_FORCE, Endpoint.VERIFY, it, at_s + n, msg_id=msg_id) for n, it in enumerate(codes)]
    return sum(tried, sent)


def test_sends_within_the_rules_pass() -> None:
    judged = judge(FREQUENCY_LIMITS, send(OK, 0), send(RATE, 30), send(OK, 61))
    assert judged.status is Status.PASS
    assert judged.figures["decided"] == 3
    assert judged.as_json()["figures"]["boundaries"]["1/60s"]["last_refused_ms"] == pytest.approx(30_000, abs=1)


def test_a_send_too_many_and_one_too_few_break_the_limits() -> None:
    assert judge(FREQUENCY_LIMITS, send(OK, 0), send(OK, 30)).figures["over_admissions"] == 1
    assert judge(FREQUENCY_LIMITS, send(OK, 0), send(RATE, 61)).figures["false_refusals"] == 1


def test_a_rule_that_no_send_reached_has_no_data() -> None:
    expectations = Expectations(rules=(Rule(1, 60), Rule(3, 600)))
    judged = FREQUENCY_LIMITS.judge(sum([send(OK, 0), send(RATE, 30), send(OK, 61)], Counter()), expectations)
    assert [(part.name, part.status) for part in judged.parts] == [("1/60s", Status.PASS), ("3/600s", Status.NO_DATA)]
    assert (judged.status, judged.reason) == (Status.NO_DATA, "no send reached 3/600s: run longer")
    more = sum([send(OK, 122), send(RATE, 183)], send(OK, 0) + send(RATE, 30) + send(OK, 61))
    assert FREQUENCY_LIMITS.judge(more, expectations).status is Status.PASS


def test_a_verdict_says_what_happened_with_its_numbers() -> None:
    expectations = Expectations(rules=(Rule(1, 60), Rule(2, 600)))
    too_many = sum([send(OK, 0), send(OK, 30), send(OK, 50)], Counter())
    judged = FREQUENCY_LIMITS.judge(too_many, expectations)
    assert judged.reason == "2 sends were accepted beyond 1/60s, 1 send was accepted beyond 2/600s"
    assert [part.status for part in judged.parts] == [Status.FAIL, Status.FAIL]
    assert judge(FREQUENCY_LIMITS, send(OK, 0), send(RATE, 61)).reason == "1 send was refused within the rules"
    assert (
        judge(BRUTE_FORCE, guesses(WRONG, WRONG, WRONG, OK)).reason == "1 message was verified when no tries were left"
    )
    assert judge(REPLAY).reason.startswith("no call showed whether ")


def test_a_check_that_may_not_pass_keeps_its_failures() -> None:
    passed = FREQUENCY_LIMITS.judge(send(OK, 0) + send(RATE, 30) + send(OK, 61), Expectations(rules=(Rule(1, 60),)))
    assert passed.status is Status.PASS
    unknown = passed.without_pass("a worker was lost")
    assert {(it.status, it.reason) for it in (unknown, *unknown.parts)} == {(Status.NO_DATA, "a worker was lost")}
    failed = judge(FREQUENCY_LIMITS, send(OK, 0), send(OK, 30))
    assert failed.without_pass("a worker was lost") == failed


def test_sends_of_two_workers_to_one_mobile_are_judged_together() -> None:
    apart = [judge(FREQUENCY_LIMITS, send(OK, at_s)).status for at_s in (0, 30)]
    assert apart == [Status.NO_DATA, Status.NO_DATA]
    assert judge(FREQUENCY_LIMITS, send(OK, 0), send(OK, 30)).status is Status.FAIL


def test_only_calls_that_the_rules_decided_are_evidence() -> None:
    never_sent = NotConnectedError("refused")
    assert not seen(FREQUENCY_LIMITS, Endpoint.SEND, None, mobile="13800138000", error=never_sent)
    assert not seen(FREQUENCY_LIMITS, Endpoint.SEND, ReturnCode.NO_MONEY, mobile="13800138000")
    for unknown in (None, ReturnCode.SERVER_ERROR):
        judged = judge(FREQUENCY_LIMITS, send(unknown, 0), send(RATE, 1))
        assert (judged.status, judged.figures["unanswered"]) == (Status.NO_DATA, 1)


def test_a_check_without_calls_has_no_data() -> None:
    for check in (FREQUENCY_LIMITS, BRUTE_FORCE, REPLAY, JOURNEY):
        assert judge(check).status is Status.NO_DATA


def own(figures: object) -> CheckResult:
    """Judge a check of a locustfile whose ``measure`` returns, or raises, what is given."""

    def measure(evidence: Evidence, expectations: Expectations) -> Figures:
        if isinstance(figures, Exception):
            raise figures
        return figures  # type: ignore[return-value]

    broken = (Violation("wrong", "answer", "wrong"),)
    return Check("own", "answers are right", lambda *_: None, measure, "answers", broken).judge(Counter(), EXPECTATIONS)


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"answers": 1}, "the check own has no figure 'wrong'"),
        (KeyError("a mobile"), "the check own raised KeyError('a mobile')"),
        ({"answers": 1, "wrong": [2]}, "the check own raised ValueError(\"figure 'wrong' is not a finite number\")"),
        ({"answers": nan, "wrong": 0}, "the check own raised ValueError(\"figure 'answers' is not a finite number\")"),
        (None, "the check own raised AttributeError("),
        (ZeroDivisionError("division by zero"), "the check own raised ZeroDivisionError('division by zero')"),
    ],
)
def test_a_check_that_is_wrong_itself_has_no_data(figures: object, reason: str) -> None:
    judged = own(figures)
    assert judged.status is Status.NO_DATA
    assert judged.reason.startswith(reason)
    assert judged.as_json()["figures"] == {}


def test_a_check_with_an_unknown_figure_has_no_data() -> None:
    assert own({"answers": 1, "wrong": None}).status is Status.NO_DATA
    assert own({"answers": 1, "wrong": 0}).status is Status.PASS


def test_guesses_up_to_the_tries_pass() -> None:
    judged = judge(BRUTE_FORCE, guesses(WRONG, WRONG, WRONG, ReturnCode.EXPIRED_CODE, ReturnCode.EXPIRED_CODE))
    assert judged.status is Status.PASS
    assert judged.figures["guesses_judged"] == 3


def test_a_guess_beyond_the_tries_fails() -> None:
    assert judge(BRUTE_FORCE, guesses(WRONG, WRONG, WRONG, WRONG)).figures["beyond_tries"] == 1


def test_a_code_accepted_after_the_tries_fails() -> None:
    assert judge(BRUTE_FORCE, guesses(WRONG, WRONG, WRONG, OK)).figures["let_in_after_tries"] == 1
    assert judge(BRUTE_FORCE, guesses(WRONG, WRONG, OK)).figures["let_in_after_tries"] == 0


def test_wrong_codes_beyond_the_hourly_limit_fail_across_the_messages_of_a_mobile() -> None:
    three, two = guesses(WRONG, WRONG, WRONG), guesses(WRONG, WRONG, msg_id="b", at_s=10)
    assert judge(BRUTE_FORCE, three, two).figures["beyond_failures_per_hour"] == 0
    third = guesses(WRONG, msg_id="c", at_s=20)
    assert judge(BRUTE_FORCE, three, two, third).figures["beyond_failures_per_hour"] == 1
    later = guesses(WRONG, msg_id="c", at_s=3620)
    assert judge(BRUTE_FORCE, three, two, later).figures["beyond_failures_per_hour"] == 0


def test_guesses_that_used_up_no_tries_show_nothing() -> None:
    assert judge(BRUTE_FORCE, guesses(WRONG, WRONG)).status is Status.NO_DATA
    assert judge(BRUTE_FORCE, guesses(WRONG, RATE)).status is Status.PASS  # no failure of the hour was left


def test_one_lucky_guess_is_chance_and_three_are_not() -> None:
    lucky = [guesses(OK, msg_id=str(n)) for n in range(3)]
    assert judge(BRUTE_FORCE, lucky[0]).figures["beyond_chance"] == 0
    assert judge(BRUTE_FORCE, *lucky).figures["beyond_chance"] > 0


def verify(code: ReturnCode | None, msg_id: str = "a", expected: ReturnCode | None = None) -> Evidence:
    return seen(
        REPLAY, Endpoint.VERIFY, code, msg_id=msg_id, expected=expected, error=None if code else TransportError("lost")
    )


def test_a_right_code_succeeds_once() -> None:
    again = ReturnCode.VERIFIED_CODE
    assert judge(REPLAY, verify(OK), verify(again), verify(again)).status is Status.PASS
    assert judge(REPLAY, verify(OK), verify(OK)).figures["verified_twice"] == 1
    assert judge(REPLAY, verify(again), verify(again)).figures["verified_never"] == 1
    # The lost one may have succeeded: that breaks nothing, and shows nothing.
    assert judge(REPLAY, verify(again), verify(None)).status is Status.NO_DATA
    assert judge(REPLAY, verify(again), verify(None), verify(OK, "b")).status is Status.PASS
    assert judge(REPLAY, verify(WRONG, expected=WRONG)).status is Status.NO_DATA


def test_an_unexpected_return_code_fails() -> None:
    right = seen(JOURNEY, Endpoint.VERIFY, OK, msg_id="a", expected=OK)
    wrong = seen(JOURNEY, Endpoint.VERIFY, WRONG, msg_id="a", expected=ReturnCode.EXPIRED_CODE)
    assert judge(JOURNEY, right, wrong).figures["wrong"] == {"50010 instead of 50011": 1}
    assert judge(JOURNEY, right, wrong).status is Status.FAIL


def test_journeys_without_a_right_or_a_wrong_code_show_nothing() -> None:
    right, wrong = (seen(JOURNEY, Endpoint.VERIFY, it, msg_id="a", expected=it) for it in (OK, WRONG))
    sent_again = seen(JOURNEY, Endpoint.SEND, OK, mobile="13800138000", expected=OK)
    assert judge(JOURNEY, right, wrong).status is Status.PASS
    assert judge(JOURNEY, right).reason == "no wrong code got a response: run longer"
    assert judge(JOURNEY, wrong, sent_again).reason == "no right code got a response: run longer"


LIMITED = Expectations(limits=(parse_threshold("p99(send.latency_ms) < 50"),))


@pytest.mark.parametrize(
    ("due", "got", "reason"),
    [
        (OK, WRONG, "1 right code was refused"),
        (OK, ReturnCode.EXPIRED_CODE, "1 right code was refused"),
        (ReturnCode.VERIFIED_CODE, OK, "1 used code was accepted once more"),
    ],
)
def test_a_verdict_on_a_code_that_is_not_the_right_one_fails(due: ReturnCode, got: ReturnCode, reason: str) -> None:
    judged = judge(CODES_JUDGED, *(seen(CODES_JUDGED, Endpoint.VERIFY, code, expected=due) for code in (due, got)))
    assert (judged.status, judged.reason) == (Status.FAIL, reason)


def test_wrong_codes_that_are_accepted_fail_beyond_chance() -> None:
    accepted = seen(CODES_JUDGED, Endpoint.VERIFY, OK, expected=WRONG)
    assert judge(CODES_JUDGED, accepted).status is Status.PASS
    assert judge(CODES_JUDGED, *[accepted] * 9).status is Status.FAIL


def test_only_verdicts_on_codes_whose_right_answer_is_known_are_judged() -> None:
    for code, due in ((OK, None), (RATE, OK), (RATE, WRONG), (ReturnCode.SERVER_ERROR, OK)):
        assert not seen(CODES_JUDGED, Endpoint.VERIFY, code, expected=due)
    late = seen(CODES_JUDGED, Endpoint.VERIFY, ReturnCode.EXPIRED_CODE, expected=OK)
    fast = Expectations(clock=ServiceClock(speed=60))
    assert CODES_JUDGED.judge(late, fast).status is Status.PASS


def at_rate(per_s: int, latency_ms: float, from_s: float, for_s: float = 2) -> Evidence:
    """Return the evidence of sends that were due at a constant rate."""
    rows = [
        THROUGHPUT.row(
            Send("13800138000"),
            Outcome(
                Endpoint.SEND,
                round(from_s * S) + n * S // per_s,
                int(latency_ms * 1e6),
                ApiResponse(200, OK, "success", "a"),
            ),
        )
        for n in range(round(per_s * for_s))
    ]
    return Counter(row for row in rows if row)


def highest(*evidence: Evidence) -> tuple[float, float | None]:
    figures = THROUGHPUT.judge(sum(evidence, Counter()), LIMITED).figures
    return figures["highest_rate_per_s"], figures["missed_at_rate_per_s"]


EDGES = at_rate(2, 5, 0.0, 0.5), at_rate(2, 5, 8.5, 0.5)  # the first and the last half second are not measured


def test_the_highest_rate_is_reported_up_to_the_first_that_missed_the_limits() -> None:
    climb = at_rate(10, 5, 0.5), at_rate(20, 5, 2.5), at_rate(40, 80, 4.5), at_rate(60, 80, 6.5)
    assert highest(*EDGES, *climb) == (20.0, 40.0)
    assert THROUGHPUT.judge(sum((*EDGES, *climb), Counter()), LIMITED).status is Status.PASS
    assert THROUGHPUT.judge(at_rate(40, 80, 0), LIMITED).status is Status.FAIL
    assert not THROUGHPUT.applies(EXPECTATIONS)


@pytest.mark.parametrize("from_s", [0.0, 0.3, 0.999, 1.5, 1.7])
@pytest.mark.parametrize("for_s", [2, 2.4, 3.1])
def test_the_rate_is_right_wherever_a_run_begins_and_ends(from_s: float, for_s: float) -> None:
    assert highest(at_rate(1000, 5, from_s, for_s)) == (pytest.approx(1000, rel=0.01), None)


def test_a_run_that_is_too_short_for_a_rate_has_none() -> None:
    assert highest(at_rate(1000, 5, 0.3, 1)) == (0.0, None)
    assert THROUGHPUT.judge(at_rate(1000, 5, 0.3, 1), LIMITED).status is Status.NO_DATA


def test_one_hiccup_does_not_end_the_search() -> None:
    climb = at_rate(10, 5, 0.5), at_rate(20, 80, 2.5), at_rate(40, 5, 4.5), at_rate(60, 5, 6.5)
    assert highest(*EDGES, *climb) == (60.0, None)


def test_failed_calls_count_against_the_limits_of_a_rate() -> None:
    expectations = Expectations(limits=(parse_threshold("failed < 1%"), parse_threshold("share(timeout) < 1%")))
    error = TransportError("no complete response")
    error.__cause__ = TimeoutError()
    rows = (
        THROUGHPUT.row(Send("13800138000"), Outcome(Endpoint.SEND, n * S // 100, 1000, None, error)) for n in range(300)
    )
    assert THROUGHPUT.judge(Counter(row for row in rows if row), expectations).status is Status.FAIL


def test_many_calls_that_took_about_as_long_are_one_row() -> None:
    assert len(at_rate(100, 5, 0, 0.5)) == 1
    assert len(at_rate(1, 5.0, 0, 1) + at_rate(1, 5.1, 0, 1)) == 2


@pytest.mark.parametrize("broken", [{"clock": ServiceClock(0)}, {"tries": 0}, {"ttl_s": 0}])
def test_invalid_expectations_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Expectations(**broken)  # type: ignore[arg-type]
