"""Values: what a report is made of, before it is a page, Markdown, JSON or CSV. What is shown is text already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from toolkit.runs.check_results import Claim
from toolkit.runs.thresholds import Verdict


@dataclass(frozen=True, slots=True)
class Badge:
    """A coloured word; ``title`` says more."""

    text: str
    colour: str
    title: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Bar:
    """A share as text and as a bar; ``ratio``: 0..1."""

    text: str
    ratio: float
    colour: str

    def __str__(self) -> str:
        return self.text


Cell: TypeAlias = str | Badge | Bar


@dataclass(frozen=True, slots=True)
class Head:
    """What a column shows; ``lang``: the language of its text, where it isn't English."""

    title: str
    is_number: bool = False
    lang: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as they are shown, and the whole frame that they are of, as JSON and CSV have it.

    ``name``: of its file. ``left_out``: rows of the frame that aren't shown. ``is_grouped``: rows that have the first
    cell in common belong together.
    """

    name: str
    heads: tuple[Head, ...]
    rows: Sequence[tuple[Cell, ...]]
    frame: pd.DataFrame
    title: str = ""
    note: str = ""
    left_out: int = 0
    is_grouped: bool = False

    def groups(self) -> list[list[tuple[Cell, ...]]]:
        """Return the rows, those together that have the first cell in common, else each alone."""
        found: list[list[tuple[Cell, ...]]] = []
        for row in self.rows:
            if self.is_grouped and found and found[-1][0][0] == row[0]:
                found[-1].append(row)
            else:
                found.append([row])
        return found


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: which of ``analysis.charts`` draws which frame."""

    chart: str
    frame: pd.DataFrame
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Legend:
    """What badges stand for, by their titles."""

    badges: Sequence[Badge]


Part: TypeAlias = Table | Figure | Legend


@dataclass(frozen=True, slots=True)
class Section:
    """An answer: a note in a few words, tables and pictures.

    ``badge``: what came of it, where that is judged. ``finding``: what of it everybody should know, one sentence.
    """

    name: str
    title: str
    note: str = ""
    parts: Sequence[Part] = ()
    badge: Badge | None = None
    finding: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of the headline."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A run's verdict; ``is_asked``: asked beside the run's own thresholds, as with --fail-if."""

    run: str
    verdict: Verdict
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Sections in the order in which they are read, below a headline; ``judged`` and ``claims`` say how it went."""

    name: str
    when: str
    target: str
    duration_s: float
    facts: Sequence[Fact]
    remarks: Sequence[str]
    sections: Sequence[Section]
    judged: Sequence[Judged] = ()
    claims: Sequence[Claim] = ()

    def findings(self) -> list[Section]:
        """Return the sections that found what everybody should know."""
        return [section for section in self.sections if section.finding]

    def tables(self) -> list[Table]:
        """Return all tables, in their order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Table)]
