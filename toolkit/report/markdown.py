"""Render a report as Markdown for a code host, a ticket or a chat: tables and notes, without pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.report.model import Report, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def render(report: Report) -> str:
    """Return a report as GitHub Flavored Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape(report.name)}"
    yield f"\n{report.when} · target {escape(report.target)}\n"
    yield from (f"> {escape(remark)}\n" for remark in report.remarks)
    yield from (f"{f'**{it.verdict}** ' * bool(it.verdict)}{escape(it.headline)}\n" for it in report.digests)
    yield from (f"- {fact.label}: **{fact.value}**" for fact in report.facts)
    yield ""
    yield from (f"- {escape(section.finding)}" for section in report.findings())
    for section in report.sections:
        yield f"\n## {escape(section.title)}" + (f": {section.badge}" if section.badge else "")
        if section.note:
            yield f"\n{escape(section.note)}"
        for part in section.parts:
            if isinstance(part, Table):
                yield from _table(part)


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"\n### {escape(table.title)}"
    yield "\n| " + " | ".join(escape(header.title) for header in table.headers) + " |"
    yield "|" + "|".join(" ---: " if header.is_number else " --- " for header in table.headers) + "|"
    yield from ("| " + " | ".join(escape(str(cell)) for cell in row) + " |" for row in table.rows)
    if table.omitted:
        yield f"\n{table.omitted:,} more rows are not shown."
    if table.note:
        yield f"\n{escape(table.note)}"


def escape(text: str) -> str:
    """Return text on one line, with the characters escaped that Markdown gives a meaning."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
