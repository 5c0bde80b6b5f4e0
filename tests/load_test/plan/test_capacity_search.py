"""The search for the capacity: its steps, and its answers on planted queues in virtual time."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolkit.load_test.plan.capacity_result import answer, describe_search
from toolkit.load_test.plan.capacity_search import (
    Conclusion,
    Doubt,
    Interval,
    NextTrial,
    SearchPlan,
    Trial,
    decide,
    judge_all,
)
from toolkit.load_test.plan.trial_evidence import Evidence
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.thresholds import Threshold, parse_threshold

PLAN = SearchPlan(start=50, duration_s=60, short_s=10)
USERS = SearchPlan(start=8, duration_s=60, short_s=10, is_whole=True)
LIMITS = [parse_threshold("p99(send.caller_ms) < 50"), parse_threshold("failed < 1%")]
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(BENCHMARKS)  # capacity.py imports planted_server.py
    BENCHMARK = runpy.run_path(str(BENCHMARKS / "capacity.py"), run_name="planted")


def evidence(limit: int, share: float, calls: int = 1000) -> Evidence:
    """Return the evidence of a trial with a multiple of the allowed bad calls."""
    value = share if limit else 40 * share
    return Evidence(str(LIMITS[limit]), 0.01, (0.01 * share * calls,) * 10, (calls,) * 10, value)


def run(
    plan: SearchPlan,
    share: Callable[[float], float],
    failed: Callable[[float], float] = lambda _: 0.0,
    doubt: Callable[[float], Doubt | None] = lambda _: None,
) -> tuple[Conclusion, list[Trial]]:
    """Search a service whose bad calls are a function of the load, without any chance."""
    trials = list[Trial]()
    while isinstance(step := decide(plan, trials), NextTrial):
        found = (evidence(0, min(share(step.load), 100)), evidence(1, failed(step.load)))
        why = doubt(step.load)
        length_s = plan.duration_s if step.is_long else plan.short_s
        messages = round(step.load * length_s)
        trials.append(Trial(step.load, length_s, step.is_long, found, messages, doubt=why, doubt_text=str(why or "")))
    return step, trials


def test_the_load_is_doubled_until_one_misses_with_short_trials() -> None:
    _, trials = run(PLAN, lambda load: (load / 700) ** 30)
    assert [it.load for it in trials[:6]] == [50, 100, 200, 400, 800, pytest.approx(565, abs=10)]
    assert not any(it.is_long for it in trials[:6])


def test_the_load_is_halved_if_the_first_one_misses() -> None:
    _, trials = run(PLAN, lambda load: (load / 15) ** 30)
    assert [it.load for it in trials[:3]] == [50, 25, 12.5]


@pytest.mark.parametrize("capacity", [3, 49, 333, 4321])
def test_the_interval_is_narrow_holds_the_capacity_and_is_confirmed_by_repeats(capacity: float) -> None:
    conclusion, trials = run(PLAN, lambda load: (load / capacity) ** 30)
    interval = conclusion.interval
    assert conclusion.is_settled
    assert interval
    assert interval.held.load < capacity < interval.missed.load <= 1.0501 * interval.held.load
    for border in (interval.held, interval.missed):
        assert sum(it.load == border.load and it.is_long for it in trials) >= 3


def test_of_several_limits_the_one_that_is_missed_first_binds() -> None:
    conclusion, trials = run(PLAN, lambda load: (load / 400) ** 30, lambda load: (load / 300) ** 30)
    content = describe_search(PLAN, LIMITS, trials, conclusion)
    assert content["capacity"]["binding_limit"] == "failed < 1%"
    assert content["capacity"]["held"] < 300 < content["capacity"]["missed"]
    by_limit = {it["limit"]: it for it in content["limits"]}
    assert by_limit["p99(send.caller_ms) < 50"]["held"] >= content["capacity"]["missed"]
    assert (by_limit["p99(send.caller_ms) < 50"]["missed"] or 400) >= 400


def test_users_are_whole_and_neighbours_settle() -> None:
    conclusion, trials = run(USERS, lambda load: (load / 7.4) ** 30)
    assert answer(USERS, conclusion) == "holds 7 users, misses 8 users"
    assert conclusion.is_settled
    assert all(it.load == int(it.load) for it in trials)


@pytest.mark.parametrize("doubt", [Doubt.GENERATOR, Doubt.RATE_LIMIT, Doubt.CONNECTIONS])
def test_a_load_at_which_the_service_cannot_be_judged_gives_no_figure(doubt: Doubt) -> None:
    conclusion, trials = run(PLAN, lambda load: (load / 700) ** 30, doubt=lambda load: doubt if load > 300 else None)
    assert conclusion.interval is None
    assert conclusion.doubt is doubt
    assert "could not be judged" in conclusion.unsettled
    code = describe_search(PLAN, LIMITS, trials, conclusion)["exit_code"]
    assert code == (ExitCode.FAILED if doubt is Doubt.RATE_LIMIT else ExitCode.BOTTLENECK)


def test_a_doubt_far_above_the_capacity_does_not_matter() -> None:
    conclusion, _ = run(
        PLAN, lambda load: (load / 300) ** 30, doubt=lambda load: Doubt.GENERATOR if load > 390 else None
    )
    assert conclusion.is_settled


def test_a_disturbance_of_the_generator_is_repeated() -> None:
    disturbed = iter([None, Doubt.GENERATOR])
    conclusion, trials = run(PLAN, lambda load: (load / 300) ** 30, doubt=lambda _: next(disturbed, None))
    assert [it.load for it in trials[:4]] == [50, 100, 100, 200]
    assert conclusion.is_settled


def test_a_trial_that_was_cut_off_ends_the_search_with_what_is_settled() -> None:
    conclusion, trials = run(PLAN, lambda load: (load / 700) ** 30)
    cut = Trial(700, 60, True, trials[-1].evidence, doubt=Doubt.CUT, doubt_text="interrupted")
    ended = decide(PLAN, [*trials[:4], cut])
    assert isinstance(ended, Conclusion)
    assert ended.interval is None
    assert "interrupted" in ended.unsettled
    late = decide(PLAN, [*trials, cut])
    assert isinstance(late, Conclusion)
    assert late.interval == conclusion.interval


def test_a_service_that_misses_at_every_load_is_told() -> None:
    conclusion, _ = run(SearchPlan(1, 60, 10, is_whole=True), lambda _: 50.0)
    assert conclusion.interval is None
    assert "Even 1 user missed" in conclusion.unsettled


def test_the_reasons_name_the_limit_its_measured_values_and_the_repeats() -> None:
    conclusion, trials = run(PLAN, lambda load: (load / 700) ** 30)
    held, missed = describe_search(PLAN, LIMITS, trials, conclusion)["capacity"]["reasons"]
    assert "held p99(send.caller_ms) < 50 in 3 trials of 60 s" in held
    assert "missed p99(send.caller_ms) < 50 in 3 trials of 60 s" in missed
    assert conclusion.interval
    lower, upper = conclusion.interval.held, conclusion.interval.missed
    assert lower.certainty > lower.margin  # the estimate is more certain here, and not there
    assert upper.certainty == upper.margin
    assert held.endswith(
        f", by {lower.margin:.1f} standard errors, and by {lower.certainty:.1f} with the trials around it."
    )
    assert missed.endswith(f", by {-upper.margin:.1f} standard errors.")


def reasons(limits: list[Threshold], *borders: tuple[Evidence, ...]) -> list[str]:
    """Return the reasons for an interval, with three trials of the same evidence at each border."""
    trials = [Trial(load, 60, True, found) for load, found in zip((100, 104), borders, strict=True) for _ in range(3)]
    held, missed = judge_all(trials)
    described = describe_search(PLAN, limits, trials, Conclusion(Interval(held, missed), True))
    return list(described["capacity"]["reasons"])


def test_each_border_is_explained_by_its_own_limit_and_its_values() -> None:
    held, missed = reasons(LIMITS, (evidence(0, 0.2), evidence(1, 0.8)), (evidence(0, 3), evidence(1, 0.9)))
    assert held.startswith("100/s held failed < 1% in 3 trials of 60 s (0.80 %), by ")
    assert missed.startswith("104/s missed p99(send.caller_ms) < 50 in 3 trials of 60 s (120 ms), by ")


def test_a_limit_that_allows_no_bad_call_is_explained_without_standard_errors() -> None:
    limit = parse_threshold("max(send.caller_ms) < 9")
    found = [Evidence(str(limit), 0.0, (bad,) * 10, (100,) * 10, value) for bad, value in ((0.0, 7.0), (1.0, 12.0))]
    assert reasons([limit], (found[0],), (found[1],)) == [
        "100/s held max(send.caller_ms) < 9 in 3 trials of 60 s (7.00 ms), without a bad call.",
        "104/s missed max(send.caller_ms) < 9 in 3 trials of 60 s (12.0 ms), with a bad call.",
    ]


def planted(number: int, **bound: float) -> tuple[Any, Conclusion, list[Trial]]:
    """Search the planted server of a number in virtual time."""
    from dataclasses import replace

    server = replace(BENCHMARK["plant"](1, number), **bound)
    return server, *BENCHMARK["search"](server, number)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_true_capacity_of_a_planted_queue_is_in_the_interval(number: int) -> None:
    server, conclusion, _ = planted(number)
    assert conclusion.interval
    # Of random trials: twice the width on each side, so that chance decides nothing.
    per_s = {0: 0.95, 1: 1.0, 2: 0.9}[number] * server.per_s
    assert 0.8 * per_s < conclusion.interval.held.load < conclusion.interval.missed.load < 1.1 * per_s


@pytest.mark.parametrize("bound", ["generator_per_s", "rate_limit_per_s"])
def test_a_slow_generator_and_a_rate_limit_are_never_taken_for_the_capacity(bound: str) -> None:
    _, conclusion, _ = planted(1, **{bound: 0.5 * BENCHMARK["plant"](1, 1).per_s})
    assert conclusion.interval is None
    assert conclusion.doubt is {"generator_per_s": Doubt.GENERATOR, "rate_limit_per_s": Doubt.RATE_LIMIT}[bound]
