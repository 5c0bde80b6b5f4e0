"""Claims: what a scenario holds of a service, what of a call bears on it, and whether it stands. No I/O.

What calls show is kept as evidence: rows, and how often each was seen. That of many workers adds up to the whole, so
that calls of two workers for one mobile are judged together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from itertools import takewhile
from typing import Any, TypeAlias

from toolkit.api.defaults import CODES
from toolkit.api.errors import NotConnectedError
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.checks.rate_limit_oracle import Sent, judge_all
from toolkit.load_test.generator.steps import Call, Outcome, Send, Verify
from toolkit.load_test.plan.expectations import Expectations
from toolkit.records.histogram import Histogram
from toolkit.runs import thresholds
from toolkit.runs.thresholds import Measure, Status

_SLOT_NS = 2_000_000_000  # of calls that are held against the limits together
_LOST = "no answer"
_LUCK = 1e-9  # how unlikely a number of right guesses has to be before it isn't put down to chance

Row: TypeAlias = tuple[Any, ...]
Evidence: TypeAlias = Counter[Row]
Figures: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence about a service.

    ``row``: what of a call bears on it. ``weigh``: what all rows together show, as named figures. It is broken where
    one of the figures ``broken_by`` isn't 0; without the figure ``shown_by``, nothing was shown. ``applies``: whether
    the expectations ask for it at all.
    """

    name: str
    says: str
    row: Callable[[Call, Outcome], Row | None]
    weigh: Callable[[Evidence, Expectations], Figures]
    shown_by: str
    broken_by: tuple[str, ...]
    applies: Callable[[Expectations], bool] = lambda expectations: True

    def judge(self, evidence: Evidence, expectations: Expectations) -> CheckResult:
        """Tell whether the claim stands."""
        figures = self.weigh(evidence, expectations)
        if any(figures[name] for name in self.broken_by):
            return CheckResult(self, Status.FAIL, figures)
        return CheckResult(self, Status.PASS if figures[self.shown_by] else Status.NO_DATA, figures)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A claim, whether it stands, and the figures that say so."""

    check: Check
    status: Status
    figures: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it as what a run's folder keeps."""
        return {"claim": self.check.name, "says": self.check.says, "status": self.status.value, "figures": self.figures}


# What of a call bears on a claim.

_ACCEPTED: Mapping[int | None, bool | None] = {ReturnCode.SUCCESS: True, ReturnCode.OUT_OF_FREQ: False, None: None}


def read_sent(outcome: Outcome) -> Sent:
    """Read a send's outcome as the frequency rules see it; any other refusal tells nothing of them."""
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
    """Take what was verified, but for codes that were wrong on purpose."""
    if isinstance(call, Verify) and call.due is not ReturnCode.INVALID_CODE:
        return call.msg_id, _known(outcome)
    return None


def _due_row(call: Call, outcome: Outcome) -> Row | None:
    code = _known(outcome)
    return None if call.due is None or code is None else (int(call.due), code)


def _known(outcome: Outcome) -> int | None:
    """Return the return code; None where it doesn't tell what the service did."""
    code = outcome.return_code
    return None if code is None or code == ReturnCode.SERVER_ERROR else int(code)


def _timed_row(call: Call, outcome: Outcome) -> Row:
    waited_ns = outcome.wait_ns
    slot = (outcome.started_ns - waited_ns) // _SLOT_NS
    came = _LOST if outcome.return_code is None else int(outcome.return_code)
    return slot, outcome.endpoint, came, _blur(outcome.latency_ns), _blur(outcome.latency_ns + waited_ns)


def _blur(time_ns: int) -> int:
    """Keep a time's first 8 bits, so that many calls are one row."""
    spare = max(0, time_ns.bit_length() - 8)
    return time_ns >> spare << spare


def _ended_ns(outcome: Outcome) -> int:
    return outcome.started_ns + outcome.latency_ns


# What all of it shows.


def _weigh_limits(evidence: Evidence, expectations: Expectations) -> Figures:
    mobiles: defaultdict[str, list[Sent]] = defaultdict(list)
    for mobile, began_ns, ended_ns, accepted in evidence:
        mobiles[mobile].append(Sent(began_ns, ended_ns, accepted))
    return asdict(judge_all(mobiles.values(), expectations.rules, expectations.clock))


def _weigh_guesses(evidence: Evidence, expectations: Expectations) -> Figures:
    mobile_of = {row[0]: row[1] for row in evidence if len(row) == 2}
    guesses: defaultdict[str, list[Row]] = defaultdict(list)
    for msg_id, *guess in (row for row in evidence if len(row) == 4):
        guesses[msg_id].append(tuple(guess))
    judged = sum(code in _JUDGED for of_message in guesses.values() for *_, code in of_message)
    got_in = sum(code == ReturnCode.SUCCESS for of_message in guesses.values() for *_, code in of_message)
    hourly = judge_all(_failures(guesses, mobile_of), [expectations.failures_rule], expectations.clock)
    return {
        "messages": len(guesses),
        "guesses_judged": judged,
        "got_in": got_in,
        "beyond_chance": max(0, got_in - _most_by_chance(judged)),
        "beyond_tries": sum(_beyond_tries(it, expectations.tries) for it in guesses.values()),
        "let_in_after_tries": sum(_is_let_in_late(it, expectations.tries) for it in guesses.values()),
        "beyond_failures_per_hour": hourly.over_admissions,
        "refused_below_failures_per_hour": hourly.false_refusals,
    }


