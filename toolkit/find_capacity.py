"""Search the highest load that a target holds: run the trials that ``plan.capacity_search`` chooses.

Each trial is a load test of its own, in a folder ``trial-NN`` of the search's folder, with its records and run.json. A
new process for each trial costs one or two seconds. In return no queue and no connection of one trial reaches the
next one, and a trial may send only the messages that the search has left. capacity.json is written after each trial,
so a search that is killed leaves all that it has found.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from toolkit import number_format
from toolkit.api.errors import RunError
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.atomic_write import write_atomically
from toolkit.json_numbers import exact
from toolkit.load_and_report import LoadTest
from toolkit.load_test.launch.locust_process import Ended
from toolkit.load_test.plan.capacity_result import describe_search
from toolkit.load_test.plan.capacity_search import (
    Conclusion,
    Doubt,
    NextTrial,
    SearchPlan,
    Trial,
    conclude,
    decide,
    format_load,
)
from toolkit.load_test.plan.options import LoadOptions
from toolkit.load_test.plan.trial_evidence import TrialCalls, measure
from toolkit.masking import mask
from toolkit.records.call_record import is_failed, parse_expected
from toolkit.runs import run_folder
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.live_run import LiveRun, RunKind, show_progress
from toolkit.runs.run_folder import ANSWERED, Cause
from toolkit.runs.thresholds import Threshold, add_default, parse_threshold
from toolkit.settings import Price, Target

if TYPE_CHECKING:
    from toolkit.report.run_result import RunResult

Play: TypeAlias = Callable[[LoadTest, Target, Path], Ended]
"""Runs a load test in a new folder until its end, and returns how it ended."""

_SHORT_PART, _MIN_SHORT_S = 6, 5.0
_WARM_UP_PART, _MAX_WARM_UP_S = 10, 5.0
_START_S = 3.0  # a trial's process starts within this time
_MAX_RATE_LIMITED = 0.01  # of the sends
_SLOWER = 2.0  # a median this many times that of the lowest load is the service's own


@dataclass(frozen=True)
class CapacitySearch:
    """A search for the highest load that meets all limits.

    Args:
        scenario: Name of a scenario, or path of a locustfile.
        options: The options of `smscode load` with ``find_capacity``.
        price: Price of a send, for ``options.max_cost``.
        own_options: Arguments for options that the locustfile itself defines.

    Raises:
        InputError: As ``LoadTest`` does.

    >>> search = CapacitySearch("throughput", LoadOptions(
    ...     find_capacity=True, limits=("p99(send.caller_ms) < 50",), rate_per_s=50, duration_s=60))
    >>> [str(it) for it in search.limits]
    ['p99(send.caller_ms) < 50', 'failed < 1%', 'dropped < 1%']
    """

    scenario: str
    options: LoadOptions
    price: Price | None = None
    own_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.first_trial.cap()

    @cached_property
    def limits(self) -> tuple[Threshold, ...]:
        """The limits, with the default ones on failed calls and dropped arrivals."""
        options = self.options
        max_dropped = options.max_dropped if options.users is None else None
        return add_default(map(parse_threshold, options.limits), options.max_failed, max_dropped)

    @cached_property
    def plan(self) -> SearchPlan:
        """The plan of the search."""
        long_s = self.options.duration_s or math.inf
        return SearchPlan(
            start=float(self.options.users or self.options.rate_per_s or 1),
            duration_s=long_s,
            short_s=min(long_s, max(long_s / _SHORT_PART, _MIN_SHORT_S)),
            width_ratio=float(self.options.width.removesuffix("%")) / 100,
            is_whole=self.options.users is not None,
        )

    @property
    def warm_up_s(self) -> float:
        """The time at the start of each trial whose calls are left out."""
        if "warm_up_s" in self.options.model_fields_set:
            return self.options.warm_up_s
        return min(self.plan.duration_s / _WARM_UP_PART, _MAX_WARM_UP_S)

    @cached_property
    def first_trial(self) -> LoadTest:
        """The load test of the first trial. It has the permissions and the cap of the whole search."""
        return self.load_test(NextTrial(self.plan.start, False, ""), 1, self.options.message_cap(self.price))

    def check(self, target: Target) -> None:
        """Check the target as ``LoadTest.check`` does."""
        self.first_trial.check(target)

    def sandbox_arguments(self) -> Sequence[str]:
        """Return the options of a sandbox that is started for the search."""
        return self.options.sandbox_arguments()

    def live_run(self, target: Target | None, max_away_s: float | None = None) -> LiveRun:
        """Return the record of the search for other processes while it runs; as ``LoadTest.live_run``."""
        load = f"from {format_load(self.plan, self.plan.start)}"
        updates = {"kind": RunKind.SEARCH, "load": load, "run_time_s": self.options.max_duration_s}
        return self.first_trial.live_run(target, max_away_s).model_copy(update=updates)

    def load_test(self, trial: NextTrial, number: int, max_messages: int | None) -> LoadTest:
        """Return the load test of a trial, which may send what the budget has left.

        Each trial has its own seed: mobiles of an earlier one would be refused by the rate limits.
        """
        updates: dict[str, Any] = {
            "find_capacity": False,
            "limits": (),
            "width": LoadOptions.model_fields["width"].default,
            "warm_up_s": self.warm_up_s,
            "max_duration_s": None,
            "duration_s": self.warm_up_s + (self.plan.duration_s if trial.is_long else self.plan.short_s),
            "seed": self.options.seed + number,
            "max_messages": max_messages,
            "max_cost": None,
        }
        updates |= {"users": round(trial.load)} if self.plan.is_whole else {"rate_per_s": trial.load}
        return LoadTest(self.scenario, self.options.model_copy(update=updates), self.price, self.own_options)

    def settings(self, target: Target) -> dict[str, object]:
        """Return the settings that capacity.json records, without the secret."""
        options = self.options
        return {
            **self.first_trial.settings(target),
            "limits": [str(it) for it in self.limits],
            "duration_s": self.plan.duration_s,
            "short_duration_s": self.plan.short_s,
            "warm_up_s": self.warm_up_s,
            "width_ratio": self.plan.width_ratio,
            "max_messages": options.max_messages,
            "max_cost": options.max_cost,
            "max_duration_s": options.max_duration_s,
            "seed": options.seed,
        }

    def over_budget(self, trial: NextTrial, trials: Sequence[Trial], elapsed_s: float) -> str:
        """Return why the budget does not allow another trial, as a sentence; "" if it does."""
        length_s = self.warm_up_s + (self.plan.duration_s if trial.is_long else self.plan.short_s)
        spent, cap = sum(it.messages for it in trials), self.options.message_cap(self.price)
        known = [it for it in trials if it.messages and it.doubt is None]
        per_s = max((it.messages / (it.duration_s + self.warm_up_s) / it.load for it in known), default=0.0)
        needed = math.ceil(per_s * trial.load * length_s) or 1
        if cap is not None and spent + needed > cap:
            option = "--max-cost" if self.options.max_messages is None else "--max-messages"
            return (
                f"The next trial needs {number_format.plural(needed, 'message')},"
                f" but only {cap - spent:,} of the {cap:,} of {option} are left."
            )
        limit_s = self.options.max_duration_s
        if limit_s is not None and elapsed_s + length_s + _START_S > limit_s:
            return (
                f"The next trial takes {number_format.duration(length_s + _START_S)} with its start, but only"
                f" {number_format.duration(max(0.0, limit_s - elapsed_s))} of --max-duration are left."
            )
        return ""


def play_trial(load_test: LoadTest, target: Target, folder: Path) -> Ended:
    """Run a load test in a new folder until its end, without showing its progress."""
    with load_test.prepare(folder) as run:
        load_test.begin(run, target)
        return run.wait()


def find_capacity(
    search: CapacitySearch,
    target: Target,
    folder: Path,
    play: Play = play_trial,
    on_trial: Callable[[dict[str, Any]], object] = lambda _: None,
    on_next: Callable[[NextTrial], object] = lambda _: None,
    find_stop: Callable[[], str | None] = lambda: None,
) -> dict[str, Any]:
    """Run a search to its end and write capacity.json and report.html.

    Args:
        search: The search.
        target: The API to load.
        folder: A new or empty folder.
        play: Runs one trial.
        on_trial: Called after each trial with the content of capacity.json so far.
        on_next: Called before each trial.
        find_stop: Called before each trial; returns by whom or why the search is to be stopped, "" if that is not
            known; None: it goes on.

    Returns:
        The content of capacity.json; see docs/reference/capacity-json.md.

    Raises:
        RunError: As ``LoadRun.wait``, in the first trial. A later one ends the search.
    """
    from toolkit.report.capacity_page import write_capacity_page

    began_s, started = time.monotonic(), datetime.now(UTC)
    trials: list[Trial] = []
    stop: ExitCode | None = None

    def write(conclusion: Conclusion, ended: str) -> dict[str, Any]:
        found = describe_search(search.plan, search.limits, trials, conclusion, stop)
        content = {
            **found,
            "ended": ended,
            "scalability": None if ended == Cause.INCOMPLETE else _scalability(found),
            "started": started.isoformat(),
            "duration_s": time.monotonic() - began_s,
            "settings": mask(search.settings(target)),
        }
        text = json.dumps(exact(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(folder / run_folder.CAPACITY_NAME, text)
        return content

    def write_so_far() -> dict[str, Any]:
        return write(conclude(search.plan, trials, "The search has not ended."), Cause.INCOMPLETE.value)

    folder.mkdir(parents=True, exist_ok=True)
    write_so_far()
    while True:
        step = decide(search.plan, trials)
        if isinstance(step, Conclusion):
            break
        if (reason := find_stop()) is not None:
            text = f"The search was stopped{f' by {reason}' if reason else ''}."
            step, stop = conclude(search.plan, trials, text), _stop_code(reason)
            break
        if problem := search.over_budget(step, trials, time.monotonic() - began_s):
            step, stop = conclude(search.plan, trials, problem), ExitCode.BUDGET
            break
        on_next(step)
        show_progress(folder, f"Trial at {format_load(search.plan, step.load)} ({step.why})")
        cap = search.options.message_cap(search.price)
        left = None if cap is None else cap - sum(it.messages for it in trials)
        load_test = search.load_test(step, len(trials) + 1, left)
        name = f"trial-{len(trials) + 1:02d}"
        try:
            trial, code = _run_trial(search, step, load_test, target, folder / name, trials, play)
        except RunError as problem:
            if not trials:
                raise
            step, stop = (
                conclude(search.plan, trials, f"The load generator of {name} failed: {problem}."),
                ExitCode.FAILED,
            )
            break
        trials.append(trial)
        stop = code or stop
        on_trial(write_so_far())
    content = write(step, Cause.FINISHED.value if stop is None else stop.name.lower())
    write_capacity_page(content, folder)
    return content


def _scalability(content: Mapping[str, Any]) -> dict[str, float | None] | None:
    """Return the parameters of the model of scalability; None if it does not fit the trials."""
    from toolkit.analysis.capacity import capacity, scalability

    model = scalability(capacity(content))
    if not len(model):
        return None
    names = ("speed", "contention", "coherency", "peak_in_flight", "worst_error_ratio")
    values = {name: float(model[name].iloc[0]) for name in names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _run_trial(
    search: CapacitySearch,
    step: NextTrial,
    load_test: LoadTest,
    target: Target,
    folder: Path,
    trials: Sequence[Trial],
    play: Play,
) -> tuple[Trial, ExitCode | None]:
    """Run a trial, write its run.json, and return it, with an exit code if the search must stop after it."""
    from toolkit.analysis import read
    from toolkit.report.run_result import RunResult, save
    from toolkit.runs.check_results import read_check_results

    ended = play(load_test, target, folder)
    settings = load_test.final_settings(target, ended)
    expected = run_folder.read_expected(folder)
    if expected is not None:
        settings["expected"] = expected
    result = RunResult(folder.name, read(folder), settings, read_check_results(folder))
    save(result, folder)
    return read_trial(search, step, result, ended, trials)


def read_trial(
    search: CapacitySearch, step: NextTrial, result: RunResult, ended: Ended, trials: Sequence[Trial]
) -> tuple[Trial, ExitCode | None]:
    """Read a trial from a finished load test; return it with an exit code if the search must stop after it.

    Args:
        search: The search.
        step: The trial that was chosen.
        result: The calls and settings of the load test.
        ended: How it ended.
        trials: The trials before.
    """
    duration_s = search.plan.duration_s if step.is_long else search.plan.short_s
    calls, facts = _read_calls(result, search.warm_up_s, duration_s, ended)
    evidence = tuple(measure(limit, calls) for limit in search.limits)
    trial = Trial(step.load, duration_s, step.is_long, evidence, result.charged_messages, name=result.name, **facts)
    text, code = _stopped(result, ended)
    if not text and (empty := [it.limit for it in evidence if not sum(it.calls)]):
        text, code = f"no call to measure {empty[0]}", ExitCode.FAILED
    if text:
        return _with_doubt(trial, Doubt.CUT, text), code
    return _judge(search, trial, result, ended, trials), None


def _read_calls(
    result: RunResult, warm_up_s: float, duration_s: float, ended: Ended
) -> tuple[TrialCalls, dict[str, Any]]:
    """Return the calls that were due after the warm-up, without those that a rate limit refused, and their figures."""
    import numpy as np
    import pandas as pd

    from toolkit.analysis.calls_table import collect, lazy

    names = ["started_ns", "endpoint", "latency_ns", "wait_ns", "return_code", "kind", "error"]
    frame = collect(lazy(result.calls).select(names))
    texts = {name: frame[name].astype("string").fillna("").to_numpy(str) for name in ("endpoint", "kind", "error")}
    codes = frame["return_code"].astype("Int64").astype("string").fillna("").to_numpy(str)
    latency_ms = frame["latency_ns"].to_numpy(np.float64) / 1e6
    wait_ms = frame["wait_ns"].fillna(0).to_numpy(np.float64) / 1e6
    due_s = frame["started_ns"].to_numpy(np.float64) / 1e9 - wait_ms / 1e3
    due_s = due_s - (due_s.min() if due_s.size else 0.0) - warm_up_s
    given: Any = result.settings.get("expected") or ()
    expected = parse_expected(given)
    keys = pd.DataFrame({"code": codes, "kind": texts["kind"], "error": texts["error"]})
    unique = keys.drop_duplicates()
    unique = unique.assign(
        failed=[
            is_failed(int(code) if code else None, kind or None, error or None, expected)
            for code, kind, error in unique.itertuples(index=False)
        ]
    )
    failed = keys.merge(unique, how="left", on=["code", "kind", "error"])["failed"].to_numpy(bool)
    counted = (due_s >= 0) & (due_s < duration_s)
    is_send, is_rate = texts["endpoint"] == Endpoint.SEND.value, texts["kind"] == Kind.RATE.value
    kept = counted & ~is_rate
    outcome = np.where(texts["error"] == "", codes, texts["error"])
    pacing = ended.pacing
    calls = TrialCalls(
        due_s[kept],
        texts["endpoint"][kept],
        outcome[kept],
        latency_ms[kept],
        (latency_ms + wait_ms)[kept],
        failed[kept],
        duration_s,
        pacing.due if pacing else 0,
        pacing.dropped if pacing else 0,
    )
    sends = counted & is_send
    times = calls.caller_ms[calls.endpoint == Endpoint.SEND.value]
    succeeded = int(np.count_nonzero(kept & is_send & (texts["kind"] == Kind.OK.value)))
    return calls, {
        "achieved_per_s": succeeded / duration_s,
        "in_flight": float(calls.latency_ms.sum()) / 1e3 / duration_s,
        "p50_ms": float(np.median(times)) if times.size else None,
        "p99_ms": float(np.percentile(times, 99)) if times.size else None,
        "service_p50_ms": float(np.median(calls.latency_ms)) if calls.latency_ms.size else None,
        "rate_limited_ratio": float(is_rate[sends].mean()) if sends.any() else 0.0,
        "failed_ratio": float(calls.failed.mean()) if calls.failed.size else None,
    }


def _stopped(result: RunResult, ended: Ended) -> tuple[str, ExitCode | None]:
    """Return why the search can't go on after a trial, and its exit code; "" if it can."""
    outcomes = {outcome for _, outcome in result.outcomes}
    at_end = result.settings.get("target_at_end")
    match ended.cause:
        case Cause.INTERRUPTED:
            return f"interrupted{f' by {ended.reason}' if ended.reason else ''}", _stop_code(ended.reason)
        case Cause.REFUSED:
            return f"the API refuses every further call: {ended.reason}", ExitCode.REFUSED
        case Cause.BUDGET:
            return f"the budget is spent: {ended.reason}", ExitCode.BUDGET
    if all(isinstance(it, str) for it in outcomes):
        return "no call got a response from the API", ExitCode.NO_ANSWER
    if at_end != ANSWERED:
        return f"the target could not be reached after it: {at_end}", ExitCode.FAILED
    return "", None


