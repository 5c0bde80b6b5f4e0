"""Values of a report before it is rendered as HTML, Markdown, JSON or CSV. All values to display are text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from toolkit.report.exit_reasons import ExitReason
from toolkit.runs.check_results import CheckRecord
from toolkit.runs.thresholds import Verdict
from toolkit.runs.worsening import WorseningVerdict

INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Badge:
    """A coloured word. ``title`` is its tooltip."""

    text: str
    colour: str
    title: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Bar:
    """A share as text and as a bar. ``ratio`` is 0..1."""

    text: str
    ratio: float
    colour: str

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = str | Badge | Bar


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a table's column. ``lang`` is the language of the cells if it is not English."""

    title: str
    is_number: bool = False
    lang: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Displayed rows, and the complete frame behind them for JSON and CSV.

    ``name`` is part of the CSV file's name. ``omitted`` counts the frame's rows that are not displayed. If
    ``is_grouped``, adjacent rows with the same first cell are displayed as one group.
    """

    name: str
    headers: tuple[Header, ...]
    rows: Sequence[tuple[Cell, ...]]
    frame: pd.DataFrame
    title: str = ""
    note: str = ""
    omitted: int = 0
    is_grouped: bool = False

    def groups(self) -> list[list[tuple[Cell, ...]]]:
        """Return the rows in groups; each row is its own group unless ``is_grouped``."""
        groups: list[list[tuple[Cell, ...]]] = []
        for row in self.rows:
            if self.is_grouped and groups and groups[-1][0][0] == row[0]:
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: ``chart`` is the name of the function of ``analysis.charts`` that draws ``frame``."""

    chart: str
    frame: pd.DataFrame
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Legend:
    """An explanation of badges by their titles."""

    badges: Sequence[Badge]


Part: TypeAlias = Table | Figure | Legend


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a report: a note, tables and pictures.

    ``badge`` is the verdict, if the section has one. ``finding`` is its most important result in one sentence.
    ``found_nothing``: there is nothing to report, so the section is left out of the report of a short run.
    """

    name: str
    title: str
    note: str = ""
    parts: Sequence[Part] = ()
    badge: Badge | None = None
    finding: str = ""
    found_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of the page's header."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class RunDigest:
    """The verdict on a run, what ran, the reasons for the verdict, and the main figures, masked.

    ``verdict``: PASS, FAIL, or INCONCLUSIVE if the run proves nothing; "" if nothing was judged.
    """

    verdict: str
    headline: str
    reasons: Sequence[str]
    facts: Sequence[Fact]


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict on one threshold of a run, or on a condition of ``--fail-if`` or ``--fail-if-worse``."""

    run: str
    verdict: Verdict | WorseningVerdict
    is_condition: bool = False


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A run, the number of its calls, its duration, and the reasons for its exit code other than 0."""

    run: str
    calls: int
    duration_s: float
    reasons: Sequence[ExitReason] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A header and sections in reading order, with the verdicts and check results of its runs.

    ``reasons``: reasons for the exit code that are of the whole report, not of one run. ``digests``: one for each run.
    """

    name: str
    when: str
    target: str
    duration_s: float
    facts: Sequence[Fact]
    remarks: Sequence[str]
    sections: Sequence[Section]
    verdicts: Sequence[RunVerdict] = ()
    checks: Sequence[CheckRecord] = ()
    ends: Sequence[RunEnd] = ()
    reasons: Sequence[ExitReason] = ()
    digests: Sequence[RunDigest] = ()

    def findings(self) -> list[Section]:
        """Return the sections that have a finding."""
        return [section for section in self.sections if section.finding]

    def tables(self) -> list[Table]:
        """Return the tables of all sections, in reading order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Table)]
