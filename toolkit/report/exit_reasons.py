"""Find the reasons for the exit code of a run, for the shell, run.json, JUnit and the report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit import number_format
from toolkit.api.wire import Endpoint
from toolkit.masking import mask_text
from toolkit.runs.check_results import CheckRecord
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.run_folder import ANSWERED, Cause
from toolkit.runs.thresholds import Status, Verdict
from toolkit.runs.worsening import WorseningVerdict


@dataclass(frozen=True, slots=True)
class ExitReason:
    """One reason for an exit code other than 0, in a sentence. ``is_verdict``: it sums up verdicts or checks."""

    code: ExitCode
    text: str
    is_verdict: bool = False


def run_reasons(
    settings: Mapping[str, object],
    outcomes: Collection[int | str],
    duration_s: float,
    verdicts: Sequence[Verdict],
    checks: Sequence[CheckRecord],
    *,
    is_part: bool = False,
) -> list[ExitReason]:
    """Return the reasons of a run, masked and in the order of ``ExitCode``; an empty list if nothing was wrong.

    Args:
        settings: the settings of run.json.
        outcomes: the return codes of the run's calls, and the failures of calls without a return code.
        duration_s: from the first start to the last end of a call.
        verdicts: the verdicts on the run's thresholds.
        checks: the results of the scenario's checks.
        is_part: whether the calls are only those of a period, which may be none although the run made some.
    """
    found = [*_end_reasons(settings, outcomes, duration_s, is_part), *_verdict_reasons(settings, verdicts, checks)]
    return sort_reasons(ExitReason(it.code, mask_text(it.text), it.is_verdict) for it in found)


def condition_reasons(conditions: Iterable[Verdict | WorseningVerdict]) -> Iterator[ExitReason]:
    """Yield one reason for all conditions of ``--fail-if`` that hold or have no data, one for ``--fail-if-worse``.

    Args:
        conditions: the verdicts. That on a condition of ``--fail-if`` has the opposite threshold, which the run must
            meet. If it is NO_DATA and has a value, the run is inconclusive, for which ``run_reasons`` has a reason.
    """
    held, worse, untested = [], [], dict[str, list[str]]()
    for verdict in conditions:
        if isinstance(verdict, WorseningVerdict):
            if verdict.status is Status.FAIL:
                worse.append(f"{verdict.threshold} ({verdict.measured})")
            elif verdict.note:
                untested.setdefault(verdict.note, []).append(str(verdict.threshold))
            continue
        condition = verdict.threshold.opposite()
        if verdict.status is Status.FAIL:
            held.append(f"{condition} ({verdict.measured})")
        elif verdict.value is None:
            held.append(f"no data for {condition}")
    if held:
        yield ExitReason(ExitCode.FAILED, f"--fail-if: {'; '.join(held)}", is_verdict=True)
    worse += [f"no data for {', '.join(names)}: {note}" for note, names in untested.items()]
    if worse:
        yield ExitReason(ExitCode.FAILED, f"--fail-if-worse: {'; '.join(worse)}", is_verdict=True)


def unread_reason(unread_ratio: float, max_unread_ratio: float) -> ExitReason | None:
    """Return the reason why no condition passes: more lines than allowed could not be read. Ratios are 0..1."""
    if unread_ratio <= max_unread_ratio:
        return None
    unread, allowed = number_format.share(unread_ratio), number_format.share(max_unread_ratio)
    text = f"nothing passes, because {unread} of the lines could not be read; --max-unread allows {allowed}"
    return ExitReason(ExitCode.FAILED, text)


def no_calls_reason(name: str, since: str | None, until: str | None) -> ExitReason:
    """Return the reason why a report without calls is no success.

    >>> no_calls_reason("access.log", "2026-11-05", None).text
    'no data: access.log holds no calls from 2026-11-05 to the last'
    """
    period = f" from {since or 'the first'} to {until or 'the last'}" if since or until else ""
    return ExitReason(ExitCode.FAILED, f"no data: {name} holds no calls{period}")


def sort_reasons(reasons: Iterable[ExitReason]) -> list[ExitReason]:
    """Return reasons in the order of ``ExitCode``, the one that decides first."""
    order = list(ExitCode)
    return sorted(reasons, key=lambda it: order.index(it.code))


def is_inconclusive(settings: Mapping[str, object]) -> bool:
    """Return whether nothing of a run may pass.

    The load generator was the bottleneck, the run was killed, or calls were begun that are in no record.
    """
    is_killed = settings.get("ended") == Cause.INCOMPLETE
    return bool(settings.get("bottleneck")) or is_killed or bool(unrecorded_text(settings))


def unrecorded_text(settings: Mapping[str, object]) -> str:
    """Describe the begun calls that have no record, because their process was killed; "" without any.

    >>> unrecorded_text({"unrecorded": {"send": 19, "verify": 1}})
    'a killed process has left no record of 20 calls, 19 of them sends that may have been billed'
    """
    unrecorded = settings.get("unrecorded")
    counts = unrecorded if isinstance(unrecorded, Mapping) else {}
    sends, calls = int(counts.get(Endpoint.SEND, 0)), sum(map(int, counts.values()))
    billed = f", {sends:,} of them sends that may have been billed" if sends else ""
    return f"a killed process has left no record of {number_format.plural(calls, 'call')}{billed}" if calls else ""


def incomplete_text(duration_s: float, settings: Mapping[str, object]) -> str:
    """Describe how much of its duration a killed run completed.

    >>> incomplete_text(4.0312, {"duration_s": 20.0})
    'incomplete: ended after 4.03 of 20 s'
    """
    planned_s = settings.get("duration_s")
    of = f" of {planned_s:g}" if isinstance(planned_s, int | float) else ""
    return f"incomplete: ended after {duration_s:.3g}{of} s"


def _end_reasons(
    settings: Mapping[str, object], outcomes: Collection[int | str], duration_s: float, is_part: bool
) -> Iterator[ExitReason]:
    ended, because = settings.get("ended"), settings.get("ended_because")
    if ended is None or (is_part and not outcomes):
        pass  # not a load test, which has made calls; or nothing is known of its answers
    elif not outcomes:
        notes: Any = settings.get("notes")
        why = "; ".join(map(str, notes)) if notes else "give a longer --duration"
        yield ExitReason(ExitCode.NO_ANSWER, f"no call was made to {settings.get('target')}: {why}")
    elif all(isinstance(outcome, str) for outcome in outcomes):
        yield ExitReason(ExitCode.NO_ANSWER, f"no call got a response from the API from {settings.get('target')}")
    if ended == Cause.REFUSED:
        text = f"the run was ended early, because the API refuses every further call: {because}"
        yield ExitReason(ExitCode.REFUSED, text)
    if ended == Cause.INCOMPLETE:
        yield ExitReason(ExitCode.FAILED, incomplete_text(duration_s, settings))
    elif unrecorded := unrecorded_text(settings):
        yield ExitReason(ExitCode.FAILED, f"nothing passes, because {unrecorded}")
    if (at_end := settings.get("target_at_end")) not in (None, ANSWERED):
        yield ExitReason(ExitCode.FAILED, f"the target could not be reached at the end of the run: {at_end}")
    if bottleneck := settings.get("bottleneck"):
        text = f"the load generator was the bottleneck, so nothing passes: {bottleneck}"
        yield ExitReason(ExitCode.BOTTLENECK, text)
    if ended == Cause.BUDGET:
        yield ExitReason(ExitCode.BUDGET, f"the budget ended the run: {because}")
    if ended == Cause.INTERRUPTED:
        code = ExitCode.TERMINATED if because == "SIGTERM" else ExitCode.INTERRUPTED
        yield ExitReason(code, "the run was interrupted" + (f" by {because}" if because else ""))


def _verdict_reasons(
    settings: Mapping[str, object], verdicts: Sequence[Verdict], checks: Sequence[CheckRecord]
) -> Iterator[ExitReason]:
    # If the load generator was the bottleneck, that is the reason why there is no data.
    wrong: Sequence[Status] = [Status.FAIL] if settings.get("bottleneck") else [Status.FAIL, Status.NO_DATA]
    failed = [it.finding for it in checks if it.status is Status.FAIL]
    unseen = [it.finding for it in checks if it.status is Status.NO_DATA and it.status in wrong]
    missed = [str(it.threshold) for it in verdicts if it.status in wrong]
    if failed:
        yield ExitReason(ExitCode.FAILED, f"check failed: {'; '.join(failed)}", is_verdict=True)
    if unseen:
        yield ExitReason(ExitCode.FAILED, f"check has no data: {'; '.join(unseen)}", is_verdict=True)
    if missed:
        text = f"{len(missed)} of {len(verdicts)} thresholds did not pass: {'; '.join(missed)}"
        yield ExitReason(ExitCode.FAILED, text, is_verdict=True)
