"""`smscode report`: report on runs and logs, and judge them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from toolkit.api.errors import InputError
from toolkit.cli.output import OUTPUT, Json, fail, say, show, show_json
from toolkit.cli.show_result import exit_by, show_capacity, show_result
from toolkit.masking import mask_text
from toolkit.runs import run_folder
from toolkit.runs.remote_storage import is_url, pulled
from toolkit.runs.worsening import WorseningVerdict
from toolkit.validation import name_input

if TYPE_CHECKING:
    from toolkit.report.inputs import ReportInputs
    from toolkit.report.model import Report
    from toolkit.report.write_files import Format

T = TypeVar("T")

_STDOUT = "-"

_READING, _COST, _VERDICT = "Reading", "Cost", "Verdict"  # groups of options, besides OUTPUT


def _option(help: str, metavar: str, group: str, default: str = "none", flag: str | None = None) -> Any:
    names = () if flag is None else (flag,)
    return typer.Option(*names, help=help, metavar=metavar, show_default=default, rich_help_panel=group)


Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="Folder of a run, its URL, files of calls and logs, or - for standard input."
    ),
]
Since = Annotated[str | None, _option("Time of the first call to include.", "TIME", _READING, "all calls")]
Until = Annotated[str | None, _option("Time after the last call to include.", "TIME", _READING, "all calls")]
Timezone = Annotated[
    str | None,
    _option(
        "Time zone of days, bills and times, e.g. Asia/Shanghai.",
        "ZONE",
        _READING,
        "SMSCODE_TIMEZONE, or timezone in smscode.toml, else UTC",
    ),
]
Column = Annotated[
    list[str] | None,
    _option('Field of a log, e.g. "return_code=rc". Repeatable.', "NAME=FIELD", _READING, "by name"),
]
LogFormat = Annotated[
    str | None,
    _option("nginx's log_format of an access log that is not JSON.", "FORMAT", _READING, "combined"),
]
Encoding = Annotated[
    str | None,
    _option("Encoding of logs without a byte order mark, e.g. gb18030.", "ENCODING", _READING, "utf-8"),
]
Against = Annotated[str | None, _option("Run to compare with.", "RUN", _VERDICT)]
Slo = Annotated[
    str | None,
    _option('Service level objective whose error budget to show, e.g. "99.9%".', "SHARE", _VERDICT),
]
FailIf = Annotated[
    list[str] | None,
    _option(
        'Condition that must not hold, e.g. "share(50019) > 0.1%". If it holds or has no data, the exit code is 99.'
        " Repeatable.",
        "CONDITION",
        _VERDICT,
    ),
]
FailIfWorse = Annotated[
    list[str] | None,
    _option(
        'Worsening compared with the run of --against, e.g. "p99(send.caller_ms) by 10%". If there is one, or it'
        " can't be judged, the exit code is 99. Repeatable.",
        "WORSENING",
        _VERDICT,
    ),
]
MaxUnread = Annotated[
    str,
    _option("Share of unread lines above which no condition passes.", "SHARE", _VERDICT, "1%"),
]
PriceFile = Annotated[
    Path | None,
    _option("TOML file of prices.", "FILE", _COST, "those of smscode.toml, or of the run", "--prices"),
]
Statement = Annotated[Path | None, _option("The provider's statement, CSV or XLSX, to reconcile.", "FILE", _COST)]
StatementColumn = Annotated[
    list[str] | None,
    _option('Column of the statement, e.g. "msg_id=MessageId". Repeatable.', "NAME=COLUMN", _COST, "by name"),
]
StatementEncoding = Annotated[
    str | None,
    _option("Encoding of the statement, e.g. gb18030.", "ENCODING", _COST, "by its byte order mark, or utf-8"),
]
StatementDelimiter = Annotated[
    str | None, _option("Delimiter of the statement, one character.", "CHARACTER", _COST, "that of its header")
]
StatementDecimal = Annotated[
    str | None,
    _option("Decimal sign, . or , of a statement with thousands separators.", "SIGN", _COST, "a point"),
]
StatementCurrency = Annotated[
    str | None,
    _option("Currency of a statement that names none, e.g. CNY.", "CURRENCY", _COST, "that of its column"),
]
Formats = Annotated[
    str,
    _option(
        "Formats of the report, separated by commas: html, md, json, csv, junit, xlsx, github.",
        "FORMATS",
        OUTPUT,
        "html",
        "--format",
    ),
]
Out = Annotated[
    str | None,
    _option("Folder for the report, or - for stdout.", "FOLDER", OUTPUT, "the run's folder, or the current one"),
]


def report(
    ctx: typer.Context,
    runs: Runs,
    since: Since = None,
    until: Until = None,
    timezone: Timezone = None,
    column: Column = None,
    log_format: LogFormat = None,
    encoding: Encoding = None,
    against: Against = None,
    slo: Slo = None,
    fail_if: FailIf = None,
    fail_if_worse: FailIfWorse = None,
    max_unread: MaxUnread = "1%",
    prices: PriceFile = None,
    statement: Statement = None,
    statement_column: StatementColumn = None,
    statement_encoding: StatementEncoding = None,
    statement_delimiter: StatementDelimiter = None,
    statement_decimal: StatementDecimal = None,
    statement_currency: StatementCurrency = None,
    formats: Formats = "html",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Report on calls: verdicts, outcomes, latency, changes, cost, errors, rate limits and abuse.

    Without --out, --since and --until it also writes each run's run.json again. The exit code is that of the run, or
    99 if a condition of --fail-if or --fail-if-worse holds or has no data. The folder of a search for the capacity has
    a report of its own: its answer is shown, and its page is written again.

    Examples:
        A recorded run; its page is runs/20261129T231500Z/report.html:

        $ smscode report runs/20261129T231500Z
        Return codes
        endpoint  http_status  return_code  message ...
        ...
        Findings
        section ...
        ...

        A log, with a condition for CI, as Markdown on stdout:

        $ smscode report access.log --fail-if 'share(50019) > 0.1%' --format md --out -
        # ...
        ...

        Fail if a run is slower than an earlier one, by more than chance:

        $ smscode report runs/after --against runs/before --fail-if-worse 'p99(send.caller_ms) by 10%'
        ...
        Compared with ...
        status  condition                   measured
        PASS    p99(send.caller_ms) by 10%  ... ms → ... ms ...
        ...

    """
    from toolkit.analysis.billing.statement_file import StatementFormat
    from toolkit.report.build import build_report
    from toolkit.report.inputs import ReportOptions, read_inputs, read_run
    from toolkit.report.source_remarks import unread_remarks
    from toolkit.report.write_files import texts
    from toolkit.runs.thresholds import parse_threshold
    from toolkit.runs.worsening import parse_worsening
    from toolkit.settings import load_master_secret, load_prices, load_timezone

    if out == _STDOUT and as_json:
        raise InputError("--out - and --json exclude one another: both print to stdout")
    if statement is None:
        given = {
            "--statement-column": statement_column,
            "--statement-encoding": statement_encoding,
            "--statement-delimiter": statement_delimiter,
            "--statement-decimal": statement_decimal,
            "--statement-currency": statement_currency,
        }
        if lonely := [name for name, value in given.items() if value]:
            raise InputError(f"{lonely[0]} has no effect without --statement FILE")
    check_streams(runs, bool(statement and (since or until)))
    if fail_if_worse and not against:
        raise InputError("--fail-if-worse needs the run to compare with: give --against RUN")
    if fail_if_worse and len(runs) > 1:
        raise InputError("--fail-if-worse compares one run with that of --against: give one RUN")
    wanted = parse_formats(formats, out)
    conditions = tuple(parse_option("--fail-if", text, parse_threshold).opposite() for text in fail_if or ())
    worsenings = tuple(parse_option("--fail-if-worse", text, parse_worsening) for text in fail_if_worse or ())
    reading: dict[str, Any] = {"columns": parse_columns("--column", column) or None, "log_format": log_format}
    zone = load_timezone(timezone)
    check_period(since, until, zone)
    form = StatementFormat(statement_delimiter, statement_encoding, statement_decimal, statement_currency)
    reading |= {"encoding": encoding, "master_secret": load_master_secret()}
    with ExitStack() as stack:
        paths = [stack.enter_context(pulled(run)) if is_url(run) else Path(run) for run in runs]
        named = [*paths, *([Path(against)] if against else [])]
        searches = [it for it in named if (it / run_folder.CAPACITY_NAME).is_file()]
        if searches:
            _report_search(searches[0], is_url(runs[0]), _other_options(ctx, runs), as_json)
            return
        _check_folder(wanted, paths, out)
        show_status = stack.enter_context(reading_status())
        reading["on_progress"] = lambda path, done, size: show_status(describe_progress(path, done, size))
        if against and any(Path(against).resolve() == path.resolve() for path in paths):
            raise InputError(f"--against {against} is the reported run itself: give another run")
        other = read_run(against, timezone=zone, **reading) if against else None
        columns = parse_columns("--statement-column", statement_column)
        options = ReportOptions(
            *(other, slo, load_prices(prices), statement, columns, conditions, zone, _parse_max_unread(max_unread)),
            statement_format=form,
            worsenings=worsenings,
        )
        inputs = read_inputs(paths, options, since=since, until=until, **reading)
        check_reading(ctx, inputs.calls.sources, *([] if other is None else [other.sources]))
        found = build_report(inputs, lambda section: show_status(f"computing {section}"))
        show_status("")
        for remark in unread_remarks(inputs.total.sources):
            say(f"smscode: {mask_text(remark)}")
        if out == _STDOUT:
            sys.stdout.writelines(str(text) for _, text in texts(found, wanted[0]))
        else:
            files = _write(found, inputs, wanted, paths, out, is_whole=since is None and until is None)
            _show(inputs, found, as_json)
            for path in files:
                say(f"The report: {path.name if out is None and is_url(runs[0]) else path}")
    exit_by(inputs.runs, [it.verdict for it in found.verdicts if it.is_condition], found.reasons)


