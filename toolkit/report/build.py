"""Composing: from calls, and what is asked of them, to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.masking import Json, mask, mask_text
from toolkit.report import spending
from toolkit.report.inputs import Subject, settings_by_name
from toolkit.report.model import Fact, Report
from toolkit.report.remarks import remarks
from toolkit.report.sections import ORDER
from toolkit.report.sections import verdicts as judged
from toolkit.report.verdicts import judge_all


def compose(subject: Subject, on_section: Callable[[str], None] = lambda _: None) -> Report:
    """Answer everything that calls tell; ``on_section`` hears what is worked out next.

    Raise InputError for a threshold, a promise or a statement that is none.
    """
    on_section("verdicts")
    verdicts = judge_all(subject)
    sections = list(judged.tell(subject, verdicts))
    for name, tell in ORDER:
        on_section(name)
        sections += tell(subject)
    return Report(
        name=mask_text(subject.name),
        when=_when(subject),
        target=_target(subject),
        duration_s=subject.duration_s,
        facts=list(_facts(subject)),
        remarks=list(_remarks(subject)),
        sections=sections,
        judged=verdicts,
        claims=[claim for run in subject.runs for claim in run.claims],
    )


def _when(subject: Subject) -> str:
    if subject.span is None:
        return number_format.MISSING
    first, last = subject.span
    until = f" to {last:%Y-%m-%d %H:%M:%S}" if subject.duration_s > 60 else ""
    return f"{first:%Y-%m-%d %H:%M:%S}{until} UTC"


def _target(subject: Subject) -> str:
    found = dict.fromkeys(_target_of(mask(settings)) for _, settings in settings_by_name(subject.runs))
    return ", ".join(found) or number_format.MISSING


def _target_of(settings: Json) -> str:
    target: Json = settings
    for names in (("target", "base_url", "host"), ("base_url", "host")):
        if isinstance(target, dict):
            target = next((target[name] for name in names if target.get(name)), None)
    return target if isinstance(target, str) else number_format.MISSING


def _facts(subject: Subject) -> Iterator[Fact]:
    codes, seconds = subject.codes, subject.duration_s
    total = int(codes["calls"].sum())
    good = int(codes.loc[codes["return_code"] == ReturnCode.SUCCESS, "calls"].sum())
    yield Fact("calls", f"{total:,}")
    if len(subject.runs) == 1:  # between runs there are none
        yield Fact("calls per second", number_format.rate(total / seconds if seconds else None))
    yield Fact("OK", number_format.share(good / total if total else None))
    yield Fact("duration", number_format.duration(seconds))
    yield Fact("messages, at most", f"{spending.charged(codes):,}")


def _remarks(subject: Subject) -> Iterator[str]:
    if subject.since or subject.until:
        yield f"Calls from {subject.since or 'the first'} on and before {subject.until or 'the end'}, and no others."
    for name, settings in settings_by_name(subject.runs):
        masked = mask(settings)
        for remark in remarks(masked) if isinstance(masked, dict) else ():
            yield f"{mask_text(name)}: {remark}" if name else remark
