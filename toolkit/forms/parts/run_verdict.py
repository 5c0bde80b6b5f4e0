"""Sum up a run of a folder in one word, with the reason: only a run that has passed everything is good.

A search for the capacity is good if it is settled, a probe if it came to its own end.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.forms.parts.runs_folder import RunEntry
from toolkit.report.model import INCONCLUSIVE
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.live_run import RunKind
from toolkit.runs.thresholds import Status

_GOOD, _BAD, _UNKNOWN, _LIVE, _NEUTRAL = "sms-safe", "sms-failed", "sms-real", "sms-here", ""
_NO_CODE = "its result has no exit code, so whether it passed is unknown"
_INCONCLUSIVE_CODES = (ExitCode.BOTTLENECK, ExitCode.BUDGET, ExitCode.INTERRUPTED, ExitCode.TERMINATED)


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict on a run, in a word. ``chip`` is the CSS class of its colour, ``reason`` a sentence or ""."""

    word: str
    chip: str
    reason: str = ""


def verdict_of(run: RunEntry) -> RunVerdict:
    """Return the verdict on a run.

    >>> from pathlib import Path
    >>> verdict_of(RunEntry(Path("runs/1"))).word
    'NO DATA'
    >>> passed = {"calls": 9, "exit_code": 0, "verdicts": [{"status": "PASS"}]}
    >>> verdict_of(RunEntry(Path("runs/2"), summary=passed)).word
    'PASS'
    """
    if run.live:
        return RunVerdict("RUNNING", _LIVE)
    if run.is_incomplete:
        return RunVerdict("KILLED", _UNKNOWN, "its process was killed, so nothing passes")
    if run.kind is not RunKind.LOAD_TEST:
        return _verdict_of_answer(run)
    if not run.has_result:
        return RunVerdict("NO DATA", _UNKNOWN, "its folder has no run.json with a result")
    code, reasons = run.summary.get("exit_code"), run.summary.get("exit_reasons")
    reason = str(reasons[0]) if isinstance(reasons, list) and reasons else ""
    statuses = [it.get("status") for key in ("verdicts", "checks") for it in run.summary.get(key, ())]
    if code in _INCONCLUSIVE_CODES:
        return RunVerdict(INCONCLUSIVE, _UNKNOWN, reason)
    if code not in tuple(ExitCode):
        if Status.FAIL in statuses:
            return RunVerdict("FAIL", _BAD, "a threshold or a check failed")
        return RunVerdict("NO DATA", _UNKNOWN, _NO_CODE)
    if code == ExitCode.FAILED and Status.FAIL not in statuses and Status.NO_DATA in statuses:
        return RunVerdict("NO DATA", _UNKNOWN, reason)
    if code != ExitCode.DONE or any(it != Status.PASS for it in statuses):
        return RunVerdict("FAIL", _BAD, reason)
    if not statuses:
        return RunVerdict("NO VERDICT", _NEUTRAL, "it has no threshold and no check")
    return RunVerdict("PASS", _GOOD)


def _verdict_of_answer(run: RunEntry) -> RunVerdict:
    """Return the verdict on a search or a probe that has ended."""
    is_search, code = run.kind is RunKind.SEARCH, run.summary.get("exit_code")
    reason = str(run.summary.get("problem") or answer_of(run))
    if code not in tuple(ExitCode):
        return RunVerdict("NO DATA", _UNKNOWN, reason or _NO_CODE)
    if code == ExitCode.DONE:
        return RunVerdict("SETTLED" if is_search else "COMPLETE", _GOOD, reason)
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        return RunVerdict("STOPPED", _UNKNOWN, reason)
    return RunVerdict("NOT SETTLED", _UNKNOWN, reason) if is_search else RunVerdict("FAILED", _BAD, reason)


def answer_of(run: RunEntry) -> str:
    """Return the answer of a search, or the rules that a probe has found, so far; "" without any."""
    return str(run.summary.get("answer") or "; ".join(it["description"] for it in run.summary.get("rules", ())))
