"""`smscode report`: say what calls tell, of a run or of a year's logs, and judge it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.api.errors import InputError
from toolkit.cli.output import Json, say, show, show_json
from toolkit.cli.show_result import exit_by, show_result
from toolkit.runs.remote_storage import is_url, pulled

if TYPE_CHECKING:
    from toolkit.report.inputs import ReportInputs
    from toolkit.report.model import Report
    from toolkit.report.run_result import RunResult
    from toolkit.report.write_files import Format
    from toolkit.runs.thresholds import Threshold

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

    Without --out, --since and --until a run's run.json is written anew. The exit code is that of the run, and 99 where
    a condition of --fail-if holds, or nobody can tell.
    """
    from toolkit.report.build import build_report
    from toolkit.report.inputs import ReportOptions, read_inputs, read_run
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
        how: dict[str, Any] = {"columns": columns, "log_format": log_format}
        other = read_run(against, **how) if against else None
        called = dict(_read_column("--statement-column", text) for text in statement_column or ())
        options = ReportOptions(other, slo, load_prices(prices), statement, called, conditions)
        inputs = read_inputs(paths, options, since=since, until=until, **how)
        with _telling() as tell:
            found = build_report(inputs, tell)
        if out == _STDOUT:
            _print(found, wanted)
        else:
            if out is None and since is None and until is None:
                _save(inputs, paths)
            files = _write(found, wanted, paths, out)
            _show(inputs.runs, as_json)
            if not as_json:
                _show_findings(found)
            for path in files:
                say(f"The report: {path.name if out is None and is_url(runs[0]) else path}")
    exit_by(inputs.runs, [it.verdict for it in found.verdicts if it.is_condition])


def _read_formats(text: str, out: str | None) -> list[Format]:
    from toolkit.report.write_files import Format

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
    from toolkit.runs.thresholds import parse_threshold

    return parse_threshold(text).opposite()


def _read_column(option: str, text: str) -> tuple[str, str]:
    word, equals, field = text.partition("=")
    if not (word and equals and field):
        raise InputError(f"{option} {text!r} says nothing: write what a column says, = and its name")
    return word.strip(), field.strip()


def _check_names(runs: Sequence[str]) -> None:
    if not all(runs):
        raise InputError("a RUN is an empty text: a variable of yours may be unset")


def _check_place(formats: Sequence[Format], paths: Sequence[Path], out: str | None) -> None:
    """Refuse to write CSV or JSON beside logs: the next report would read it as calls."""
    from toolkit.report.inputs import is_run

    data = [it.value for it in formats if it.value in ("csv", "json")]
    if out is None and data and not all(map(is_run, paths)):
        raise InputError(f"--format {data[0]} of what is no run needs a folder of its own: give --out")


def _save(inputs: ReportInputs, paths: Sequence[Path]) -> None:
    """Write the run.json of each run that has a folder of its own."""
    from toolkit.report.inputs import is_run
    from toolkit.report.run_result import save

    for path, run in zip(paths, inputs.runs, strict=True):
        if is_run(path):
            save(run, path)


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


def _show(runs: Sequence[RunResult], as_json: bool) -> None:
    if as_json and len(runs) > 1:
        show_json([run.summary for run in runs])
        return
    for run in runs:
        if len(runs) > 1:
            print(f"{run.name}\n")
        show_result(run, as_json)
        if len(runs) > 1:
            print()


def _show_findings(report: Report) -> None:
    rows = [{"about": section.title, "finding": section.finding} for section in report.findings()]
    if rows:
        show(rows, title="\nIn short")


def _print(report: Report, formats: Sequence[Format]) -> None:
    from toolkit.report.write_files import texts

    for _, text in texts(report, formats[0]):
        sys.stdout.write(text)


def _write(report: Report, formats: Sequence[Format], paths: Sequence[Path], out: str | None) -> list[Path]:
    from toolkit.report.write_files import STEM, place_of, write

    folder, stem = place_of(paths[0]) if out is None and len(paths) == 1 else (Path(out or "."), STEM)
    return write(report, folder, formats, stem)
