"""`smscode report`: say what calls tell, of a run or of a year's logs, and judge it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli.output import Json, fail, say, show, show_json
from toolkit.errors import InputError
from toolkit.parts import is_url, pulled
from toolkit.runs import BOTTLENECK, BUDGET_SPENT, THRESHOLD_MISSED, Cause

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.report.subject import Subject
    from toolkit.report.summary import Summary
    from toolkit.report.values import Report
    from toolkit.report.writing import Format
    from toolkit.thresholds import Threshold, Verdict

_STDOUT = "-"


def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Folder of a run, or its URL, or files of calls and logs.")
    ],
    against: Annotated[str | None, typer.Option(help="Run to compare with. Default: none.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="What to write, with commas between: html, md, json, csv, junit.")
    ] = "html",
    out: Annotated[
        str | None,
        typer.Option(help="Folder that gets the report, or - for stdout. Default: that of the run, or here."),
    ] = None,
    slo: Annotated[
        str | None, typer.Option(help='Promise whose error budget to tell, such as "99.9%". Default: none.')
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="TOML file of prices. Default: those of smscode.toml, or the run's own.")
    ] = None,
    statement: Annotated[
        Path | None, typer.Option(help="The provider's statement, CSV, to reconcile with. Default: none.")
    ] = None,
    statement_column: Annotated[
        list[str] | None,
        typer.Option(help='What the statement calls a column, such as "msg_id=MessageId". Repeatable.'),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help='What makes the exit code 99, such as "share(50019) > 0.1%". Repeatable. Default: nothing.'),
    ] = None,
    since: Annotated[str | None, typer.Option(help="UTC time from which calls count. Default: the first.")] = None,
    until: Annotated[str | None, typer.Option(help="UTC time up to which calls count. Default: the last.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help='Which field of a log says what, such as "return_code=rc". Repeatable. Default: by name.'),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="nginx's log_format, of an access log that isn't JSON. Default: combined.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what calls tell: verdicts, outcomes, latency, what changed, cost, errors, limits and suspects.

    A run's run.json is written anew. The exit code is that of the run, and 99 where a condition of --fail-if holds, or
    nobody can tell.
    """
    from toolkit.report.explaining import explain
    from toolkit.report.subject import Questions, read_run, read_subject
    from toolkit.settings import load_prices

    if out == _STDOUT and as_json:
        raise InputError("--out - and --json both want stdout: give one of them")
    wanted = _read_formats(formats, out)
    conditions = tuple(_read_condition(text) for text in fail_if or ())
    columns = dict(_read_column("--column", text) for text in column or ()) or None
    _check_names(runs)
    with ExitStack() as stack:
        paths = [stack.enter_context(pulled(run)) if is_url(run) else Path(run) for run in runs]
        _check_place(wanted, paths, out)
        other = read_run(against) if against else None
        called = dict(_read_column("--statement-column", text) for text in statement_column or ())
        asked = Questions(other, slo, load_prices(prices), statement, called, conditions)
        how = {"columns": columns, "log_format": log_format}
        subject = read_subject(paths, asked, since=since, until=until, **how)
        with _telling() as tell:
            found = explain(subject, tell)
        if out == _STDOUT:
            summaries = _summarize(subject)
            _print(found, wanted)
        else:
            summaries = _keep(subject, paths) if out is None and since is until is None else _summarize(subject)
            files = _write(found, wanted, paths, out)
            _show(subject, summaries, as_json)
            for path in files:
                say(f"The report: {path.name if out is None and is_url(runs[0]) else path}")
    judge(summaries, found)


def explain_run(folder: Path, settings: dict[str, object], as_json: bool) -> tuple[Summary, Path]:
    """Print what a load test's calls say, leave it in its folder, and return what run.json holds, and the page."""
    from toolkit.analysis import read
    from toolkit.trials import put_away

    summary, page = put_away(folder, settings)
    show_summary(summary, read(folder), as_json)
    return summary, page


def show_summary(summary: Summary, calls: Any, as_json: bool) -> None:
    """Print verdicts, claims, return codes and latency, or all of it as JSON."""
    from toolkit.analysis import latency, return_codes, wording
    from toolkit.report.columns import masked

    if as_json:
        show_json(summary)
        return
    _show_verdicts(summary)
    _show_claims(summary)
    codes = masked(return_codes(calls)).drop(columns=["meaning", "share_low", "share_high"])
    show(_rows(codes.assign(share=codes["share"].map(wording.share))), title="Return codes")
    show(_rows(latency(calls).drop(columns=["mean_ms", "error_ratio"])), title="\nLatency, ms")


