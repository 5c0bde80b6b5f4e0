"""Define the checks: a property of the service, the data of each call, and the verdict. No I/O.

A call's data is a row; the evidence of a check is a counter of rows. The evidence of several workers adds up, so calls
of two workers to one mobile are judged together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, TypeAlias

from toolkit import number_format
from toolkit.api.defaults import CODES
from toolkit.api.errors import NotConnectedError
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.checks.rate_limit_oracle import Sent, judge_all
from toolkit.load_test.generator.http.call_outcome import classify
from toolkit.load_test.generator.steps import Call, Outcome, Send, Verify
from toolkit.load_test.plan.expectations import Expectations
from toolkit.records.call_record import Failure, is_failed
from toolkit.records.latency_histogram import Histogram
from toolkit.runs import thresholds
from toolkit.runs.check_results import check_figures
from toolkit.runs.thresholds import Measure, Status

_TICK_NS = 500_000_000  # calls are counted by the tick in which they were due
_SLOT_TICKS, _MIN_SLOT_TICKS = 4, 2  # the calls of a slot are judged together
_LOST = "no response"
_NEGLIGIBLE_CHANCE = 1e-9  # right guesses that are less likely than this are not due to chance

Row: TypeAlias = tuple[Any, ...]
Evidence: TypeAlias = Counter[Row]
Figures: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartResult:
    """The verdict on a part of a check, such as one of several rules, with its reason as a sentence."""

    name: str
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """A figure that must be 0, with the noun and the phrase of the sentence that reports it.

    >>> Violation("verified_never", "message", "never verified").describe(2)
    '2 messages were never verified'
    """

    figure: str
    noun: str
    phrase: str

    def describe(self, number: int) -> str:
        """Return what happened."""
        ending = "es" if self.noun.endswith("s") else "s"
        return f"{number_format.plural(number, self.noun, ending)} {'was' if number == 1 else 'were'} {self.phrase}"


@dataclass(frozen=True, slots=True)
class Check:
    """A property of the service that a scenario checks.

    Attributes:
        name: the name of the scenario.
        description: the property, as a sentence.
        row: returns the data of a call, or None if the call is not relevant.
        measure: computes the figures of all rows: numbers, or dictionaries of further ones.
        required_figure: the figure that must be above 0 for a verdict, such as the number of calls that were judged.
        violations: the figures that must be 0. If one is None, it is unknown, and the check has no data.
        parts: returns the verdicts on the parts of the check, from its figures. If one has no data, the check has none.
        applies: returns whether the check is made under the expectations.
        is_implied: whether every scenario has the check. It is reported only if it does not pass.
    """

    name: str
    description: str
    row: Callable[[Call, Outcome], Row | None]
    measure: Callable[[Evidence, Expectations], Figures]
    required_figure: str
    violations: tuple[Violation, ...]
    parts: Callable[[Figures], Iterable[PartResult]] = lambda figures: ()
    applies: Callable[[Expectations], bool] = lambda expectations: True
    is_implied: bool = False

    def judge(self, evidence: Evidence, expectations: Expectations) -> CheckResult:
        """Return PASS, FAIL, or NO_DATA if no call was relevant, or if the check itself raises an error."""
        try:
            figures = check_figures(self.measure(evidence, expectations))
            needed = (self.required_figure, *(it.figure for it in self.violations))
            for name in needed:
                if name not in figures:
                    return CheckResult(self, Status.NO_DATA, {}, fault=f"the check {self.name} has no figure {name!r}")
            parts = tuple(self.parts(figures))
        except Exception as error:  # by the code of a locustfile
            return CheckResult(self, Status.NO_DATA, {}, fault=f"the check {self.name} raised {error!r}")
        violated = [figures[it.figure] for it in self.violations]
        found = {part.status for part in parts}
        if any(violated) or Status.FAIL in found:
            status = Status.FAIL
        elif not figures[self.required_figure] or None in violated or Status.NO_DATA in found:
            status = Status.NO_DATA
        else:
            status = Status.PASS
        return CheckResult(self, status, figures, parts)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check, its verdict, the figures that led to it, the verdicts on its parts, and the reason for NO_DATA."""

    check: Check
    status: Status
    figures: Mapping[str, Any]
    parts: tuple[PartResult, ...] = ()
    fault: str = ""

    @property
    def reason(self) -> str:
        """The verdict in words, with its numbers."""
        if self.status is Status.PASS:
            return self.check.description
        reasons = [part.reason for part in self.parts if part.status is self.status]
        if self.status is Status.FAIL:
            violated = [(it, self.figures[it.figure]) for it in self.check.violations]
            whole = [it.describe(number) for it, number in violated if number and it.phrase]
            return ", ".join([*reasons, *whole])
        return self.fault or ", ".join(reasons) or f"no call showed whether {self.check.description}: run longer"

    def without_pass(self, why: str) -> CheckResult:
        """Return the result of a check that may not pass: NO_DATA and the reason replace PASS, in the parts too."""
        parts = tuple(
            replace(it, status=Status.NO_DATA, reason=why) if it.status is Status.PASS else it for it in self.parts
        )
        if self.status is not Status.PASS:
            return replace(self, parts=parts)
        return replace(self, status=Status.NO_DATA, parts=parts, fault=why)

    def as_json(self) -> dict[str, Any]:
        """Return the result as a run's folder keeps it."""
        return {
            "name": self.check.name,
            "description": self.check.description,
            "status": self.status.value,
            "reason": self.reason,
            "parts": [asdict(part) for part in self.parts],
            "figures": self.figures,
        }


