"""The examples of the guides run, and every command line in them is one that the program takes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from support.otlp import collecting
from support.runs import write_runs
from support.service import Running, running, smscode

from toolkit import Client
from toolkit.api.return_codes import ReturnCode
from toolkit.cli import app
from toolkit.runs.live_run import LiveRun, hold, is_stop_requested

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", DOCS / "tutorial.md", *DOCS.glob("guides/*.md"), *DOCS.glob("concepts/*.md")]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each call of smscode in the shell blocks of a page."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r" && |(?<!')\| ", line):
                words = shlex.split(re.sub(r"\$\(.*?\)", "TIME", command), comments=True)
                if "smscode" in [word.rpartition("/")[2] for word in words]:
                    yield words[[word.rpartition("/")[2] for word in words].index("smscode") + 1 :]


PYTEST_INI = """
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
COMMANDS = [(page.name, words) for page in PAGES for words in command_lines(page)]


@pytest.mark.parametrize(
    "words", [it for _, it in COMMANDS], ids=[f"{page}-{' '.join(it)[:40]}" for page, it in COMMANDS]
)
def test_the_program_takes_the_command_line(words: list[str]) -> None:
    command = typer.main.get_command(app)
    context = command.make_context("smscode", [*words, *(["--help"] if not words else [])])
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)


def test_there_are_command_lines_on_the_pages() -> None:
    assert len(COMMANDS) > 40


def test_the_locustfile_of_the_guide_passes_its_check(tmp_path: Path) -> None:
    page = DOCS / "guides/own-locustfile.md"
    (tmp_path / "typed_twice.py").write_text(blocks(page, "python")[0], encoding="utf-8")
    words = next(command_lines(page))
    done = smscode(*words, "--json", cwd=tmp_path)
    run = json.loads(done.stdout)
    (check,) = run["checks"]
    assert (check["name"], check["status"], check["description"]) == ("typed_twice", "PASS", "a code is accepted once")
    assert set(check["figures"]) == {"responses", "wrong_responses"}
    assert "p99(verify.caller_ms) < 2500" in [it["threshold"] for it in run["verdicts"]]


def test_the_locustfile_of_the_guide_takes_an_option_of_its_own(tmp_path: Path) -> None:
    page = DOCS / "guides/own-locustfile.md"
    (tmp_path / "typed_twice.py").write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    (words,) = (it for it in command_lines(page) if "--" in it)
    done = smscode(*words[: words.index("--")], "--json", *words[words.index("--") :], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["own_options"] == {"shop": "oslo"}


def test_the_programs_of_the_library_guide_run(sandbox: Running) -> None:
    names: dict[str, object] = {}
    for block in blocks(DOCS / "guides/library.md", "python"):
        text = re.sub(r'\n    "https://api.example.com",', f'\n    "{sandbox.url}",', block)
        text = text.replace('app_key="..."', f'app_key="{sandbox.app_key}"').replace(
            "13800138000", next(sandbox.mobiles)
        )
        text = text.replace('master_secret="..."', f'master_secret="{sandbox.master_secret}"')
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, "library.md", "exec"), names)
    assert names["verification"].return_code is ReturnCode.INVALID_CODE  # type: ignore[attr-defined]
    with Client(sandbox.url, sandbox.app_key, sandbox.master_secret) as client:
        assert names["send"](client, next(sandbox.mobiles))  # type: ignore[operator]


def test_the_reads_of_the_analysis_pages_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert smscode("simulate", "--days", "1", "--calls", "2k", "--out", "runs", cwd=tmp_path).returncode == 0
    names: dict[str, object] = {}
    (block,) = blocks(DOCS / "guides/analysis.md", "python")
    exec(compile(re.sub(r'"runs/\w+"', '"runs"', block), "analysis.md", "exec"), names)
    assert len(names["calls"]) > 0  # type: ignore[arg-type]


def test_the_runs_of_the_notebook_guide_are_listed_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/20270115T080000Z")
    folder.mkdir(parents=True)
    (_, _, block) = blocks(DOCS / "guides/notebooks.md", "python")
    shown = io.StringIO()
    with hold(folder, LiveRun.of_this_process(scenario="soak", load="50 journeys/s")):
        with contextlib.redirect_stdout(shown):
            exec(compile(block, "notebooks.md", "exec"), {})
        assert is_stop_requested(folder)
    assert shown.getvalue() == f"{folder} load test soak 50 journeys/s\n"


def test_the_form_of_the_notebook_guide_is_shown() -> None:
    (block, _, _) = blocks(DOCS / "guides/notebooks.md", "python")
    names: dict[str, object] = {}
    exec(compile(block.replace("\nCallForm()", "\nform = CallForm()"), "notebooks.md", "exec"), names)
    names["form"].close()  # type: ignore[attr-defined]


def test_the_page_with_a_form_of_the_notebook_guide_has_the_script_of_its_widgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (_, block, _) = blocks(DOCS / "guides/notebooks.md", "python")
    exec(compile(block, "notebooks.md", "exec"), {})
    assert '"_esm": "// A text field: label' in Path("call.html").read_text(encoding="utf-8")


def test_every_page_with_a_program_is_named_by_a_test() -> None:
    tests = "".join(it.read_text(encoding="utf-8") for it in Path(__file__).parents[1].rglob("test_*.py"))
    pages = [page for page in [*DOCS.glob("*.md"), *DOCS.glob("guides/*.md")] if blocks(page, "python")]
    assert len(pages) > 8
    assert [page.name for page in pages if f"{page.parent.name}/{page.name}" not in tests] == []


