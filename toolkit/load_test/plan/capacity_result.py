"""Describe the result of a search for the capacity: the content of capacity.json. No I/O.

docs/reference/capacity-json.md describes each field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from toolkit import number_format
from toolkit.load_test.plan.capacity_search import (
    Conclusion,
    Doubt,
    SearchPlan,
    Trial,
    Verdict,
    by_load,
    estimate,
    format_load,
    judge_all,
)
from toolkit.load_test.plan.trial_evidence import share_of_limit
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.thresholds import Status, Threshold

SCHEMA = 1
_DOUBT_CODES = {Doubt.GENERATOR: ExitCode.BOTTLENECK, Doubt.CONNECTIONS: ExitCode.BOTTLENECK}


def describe_search(
    plan: SearchPlan,
    limits: Sequence[Threshold],
    trials: Sequence[Trial],
    conclusion: Conclusion,
    stop: ExitCode | None = None,
) -> dict[str, Any]:
    """Return the fields of capacity.json that follow from the trials.

    Args:
        plan: The plan of the search.
        limits: The limits, in the order of each trial's evidence.
        trials: All trials.
        conclusion: The end of the search.
        stop: Why it was stopped before its end; None if it was not.
    """
    code = _exit_code(conclusion, stop)
    return {
        "schema": SCHEMA,
        "exit_code": int(code),
        "answer": answer(plan, conclusion),
        "is_settled": conclusion.is_settled,
        "unsettled": conclusion.unsettled,
        "unit": "users" if plan.is_whole else "journeys/s",
        "capacity": _capacity(plan, limits, trials, conclusion),
        "limits": [_by_limit(it, number, trials) for number, it in enumerate(limits)],
        "trials": [_trial(it, limits) for it in trials],
        "messages": sum(it.messages for it in trials),
    }


def answer(plan: SearchPlan, conclusion: Conclusion) -> str:
    """Return the result in one sentence, e.g. "holds 3,050/s, misses 3,180/s".

    >>> answer(SearchPlan(50, 60, 10), Conclusion(None, False))
    'no figure'
    """
    interval = conclusion.interval
    if interval is None:
        return "no figure"
    return f"holds {format_load(plan, interval.held.load)}, misses {format_load(plan, interval.missed.load)}"


def _exit_code(conclusion: Conclusion, stop: ExitCode | None) -> ExitCode:
    if conclusion.is_settled:
        return ExitCode.DONE
    if stop is not None:
        return stop
    return _DOUBT_CODES.get(conclusion.doubt, ExitCode.FAILED) if conclusion.doubt else ExitCode.FAILED


def _capacity(
    plan: SearchPlan, limits: Sequence[Threshold], trials: Sequence[Trial], conclusion: Conclusion
) -> dict[str, Any] | None:
    interval = conclusion.interval
    if interval is None:
        return None
    crossing = estimate(trials, judge_all(trials))
    held, missed = interval.held, interval.missed
    return {
        "held": held.load,
        "missed": missed.load,
        "width_ratio": interval.width_ratio,
        "binding_limit": str(limits[missed.binding]),
        "estimate": crossing.load if crossing else None,
        "estimate_error_ratio": crossing.error_ratio if crossing else None,
        "reasons": list(_reasons(plan, limits, trials, held, missed)),
    }


def _reasons(
    plan: SearchPlan, limits: Sequence[Threshold], trials: Sequence[Trial], held: Verdict, missed: Verdict
) -> Iterator[str]:
    """Yield the evidence for each border in a sentence, by the limit that is nearest to being missed there."""
    for verdict, word in ((held, "held"), (missed, "missed")):
        found = [it for it in trials if it.load == verdict.load and it.is_long and it.doubt is None]
        limit = limits[verdict.binding]
        values = [it.evidence[verdict.binding].value for it in found]
        known = sorted(it for it in values if it is not None)
        texts = [number_format.measured(it, limit.metric.unit or "ms", limit.limit) for it in (known[0], known[-1])]
        shown = " to ".join(dict.fromkeys(texts))
        by = f"by {abs(verdict.margin):.1f} standard errors"
        if math.isinf(verdict.margin):
            by = f"{'without' if verdict.margin > 0 else 'with'} a bad call"
        if verdict.certainty != verdict.margin:
            by += f", and by {abs(verdict.certainty):.1f} with the trials around it"
        yield (
            f"{format_load(plan, verdict.load)} {word} {limit} in {number_format.plural(len(found), 'trial')} of"
            f" {plan.duration_s:g} s ({shown}), {by}."
        )


def _by_limit(limit: Threshold, number: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the loads at which one limit was met and missed, certain or not."""
    judged = by_load(it for it in trials if it.doubt is None)
    shares = {load: share_of_limit(it.evidence[number] for it in found) for load, found in judged.items()}
    missed = min((load for load, share in shares.items() if share > 1), default=None)
    held = max(
        (load for load, share in shares.items() if share <= 1 and (missed is None or load < missed)), default=None
    )
    return {"limit": str(limit), "held": held, "missed": missed}


def _trial(trial: Trial, limits: Sequence[Threshold]) -> dict[str, Any]:
    results = [
        {"limit": str(limit), "status": _status(trial, number), "value": it.value, "unit": limit.metric.unit or "ms"}
        for number, (limit, it) in enumerate(zip(limits, trial.evidence, strict=False))
    ]
    return {
        "name": trial.name,
        "load": trial.load,
        "duration_s": trial.duration_s,
        "is_long": trial.is_long,
        "result": trial_result(trial),
        "doubt": str(trial.doubt) if trial.doubt else None,
        "doubt_text": trial.doubt_text,
        "messages": trial.messages,
        "achieved_per_s": trial.achieved_per_s,
        "in_flight": trial.in_flight,
        "p50_ms": trial.p50_ms,
        "p99_ms": trial.p99_ms,
        "failed_ratio": trial.failed_ratio,
        "limits": results,
    }


def trial_result(trial: Trial) -> str:
    """Return "held", "missed" or "inconclusive" for one trial alone."""
    if trial.doubt is not None or not trial.evidence:
        return "inconclusive"
    return "held" if all(share_of_limit([it]) <= 1 for it in trial.evidence) else "missed"


def _status(trial: Trial, number: int) -> str:
    if trial.doubt is not None:
        return Status.NO_DATA.value
    return (Status.PASS if share_of_limit([trial.evidence[number]]) <= 1 else Status.FAIL).value