# The row of a call.

_ACCEPTED: Mapping[int | None, bool | None] = {ReturnCode.SUCCESS: True, ReturnCode.OUT_OF_FREQ: False, None: None}


def read_sent(outcome: Outcome) -> Sent:
    """Return a send for the rate limits. A refusal for another reason counts as one without a response."""
    return Sent(outcome.started_ns, _ended_ns(outcome), _ACCEPTED.get(_known(outcome)))


def _send_row(call: Call, outcome: Outcome) -> Row | None:
    nothing_left = isinstance(outcome.error, NotConnectedError)
    if not isinstance(call, Send) or nothing_left or _known(outcome) not in _ACCEPTED:
        return None
    return call.mobile, *astuple(read_sent(outcome))


def _guess_row(call: Call, outcome: Outcome) -> Row | None:
    if isinstance(call, Send):
        return (outcome.msg_id, call.mobile) if outcome.msg_id else None
    return call.msg_id, outcome.started_ns, _ended_ns(outcome), _known(outcome)


def _right_row(call: Call, outcome: Outcome) -> Row | None:
    """Return the row of a verify, unless its code was wrong on purpose."""
    if isinstance(call, Verify) and call.expected is not ReturnCode.INVALID_CODE:
        return call.msg_id, _known(outcome)
    return None


def _expected_row(call: Call, outcome: Outcome) -> Row | None:
    code = _known(outcome)
    return None if call.expected is None or code is None else (outcome.endpoint, int(call.expected), code)


def _code_row(call: Call, outcome: Outcome) -> Row | None:
    """Return the row of a verify whose right response is known, and whose response judges the code."""
    if call.expected not in _ABOUT_CODES or (code := outcome.return_code) not in _ABOUT_CODES:
        return None
    return int(call.expected), int(code)


def _known(outcome: Outcome) -> int | None:
    """Return the return code, or None if it doesn't show the service's decision."""
    code = outcome.return_code
    return None if code is None or code == ReturnCode.SERVER_ERROR else int(code)


def _timed_row(call: Call, outcome: Outcome) -> Row:
    waited_ns = outcome.wait_ns
    tick = (outcome.started_ns - waited_ns) // _TICK_NS
    if (response := outcome.response) is not None:
        code: int | str = int(response.return_code)
        failed = is_failed(int(response.return_code), response.kind, None, (Kind.RATE,))
    else:
        code = classify(outcome.error) if outcome.error else _LOST
        failed = True
    return (
        tick,
        outcome.endpoint,
        code,
        failed,
        _round_down(outcome.latency_ns),
        _round_down(outcome.latency_ns + waited_ns),
    )


