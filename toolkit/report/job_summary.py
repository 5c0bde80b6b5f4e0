"""Render a short Markdown summary for the page of a CI job: verdict, thresholds and main figures of each run."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.report.markdown import escape
from toolkit.report.model import Report, RunDigest
from toolkit.runs.worsening import WorseningVerdict


def render(report: Report) -> str:
    """Return GitHub Flavored Markdown of a few lines for each run."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    for digest in report.digests:
        yield from _digest_lines(digest)
    if report.verdicts:
        yield "\n| status | threshold | measured |"
        yield "| --- | --- | ---: |"
        for it in report.verdicts:
            verdict = it.verdict
            if isinstance(verdict, WorseningVerdict):
                shown = f"--fail-if-worse: {verdict.threshold}"
            else:  # a condition of --fail-if is judged by its opposite
                shown = f"--fail-if: {verdict.threshold.opposite()}" if it.is_condition else str(verdict.threshold)
            yield f"| {verdict.status.value} | {escape(shown)} | {escape(verdict.measured)} |"
    for check in report.checks:
        yield f"\n- **{check.status.value}** {escape(check.finding)}"
    known = [reason.lower() for digest in report.digests for reason in digest.reasons]
    for remark in report.remarks:
        if not any(it in remark.lower() for it in known):
            yield f"\n> {escape(remark)}"


def _digest_lines(digest: RunDigest) -> Iterator[str]:
    yield f"### {digest.verdict + ' ' if digest.verdict else ''}{escape(digest.headline)}"
    yield from (f"\n**{escape(reason)}**" for reason in digest.reasons)
    yield "\n| | |"
    yield "| --- | --- |"
    yield from (f"| {escape(fact.label)} | {escape(fact.value)} |" for fact in digest.facts)
    yield ""
