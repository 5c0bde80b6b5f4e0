"""A matrix of failing targets, loops and thresholds: every verdict is right, and all outputs agree on it.

Each target fails from a given number of sends on, see ``support.faulty_target``. It is loaded once in a closed and once
in an open loop. The closed-loop run is started without a threshold of its own and judged again with one; the open-loop
run the other way round. Thus each target has four cells, and exit code, run.json, JUnit, shell and report are compared
in each. The report is a page after a run, and Markdown after a second judgement.

In the closed loop the load generator may be held up as much as other tests do that. In the open loop it is watched as
usual, to see that it is never blamed for the target. If other tests leave it too little CPU time, it says so and
passes nothing, which is compared too; see ``Cell.starved``.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.faulty_target import Fault, faulty_target
from support.redis import free_port
from support.service import Running, smscode

from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import write_parquet

DEFAULT, DROPPED = "failed < 1%", "dropped < 1%"
LIMIT_MS = 2500
MAX, P75 = f"max(send.latency_ms) < {LIMIT_MS}", "p75(send.latency_ms) < 200"
LOOPS = {"closed": ("--users", "5"), "open": ("--rate", "10", "--max-bottleneck", "1%")}
FEW_CONNECTIONS = ("--max-connections", "8")  # a hung target holds all of them, so that further arrivals wait
NOT_STARVED = re.compile("connection")  # a bottleneck that would blame the generator for what the target did
UNANSWERED, MISSED, BOTTLENECK = 3, 99, 98
PASS, FAIL, NO_DATA = "PASS", "FAIL", "NO_DATA"


@dataclass(frozen=True)
class Row:
    """The expected results of one target: of the default threshold, of a threshold on latency, and of the run.

    ``head`` is a pattern of the first line that the report tells about the calls.
    """

    fault: Fault
    after: int
    failed: str
    threshold: str
    kept: str
    exit_without: int
    exit_with: int
    head: str = ""

    def __str__(self) -> str:
        return f"{self.fault} at once" if self.fault is Fault.DIE and not self.after else self.fault

    def expected(self, has_threshold: bool, loop: str) -> dict[str, str]:
        dropped = {DROPPED: FAIL if self.fault is Fault.HANG else PASS} if loop == "open" else {}
        return {DEFAULT: self.failed} | dropped | ({self.threshold: self.kept} if has_threshold else {})


CONSENT = ["--allow-target", "127.0.0.1", "--max-messages", "1000000"]
FAILED = r"^[\d.]+ % of [\d,]+ calls failed: [\d,]+ "
ROWS = (
    Row(Fault.NONE, 0, PASS, MAX, PASS, 0, 0),
    Row(Fault.DIE, 0, FAIL, MAX, NO_DATA, UNANSWERED, UNANSWERED, FAILED + "could not connect"),
    Row(Fault.DIE, 10, FAIL, MAX, PASS, MISSED, MISSED, FAILED + "could not connect"),
    Row(Fault.HANG, 10, FAIL, MAX, FAIL, MISSED, MISSED, FAILED + "timed out"),
    Row(Fault.HANG_AND_RETURN, 10, PASS, MAX, FAIL, 0, MISSED),
    Row(Fault.UNAVAILABLE, 10, FAIL, MAX, PASS, MISSED, MISSED, FAILED + "got a response that isn't the API's"),
    Row(Fault.TOO_MANY, 10, FAIL, MAX, PASS, MISSED, MISSED, FAILED + "got a response that isn't the API's"),
    Row(Fault.LOGIN_PAGE, 10, FAIL, MAX, PASS, MISSED, MISSED, FAILED + "got a response that isn't the API's"),
    Row(Fault.SERVER_ERROR, 10, FAIL, MAX, PASS, MISSED, MISSED, FAILED + "failed in the server"),
    Row(Fault.CLOSE, 10, FAIL, MAX, PASS, MISSED, MISSED, FAILED + "were cut off by the target"),
    Row(Fault.SLOW, 10, PASS, P75, FAIL, 0, MISSED),
)


class Cell:
    """What one cell told in each place: statuses by threshold, and the exit code."""

    def __init__(self, exit_code: int, stdout: str, stderr: str, folder: Path) -> None:
        self.exit_code, self.stderr, self.folder = exit_code, stderr, folder
        self.summary: dict[str, Any] = json.loads((folder / "run.json").read_text())
        self.run_json = {it["threshold"]: it["status"] for it in self.summary["verdicts"]}
        table = stdout.partition("\nThresholds")[2]
        rows = re.findall(r"^(PASS|FAIL|NO_DATA) +(\S.*?)(?:  .*)?$", table, re.MULTILINE)
        self.shell = {threshold: status for status, threshold in rows}
        self.reasons = [line.removeprefix("smscode: ") for line in stderr.splitlines() if line.startswith("smscode: ")]
        cases = dict(_read_junit(folder / "junit.xml"))
        self.end = next(status for name, status in cases.items() if name.startswith("run: "))
        self.junit = {name: status for name, status in cases.items() if not name.startswith("run: ")}
        read = self._read_page if (folder / "report.html").exists() else self._read_markdown
        self.report, self.notes, self.findings = read()

    def _read_page(self) -> tuple[dict[str, str], list[str], str]:
        """Read the verdicts, the notes and the findings of the report."""
        page = (self.folder / "report.html").read_text()
        rows = re.findall(r">(PASS|FAIL|NO_DATA)</span></th>\s*<td>(.*?)</td>", page)
        header = page.partition("<header>")[2].partition("</header>")[0]
        notes = [html.unescape(note) for note in re.findall(r'<p class="remark">(.*?)</p>', header)]
        findings = html.unescape(re.sub("<[^>]+>", " ", header.partition('class="findings"')[2]))
        return {html.unescape(threshold): status for status, threshold in rows}, notes, findings

    def _read_markdown(self) -> tuple[dict[str, str], list[str], str]:
        text = re.sub(r"\\(.)", r"\1", (self.folder / "report.md").read_text())
        rows = re.findall(r"^\| (PASS|FAIL|NO_DATA) \| (.*?) \|", text, re.MULTILINE)
        header = text.partition("\n## ")[0]
        return {threshold: status for status, threshold in rows}, re.findall("^> (.*)", header, re.MULTILINE), header

    @property
    def slowest_ms(self) -> float:
        """The longest latency of a send: a busy machine may hold up a call beyond any limit."""
        return float(self.summary["endpoints"]["send"]["latency_ms"]["max"])

    @property
    def starved(self) -> str:
        """How this machine kept the load generator from running; "" if it didn't."""
        return self.summary["settings"].get("bottleneck") or ""


