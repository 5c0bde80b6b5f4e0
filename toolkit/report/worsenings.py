"""Judge whether a run is worse than the run of ``--against``, or find the reason why they cannot be compared."""

from __future__ import annotations

from typing import Any

from toolkit.analysis.change_detection.worsening import find_worsening
from toolkit.records.call_record import parse_expected
from toolkit.report.inputs import ReportInputs
from toolkit.report.run_result import RunResult
from toolkit.runs.comparability import different_settings, unusable_reason
from toolkit.runs.thresholds import Failed, RunFigures, Share, Status
from toolkit.runs.worsening import Worsening, WorseningVerdict


def judge_worsenings(inputs: ReportInputs) -> list[WorseningVerdict]:
    """Return the verdict on each condition of ``--fail-if-worse``, which takes one run.

    Runs that cannot be compared have no data, which passes nothing: with other settings, with the load generator as
    the bottleneck, saturated or not complete.
    """
    before, now = inputs.options.against, inputs.total
    if before is None:
        return []
    reason = _incomparable_reason(before, inputs.runs[0])
    return [_judge(it, before, now, reason) for it in inputs.options.worsenings]


def _judge(worsening: Worsening, before: RunResult, now: RunResult, reason: str) -> WorseningVerdict:
    metric = worsening.metric
    was, value = metric.value(before.figures), metric.value(now.figures)
    if lacking := [name for name, it in ((before.name, was), (now.name, value)) if it is None]:
        reason = reason or f"no data in {' and '.join(lacking)}"
    if not reason and any(_is_uncertain(worsening, it.figures) for it in (before, now)):
        reason = "calls with an unknown return code could change it"
    if reason:
        return WorseningVerdict(worsening, Status.NO_DATA, was, value, note=reason)
    given: Any = now.settings.get("expected") or ()
    sides = before.after_warm_up, now.after_warm_up
    sending_s = sides[0].sending_s, sides[1].sending_s
    test = find_worsening(sides[0].calls, sides[1].calls, worsening, parse_expected(given), sending_s)
    status = Status.NO_DATA if test.p_value is None else Status.FAIL if test.is_worse else Status.PASS
    return WorseningVerdict(worsening, status, was, value, test.p_value, test.note)


def _incomparable_reason(before: RunResult, now: RunResult) -> str:
    """Return why two runs cannot be compared, or ""."""
    for run in (before, now):
        if reason := unusable_reason(run.settings):
            return f"{run.name}: {reason}"
    if different := different_settings(now.settings, before.settings):
        return f"other settings than {before.name}: {', '.join(different)}"
    return ""


def _is_uncertain(worsening: Worsening, figures: RunFigures) -> bool:
    """Return whether calls with an unknown return code could change the value."""
    metric = worsening.metric
    if isinstance(metric, Share):
        return metric.most(figures) != metric.value(figures)
    return isinstance(metric, Failed) and metric.least(figures) != metric.value(figures)