def _round_down(time_ns: int) -> int:
    """Round a time down to its first 8 bits, so that many calls share one row."""
    spare = max(0, time_ns.bit_length() - 8)
    return time_ns >> spare << spare


def _ended_ns(outcome: Outcome) -> int:
    return outcome.started_ns + outcome.latency_ns


# The figures of all rows.


def _measure_limits(evidence: Evidence, expectations: Expectations) -> Figures:
    mobiles: defaultdict[str, list[Sent]] = defaultdict(list)
    for mobile, began_ns, ended_ns, accepted in evidence:
        mobiles[mobile].append(Sent(began_ns, ended_ns, accepted))
    return asdict(judge_all(mobiles.values(), expectations.rules, expectations.clock))


def _judge_rules(figures: Figures) -> Iterable[PartResult]:
    for rule, boundary in figures["boundaries"].items():
        if too_many := boundary["over_admissions"]:
            beyond = Violation("over_admissions", "send", f"accepted beyond {rule}")
            yield PartResult(rule, Status.FAIL, beyond.describe(too_many))
        elif boundary["last_refused_ms"] is None:
            yield PartResult(rule, Status.NO_DATA, f"no send reached {rule}: run longer")
        else:
            yield PartResult(rule, Status.PASS, f"sends were refused by {rule} when they had to be")


def _measure_guesses(evidence: Evidence, expectations: Expectations) -> Figures:
    mobile_of = {row[0]: row[1] for row in evidence if len(row) == 2}
    guesses: defaultdict[str, list[Row]] = defaultdict(list)
    for msg_id, *guess in (row for row in evidence if len(row) == 4):
        guesses[msg_id].append(tuple(guess))
    judged = sum(code in _JUDGED for of_message in guesses.values() for *_, code in of_message)
    got_in = sum(code == ReturnCode.SUCCESS for of_message in guesses.values() for *_, code in of_message)
    wrong = [sum(code == ReturnCode.INVALID_CODE for *_, code in of_message) for of_message in guesses.values()]
    hourly = judge_all(_failures(guesses, mobile_of), [expectations.failures_rule], expectations.clock)
    return {
        "messages": len(guesses),
        "messages_locked": sum(any(code in _LOCKED for *_, code in of_message) for of_message in guesses.values()),
        "guesses_judged": judged,
        "got_in": got_in,
        "beyond_chance": max(0, got_in - _most_by_chance(judged)),
        "beyond_tries": sum(max(0, count - expectations.tries) for count in wrong),
        "let_in_after_tries": sum(_is_let_in_late(it, expectations.tries) for it in guesses.values()),
        "beyond_failures_per_hour": hourly.over_admissions,
        "refused_below_failures_per_hour": hourly.false_refusals,
    }


def _measure_replays(evidence: Evidence, expectations: Expectations) -> Figures:
    codes: defaultdict[str, Counter[int | None]] = defaultdict(Counter)
    for (msg_id, code), seen in evidence.items():
        codes[msg_id][code] += seen
    successes = [it[ReturnCode.SUCCESS] for it in codes.values()]
    return {
        "messages": len(codes),
        "callers_per_message": max((it.total() for it in codes.values()), default=0),
        "successes": sum(successes),
        "verified_twice": sum(it > 1 for it in successes),
        "verified_never": sum(not it[ReturnCode.SUCCESS] and not it[None] for it in codes.values()),
    }


def _measure_verdicts(evidence: Evidence, expectations: Expectations) -> Figures:
    wrong, typed = Counter[str](), Counter[int]()
    for (endpoint, expected, got), seen in sorted(evidence.items()):
        if expected != got:
            wrong[f"{got} instead of {expected}"] += seen
        if endpoint == Endpoint.VERIFY:
            typed[expected] += seen
    return {
        "responses": evidence.total(),
        "right_codes": typed[ReturnCode.SUCCESS],
        "wrong_codes": typed[ReturnCode.INVALID_CODE],
        "wrong_responses": wrong.total(),
        "wrong": dict(wrong),
    }


