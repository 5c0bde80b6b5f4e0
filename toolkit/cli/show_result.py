"""Show the result of a run in a shell: tables or JSON, and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit import number_format
from toolkit.cli.output import fail, say, show, show_json
from toolkit.masking import mask_text
from toolkit.runs.check_results import figure_rows
from toolkit.runs.thresholds import Verdict
from toolkit.runs.worsening import WorseningVerdict

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.report.exit_reasons import ExitReason
    from toolkit.report.model import RunDigest
    from toolkit.report.run_result import RunResult


def show_result(result: RunResult, as_json: bool, summary: RunDigest | None = None) -> None:
    """Print the verdict, thresholds, checks, main figures, return codes and latency, or run.json's content as JSON.

    ``summary``: that of a report whose conditions count for the verdict, too.
    """
    from toolkit.report.run_digest import digest
    from toolkit.report.run_result import describe_failures
    from toolkit.report.source_remarks import reading_remarks, unread_remarks
    from toolkit.report.table_columns import masked

    if as_json:
        show_json(result.summary)
        return
    found = summary or digest(result)
    if "ended" in result.settings:
        print(f"{found.verdict or 'DONE'}  {found.headline}\n")
    if remarks := [*unread_remarks(result.sources), *reading_remarks(result.sources)]:
        print("\n".join(map(mask_text, remarks)) + "\n")
    if "ended" in result.settings and (failures := describe_failures(result)):  # only a load test has expected outcomes
        print(f"{failures}.\n")
    if result.verdicts:
        show(
            [
                {"status": it.status.value, "threshold": str(it.threshold), "measured": it.measured}
                for it in result.verdicts
            ],
            title="Thresholds",
            numbers=("measured",),
        )
        print()
    for check in result.checks:
        if check.parts:
            show(
                [{"status": it.status.value, "part": it.name, "reason": it.reason} for it in check.parts], title="Parts"
            )
        rows = [{"figure": name, "value": value} for name, value in figure_rows(check.figures)]
        show(rows, title=f"{check.name}: {check.status}")
        print()
    if "ended" in result.settings:
        width = max(len(fact.label) for fact in found.facts)
        print("\n".join(f"{fact.label:{width}}  {fact.value}" for fact in found.facts) + "\n")
    codes = masked(result.codes).drop(columns=["meaning", "calls_ratio_low", "calls_ratio_high"])
    formats: dict[str, Callable[[Any], str]] = {"calls": "{:,}".format, "calls_ratio": number_format.share}
    show(_rows(codes, formats), title="Return codes", numbers=formats)
    if len(result.latency):
        latency = result.latency.drop(columns=["mean_ms", "error_ratio"])
        times = [str(name) for name in latency if str(name).endswith("_ms")]
        formats = {"calls": "{:,}".format, **dict.fromkeys(times, number_format.milliseconds)}
        show(_rows(latency, formats), title="\nLatency (ms)", numbers=formats)


def trial_line(content: Mapping[str, Any]) -> str:
    """Return a line on the latest trial of a search."""
    trial = content["trials"][-1]
    times = [
        f"{name} {number_format.milliseconds(trial[f'{name}_ms'])} ms" for name in ("p50", "p99") if trial["p99_ms"]
    ]
    parts = [
        f"{trial['name']}: {trial['load']:,g} {content['unit']} for {trial['duration_s']:g} s {_shown_result(trial)}",
        *times,
        number_format.plural(content["messages"], "message"),
    ]
    return "  ".join(parts)


def _shown_result(trial: Mapping[str, Any]) -> str:
    return f"inconclusive: {trial['doubt_text']}" if trial["doubt"] else str(trial["result"])


def show_capacity(content: Mapping[str, Any], as_json: bool) -> None:
    """Print the result of a search for the capacity, or the content of capacity.json."""
    if as_json:
        show_json(content)
        return
    found = content["capacity"]
    rows = [
        {
            "load": f"{it['load']:,g}",
            "result": it["result"],
            "length": number_format.duration(it["duration_s"]),
            "p50_ms": None if it["p50_ms"] is None else number_format.milliseconds(it["p50_ms"]),
            "p99_ms": None if it["p99_ms"] is None else number_format.milliseconds(it["p99_ms"]),
            "failed": None if it["failed_ratio"] is None else number_format.share(it["failed_ratio"]),
        }
        for it in sorted(content["trials"], key=lambda it: (it["load"], it["name"]))
    ]
    show(rows, title=f"Trials ({content['unit']})", numbers=("load", "length", "p50_ms", "p99_ms", "failed"))
    print(f"\n{content['answer']}" + (f"; {found['binding_limit']} is missed first" if found else ""))
    for reason in found["reasons"] if found else ():
        print(f"- {reason}")


def exit_by(
    results: Sequence[RunResult],
    conditions: Iterable[Verdict | WorseningVerdict] = (),
    others: Iterable[ExitReason] = (),
) -> None:
    """Exit with the code of the reason that decides, after all reasons are shown; return if no reason exists.

    ``conditions`` are negated --fail-if conditions and those of --fail-if-worse, ``others`` reasons that are of no
    single run.
    """
    from toolkit.report.exit_reasons import condition_reasons, sort_reasons

    of_runs = (reason for it in results for reason in it.reasons)
    if reasons := sort_reasons([*of_runs, *others, *condition_reasons(conditions)]):
        for reason in reasons[:-1]:
            say(f"smscode: {reason.text}")
        fail(reasons[-1].text, reasons[0].code)


def _rows(frame: pd.DataFrame, formats: Mapping[str, Callable[[Any], str]]) -> list[dict[str, object]]:
    frame = frame.assign(**{name: frame[name].map(shown) for name, shown in formats.items()})
    return [
        {str(name): it for name, it in row.items()}
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records")
    ]
