import html
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from junitparser import Error, Failure, JUnitXml, TestSuite

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.report import junit
from toolkit.report.model import RunVerdict
from toolkit.report.run_result import RunResult, save

MS = 1_000_000
KEPT, MISSED, UNMEASURED = "max(send.caller_ms) < 250", "share(50019) < 0.1%", "rate(verify) > 1/s"


@pytest.fixture
def frame(call):
    return analysis.from_records(
        [
            call(Endpoint.SEND, 50000, wait_ns=100 * MS, latency_ns=100 * MS),
            call(Endpoint.SEND, 50019),
            call(Endpoint.SEND, None, error="timeout"),
        ]
    )


def statuses(frame, *thresholds, **settings):
    return [
        verdict.status.value
        for verdict in RunResult("friday", frame, {"thresholds": list(thresholds), **settings}).verdicts
    ]


def test_a_run_is_judged_by_its_calls(frame):
    assert statuses(frame, KEPT, MISSED, UNMEASURED) == ["PASS", "FAIL", "NO_DATA"]


def test_percentiles_are_those_of_the_report(traffic):
    frame = analysis.from_records(traffic)
    table = analysis.latency(frame, at=[99.9]).set_index(["endpoint", "measure"])["p99_9_ms"]
    for (endpoint, measure), shown in table.items():
        (verdict,) = RunResult("friday", frame, {"thresholds": [f"p99.9({endpoint}.{measure}) < 1"]}).verdicts
        assert verdict.value == pytest.approx(shown, rel=1e-12)


def test_shares_and_ratios_are_those_of_the_report(traffic):
    run = RunResult(
        "friday", analysis.from_records(traffic), {"thresholds": ["ok_ratio(send) > 0%", "share(50009) > 0%"]}
    ).summary
    send = run["endpoints"]["send"]
    assert run["verdicts"][0]["value"] == 100 * send["return_codes"]["50000"] / send["calls"]
    assert run["verdicts"][1]["value"] == 100 * send["return_codes"]["50009"] / run["calls"]


def test_no_threshold_passes_if_the_generator_was_the_bottleneck(frame):
    assert statuses(frame, KEPT, MISSED, bottleneck="it had no CPU left") == ["NO_DATA", "FAIL"]


def test_a_threshold_that_ended_the_run_failed_whatever_the_later_calls(frame):
    assert statuses(frame, KEPT, "ok_ratio(send) > 1%", ended="missed", ended_because=KEPT) == ["FAIL", "PASS"]


def test_a_run_without_thresholds_or_calls_is_judged_too(call):
    nothing = analysis.from_records([])
    assert RunResult("friday", nothing, {}).verdicts == []
    assert statuses(nothing, KEPT, MISSED) == ["NO_DATA", "NO_DATA"]


def test_an_invalid_threshold_is_an_input_error(frame):
    with pytest.raises(InputError, match="expected a metric"):
        RunResult("friday", frame, {"thresholds": ["nothing"]}).verdicts  # noqa: B018


def test_a_verdict_is_json_with_its_value_and_limit_in_one_unit(frame):
    kept, missed, unmeasured = RunResult("friday", frame, {"thresholds": [KEPT, MISSED, UNMEASURED]}).summary[
        "verdicts"
    ]
    assert kept == {"threshold": KEPT, "status": "PASS", "value": 200.0, "limit": 250.0, "unit": "ms"}
    assert (missed["value"], missed["unit"]) == (pytest.approx(100 / 3), "%")
    assert (unmeasured["value"], unmeasured["unit"]) == (None, "/s")


def test_a_ci_server_reads_the_verdicts_as_junit(frame):
    verdicts = RunResult("friday", frame, {"thresholds": [KEPT, MISSED, UNMEASURED]}).verdicts
    (suite,) = JUnitXml.fromstring(junit.render('a "run" <&', [RunVerdict("run", it) for it in verdicts], 1.5))
    assert isinstance(suite, TestSuite)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.time) == ('a "run" <&', 3, 1, 1, 1.5)
    kept, missed, unmeasured = suite
    assert (kept.name, kept.is_passed) == (KEPT, True)
    assert [type(it) for it in missed.result] == [Failure]
    assert missed.result[0].message == str(verdicts[1]) == "FAIL    share(50019) < 0.1%  (33.33 %)"
    assert [(type(it), it.type) for it in unmeasured.result] == [(Error, "NO_DATA")]


def test_junit_xml_is_utf_8_in_any_locale():
    script = "from toolkit.report.junit import render; print(render('\\u8fd0\\u884c', [], 1).split('?>')[0].lower())"
    command = [sys.executable, "-X", "utf8=0", "-c", script]
    done = subprocess.run(command, env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, capture_output=True)
    assert b"encoding='utf-8'" in done.stdout, done.stderr


def test_the_page_shows_every_verdict(frame, render):
    text = re.sub(r"<[^>]+>|\s+", " ", render(frame, {"thresholds": [KEPT, MISSED, UNMEASURED]}))
    for line in (
        "PASS max(send.caller_ms) &lt; 250 200 ms",
        "FAIL share(50019) &lt; 0.1% 33.33 %",
        "NO_DATA rate(verify) &gt; 1/s –",
    ):
        assert line in re.sub(r"\s+", " ", text)
    assert "Thresholds" not in render(frame)


def test_values_are_python_numbers(frame):
    (verdict,) = RunResult("friday", frame, {"thresholds": [KEPT]}).verdicts
    assert type(verdict.value) is float
    assert not isinstance(verdict.value, np.floating)


def test_junit_xml_is_written_if_the_run_has_thresholds(frame, tmp_path):
    save(RunResult("friday", frame, {}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    save(RunResult("friday", frame, {"thresholds": [KEPT]}), tmp_path)
    (suite,) = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suite.name, [case.name for case in suite]) == (tmp_path.name, ["run: 3 calls in 100 ms", KEPT])


@pytest.mark.parametrize(
    ("settings", "remark"),
    [
        ({"ended": "missed", "ended_because": KEPT}, f"ended early by a threshold that failed: {KEPT}"),
        (
            {"ended": "budget", "ended_because": "100 messages"},
            "early because its budget was spent: 100 messages",
        ),
        ({"bottleneck": "no CPU left"}, "the bottleneck, so nothing passes: no CPU left"),
    ],
)
def test_the_page_begins_with_the_reason_of_an_early_end_or_of_a_bottleneck(frame, render, settings, remark):
    page = html.unescape(render(frame, {"thresholds": [KEPT], **settings}))
    assert remark in page[: page.index(">Thresholds<")]
