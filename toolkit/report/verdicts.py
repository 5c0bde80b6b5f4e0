"""Verdicts: a run's thresholds, judged by its calls, as values, JSON and JUnit XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.analysis import outcomes
from toolkit.analysis.calls import duration_ns
from toolkit.report.claims import Claim
from toolkit.report.masking import Json, mask_text
from toolkit.runs import Cause
from toolkit.thresholds import Figures, Measure, Status, Verdict, doubt, judge, parse
from toolkit.wire import Endpoint

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class _Exact:
    """The times of calls, each kept; percentiles are those of ``analysis.latency``."""

    ms: npt.NDArray[np.float64]

    def percentile(self, percentile: float) -> float:
        return float(np.percentile(self.ms, percentile))

    def mean(self) -> float:
        return float(self.ms.mean())

    def max(self) -> float:
        return float(self.ms.max())


def judge_run(calls: pd.DataFrame, settings: Mapping[str, object]) -> list[Verdict]:
    """Judge the settings' "thresholds"; raise InputError for what is none.

    Where a load test was its own "bottleneck" nothing is known of the target, so that nothing passes. The threshold
    that ended a run was missed, however the calls that were still under way turned out.
    """
    given = settings.get("thresholds")
    figures = _figures(calls)
    verdicts = [judge(parse(str(text)), figures) for text in (given if isinstance(given, list | tuple) else ())]
    if settings.get("ended") == Cause.MISSED:
        verdicts = [_fail(it) if str(it.threshold) == settings.get("ended_because") else it for it in verdicts]
    return [doubt(it) for it in verdicts] if settings.get("bottleneck") else verdicts


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


def write_junit(
    path: Path, run: str, verdicts: Iterable[Verdict], duration_s: float, claims: Iterable[Claim] = ()
) -> None:
    """Write verdicts as JUnit XML: the run is a suite, each threshold and claim a test; without data it is an error."""
    cases = [_case(run, str(it.threshold), it.status, str(it)) for it in verdicts]
    cases += [_case(run, it["claim"], Status(it["status"]), it["says"]) for it in claims]
    found = Counter(child.tag for case in cases for child in case)
    counts = {"tests": str(len(cases)), "failures": str(found["failure"]), "errors": str(found["error"])}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": mask_text(run), "time": f"{duration_s:.3f}", **counts})
    suite.extend(cases)
    path.write_bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))


def _figures(calls: pd.DataFrame) -> Figures:
    found: Counter[tuple[Endpoint, int | str]] = Counter()
    for row in outcomes.return_codes(calls).to_dict("records"):
        outcome = str(row["error"]) if pd.isna(row["return_code"]) else int(row["return_code"])
        found[Endpoint(row["endpoint"]), outcome] += row["calls"]
    endpoints = {endpoint: calls[calls["endpoint"] == endpoint.value] for endpoint, _ in found}
    times = {(endpoint, it): _Exact(_ms(own, it)) for endpoint, own in endpoints.items() for it in Measure}
    return Figures(duration_ns(calls) / 1e9, found, times)


def _ms(calls: pd.DataFrame, measure: Measure) -> npt.NDArray[np.float64]:
    waited_ns = calls["wait_ns"] if measure is Measure.CALLER_MS else 0
    return (calls["latency_ns"] + waited_ns).to_numpy() / _NS_PER_MS


def _fail(verdict: Verdict) -> Verdict:
    return replace(verdict, status=Status.FAIL)


def _case(run: str, name: str, status: Status, message: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"name": name, "classname": mask_text(run)})
    if status is not Status.PASS:
        tag = "failure" if status is Status.FAIL else "error"
        ElementTree.SubElement(case, tag, {"type": status.value, "message": message})
    return case