def judge(summaries: Sequence[Summary], report: Report | None = None) -> None:
    """Fail where a run proves nothing, a claim broke, a threshold was missed, or the budget ended it, in this order."""
    verdicts: list[Any] = [verdict for it in summaries for verdict in _list(it["verdicts"])]
    broken = [claim["says"] for it in summaries for claim in _list(it["claims"]) if claim["status"] != "PASS"]
    missed = [it["threshold"] for it in verdicts if it["status"] != "PASS"]
    asked = [it.verdict for it in report.judged if it.is_asked] if report else []
    settings: list[Any] = [it["settings"] for it in summaries]
    if held_back := [it["bottleneck"] for it in settings if it.get("bottleneck")]:
        fail(f"the load generator was the bottleneck, so nothing passes: {held_back[0]}", BOTTLENECK)
    if broken:
        fail(f"the claim does not stand: {'; '.join(broken)}", THRESHOLD_MISSED)
    if missed:
        fail(f"{len(missed)} of {len(verdicts)} thresholds were not kept: {'; '.join(missed)}", THRESHOLD_MISSED)
    if held := [_tell_condition(it) for it in asked if it.status != "PASS"]:
        fail(f"--fail-if: {'; '.join(held)}", THRESHOLD_MISSED)
    if spent := [it.get("ended_because") for it in settings if it.get("ended") == Cause.BUDGET]:
        fail(f"the budget ended the run: {spent[0]}", BUDGET_SPENT)


def _read_formats(text: str, out: str | None) -> list[Format]:
    from toolkit.report.writing import Format

    known = ", ".join(Format)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in list(Format)]:
        raise InputError(f"--format {unknown[0]} is none: there are {known}")
    if not names:
        raise InputError(f"--format names no format: there are {known}")
    if out == _STDOUT and (len(names) > 1 or names == [Format.CSV]):
        raise InputError("--out - takes one format, and not csv, which is a file for each table: give --out a folder")
    return [Format(name) for name in names]


def _read_condition(text: str) -> Threshold:
    """Read what must not hold as what must."""
    from toolkit.thresholds import parse

    return parse(text).opposite()


def _read_column(option: str, text: str) -> tuple[str, str]:
    word, equals, field = text.partition("=")
    if not (word and equals and field):
        raise InputError(f"{option} {text!r} says nothing: write what a column says, = and its name")
    return word.strip(), field.strip()


def _check_names(runs: Sequence[str]) -> None:
    if not all(runs):
        raise InputError("a RUN is an empty text: a variable of yours may be unset")


def _check_place(formats: Sequence[Format], paths: Sequence[Path], out: str | None) -> None:
    """Make sure that no data gets beside logs, of which the next report would take it for calls."""
    from toolkit.report.subject import is_run

    data = [it.value for it in formats if it.value in ("csv", "json")]
    if out is None and data and not all(map(is_run, paths)):
        raise InputError(f"--format {data[0]} of what is no run needs a folder of its own: give --out")


def _summarize(subject: Subject) -> list[Summary]:
    from toolkit.report.summary import summarize

    return [summarize(run.calls, run.settings, run.claims) for run in subject.runs]


def _keep(subject: Subject, paths: Sequence[Path]) -> list[Summary]:
    """Summarize each run, those that have a folder of their own into its run.json."""
    from toolkit.report.subject import is_run
    from toolkit.report.summary import summarize, write_summary

    return [
        write_summary(path, run.calls, run.settings) if is_run(path) else summarize(run.calls, run.settings, run.claims)
        for path, run in zip(paths, subject.runs, strict=True)
    ]


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Show what is worked out, on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading") as status:
        yield lambda section: status.update(f"working out {section}")


def _show(subject: Subject, summaries: Sequence[Summary], as_json: bool) -> None:
    if as_json and len(summaries) > 1:
        show_json(list(summaries))
        return
    for run, summary in zip(subject.runs, summaries, strict=True):
        if len(summaries) > 1:
            print(f"{run.name}\n")
        show_summary(summary, run.calls, as_json)
        if len(summaries) > 1:
            print()


def _print(report: Report, formats: Sequence[Format]) -> None:
    from toolkit.report.writing import texts

    for _, text in texts(report, formats[0]):
        sys.stdout.write(text)


def _write(report: Report, formats: Sequence[Format], paths: Sequence[Path], out: str | None) -> list[Path]:
    from toolkit.report.writing import STEM, place_of, write

    folder, stem = place_of(paths[0]) if out is None and len(paths) == 1 else (Path(out or "."), STEM)
    return write(report, folder, formats, stem)


def _tell_condition(verdict: Verdict) -> str:
    condition = verdict.threshold.opposite()
    return f"no data for {condition}" if verdict.value is None else f"{condition} ({verdict.value:.6g} {verdict.unit})"


def _list(value: Any) -> list[Any]:
    return list(value)


def _show_verdicts(summary: Summary) -> None:
    verdicts: Any = summary["verdicts"]
    if verdicts:
        show(
            [{name: it[name] for name in ("status", "threshold", "value", "unit")} for it in verdicts],
            title="Thresholds",
        )
        print()


def _show_claims(summary: Summary) -> None:
    from toolkit.report.claims import figure_rows

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