def _stop_code(reason: str) -> ExitCode:
    return ExitCode.TERMINATED if reason == "SIGTERM" else ExitCode.INTERRUPTED


def _judge(search: CapacitySearch, trial: Trial, result: RunResult, ended: Ended, trials: Sequence[Trial]) -> Trial:
    """Return a trial with its doubt, if the service could not be judged."""
    from toolkit.report.exit_reasons import unrecorded_text

    planned = min(it.rate_limited_ratio for it in (*trials, trial))
    expected: Any = result.settings.get("expected") or ()
    limited = trial.rate_limited_ratio - (planned if Kind.RATE.value in map(str, expected) else 0.0)
    if limited > _MAX_RATE_LIMITED:
        share = number_format.share(trial.rate_limited_ratio)
        return _with_doubt(
            trial,
            Doubt.RATE_LIMIT,
            f"{share} of the sends were refused by a rate limit, not for want of capacity",
        )
    if generator := result.settings.get("bottleneck") or unrecorded_text(result.settings):
        return _with_doubt(trial, Doubt.GENERATOR, str(generator))
    saturation = result.settings.get("saturation")
    base = min((it for it in trials if it.service_p50_ms), key=lambda it: it.load, default=None)
    if (
        saturation
        and base
        and base.load < trial.load
        and (trial.service_p50_ms or 0) < _SLOWER * (base.service_p50_ms or 0)
    ):
        return _with_doubt(
            trial,
            Doubt.CONNECTIONS,
            f"{saturation}, although calls took no longer than before: raise --max-connections",
        )
    return trial


def _with_doubt(trial: Trial, doubt: Doubt, text: str) -> Trial:
    return replace(trial, doubt=doubt, doubt_text=text)
