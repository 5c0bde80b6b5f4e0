"""Verdicts: a run's thresholds, judged by its calls, as values, JSON and JUnit XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import pandas as pd

from toolkit.analysis import duration_s, latency, return_codes
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.latency_percentiles import column
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.masking import Json, mask_text
from toolkit.report.inputs import Subject
from toolkit.report.model import Judged
from toolkit.runs.check_results import Claim
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import Figures, Measure, Status, Verdict, judge, mark_inconclusive, parse


@dataclass(frozen=True, slots=True)
class _Times:
    """The times of an endpoint's calls, asked of the calls themselves, as ``analysis.latency`` takes them."""

    calls: IntoCalls
    endpoint: Endpoint
    measure: Measure

    def percentile(self, percentile: float) -> float:
        return self._ask(column(percentile), percentile)

    def mean(self) -> float:
        return self._ask("mean_ms")

    def max(self) -> float:
        return self._ask("max_ms")

    def _ask(self, name: str, *at: float) -> float:
        found = latency(self.calls, at=at)
        mine = found[(found["endpoint"] == self.endpoint.value) & (found["measure"] == self.measure.value)]
        return float(mine[name].iloc[0])


def judge_run(calls: IntoCalls, settings: Mapping[str, object]) -> list[Verdict]:
    """Judge the settings' "thresholds"; raise InputError for what is none.

    Where a load test was its own "bottleneck" nothing is known of the target, so that nothing passes. The threshold
    that ended a run was missed, however the calls that were still under way turned out.
    """
    given = settings.get("thresholds") or ()
    if not isinstance(given, list | tuple):
        raise InputError(f"the run's thresholds are {given!r}: write a list of them")
    if not given:
        return []
    figures = _figures(calls)
    verdicts = [judge(parse(str(text)), figures) for text in given]
    if settings.get("ended") == Cause.MISSED:
        verdicts = [_fail(it) if str(it.threshold) == settings.get("ended_because") else it for it in verdicts]
    return [mark_inconclusive(it) for it in verdicts] if settings.get("bottleneck") else verdicts


def judge_all(subject: Subject) -> list[Judged]:
    """Judge each run by its own thresholds, and all calls together by what is asked of them."""
    own = [Judged(run.name, verdict) for run in subject.runs for verdict in judge_run(run.calls, run.settings)]
    conditions = subject.asked.conditions
    if not conditions:
        return own
    figures = _figures(subject.calls)
    return own + [Judged(subject.name, judge(it, figures), is_asked=True) for it in conditions]


def as_json(verdict: Verdict) -> dict[str, Json]:
    """Return a verdict as an object: threshold, status, value (in unit, null without data), limit, unit."""
    threshold = verdict.threshold
    return {
        "threshold": str(threshold),
        "status": verdict.status.value,
        "value": verdict.value,
        "limit": threshold.limit,
        "unit": verdict.unit,
    }


def junit(name: str, judged: Iterable[Judged], duration_s: float, claims: Iterable[Claim] = ()) -> str:
    """Return verdicts as JUnit XML: a suite with a test for each threshold and claim; no data is an error."""
    cases = [_case(it.run, str(it.verdict.threshold), it.verdict.status, str(it.verdict)) for it in judged]
    cases += [_case(name, it["claim"], Status(it["status"]), it["says"]) for it in claims]
    found = Counter(child.tag for case in cases for child in case)
    counts = {"tests": str(len(cases)), "failures": str(found["failure"]), "errors": str(found["error"])}
    about = {"name": mask_text(name), "time": f"{duration_s:.3f}"}
    suites = ElementTree.Element("testsuites", counts)
    ElementTree.SubElement(suites, "testsuite", about | counts).extend(cases)
    xml: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return xml.decode()  # as text it would name the locale's encoding, which is not that of the file


def _figures(calls: IntoCalls) -> Figures:
    found: Counter[tuple[Endpoint, int | str]] = Counter()
    for row in return_codes(calls).to_dict("records"):
        outcome = str(row["error"]) if pd.isna(row["return_code"]) else int(row["return_code"])
        found[Endpoint(row["endpoint"]), outcome] += row["calls"]
    endpoints = dict.fromkeys(endpoint for endpoint, _ in found)
    times = {(endpoint, it): _Times(calls, endpoint, it) for endpoint in endpoints for it in Measure}
    return Figures(duration_s(calls), found, times)


def _fail(verdict: Verdict) -> Verdict:
    return replace(verdict, status=Status.FAIL)


def _case(run: str, name: str, status: Status, message: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"name": name, "classname": mask_text(run)})
    if status is not Status.PASS:
        tag = "failure" if status is Status.FAIL else "error"
        ElementTree.SubElement(case, tag, {"type": status.value, "message": message})
    return case