def _other_options(ctx: typer.Context, runs: Sequence[str]) -> list[str]:
    """Return the given options and arguments that a search for the capacity does not take."""
    return [it for it in given_options(ctx) if it not in ("runs", "--json")] + list(runs[1:])


def _report_search(folder: Path, is_copy: bool, others: Sequence[str], as_json: bool) -> None:
    """Show the answer of a search for the capacity, write its page, and exit by its result."""
    from toolkit.analysis.capacity import read_capacity
    from toolkit.report.capacity_page import write_capacity_page

    if others:
        raise InputError(
            f"{folder} is a search for the capacity, which can't be reported with {others[0]}: leave it out, or give"
            f" one of its trials, e.g. {folder / 'trial-01'}"
        )
    content = read_capacity(folder)
    show_capacity(content, as_json)
    page = write_capacity_page(content, folder)
    say(f"The report: {page.name if is_copy else page}")
    if code := content["exit_code"]:
        fail(content["unsettled"], code)


def parse_option(option: str, text: str, parse: Callable[[str], T]) -> T:
    """Parse the text of an option; an error names the option."""
    try:
        return parse(text)
    except InputError as problem:
        raise InputError(name_input(str(problem), option, text)) from None


def check_streams(runs: Sequence[str], is_read_again: bool = False) -> None:
    """Raise InputError if a pipe is given with other runs, or would have to be read twice."""
    from toolkit.analysis.sources.text_files import is_stream

    stream = next((run for run in runs if not is_url(run) and is_stream(run)), None)
    if stream and (len(runs) > 1 or is_read_again):
        raise InputError(f"{stream} is read once: give no other RUN with it, and no period with --statement")


