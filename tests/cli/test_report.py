"""`smscode report`: what it writes where, what it compares and judges, and what it says of what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.service import smscode

from toolkit.api.return_codes import find
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import PARQUET_NAME, write_parquet

NOON_NS = 1_793_966_400_000_000_000  # 2026-11-06 12:00:00 UTC
NO_PICTURES = ("--format", "md")  # drawing those of the page takes four times as long as all else


def sends(*codes: int, run: str = "friday") -> list[CallRecord]:
    """Make a send a minute that is answered with each code."""
    return [
        CallRecord(
            started_ns=NOON_NS + minute * 60_000_000_000,
            run=run,
            source="here",
            endpoint=Endpoint.SEND,
            http_status=find(code).http_status,
            return_code=code,
            kind=find(code).kind,
            latency_ns=5_000_000,
        )
        for minute, code in enumerate(codes)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_parquet(sends(*[50000] * 8, 50019, 50019), folder / PARQUET_NAME)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_report_is_written_though_nobody_reads_what_is_printed(run: Path) -> None:
    command = f"{sys.executable} -m toolkit report {run} | true"
    subprocess.run(["bash", "-c", command], check=True, timeout=240)
    assert (run / "report.html").exists()


@pytest.mark.parametrize("section", ["what changed", "cost"])  # which take long enough to be seen
def test_ctrl_c_is_130_and_leaves_nothing_half_done(tmp_path: Path, section: str) -> None:
    write_parquet(sends(*[50000, 50019] * 20_000), tmp_path / PARQUET_NAME)
    terminal, stderr = os.openpty()  # which gets the status line
    command = [sys.executable, "-m", "toolkit", "report", str(tmp_path)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL, env=environment) as process:
        os.close(stderr)
        said = ""
        while f"computing {section}" not in said:
            said += os.read(terminal, 4096).decode("utf-8", "replace")
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # how Linux says that the other end is closed
            while more := os.read(terminal, 4096):
                said += more.decode("utf-8", "replace")
        code = process.wait(timeout=240)
        assert (code if code >= 0 else 128 - code) == 130, said  # as a shell tells it of one that a signal ended
    os.close(terminal)
    assert names(tmp_path) == [PARQUET_NAME]


def test_both_sides_of_a_comparison_are_read_by_the_same_columns(tmp_path: Path) -> None:
    for name in ("before", "now"):
        line = '{"started": "2026-11-06T12:00:0%dZ", "what": "send", "latency_ms": 1, "return_code": 50000}\n'
        (tmp_path / f"{name}.jsonl").write_text("".join(line % second for second in range(9)))
    asked = ["--column", "endpoint=what", "--against", "before.jsonl", "--format", "md", "--out", "-"]
    done = smscode("report", "now.jsonl", *asked, cwd=tmp_path)
    assert "## Comparison\n\nBefore: before." in done.stdout, done.stderr


def test_an_error_of_a_file_proposes_options(run: Path, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text("hello\n")
    assert "for a log, give --column or --log-format" in smscode("report", "access.log", cwd=tmp_path).stderr
    (tmp_path / "bill.csv").write_text("id,sent_at,segments,price,amount,currency\na,2026-11-01,1,1,1,CNY\n")
    done = smscode("report", str(run), "--statement", "bill.csv", "--out", "-", "--format", "md", cwd=tmp_path)
    assert "name its msg_id column with --statement-column msg_id=" in done.stderr


def test_a_report_elsewhere_leaves_the_run_as_it_is(run: Path, tmp_path: Path) -> None:
    run.chmod(0o555)
    done = smscode("report", str(run), *NO_PICTURES, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert names(run) == [PARQUET_NAME]
    assert names(tmp_path / "out") == ["report.md"]


def test_each_format_is_a_file_of_the_run(run: Path) -> None:
    done = smscode("report", str(run), "--format", "html, md,json,junit")
    assert done.returncode == 0, done.stderr
    assert names(run) == ["calls.parquet", "junit.xml", "report.html", "report.json", "report.md", "run.json"]
    assert json.loads((run / "report.json").read_text())["tables"]["return_codes"][1]["calls"] == 2
    assert done.stderr.count("The report: ") == 4


def test_csv_is_a_file_for_each_table_in_the_folder_that_out_names(run: Path, tmp_path: Path) -> None:
    done = smscode("report", str(run), "--format", "csv", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "report-return_codes.csv" in names(tmp_path / "out")
    assert all(name.endswith(".csv") for name in names(tmp_path / "out"))


def test_out_can_be_stdout(run: Path) -> None:
    done = smscode("report", str(run), "--format", "md", "--out", "-")
    assert done.stdout.startswith("# friday\n")
    assert json.loads(smscode("report", str(run), "--format", "json", "--out", "-").stdout)["name"] == "friday"


@pytest.mark.parametrize(
    ("condition", "exit_code"),
    [
        ("share(50019) > 10%", 99),
        ("share(50019) > 20%", 0),
        ("share(50019) >= 20%", 99),
        ("p99(send.caller_ms) > 100", 0),
        ("rate(verify) < 1/s", 99),  # nobody can tell
    ],
)
def test_what_must_not_be_is_exit_99(run: Path, condition: str, exit_code: int) -> None:
    done = smscode("report", str(run), *NO_PICTURES, "--fail-if", condition)
    assert done.returncode == exit_code, done.stderr
    assert ("--fail-if" in done.stderr) == (exit_code == 99)
    assert (run / "report.md").exists()


def test_several_runs_are_one_report_in_the_folder_one_is_in(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_parquet(sends(50000, run="saturday"), other / PARQUET_NAME)
    done = smscode("report", str(run), str(other), *NO_PICTURES, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [it["calls"] for it in json.loads(done.stdout)] == [10, 1]
    assert "friday, saturday" in (tmp_path / "report.md").read_text()


def test_a_run_is_compared_with_another(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_parquet(sends(*[50000] * 10, run="thursday"), other / PARQUET_NAME)
    done = smscode("report", str(run), "--against", str(other), "--format", "md", "--out", "-")
    assert "## Comparison\n\nBefore: thursday." in done.stdout
    assert names(other) == [PARQUET_NAME]


def test_a_period_counts_its_own_calls_and_leaves_the_run_s_summary_alone(run: Path) -> None:
    period = ["--since", "2026-11-06 12:05", "--until", "2026-11-06 12:08"]
    done = smscode("report", str(run), *NO_PICTURES, *period, "--json")
    assert json.loads(done.stdout)["calls"] == 3
    assert names(run) == ["calls.parquet", "report.md"]


def test_what_is_no_run_is_no_place_for_data(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    write_parquet(sends(50000), tmp_path / "logs" / "monday.parquet")
    refused = smscode("report", "logs", "--format", "csv", cwd=tmp_path)
    assert (refused.returncode, "give --out" in refused.stderr) == (2, True)
    assert smscode("report", "logs", *NO_PICTURES, cwd=tmp_path).returncode == 0
    assert names(tmp_path) == ["logs", "report.md"]
    assert "the first argument is empty" in smscode("report", "", cwd=tmp_path).stderr


def test_a_log_is_read_by_its_format_and_columns(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text(
        "".join(
            f'1.2.3.4 [06/Nov/2026:12:00:{second:02} +0000] "POST /v1/codes HTTP/1.1" 403 0.012 50009\n'
            for second in range(3)
        )
    )
    form = '$remote_addr [$time_local] "$request" $status $request_time $rc'
    options = ["--log-format", form, "--column", "return_code=rc", "--json"]
    done = smscode("report", "access.log", *NO_PICTURES, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["endpoints"]["send"]["return_codes"] == {"50009": 3}
    assert names(tmp_path) == ["access.log", "access.log.md"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--format", "pdf"], "unknown --format 'pdf' (choose from html, md, json, csv, junit, xlsx, github)"),
        (["--format", ","], "--format is empty"),
        (["--out", "-", "--json"], "exclude one another: both print to stdout"),
        (["--format", "csv", "--out", "-"], "not csv or xlsx"),
        (["--format", "html,md", "--out", "-"], "prints one format"),
        (["--fail-if", "nonsense"], "expected a metric"),
        (["--slo", "lots"], "lots"),
        (["--prices", "nowhere.toml"], "nowhere.toml"),
        (["--statement", "nowhere.csv"], "nowhere.csv"),
        (["--against", "nowhere"], "nowhere doesn't exist"),
        (["--since", "whenever"], "whenever"),
        (["--since", "2026-11-07", "--until", "2026-11-06"], "--since 2026-11-07 is not before --until 2026-11-06"),
        (["--against", "run"], "--against run is the reported run itself: give another run"),
        (["--column", "return_code=rc"], "--column has no effect on records of calls"),
        (["--log-format", "$status"], "--log-format has no effect on records of calls"),
        (["--encoding", "gb18030"], "--encoding has no effect on records of calls"),
        (["--column", "rc"], "invalid --column 'rc': expected NAME=COLUMN"),
        (["--out", "run/calls.parquet", *NO_PICTURES], "calls.parquet: can't write report.md there"),
    ],
)
def test_what_is_wrong_is_one_clear_line_and_leaves_nothing_half_done(
    run: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    done = smscode("report", str(run), *options, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not [name for name in names(run) if name.startswith("report")]


def test_unread_lines_are_told_on_stderr_and_pass_no_condition(tmp_path: Path) -> None:
    line = '1.2.3.4 - k1 [06/Nov/2026:12:00:%02d +0000] "POST /v1/codes HTTP/1.1" 200 45 "-" "okhttp"\n'
    (tmp_path / "access.log").write_text("".join(line % second + "1.2.3.4 - k1 [06/N\n" for second in range(50)))
    done = smscode("report", "access.log", "--fail-if", "share(50019) > 0.1%", cwd=tmp_path)
    assert done.returncode == 99, done.stderr
    assert done.stdout.startswith("50 of 100 lines (50.00 %) could not be read")
    assert "smscode: 50 of 100 lines (50.00 %) could not be read" in done.stderr
    assert "--max-unread allows 1.00 %" in done.stderr
    allowed = smscode("report", "access.log", "--fail-if", "share(50019) > 0.1%", "--max-unread", "50%", cwd=tmp_path)
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize("options", [["empty.log"], ["run", "--since", "2030-01-01"]])
def test_a_report_without_calls_is_exit_99_and_says_so(run: Path, options: list[str]) -> None:
    (run.parent / "empty.log").touch()
    done = smscode("report", *options, *NO_PICTURES, "--out", "elsewhere", cwd=run.parent)
    assert done.returncode == 99, done.stderr
    assert "holds no calls" in done.stderr


def test_a_damaged_page_of_parquet_is_one_line_and_no_defect(run: Path) -> None:
    content = bytearray((run / PARQUET_NAME).read_bytes())
    content[4:200] = bytes(it ^ 255 for it in content[4:200])
    (run / PARQUET_NAME).write_bytes(content)
    done = smscode("report", str(run), *NO_PICTURES)
    assert done.returncode == 2, done.stderr
    assert "a Parquet file of calls is damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_columns_that_no_line_has_are_told(tmp_path: Path) -> None:
    line = '{"started": "2026-11-06T20:00:00Z", "endpoint": "send", "latency_ms": 1, "return_code": 50000}\n'
    (tmp_path / "a.log").write_text(line)
    done = smscode("report", "a.log", "--column", "msg_id=nosuch", *NO_PICTURES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "smscode: a.log: no line has the column 'nosuch' for msg_id." in done.stderr


def test_standard_input_is_a_run(tmp_path: Path) -> None:
    line = '{"started": "2026-11-06T20:00:00", "endpoint": "send", "latency_ms": 1, "return_code": 50000}\n'
    command = [sys.executable, "-m", "toolkit", "report", "-", "--format", "json", "--out", "-"]
    command += ["--timezone", "Asia/Shanghai"]
    done = subprocess.run(command, input=line, capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["name"] == "stdin"
    assert report["tables"]["sources"][0]["calls"] == 1
    assert "Times without a time zone are read as Asia/Shanghai: -." in report["remarks"]


def test_a_figure_is_rounded_alike_in_all_its_places(tmp_path: Path) -> None:
    """Each pattern finds every way to write its figure: a run in which 3 of 697 sends fail and take 31.567 ms each."""
    sent = [replace(it, latency_ns=31_567_000) for it in sends(*[50019] * 3, *[50000] * 694)]
    write_parquet(sent, tmp_path / PARQUET_NAME)
    thresholds = ["failed < 1%", "p99(send.caller_ms) < 250", "ok_ratio(send) > 99%"]
    settings = {"ended": "finished", "thresholds": thresholds, "price_per_send": "8.4", "currency": "JPY"}
    (tmp_path / "run.json").write_text(json.dumps({"schema": 2, "settings": settings}))
    done = smscode("report", str(tmp_path), "--slo", "99.9%", "--format", "html,md,json")
    page = (tmp_path / "report.html").read_text()
    texts = {
        "page": re.sub(r"<(svg|style|script).*?</\1>| style=\S+ \S+", "", page, flags=re.DOTALL),
        "Markdown": (tmp_path / "report.md").read_text(),
        "JSON": json.dumps(json.loads((tmp_path / "report.json").read_text())["findings"], ensure_ascii=False),
        "shell": re.sub(r"messages +at most .*", "", done.stdout),  # the failed sends may have been billed, too
    }
    figures = {
        "31.6": r"\b31\.[56]\d*",  # p99, ms
        "60.1": r"\b60\.1\d*",  # calls an hour
        "0.43 %": r"\b0\.4[23]\d* ?%?",  # failed
        "99.57 %": r"\b99\.5[67]\d* ?%?",  # succeeded
        "0.697": r"\b0\.69\d+|\b0\.7\b",  # bad calls that the objective allows
        "5,830 JPY": r"[\d,.]+ ?JPY\b",
    }
    for place, text in texts.items():
        for words, pattern in figures.items():
            assert set(re.findall(pattern, text)) <= {words}, place
    assert [it for it in figures if it not in texts["page"] or it not in texts["Markdown"]] == []
    assert [it for it in figures if it in texts["JSON"]] == ["0.43 %", "0.697", "5,830 JPY"]
    assert [it for it in figures if it in texts["shell"]] == ["31.6", "0.43 %", "99.57 %", "0.697", "5,830 JPY"]


def test_a_reader_that_closes_the_pipe_does_not_change_the_exit_code(tmp_path: Path) -> None:
    line = '192.0.2.1 - - [06/Nov/2026:12:00:00 +0000] "POST /v1/codes HTTP/1.1" 500 66 "-" "x"'
    (tmp_path / "access.log").write_text(f"{line}\n")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "toolkit", "report", "access.log", "--fail-if", "share(50019) > 0.1%"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 99, done.stderr
    assert "Broken pipe" not in done.stderr


def test_a_run_that_is_worse_than_another_one_is_exit_99_and_an_equal_one_is_0(tmp_path: Path) -> None:
    for name, slower in (("before", 1), ("same", 1), ("slower", 2)):
        (tmp_path / name).mkdir()
        calls = [
            replace(it, latency_ns=slower * (5 + place % 7) * 1_000_000)
            for place, it in enumerate(sends(*[50000] * 900))
        ]
        write_parquet(calls, tmp_path / name / PARQUET_NAME)
    asked = ["--against", "before", "--fail-if-worse", "p90(send.caller_ms) by 10%", *NO_PICTURES]
    done = smscode("report", "same", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Compared with friday\nstatus  condition" in re.sub(r" +\n", "\n", done.stdout)
    done = smscode("report", "slower", *asked, "--format", "md,junit", cwd=tmp_path)
    assert done.returncode == 99, done.stderr
    assert "--fail-if-worse: p90(send.caller_ms) by 10% (11.0 ms → 22.0 ms (+100 %); p < 0.001)" in done.stderr
    assert 'name="p90(send.caller_ms) by 10%"' in (tmp_path / "slower" / "junit.xml").read_text()
    (tmp_path / "same" / "run.json").write_text(json.dumps({"schema": 2, "settings": {"scenario": "soak"}}))
    done = smscode("report", "same", *asked, cwd=tmp_path)
    assert done.returncode == 99
    assert "other settings than friday: scenario soak, not unset" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--fail-if-worse", "failed by 1%"], "needs the run to compare with: give --against RUN"),
        (["run", "--against", "run", "--fail-if-worse", "failed by 1%"], "give one RUN"),
        (
            ["--against", "run", "--fail-if-worse", "fast by 1%"],
            "invalid --fail-if-worse 'fast by 1%', at 'fast by 1%'",
        ),
    ],
)
def test_a_worsening_needs_one_run_and_another_one(run: Path, words: list[str], problem: str) -> None:
    done = smscode("report", "run", *words, cwd=run.parent)
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