def _weigh_replays(evidence: Evidence, expectations: Expectations) -> Figures:
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


def _weigh_verdicts(evidence: Evidence, expectations: Expectations) -> Figures:
    wrong = {f"{due} answered {got}": seen for (due, got), seen in sorted(evidence.items()) if due != got}
    return {"answers": evidence.total(), "wrong_answers": sum(wrong.values()), "wrong": wrong}


def _weigh_slots(evidence: Evidence, expectations: Expectations) -> Figures:
    slots: defaultdict[int, Evidence] = defaultdict(Counter)
    for (slot, *row), seen in evidence.items():
        slots[slot][tuple(row)] += seen
    figures = [_slot_figures(slots[slot]) for slot in sorted(slots)]
    kept = list(takewhile(lambda it: _keeps(it, expectations.limits), figures))
    missed = figures[len(kept)] if len(kept) < len(figures) else None
    return {
        "highest_rate_per_s": max((_sends_per_s(it) for it in kept), default=0.0),
        "missed_at_rate_per_s": _sends_per_s(missed) if missed else None,
        "missed_from_the_start": int(bool(figures) and not kept),
    }


def _slot_figures(calls: Evidence) -> thresholds.Figures:
    outcomes: Counter[tuple[Endpoint, int | str]] = Counter()
    times_ns: defaultdict[tuple[Endpoint, Measure], list[int]] = defaultdict(list)
    for (endpoint, came, latency_ns, caller_ns), seen in calls.items():
        outcomes[Endpoint(endpoint), came] += seen
        times_ns[Endpoint(endpoint), Measure.LATENCY_MS] += [latency_ns] * seen
        times_ns[Endpoint(endpoint), Measure.CALLER_MS] += [caller_ns] * seen
    times = {what: Histogram.of(times) for what, times in times_ns.items()}
    return thresholds.Figures(_SLOT_NS / 1e9, outcomes, times)


def _keeps(figures: thresholds.Figures, limits: Iterable[thresholds.Threshold]) -> bool:
    return all(thresholds.judge(it, figures).status is Status.PASS for it in limits)


def _sends_per_s(figures: thresholds.Figures) -> float:
    return figures.calls(Endpoint.SEND) / figures.duration_s


_JUDGED = (ReturnCode.SUCCESS, ReturnCode.INVALID_CODE)
_COUNTED: Mapping[int | None, bool | None] = {ReturnCode.INVALID_CODE: True, ReturnCode.OUT_OF_FREQ: False, None: None}


def _failures(guesses: Mapping[str, Iterable[Row]], mobile_of: Mapping[str, str]) -> Iterable[list[Sent]]:
    """Return the guesses at each mobile as the failures rule counts them: one that was wrong is let through."""
    failures: defaultdict[str, list[Sent]] = defaultdict(list)
    for msg_id, of_message in guesses.items():
        for began_ns, ended_ns, code in of_message:
            if msg_id in mobile_of and code in _COUNTED:
                failures[mobile_of[msg_id]].append(Sent(began_ns, ended_ns, _COUNTED[code]))
    return failures.values()


def _beyond_tries(guesses: Iterable[Row], tries: int) -> int:
    wrong = sum(1 for *_, code in guesses if code == ReturnCode.INVALID_CODE)
    return max(0, wrong - tries)


def _is_let_in_late(guesses: Iterable[Row], tries: int) -> bool:
    """Tell whether a code was right that was typed when as many wrong ones as the tries had been answered."""
    wrong = sorted(ended_ns for _, ended_ns, code in guesses if code == ReturnCode.INVALID_CODE)
    return len(wrong) >= tries and any(
        began_ns >= wrong[tries - 1] for began_ns, _, code in guesses if code == ReturnCode.SUCCESS
    )


def _most_by_chance(guesses: int) -> int:
    """Return how many of so many guesses may be right before it is more than luck: the tail of Poisson's law."""
    mean, right = guesses / CODES, 0
    at_most = term = math.exp(-mean)
    while 1 - at_most > _LUCK:
        right += 1
        term *= mean / right
        at_most += term
    return right


# The claims.

FREQUENCY_LIMITS = Check(
    "frequency_limits",
    "no send beyond the rules is accepted, and none within them is refused",
    _send_row,
    _weigh_limits,
    "decided",
    ("over_admissions", "false_refusals"),
)
BRUTE_FORCE = Check(
    "brute_force",
    "guessing gets in no more often than the tries allow",
    _guess_row,
    _weigh_guesses,
    "guesses_judged",
    ("beyond_chance", "beyond_tries", "let_in_after_tries", "beyond_failures_per_hour"),
)
REPLAY = Check(
    "replay",
    "of many callers who verify one right code at once, exactly one succeeds",
    _right_row,
    _weigh_replays,
    "messages",
    ("verified_twice", "verified_never"),
)
JOURNEY = Check(
    "journey",
    "each code that is typed, and each that is sent again, gets the answer that is due",
    _due_row,
    _weigh_verdicts,
    "answers",
    ("wrong_answers",),
)
THROUGHPUT = Check(
    "throughput",
    "the limits are kept up to a rate of journeys, and this is the highest",
    _timed_row,
    _weigh_slots,
    "highest_rate_per_s",
    ("missed_from_the_start",),
    lambda expectations: bool(expectations.limits),
)