def check_period(since: str | None, until: str | None, timezone: str) -> None:
    """Raise InputError for invalid times of --since and --until, and for a period that ends before it begins."""
    from toolkit.analysis.timestamps import parse_time_ns

    parse = partial(parse_time_ns, timezone=timezone)
    given = {"--since": since, "--until": until}
    times = [parse_option(option, time, parse) for option, time in given.items() if time]
    if len(times) == 2 and times[0] >= times[1]:
        raise InputError(f"--since {since} is not before --until {until}: expected a period, e.g. a day later")


def check_reading(ctx: typer.Context, *sources: Sequence[object]) -> None:
    """Refuse options that read logs if all calls are of Parquet files or of recorded runs."""
    if any(sources):
        return
    if lonely := [it for it in given_options(ctx) if it in ("--column", "--log-format", "--encoding")]:
        raise InputError(f"{lonely[0]} has no effect on records of calls, it is for logs: leave it out")


def given_options(ctx: typer.Context) -> list[str]:
    """Return the options and arguments that were given, e.g. "--column"."""
    given = [it for it in ctx.command.params if str(ctx.get_parameter_source(str(it.name))).endswith("COMMANDLINE")]
    return [it.opts[0] for it in given]


def parse_formats(text: str, out: str | None) -> list[Format]:
    """Parse the formats of --format. Raises InputError for an unknown one, or one that --out - cannot have."""
    from toolkit.report.write_files import Format

    known = ", ".join(Format)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in list(Format)]:
        raise InputError(f"unknown --format {unknown[0]!r} (choose from {known})")
    if not names:
        raise InputError(f"--format is empty (choose from {known})")
    if out == _STDOUT and (len(names) > 1 or names[0] in (Format.CSV, Format.XLSX)):
        raise InputError("--out - prints one format, and not csv or xlsx: give one --format, or a folder as --out")
    return [Format(name) for name in names]


