"""Writing: a report to files, in the formats that are asked for; each appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from toolkit.atomic_write import write_atomically
from toolkit.report import html, json_csv, markdown
from toolkit.report.build import compose
from toolkit.report.inputs import is_run, read_subject
from toolkit.report.model import Report
from toolkit.report.run_summary import JUNIT_NAME
from toolkit.report.verdicts import junit

STEM = "report"


class Format(StrEnum):
    """What a report can be written as."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"


def write_report(run: str | Path) -> Path:
    """Write a run folder's report.html, or FILE.html beside a file of calls, and return its path.

    The settings shown are those of the folder's run.json, if there is one. Raise InputError for what holds no calls.
    """
    folder, stem = place_of(Path(run))
    (path,) = write(compose(read_subject([run])), folder, [Format.HTML], stem)
    return path


def place_of(run: Path) -> tuple[Path, str]:
    """Return the folder where a report belongs, and what its files begin with: the run's, beside a file, else here."""
    if is_run(run):
        return run, STEM
    return (run.parent, run.name) if run.is_file() else (Path(), STEM)


def write(report: Report, folder: Path, formats: Iterable[Format], stem: str = STEM) -> list[Path]:
    """Write a report to a folder and return the files, of CSV one for each table; or raise InputError."""
    files = {name: text for it in dict.fromkeys(formats) for name, text in texts(report, it, stem)}
    return [write_atomically(folder / name, text) for name, text in files.items()]


def texts(report: Report, form: Format, stem: str = STEM) -> Iterator[tuple[str, str]]:
    """Yield the files of a format, by name and text."""
    match form:
        case Format.HTML:
            yield f"{stem}.html", html.render(report)
        case Format.MARKDOWN:
            yield f"{stem}.md", markdown.render(report)
        case Format.JSON:
            yield f"{stem}.json", json_csv.to_json(report)
        case Format.CSV:
            yield from ((f"{stem}-{table.name}.csv", json_csv.to_csv(table)) for table in report.tables())
        case Format.JUNIT:
            name = JUNIT_NAME if stem == STEM else f"{stem}.{JUNIT_NAME}"
            yield name, junit(report.name, report.judged, report.duration_s, report.claims)