def test_the_foreign_log_of_the_guide_is_read_as_the_guide_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "guides/foreign-logs.md"
    monkeypatch.chdir(tmp_path)
    for name, text in zip(("gateway.jsonl", "gateway.txt"), blocks(page, "text"), strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    shown = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(shown):
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), names)
    assert shown.getvalue() == "".join(blocks(page, "console"))
    (words,) = (words for words in command_lines(page) if "gateway.jsonl" in words)
    assert smscode(*words, cwd=tmp_path).returncode == 0


def test_the_sends_of_the_guide_are_replayed_as_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / "guides/what-if.md"
    monkeypatch.chdir(tmp_path)
    for words in command_lines(page):
        done = smscode(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweep.html").stat().st_size > 100_000
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), {})
    assert shown.getvalue() == "".join(blocks(page, "console"))


def test_the_trend_of_the_guide_is_as_the_guide_shows(tmp_path: Path) -> None:
    page = DOCS / "guides/ci.md"
    write_runs(tmp_path / "runs")
    (words,) = (words for words in command_lines(page) if words[0] == "trend")
    shown = smscode(*words, "--format", "md", cwd=tmp_path).stdout
    for line in blocks(page, "text")[0].splitlines():
        assert " ".join(line.split()) in " ".join(shown.split())


def test_the_tests_of_the_guide_and_its_options_pass(tmp_path: Path) -> None:
    page = DOCS / "guides/testing.md"
    (ini,) = blocks(page, "ini")
    (tmp_path / "pytest.ini").write_text(ini + PYTEST_INI, encoding="utf-8")
    told = blocks(page, "python")
    (tmp_path / "test_sms.py").write_text("\n".join(told), encoding="utf-8")
    assert f"{len(re.findall(r'def test_', ''.join(told)))} passed" in run_pytest(tmp_path)


def test_the_test_of_the_readme_passes_in_an_empty_folder(tmp_path: Path) -> None:
    (block,) = (it for it in blocks(DOCS.parent / "README.md", "python") if "def test_" in it)
    assert len(block.splitlines()) == 3
    (tmp_path / "test_sign_in.py").write_text(block, encoding="utf-8")
    assert "1 passed" in run_pytest(tmp_path)


def run_pytest(folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=folder)
    return done.stdout + done.stderr


def test_the_calls_of_the_tutorial_work(sandbox: Running, tmp_path: Path) -> None:
    mobile = next(sandbox.mobiles)
    env = {
        "SMSCODE_BASE_URL": sandbox.url,
        "SMSCODE_APP_KEY": sandbox.app_key,
        "SMSCODE_MASTER_SECRET": sandbox.master_secret,
    }
    send, verify = ([*it] for it in command_lines(DOCS / "tutorial.md") if it[0] in ("send", "verify"))
    sent = smscode(*[mobile if it == "13800138000" else it for it in send], env=env, cwd=tmp_path)
    msg_id = sent.stdout.strip()
    (curl,) = (line for block in blocks(DOCS / "tutorial.md", "sh") for line in block.splitlines() if "curl" in line)
    peek = ["sh", "-c", f"{curl.replace('curl', 'curl -sS').replace('MSG_ID', msg_id)}"]
    code = json.loads(
        subprocess.run(peek, capture_output=True, env=env | {"PATH": "/usr/bin:/bin"}, check=True).stdout
    )["code"]
    words = [{"MSG_ID": msg_id, "CODE": code}.get(it, it) for it in verify]
    assert smscode(*words, env=env, cwd=tmp_path).returncode == 0
    again = smscode(*[mobile if it == "13800138000" else it for it in send], env=env, cwd=tmp_path)
    assert (again.returncode, "50009" in again.stderr) == (1, True)


def test_the_probe_of_the_guide_finds_a_rule_of_the_sandbox(tmp_path: Path) -> None:
    serve, probe = [it for it in command_lines(DOCS / "guides/probe.md") if "--allow-target" not in it]
    assert serve[:3] == ["serve", "--port", "8019"]
    with running(*serve[3:]) as service:
        env = {"SMSCODE_APP_KEY": service.app_key, "SMSCODE_MASTER_SECRET": service.master_secret}
        words = [{"http://127.0.0.1:8019": service.url, "12": "3"}.get(it, it) for it in probe]
        done = smscode(*words, "--json", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["messages"] == 3
    assert [(it["scope"], it["count"]) for it in found["rules"]][:1] == [("mobile", 1)]
    assert "Ctrl-C ends it early" in done.stderr


def test_the_calls_of_the_guide_have_traces_in_a_collector(tmp_path: Path) -> None:
    page = DOCS / "guides/tracing.md"
    (words,) = (["2s" if it == "1m" else it for it in words] for words in command_lines(page))
    with collecting() as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": "0.1"}
        wait = {"OTEL_BSP_EXPORT_TIMEOUT": "120000"}  # a slow machine
        assert all(f"{name}=" in blocks(page, "sh")[0] for name in settings)
        limits = ("--max-bottleneck", "100%", "--max-dropped", "100%", "--max-failed", "100%")
        done = smscode(*words, *limits, "--out", "runs", cwd=tmp_path, env={**os.environ, **settings, **wait})
        assert done.returncode == 0, done.stderr
        exported = {span.trace_id.hex() for span, _ in collector.spans}
    (run,) = (tmp_path / "runs").iterdir()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(blocks(page, "python")[0].replace("runs/friday", str(run)), page.name, "exec"), {})
    listed = re.findall(r"\b[0-9a-f]{32}\b", shown.getvalue())
    assert listed
    assert {*listed, *re.findall(r">([0-9a-f]{32})<", (run / "report.html").read_text(encoding="utf-8"))} <= exported
