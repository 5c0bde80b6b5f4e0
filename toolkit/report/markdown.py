"""Markdown: a report as text that a code host, a ticket or a chat shows. Tables and notes, no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.report.model import Report, Section, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def render(report: Report) -> str:
    """Return a report as Markdown, with tables as GitHub has them."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {_escape(report.name)}"
    yield f"\n{report.when} · target {_escape(report.target)}\n"
    yield from (f"- {fact.label}: **{fact.value}**" for fact in report.facts)
    yield from (f"\n> {_escape(remark)}" for remark in report.remarks)
    yield ""
    yield from (f"- {_escape(section.finding)}" for section in report.findings())
    for section in report.sections:
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    yield f"\n## {_escape(section.title)}" + (f": {section.badge}" if section.badge else "")
    if section.note:
        yield f"\n{_escape(section.note)}"
    for part in section.parts:
        if isinstance(part, Table):
            yield from _table(part)


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"\n### {_escape(table.title)}"
    yield "\n| " + " | ".join(_escape(head.title) for head in table.heads) + " |"
    yield "|" + "|".join(" ---: " if head.is_number else " --- " for head in table.heads) + "|"
    yield from ("| " + " | ".join(_escape(str(cell)) for cell in row) + " |" for row in table.rows)
    if table.left_out:
        yield f"\n{table.left_out:,} more are in the records."
    if table.note:
        yield f"\n{_escape(table.note)}"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