def _judge_typed(figures: Figures) -> Iterable[PartResult]:
    """Return NO_DATA for right or wrong codes if none was judged: a target may accept any code, or refuse each."""
    for kind in ("right", "wrong"):
        if not figures[f"{kind}_codes"]:
            yield PartResult(f"{kind} codes", Status.NO_DATA, f"no {kind} code got a response: run longer")


def _measure_codes(evidence: Evidence, expectations: Expectations) -> Figures:
    right, wrong, used = ReturnCode.SUCCESS, ReturnCode.INVALID_CODE, ReturnCode.VERIFIED_CODE
    refused_with = [wrong, used]
    if expectations.clock.speed == 1 and expectations.tries > 1:  # else a right code may have come too late
        refused_with.append(ReturnCode.EXPIRED_CODE)
    tried = sum(evidence[wrong, code] for code in _ABOUT_CODES)
    return {
        "codes": evidence.total(),
        "right_refused": sum(evidence[right, code] for code in refused_with),
        "wrong_accepted": max(0, evidence[wrong, right] - _most_by_chance(tried)),
        "used_accepted": evidence[used, right],
    }


def _measure_slots(evidence: Evidence, expectations: Expectations) -> Figures:
    """Return the highest rate of a slot that met the limits, before the rate that missed them for two slots in a row.

    One slot that misses the limits between two that meet them is a hiccup and no limit of the service.
    """
    slots = _whole_slots(evidence)
    keeps = [all(thresholds.judge(it, slot).status is Status.PASS for it in expectations.limits) for slot in slots]
    missed = [not kept and not any(keeps[at + 1 : at + 2]) for at, kept in enumerate(keeps)]
    end = missed.index(True) if True in missed else len(slots)
    kept_rates = [_sends_per_s(slot) for slot, kept in zip(slots[:end], keeps[:end], strict=True) if kept]
    return {
        "highest_rate_per_s": max(kept_rates, default=0.0),
        "missed_at_rate_per_s": _sends_per_s(slots[end]) if end < len(slots) else None,
        "missed_from_the_start": int(end < len(slots) and not kept_rates),
    }


def _whole_slots(evidence: Evidence) -> list[thresholds.RunFigures]:
    """Return the figures of each slot. The first and the last tick with a send are left out: they are not whole."""
    ticks: defaultdict[int, Evidence] = defaultdict(Counter)
    for (tick, *row), seen in evidence.items():
        ticks[tick][tuple(row)] += seen
    sending = [tick for tick, rows in ticks.items() if any(row[0] == Endpoint.SEND for row in rows)]
    first, end = min(sending, default=0) + 1, max(sending, default=0)
    found = []
    for start in range(first, end, _SLOT_TICKS):
        width = min(_SLOT_TICKS, end - start)
        if width >= _MIN_SLOT_TICKS:
            rows = sum((ticks[tick] for tick in range(start, start + width)), Counter[Row]())
            found.append(_slot_figures(rows, width * _TICK_NS / 1e9))
    return found


def _slot_figures(calls: Evidence, width_s: float) -> thresholds.RunFigures:
    outcomes: Counter[tuple[Endpoint, int | str]] = Counter()
    failed: Counter[Endpoint] = Counter()
    times_ns: defaultdict[tuple[Endpoint, Measure], list[int]] = defaultdict(list)
    for (of, code, is_failure, latency_ns, caller_ns), seen in calls.items():
        endpoint = Endpoint(of)
        outcomes[endpoint, code] += seen
        failed[endpoint] += seen * is_failure
        if code != Failure.CONNECT:
            times_ns[endpoint, Measure.LATENCY_MS] += [latency_ns] * seen
            times_ns[endpoint, Measure.CALLER_MS] += [caller_ns] * seen
    times = {kind: Histogram.of(times) for kind, times in times_ns.items()}
    return thresholds.RunFigures(width_s, outcomes, times, failed)


def _sends_per_s(figures: thresholds.RunFigures) -> float:
    return figures.calls(Endpoint.SEND) / figures.duration_s


