"""Judge thresholds by the figures of a run, and write verdicts as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from toolkit.api.errors import InputError
from toolkit.masking import Json
from toolkit.report.exit_reasons import unrecorded_text
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import (
    RunFigures,
    Status,
    Threshold,
    Verdict,
    judge,
    mark_inconclusive,
    parse_threshold,
    without_pass,
)
from toolkit.runs.worsening import WorseningVerdict


def read_thresholds(settings: Mapping[str, object]) -> list[Threshold]:
    """Return the thresholds of a run's settings. Raises InputError if "thresholds" is not a list of thresholds."""
    texts = settings.get("thresholds") or ()
    if not isinstance(texts, list | tuple):
        raise InputError(
            f'invalid thresholds {texts!r} in run.json: expected a list, e.g. ["p99(send.caller_ms) < 250"]'
        )
    return [parse_threshold(str(text)) for text in texts]


def judge_run(thresholds: Iterable[Threshold], figures: RunFigures, settings: Mapping[str, object]) -> list[Verdict]:
    """Judge a run's thresholds.

    A threshold that ended the run has failed, whatever the result of the calls that were still in flight. In a run that
    was killed, or that lacks records of a killed process, nothing passes, and neither if the load generator was the
    bottleneck; see ``mark_inconclusive``.
    """
    verdicts = [judge(threshold, figures) for threshold in thresholds]
    if settings.get("ended") == Cause.MISSED:
        ended_by = settings.get("ended_because")
        verdicts = [replace(it, status=Status.FAIL) if str(it.threshold) == ended_by else it for it in verdicts]
    if settings.get("ended") == Cause.INCOMPLETE or unrecorded_text(settings):
        verdicts = [replace(it, status=without_pass(it.status)) for it in verdicts]
    if settings.get("bottleneck"):
        generator: Any = settings.get("generator")
        lag_ms = generator.get("max_lag_ms") if isinstance(generator, Mapping) else None
        verdicts = [mark_inconclusive(it, math.inf if lag_ms is None else float(lag_ms)) for it in verdicts]
    return verdicts


def as_json(verdict: Verdict | WorseningVerdict) -> dict[str, Json]:
    """Return a verdict as a JSON object: threshold, status, value (null without data), limit and their unit.

    The value and the limit of a worsening are changes in percent.
    """
    return {
        "threshold": str(verdict.threshold),
        "status": verdict.status.value,
        "value": verdict.value,
        "limit": verdict.threshold.limit,
        "unit": verdict.unit,
    }
