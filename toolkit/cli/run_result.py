"""What a run came to, in a shell: tables, or JSON, and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit.cli.output import fail, show, show_json
from toolkit.runs.run_folder import BOTTLENECK, BUDGET_SPENT, THRESHOLD_MISSED, Cause

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.report.run_summary import Summary
    from toolkit.runs.thresholds import Verdict


def show_summary(summary: Summary, calls: Any, as_json: bool) -> None:
    """Print verdicts, claims, return codes and latency, or all of it as JSON."""
    from toolkit import number_format
    from toolkit.analysis import latency, return_codes
    from toolkit.report.table_columns import masked

    if as_json:
        show_json(summary)
        return
    _show_verdicts(summary)
    _show_claims(summary)
    codes = masked(return_codes(calls)).drop(columns=["meaning", "share_low", "share_high"])
    show(_rows(codes.assign(share=codes["share"].map(number_format.share))), title="Return codes")
    show(_rows(latency(calls).drop(columns=["mean_ms", "error_ratio"])), title="\nLatency, ms")


def exit_by(summaries: Sequence[Summary], conditions: Sequence[Verdict] = ()) -> None:
    """Exit where a run proves nothing, a claim broke, a threshold was missed, or the budget ended it, in this order.

    ``conditions``: whether what must not be is not.
    """
    verdicts: list[Any] = [verdict for it in summaries for verdict in _list(it["verdicts"])]
    claims: list[Any] = [claim for it in summaries for claim in _list(it["claims"])]
    broken = [it["says"] for it in claims if it["status"] == "FAIL"]
    unseen = [it["says"] for it in claims if it["status"] == "NO_DATA"]
    missed = [it["threshold"] for it in verdicts if it["status"] != "PASS"]
    settings: list[Any] = [it["settings"] for it in summaries]
    if held_back := [it["bottleneck"] for it in settings if it.get("bottleneck")]:
        fail(f"the load generator was the bottleneck, so nothing passes: {held_back[0]}", BOTTLENECK)
    if broken:
        fail(f"the claim does not stand: {'; '.join(broken)}", THRESHOLD_MISSED)
    if unseen:
        fail(f"nothing was seen that bears on the claim, run longer: {'; '.join(unseen)}", THRESHOLD_MISSED)
    if missed:
        fail(f"{len(missed)} of {len(verdicts)} thresholds were not kept: {'; '.join(missed)}", THRESHOLD_MISSED)
    if held := [_tell_condition(it) for it in conditions if it.status != "PASS"]:
        fail(f"--fail-if: {'; '.join(held)}", THRESHOLD_MISSED)
    if spent := [it.get("ended_because") for it in settings if it.get("ended") == Cause.BUDGET]:
        fail(f"the budget ended the run: {spent[0]}", BUDGET_SPENT)


def _show_verdicts(summary: Summary) -> None:
    verdicts: Any = summary["verdicts"]
    if verdicts:
        show(
            [{name: it[name] for name in ("status", "threshold", "value", "unit")} for it in verdicts],
            title="Thresholds",
        )
        print()


def _show_claims(summary: Summary) -> None:
    from toolkit.runs.check_results import figure_rows

    claims: Any = summary["claims"]
    for claim in claims:
        rows = [{"figure": name, "value": value} for name, value in figure_rows(claim["figures"])]
        show(rows, title=f"{claim['claim']}: {claim['status']}")
        print()


def _rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {str(name): it for name, it in row.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]


def _tell_condition(verdict: Verdict) -> str:
    from toolkit import number_format

    condition = verdict.threshold.opposite()
    if verdict.value is None:
        return f"no data for {condition}"
    return f"{condition} ({number_format.precise_number(verdict.value)} {verdict.unit})"


def _list(value: Any) -> list[Any]:
    return list(value)