_ABOUT_CODES = frozenset(
    {ReturnCode.SUCCESS, ReturnCode.INVALID_CODE, ReturnCode.EXPIRED_CODE, ReturnCode.VERIFIED_CODE}
)
_JUDGED = (ReturnCode.SUCCESS, ReturnCode.INVALID_CODE)
_LOCKED = (ReturnCode.EXPIRED_CODE, ReturnCode.OUT_OF_FREQ)  # the answer to a guess when no try is left
_COUNTED: Mapping[int | None, bool | None] = {ReturnCode.INVALID_CODE: True, ReturnCode.OUT_OF_FREQ: False, None: None}


def _failures(guesses: Mapping[str, Iterable[Row]], mobile_of: Mapping[str, str]) -> Iterable[list[Sent]]:
    """Return the guesses at each mobile as sends under the rule for failures: a wrong code counts as accepted."""
    failures: defaultdict[str, list[Sent]] = defaultdict(list)
    for msg_id, of_message in guesses.items():
        for began_ns, ended_ns, code in of_message:
            if msg_id in mobile_of and code in _COUNTED:
                failures[mobile_of[msg_id]].append(Sent(began_ns, ended_ns, _COUNTED[code]))
    return failures.values()


def _is_let_in_late(guesses: Iterable[Row], tries: int) -> bool:
    """Return whether a right code was accepted after all tries had been used up by wrong ones."""
    wrong = sorted(ended_ns for _, ended_ns, code in guesses if code == ReturnCode.INVALID_CODE)
    return len(wrong) >= tries and any(
        began_ns >= wrong[tries - 1] for began_ns, _, code in guesses if code == ReturnCode.SUCCESS
    )


def _most_by_chance(guesses: int) -> int:
    """Return the highest number of right guesses that chance explains: a quantile of the Poisson distribution."""
    mean, right = guesses / CODES, 0
    at_most = term = math.exp(-mean)
    while 1 - at_most > _NEGLIGIBLE_CHANCE:
        right += 1
        term *= mean / right
        at_most += term
    return right


# The checks.

FREQUENCY_LIMITS = Check(
    "frequency_limits",
    "no send beyond the rules is accepted, and none within them is refused",
    _send_row,
    _measure_limits,
    "decided",
    (Violation("over_admissions", "send", ""), Violation("false_refusals", "send", "refused within the rules")),
    _judge_rules,
)
BRUTE_FORCE = Check(
    "brute_force",
    "codes are guessed no more often than the allowed tries make likely",
    _guess_row,
    _measure_guesses,
    "messages_locked",
    (
        Violation("beyond_chance", "guess", "right beyond chance"),
        Violation("beyond_tries", "wrong code", "answered beyond the tries of a message"),
        Violation("let_in_after_tries", "message", "verified when no tries were left"),
        Violation("beyond_failures_per_hour", "wrong code", "answered beyond the failures per hour of a mobile"),
    ),
)
REPLAY = Check(
    "replay",
    "of many callers who verify one right code at once, exactly one succeeds",
    _right_row,
    _measure_replays,
    "successes",
    (
        Violation("verified_twice", "message", "verified more than once"),
        Violation("verified_never", "message", "never verified"),
    ),
)
JOURNEY = Check(
    "journey",
    "each typed code, and each repeated send, gets the expected return code",
    _expected_row,
    _measure_verdicts,
    "responses",
    (Violation("wrong_responses", "response", "not the expected one"),),
    _judge_typed,
)
CODES_JUDGED = Check(
    "codes_judged",
    "right codes are accepted, wrong and used ones are not",
    _code_row,
    _measure_codes,
    "codes",
    (
        Violation("right_refused", "right code", "refused"),
        Violation("wrong_accepted", "wrong code", "accepted"),
        Violation("used_accepted", "used code", "accepted once more"),
    ),
    is_implied=True,
)
"""A verdict on a typed code is no failed call, so a target that refuses every right code meets all thresholds."""

THROUGHPUT = Check(
    "throughput",
    "the limits are met up to the highest rate that was found",
    _timed_row,
    _measure_slots,
    "highest_rate_per_s",
    (Violation("missed_from_the_start", "slot", "over the limits at the lowest rate, so no rate met them"),),
    applies=lambda expectations: bool(expectations.limits),
)
