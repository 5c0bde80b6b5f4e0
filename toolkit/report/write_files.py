"""Write a report to files in the chosen formats. Each file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

from toolkit.atomic_write import write_atomically
from toolkit.report import html, job_summary, json_csv, junit, markdown, workbook
from toolkit.report.build import build_report
from toolkit.report.html import PictureDrawer
from toolkit.report.inputs import ReportInputs, is_run, read_inputs
from toolkit.report.model import Report

STEM = "report"


class Format(StrEnum):
    """The formats of a report."""

    HTML = "html"
    MARKDOWN = "md"
    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"
    XLSX = "xlsx"
    GITHUB = "github"


def write_report(run: str | Path) -> Path:
    """Write report.html into a run's folder, or FILE.html next to a file of calls, and return its path.

    Raises InputError for a source that holds no calls, and for an invalid run.json.
    """
    folder, stem = place_of(Path(run))
    return write_page(read_inputs([run]), folder, stem)


def write_page(inputs: ReportInputs, folder: Path, stem: str = STEM) -> Path:
    """Write the HTML page of some inputs to a folder and return its path."""
    with PictureDrawer() as pictures:
        report = build_report(inputs, on_figure=pictures.start)
        return write_atomically(folder / f"{stem}.html", html.render(report, pictures))


def place_of(run: Path) -> tuple[Path, str]:
    """Return the folder of a report and the stem of its files: a run's folder, a file's folder, else this one."""
    if is_run(run):
        return run, STEM
    return (run.parent, run.name) if run.is_file() else (Path(), STEM)


def write(report: Report, folder: Path, formats: Iterable[Format], stem: str = STEM) -> list[Path]:
    """Write a report to a folder and return the files; CSV is one file for each table. Raises InputError."""
    files = {name: text for it in dict.fromkeys(formats) for name, text in texts(report, it, stem)}
    return [write_atomically(folder / name, text) for name, text in files.items()]


def texts(report: Report, form: Format, stem: str = STEM) -> Iterator[tuple[str, str | bytes]]:
    """Yield the name and the content of each file of a format."""
    match form:
        case Format.HTML:
            yield f"{stem}.html", html.render(report)
        case Format.MARKDOWN:
            yield f"{stem}.md", markdown.render(report)
        case Format.GITHUB:
            yield f"{stem}-github.md", job_summary.render(report)
        case Format.JSON:
            yield f"{stem}.json", json_csv.to_json(report)
        case Format.CSV:
            yield from ((f"{stem}-{table.name}.csv", json_csv.to_csv(table)) for table in report.tables())
        case Format.XLSX:
            yield f"{stem}.xlsx", workbook.to_xlsx(report)
        case Format.JUNIT:
            name = junit.FILE_NAME if stem == STEM else f"{stem}.{junit.FILE_NAME}"
            yield (
                name,
                junit.render(
                    report.name, report.verdicts, report.duration_s, report.checks, report.ends, report.remarks
                ),
            )
