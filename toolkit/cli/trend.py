"""`smscode trend`: show the figures of many runs over time, and where their levels changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.api.errors import InputError
from toolkit.cli.output import OUTPUT, Json, say, show, show_json
from toolkit.cli.report import Timezone, parse_formats, parse_option

_STEM = "trend"
_READING = "Reading"

Folders = Annotated[
    list[Path], typer.Argument(metavar="RUNS...", help="Folder that contains folders of runs, or folders of runs.")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help='Figure to show, in the grammar of thresholds, e.g. "p95(send.latency_ms)". Repeatable.',
        metavar="METRIC",
        show_default="p50 and p99 of caller_ms, failed, rate(send)",
        rich_help_panel=_READING,
    ),
]
Formats = Annotated[
    str,
    typer.Option(
        "--format",
        help="Formats of the trend, separated by commas: html, md, json, csv, xlsx.",
        metavar="FORMATS",
        rich_help_panel=OUTPUT,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        help="Folder for the trend.", metavar="FOLDER", show_default="the current one", rich_help_panel=OUTPUT
    ),
]


def trend(
    runs: Folders,
    metric: Metrics = None,
    timezone: Timezone = None,
    formats: Formats = "html",
    out: Out = Path(),
    as_json: Json = False,
) -> None:
    """Show the figures of many runs over time, and the runs at which their level changed.

    Runs that are not complete, were saturated, had the load generator as their bottleneck or another load are shown,
    but not used to find changes.

    Examples:
        All runs of a folder; the page with the chart is trend.html:

        $ smscode trend runs
        Runs
        run  ...
        ...
        Changes
        ...

        One figure, as JSON:

        $ smscode trend runs --metric 'p95(send.latency_ms)' --format md --json
        {"runs": [{"run": ...

    """
    from toolkit.report.json_csv import to_records
    from toolkit.report.table_columns import masked
    from toolkit.report.trend import build_trend, read_trend
    from toolkit.report.write_files import Format, write
    from toolkit.runs.thresholds import parse_metric
    from toolkit.settings import load_timezone

    wanted, zone = parse_formats(formats, None), load_timezone(timezone)
    if unfit := [it.value for it in wanted if it in (Format.JUNIT, Format.GITHUB)]:
        choice = "(choose from html, md, json, csv, xlsx)"
        raise InputError(f"unknown --format {unfit[0]!r} {choice}: a trend has no verdicts")
    for text in metric or ():
        parse_option("--metric", text, parse_metric)
    found = read_trend(runs, metric or ())
    report = build_trend(found, f"Trend of {', '.join(map(str, runs))}", zone)
    files = write(report, out, wanted, _STEM)
    tables = {table.name: table for table in report.tables()}
    if as_json:
        changes = masked(found.changes())
        show_json({"runs": to_records(tables["trend"].frame), "changes": to_records(changes)})
    else:
        for name, title in (("trend", "Runs"), ("trend_changes", "\nChanges")):
            if name in tables:
                headers = [header.title for header in tables[name].headers]
                rows = [dict(zip(headers, map(str, row), strict=True)) for row in tables[name].rows]
                numbers = [header.title for header in tables[name].headers if header.is_number]
                show(rows, title=title, numbers=numbers)
        print()
        print("\n".join(section.finding for section in report.findings()))
    for path in files:
        say(f"The trend: {path}")