def _parse_max_unread(text: str) -> float:
    try:
        ratio = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise InputError(f"invalid --max-unread {text!r}: expected a share of 0% to 100%, e.g. 1%")
    return ratio


def parse_columns(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    """Parse NAME=COLUMN texts; an error names the option."""
    columns: dict[str, str] = {}
    for text in texts or ():
        name, _, column = (part.strip() for part in text.partition("="))
        if not (name and column):
            raise InputError(f"invalid {option} {text!r}: expected NAME=COLUMN, e.g. return_code=rc")
        if name in columns:
            raise InputError(f"{option} names two columns for {name}, {columns[name]!r} and {column!r}: give one")
        columns[name] = column
    return columns


def _check_folder(formats: Sequence[Format], paths: Sequence[Path], out: str | None) -> None:
    """Refuse to write CSV or JSON next to logs: the next report would read the files as calls."""
    from toolkit.report.inputs import is_run

    data = [it.value for it in formats if it.value in ("csv", "json")]
    if out is None and data and not all(map(is_run, paths)):
        raise InputError(f"--format {data[0]} needs a folder that holds no logs: give --out")


@contextmanager
def reading_status() -> Iterator[Callable[[str], None]]:
    """Show the progress on a terminal, until the block ends or an empty text is shown."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading") as status:
        yield lambda text: status.update(text) if text else status.stop()


def describe_progress(path: str, done: int, size: int | None) -> str:
    """Describe how much of a file was read.

    >>> describe_progress("logs/access.log", 500_000_000, 2_000_000_000)
    'reading access.log: 500 of 2,000 MB'
    """
    mb = f"{done / 1e6:,.0f} of {size / 1e6:,.0f} MB" if size else "standard input"
    return f"reading {Path(path).name}: {mb}"


def _write(
    report: Report,
    inputs: ReportInputs,
    formats: Sequence[Format],
    paths: Sequence[Path],
    out: str | None,
    *,
    is_whole: bool,
) -> list[Path]:
    """Write the report and return its files; write run.json too if the report is of whole runs in their folders."""
    from toolkit.report.inputs import is_run
    from toolkit.report.run_result import save
    from toolkit.report.write_files import STEM, place_of, write

    if out is None and is_whole:
        for path, run in zip(paths, inputs.runs, strict=True):
            if is_run(path):
                save(run, path)
    folder, stem = place_of(paths[0]) if out is None and len(paths) == 1 else (Path(out or "."), STEM)
    return write(report, folder, formats, stem)


def _show(inputs: ReportInputs, report: Report, as_json: bool) -> None:
    runs = inputs.runs
    if as_json:
        show_json(runs[0].summary if len(runs) == 1 else [run.summary for run in runs])
        return
    for run, summary in zip(runs, report.digests, strict=True):
        if len(runs) > 1:
            print(f"{run.name}\n")
        show_result(run, as_json=False, summary=summary)
        if len(runs) > 1:
            print()
    worsenings = [it.verdict for it in report.verdicts if isinstance(it.verdict, WorseningVerdict)]
    if rows := [
        {"status": it.status.value, "condition": str(it.threshold), "measured": mask_text(it.measured)}
        for it in worsenings
    ]:
        against = inputs.options.against
        show(rows, title=f"\nCompared with {against.name if against else ''}")
    if rows := [{"section": section.title, "finding": section.finding} for section in report.findings()]:
        show(rows, title="\nFindings")
