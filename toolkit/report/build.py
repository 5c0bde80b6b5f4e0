"""Build a report from its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from toolkit import number_format
from toolkit.analysis.latency_percentiles import CALLER, percentile_column
from toolkit.analysis.source_record import unread_ratio
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.masking import Json, mask, mask_text
from toolkit.report.exit_reasons import condition_reasons, is_inconclusive, no_calls_reason, unread_reason
from toolkit.report.inputs import ReportInputs, settings_by_name
from toolkit.report.model import Fact, Figure, Report, RunVerdict
from toolkit.report.run_digest import digest
from toolkit.report.sections import ORDER
from toolkit.report.sections.verdicts import build_verdicts
from toolkit.report.verdicts import judge_run
from toolkit.report.worsenings import judge_worsenings
from toolkit.runs.thresholds import Verdict, without_pass
from toolkit.runs.worsening import WorseningVerdict

_LONG_S = 60  # from this duration on, the header also shows when the last call ended
_SHORT_S = 600  # up to this duration, sections that found nothing are left out


def build_report(
    inputs: ReportInputs,
    on_section: Callable[[str], object] = lambda _: None,
    on_figure: Callable[[Figure], object] = lambda _: None,
) -> Report:
    """Build all sections that the inputs have data for.

    ``on_section`` is called with the name of each section before it is computed, ``on_figure`` with each picture as
    soon as its data is known. Raises InputError for an invalid threshold, objective or statement.
    """
    on_section("verdicts")
    verdicts = [RunVerdict(run.name, verdict) for run in inputs.runs for verdict in run.verdicts]
    # The conditions are about all calls together, so one inconclusive run is enough.
    inconclusive = next((run.settings for run in inputs.runs if is_inconclusive(run.settings)), {})
    conditions: list[Verdict | WorseningVerdict] = [
        *judge_run(inputs.options.conditions, inputs.total.figures, inconclusive),
        *judge_worsenings(inputs),
    ]
    against = inputs.options.against if inputs.options.worsenings else None
    ratios = [unread_ratio(it.sources) for it in (inputs.total, against) if it is not None]
    unread = unread_reason(max(ratios), inputs.options.max_unread_ratio) if conditions else None
    if unread:
        conditions = [replace(it, status=without_pass(it.status)) for it in conditions]
    verdicts += [RunVerdict(inputs.name, verdict, is_condition=True) for verdict in conditions]
    own = [unread] if unread else []
    if not inputs.total.outcomes and not any(run.reasons for run in inputs.runs):
        own.append(no_calls_reason(inputs.name, inputs.since, inputs.until))
    others = [*condition_reasons(conditions), *own]
    sections = list(build_verdicts(inputs, verdicts))
    for name, build in ORDER:
        on_section(name)
        for section in build(inputs):
            if section.found_nothing and inputs.total.duration_s < _SHORT_S:
                continue
            sections.append(section)
            for part in section.parts:
                if isinstance(part, Figure):
                    on_figure(part)
    return Report(
        name=mask_text(inputs.name),
        when=_when(inputs),
        target=", ".join(dict.fromkeys(_targets(inputs))) or number_format.MISSING,
        duration_s=inputs.total.duration_s,
        facts=list(_facts(inputs)),
        remarks=list(_remarks(inputs)),
        sections=sections,
        verdicts=verdicts,
        checks=[check for run in inputs.runs for check in run.checks],
        ends=[replace(run.end, reasons=[*run.end.reasons, *own]) for run in inputs.runs],
        reasons=own,
        digests=[digest(run, others, has_conditions=bool(conditions)) for run in inputs.runs],
    )


def _when(inputs: ReportInputs) -> str:
    if inputs.total.span is None:
        return number_format.MISSING
    first, last = (it.tz_convert(inputs.options.timezone) for it in inputs.total.span)
    until = f" to {last:%Y-%m-%d %H:%M:%S}" if inputs.total.duration_s > _LONG_S else ""
    return f"{first:%Y-%m-%d %H:%M:%S}{until} {inputs.options.timezone}"


def _targets(inputs: ReportInputs) -> Iterator[str]:
    """Yield the target of each run; other tools' settings nest it as an object with a base_url or host."""
    for _, settings in settings_by_name(inputs.runs):
        target: Json = mask(settings)
        for names in (("target", "base_url", "host"), ("base_url", "host")):
            if isinstance(target, dict):
                target = next((target[name] for name in names if target.get(name)), None)
        yield target if isinstance(target, str) else number_format.MISSING


def _facts(inputs: ReportInputs) -> Iterator[Fact]:
    codes, total = inputs.total.codes, int(inputs.total.codes["calls"].sum())
    succeeded = int(codes.loc[codes["return_code"] == ReturnCode.SUCCESS, "calls"].sum())
    yield Fact("calls", f"{total:,}")
    if len(inputs.runs) == 1:  # the time between runs would count too
        per_s = total / inputs.total.sending_s if inputs.total.sending_s else None
        factor, unit = number_format.rate_scale(per_s)
        yield Fact(f"calls per {unit}", number_format.rate(per_s and per_s * factor))
    has_code = codes["return_code"].notna() | codes["error"].isna()
    if unknown := int(codes.loc[has_code & codes["kind"].isna(), "calls"].sum()):
        yield Fact("return code of unknown kind", number_format.share(unknown / total))
    yield Fact("OK", number_format.share(succeeded / total if total else None))
    if any("ended" in run.settings for run in inputs.runs):  # only a load test has expected outcomes
        for endpoint in Endpoint:
            failed = sum(run.failed[endpoint] for run in inputs.runs)
            if calls := int(codes.loc[codes["endpoint"] == endpoint.value, "calls"].sum()):
                yield Fact(f"failed of {endpoint}", number_format.share(failed / calls))
    for row in inputs.total.latency.to_dict("records"):
        if row["measure"] == CALLER:
            p99_ms = number_format.milliseconds(row[percentile_column(99)])
            yield Fact(f"p99 of {row['endpoint']}, ms", p99_ms)
    yield Fact("duration", number_format.duration(inputs.total.duration_s))
    yield Fact("messages, at most", f"{inputs.total.charged_messages:,}")


def _remarks(inputs: ReportInputs) -> Iterator[str]:
    for run in inputs.runs:
        for remark in run.remarks:
            yield f"{mask_text(run.name)}: {remark}" if len(inputs.runs) > 1 else remark
    if inferred := inputs.calls.inferred:
        yield f"{number_format.plural(inferred, 'return code')} inferred from the HTTP status, where it has only one."
    if copies := inputs.calls.copies:
        verb = "was" if copies == 1 else "were"
        yield f"{number_format.plural(copies, 'call')} {verb} recorded again, and counted once."
    for file in inputs.calls.same_files:
        yield f"A file was left out: {mask_text(file)}."
    if inputs.since or inputs.until:
        yield f"Only calls from {inputs.since or 'the first'} to {inputs.until or 'the last'} are included."
