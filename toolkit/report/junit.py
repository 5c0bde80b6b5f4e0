"""Write verdicts and check results as JUnit XML, which CI servers display as tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from xml.etree import ElementTree

from toolkit.masking import mask_text
from toolkit.report.model import RunVerdict
from toolkit.runs.check_results import CheckRecord
from toolkit.runs.thresholds import Status

FILE_NAME = "junit.xml"


def render(name: str, verdicts: Iterable[RunVerdict], duration_s: float, checks: Iterable[CheckRecord] = ()) -> str:
    """Return JUnit XML with a test for each verdict, check and part of a check. FAIL is a failure, NO_DATA an error.

    >>> render("friday", [], 1.5).splitlines()[1]
    '<testsuites tests="0" failures="0" errors="0"><testsuite name="friday" time="1.500" tests="0" failures="0" \
errors="0" /></testsuites>'
    """
    cases = [_case(it.run, str(it.verdict.threshold), it.verdict.status, str(it.verdict)) for it in verdicts]
    for check in checks:
        cases.append(_case(name, check.claim, check.status, check.finding))
        cases += [_case(name, f"{check.claim} {it.name}", it.status, it.reason) for it in check.parts]
    found = Counter(child.tag for case in cases for child in case)
    counts = {"tests": str(len(cases)), "failures": str(found["failure"]), "errors": str(found["error"])}
    attributes = {"name": mask_text(name), "time": f"{duration_s:.3f}"}
    suites = ElementTree.Element("testsuites", counts)
    ElementTree.SubElement(suites, "testsuite", attributes | counts).extend(cases)
    # Encoded here: with encoding="unicode" the declaration would name the locale's encoding.
    xml: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return xml.decode()


def _case(run: str, name: str, status: Status, message: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", {"name": name, "classname": mask_text(run)})
    if status is not Status.PASS:
        tag = "failure" if status is Status.FAIL else "error"
        ElementTree.SubElement(case, tag, {"type": status.value, "message": message})
    return case
