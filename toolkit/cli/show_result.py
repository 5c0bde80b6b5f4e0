"""Show the result of a run in a shell: tables or JSON, and the exit code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from toolkit import number_format
from toolkit.cli.output import fail, show, show_json
from toolkit.runs.check_results import figure_rows
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import Status, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.report.run_result import RunResult


def show_result(result: RunResult, as_json: bool) -> None:
    """Print verdicts, checks, return codes and latency as tables, or the content of run.json as JSON."""
    from toolkit.report.table_columns import masked

    if as_json:
        show_json(result.summary)
        return
    if result.verdicts:
        show(
            [
                {"status": it.status.value, "threshold": str(it.threshold), "value": it.value, "unit": it.unit}
                for it in result.verdicts
            ],
            title="Thresholds",
        )
        print()
    for check in result.checks:
        if check.parts:
            show(
                [{"status": it.status.value, "part": it.name, "reason": it.reason} for it in check.parts], title="Parts"
            )
        rows = [{"figure": name, "value": value} for name, value in figure_rows(check.figures)]
        show(rows, title=f"{check.claim}: {check.status}")
        print()
    codes = masked(result.codes).drop(columns=["meaning", "share_low", "share_high"])
    show(_rows(codes.assign(share=codes["share"].map(number_format.share))), title="Return codes")
    show(_rows(result.latency.drop(columns=["mean_ms", "error_ratio"])), title="\nLatency (ms)")


def exit_by(results: Sequence[RunResult], conditions: Iterable[Verdict] = ()) -> None:
    """Exit with the code of the first reason that applies; return if none does.

    The reasons: the load generator was the bottleneck, a check failed or has no data, a threshold did not pass, a
    condition of ``--fail-if`` holds, the budget ended the run. ``conditions`` are negated --fail-if conditions.
    """
    settings = [it.settings for it in results]
    verdicts = [verdict for it in results for verdict in it.verdicts]
    checks = [check for it in results for check in it.checks]
    failed = [it.finding for it in checks if it.status == Status.FAIL]
    unseen = [it.finding for it in checks if it.status == Status.NO_DATA]
    missed = [str(it.threshold) for it in verdicts if it.status is not Status.PASS]
    if held_back := [it["bottleneck"] for it in settings if it.get("bottleneck")]:
        fail(f"the load generator was the bottleneck, so nothing passes: {held_back[0]}", ExitCode.BOTTLENECK)
    if failed:
        fail(f"check failed: {'; '.join(failed)}", ExitCode.FAILED)
    if unseen:
        fail(f"check has no data, run longer: {'; '.join(unseen)}", ExitCode.FAILED)
    if missed:
        fail(f"{len(missed)} of {len(verdicts)} thresholds did not pass: {'; '.join(missed)}", ExitCode.FAILED)
    if held := [_describe_condition(it) for it in conditions if it.status is not Status.PASS]:
        fail(f"--fail-if: {'; '.join(held)}", ExitCode.FAILED)
    if spent := [it.get("ended_because") for it in settings if it.get("ended") == Cause.BUDGET]:
        fail(f"the budget ended the run: {spent[0]}", ExitCode.BUDGET)


def _rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {str(name): it for name, it in row.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]


def _describe_condition(verdict: Verdict) -> str:
    condition = verdict.threshold.opposite()
    if verdict.value is None:
        return f"no data for {condition}"
    return f"{condition} ({number_format.precise_number(verdict.value)} {verdict.unit})"
