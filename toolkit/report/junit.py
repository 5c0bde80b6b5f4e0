"""Write verdicts and check results as JUnit XML, which CI servers display as tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from xml.etree import ElementTree

from toolkit import number_format
from toolkit.masking import mask_text
from toolkit.report.model import RunEnd, RunVerdict
from toolkit.runs.check_results import CheckRecord
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.thresholds import Status

FILE_NAME = "junit.xml"
_FAILURES = (ExitCode.NO_ANSWER, ExitCode.REFUSED, ExitCode.FAILED)  # the other codes prove nothing about the target


def render(
    name: str,
    verdicts: Iterable[RunVerdict],
    duration_s: float,
    checks: Iterable[CheckRecord] = (),
    ends: Iterable[RunEnd] = (),
    remarks: Iterable[str] = (),
) -> str:
    """Return JUnit XML with a test for each run, verdict, check and part of a check.

    A verdict that is FAIL is a failure, NO_DATA an error. The test of a run names its calls and its duration. It fails
    for each reason of an exit code other than 0 that is not a verdict, so no suite is empty and none passes wrongly.
    Remarks are properties of the suite.

    >>> render("friday", [], 1.5, ends=[RunEnd("friday", 1234, 1.5)]).splitlines()[1]
    '<testsuites tests="1" failures="0" errors="0"><testsuite name="friday" time="1.500" tests="1" failures="0" \
errors="0"><testcase name="run: 1,234 calls in 1.5 s" classname="friday" /></testsuite></testsuites>'
    """
    cases = [_end_case(it) for it in ends]
    cases += [_case(it.run, str(it.verdict.threshold), it.verdict.status, str(it.verdict)) for it in verdicts]
    for check in checks:
        cases.append(_case(name, check.name, check.status, check.finding))
        cases += [_case(name, f"{check.name} {it.name}", it.status, it.reason) for it in check.parts]
    found = Counter(child.tag for case in cases for child in case)
    counts = {"tests": str(len(cases)), "failures": str(found["failure"]), "errors": str(found["error"])}
    attributes = {"name": mask_text(name), "time": f"{duration_s:.3f}"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", attributes | counts)
    if properties := [ElementTree.Element("property", {"name": "remark", "value": it}) for it in remarks]:
        ElementTree.SubElement(suite, "properties").extend(properties)
    suite.extend(cases)
    # Encoded here: with encoding="unicode" the declaration would name the locale's encoding.
    xml: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return xml.decode()


def _end_case(end: RunEnd) -> ElementTree.Element:
    reasons = [it for it in end.reasons if not it.is_verdict]
    status = Status.PASS
    if reasons:
        status = Status.FAIL if reasons[0].code in _FAILURES else Status.NO_DATA
    name = f"run: {number_format.plural(end.calls, 'call')} in {number_format.duration(end.duration_s)}"
    return _case(end.run, name, status, "; ".join(it.text for it in reasons))


def _case(run: str, name: str, status: Status, message: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"name": name, "classname": mask_text(run)})
    if status is not Status.PASS:
        tag = "failure" if status is Status.FAIL else "error"
        ElementTree.SubElement(case, tag, {"type": status.value, "message": message})
    return case