def _read_junit(path: Path) -> Iterator[tuple[str, str]]:
    for case in ElementTree.parse(path).iter("testcase"):
        (child,) = list(case) or [None]
        yield case.attrib["name"], PASS if child is None else {"failure": FAIL, "error": NO_DATA}[child.tag]


def environment(sandbox: Running) -> dict[str, str]:
    app_key, secret = sandbox.app_key, sandbox.master_secret
    return {"PATH": os.environ["PATH"], "SMSCODE_APP_KEY": app_key, "SMSCODE_MASTER_SECRET": secret}


@pytest.fixture(scope="module", autouse=True)
def _report_is_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make one report, so that importing its packages does not hold up the targets, which share this process."""
    file = tmp_path_factory.mktemp("one call") / "calls.parquet"
    write_parquet([CallRecord(10**18, "r", "worker-0", Endpoint.SEND, 200, 50000, Kind.OK, 1)], file)
    assert smscode("report", str(file)).returncode == 0


def load(sandbox: Running, url: str, out: Path, *options: str) -> Cell:
    """Load a target for 4 s with `smscode load`."""
    command = ["load", "--target", url, "--out", str(out), "--duration", "4s", *options]
    done = smscode(*command, env=environment(sandbox))
    assert out.exists(), done.stderr
    (folder,) = out.iterdir()
    return Cell(done.returncode, done.stdout, done.stderr, folder)


def judge_again(cell: Cell, folder: Path, thresholds: Mapping[str, str]) -> Cell:
    """Judge a copy of a run by other thresholds, with `smscode report`, in Markdown, which needs no pictures."""
    shutil.copytree(cell.folder, folder)
    summary = json.loads((folder / "run.json").read_text())
    summary["settings"]["thresholds"] = list(thresholds)
    (folder / "run.json").write_text(json.dumps(summary))
    for name in ("junit.xml", "report.html"):
        (folder / name).unlink()
    done = smscode("report", str(folder), "--format", "md,junit")
    return Cell(done.returncode, done.stdout, done.stderr, folder)


def check(cell: Cell, row: Row, has_threshold: bool, loop: str) -> None:
    """Compare a cell with what is expected, and its outputs with each other."""
    expected, exit_code = row.expected(has_threshold, loop), row.exit_with if has_threshold else row.exit_without
    if expected.get(MAX) == PASS and cell.slowest_ms >= LIMIT_MS:
        expected[MAX], exit_code = FAIL, MISSED
    assert not NOT_STARVED.search(cell.starved)
    if cell.starved:
        assert PASS not in cell.run_json.values()
        assert cell.run_json.keys() == expected.keys()
        assert all(got in (NO_DATA, expected[name]) for name, got in cell.run_json.items()), cell.stderr
        exit_code = exit_code if row.failed == FAIL else MISSED if FAIL in cell.run_json.values() else BOTTLENECK
    else:
        assert cell.run_json == expected, cell.stderr
    if row.failed == FAIL:
        assert cell.run_json[DEFAULT] == FAIL
    assert cell.exit_code == exit_code, cell.stderr

    assert cell.junit == cell.report == cell.shell == cell.run_json
    assert cell.summary["exit_code"] == cell.exit_code
    assert sorted(cell.summary["exit_reasons"]) == sorted(cell.reasons)
    assert bool(cell.reasons) == (cell.exit_code != 0)
    assert ({cell.end, *cell.junit.values()} == {PASS}) == (cell.exit_code == 0)
    told = " ".join(cell.reasons)
    assert all(name in told for name, got in cell.run_json.items() if got == FAIL)
    if row.head:
        assert re.search(row.head, cell.notes[0])
        assert cell.summary["remarks"][0] == cell.notes[0]
    if row.fault is Fault.SLOW:
        ratio = re.search(r"(?:rose|fell) from ([\d.,]+) ms to ([\d.,]+) ms", cell.findings)
        assert ratio, cell.findings
        before_ms, after_ms = (float(it.replace(",", "")) for it in ratio.groups())
        assert 1 < after_ms / before_ms <= 11


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_target_gets_the_right_verdict_everywhere(row: Row, loop: str, sandbox: Running, tmp_path: Path) -> None:
    has_own = loop == "open"
    options = [*LOOPS[loop], *(["--threshold", row.threshold] if has_own else [])]
    if loop == "open" and row.fault is Fault.HANG:
        options += FEW_CONNECTIONS
    if not row.after:  # it is gone before it can say that it is a sandbox
        options += CONSENT
    with faulty_target(sandbox.url, row.fault, row.after) as target:
        cell = load(sandbox, target.url, tmp_path / "runs", *options)
    assert target.faults or row.fault is Fault.NONE
    check(cell, row, has_own, loop)
    check(judge_again(cell, tmp_path / "again", row.expected(not has_own, loop)), row, not has_own, loop)


def test_a_target_that_is_gone_at_the_end_fails_the_run_whatever_share_may_fail(
    sandbox: Running, tmp_path: Path
) -> None:
    with faulty_target(sandbox.url, Fault.DIE, 10) as target:
        cell = load(sandbox, target.url, tmp_path / "runs", "--users", "2", "--max-failed", "100%")
    assert cell.run_json == cell.junit == cell.report == cell.shell == {"failed <= 100%": PASS}
    assert (cell.exit_code, cell.end) == (MISSED, FAIL)
    (reason,) = cell.reasons
    assert reason.startswith("the target could not be reached at the end of the run: ")
    assert cell.summary["exit_reasons"] == [reason]


@pytest.mark.parametrize(("loop", "own"), [("closed", ()), ("open", ("--threshold", MAX))], ids=LOOPS)
@pytest.mark.parametrize("host", ["nope.invalid:1", "127.0.0.1:{port}"], ids=["no DNS", "nothing listens"])
def test_a_target_that_cannot_be_reached_is_not_loaded(
    host: str, own: tuple[str, ...], loop: str, sandbox: Running, tmp_path: Path
) -> None:
    url = f"http://{host.format(port=free_port())}"
    name = url.rpartition("/")[2].partition(":")[0]
    options = ["--allow-target", name, "--max-messages", "1000", "--duration", "4s", *LOOPS[loop], *own]
    done = smscode("load", "--target", url, "--out", str(tmp_path / "runs"), *options, env=environment(sandbox))
    assert (done.returncode, done.stdout) == (UNANSWERED, "")
    (reason,) = [line for line in done.stderr.splitlines() if line.startswith("smscode: ")]
    assert name in reason
    assert not (tmp_path / "runs").exists()
