"""The help: groups, types, defaults and examples, which are run. Command lines in README and docs are parsed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.redis import need_redis, redis_server
from support.runs import write_runs
from support.service import Running, smscode, smscode_process

from toolkit.cli import app

ROOT = Path(__file__).parents[2]
_STORE = "sqlite:///sms.db"


def all_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from all_commands(inner, (*path, name))


COMMANDS = {
    path: command for path, command in all_commands(typer.main.get_command(app)) if hasattr(command, "examples")
}


def examples(path: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """The command lines of a command's help, each with the lines of its output."""
    found: list[tuple[str, list[str]]] = []
    for line in COMMANDS[path].examples.splitlines():
        text = line.strip()
        if text.startswith("$ "):
            found.append((text.removeprefix("$ "), []))
        elif found and text and not text.endswith(":"):
            found[-1][1].append(text)
    return found


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_two_examples_with_their_output(path: tuple[str, ...]) -> None:
    shown = examples(path)
    assert len(shown) >= 2
    assert [line for line, output in shown if not line.startswith(f"smscode {' '.join(path)}") or not output] == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_shows_the_type_of_its_value_and_its_default(path: tuple[str, ...]) -> None:
    untold = []
    for option in COMMANDS[path].params:
        is_flag = getattr(option, "is_flag", False)
        shown = option.required or is_flag or option.show_default is not False or option.metavar == "APP_KEY"
        if not option.hidden and (not option.help or not shown or not (option.metavar or is_flag)):
            untold.append(option.name)
        assert "Default" not in (option.help or ""), option.name
    assert untold == []


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_fits_into_its_terminal(path: tuple[str, ...], width: int) -> None:
    done = smscode(*path, "--help", env={"COLUMNS": str(width)})
    text, _, shown = done.stdout.partition("\nExamples:\n")
    assert max(map(len, text.splitlines())) <= width
    assert max(map(len, shown.splitlines())) <= 120
    assert shown.count("$ smscode") >= 2


@pytest.mark.parametrize(
    ("path", "usage"),
    [
        (("send",), "[OPTIONS] MOBILE"),
        (("report",), "[OPTIONS] RUN..."),
        (("load",), "[OPTIONS] [SCENARIO] [-- OPTIONS]"),
        (("app", "topup"), "[OPTIONS] APP_KEY MESSAGES"),
    ],
)
def test_the_usage_line_has_brackets_around_what_may_be_left_out(path: tuple[str, ...], usage: str) -> None:
    command = COMMANDS[path]
    context = typer.Context(command, help_option_names=["-h", "--help"])
    assert " ".join(command.collect_usage_pieces(context)) == usage
    assert re.search(r"^  -h, --help +Show this", command.get_help(context), re.MULTILINE)


def test_the_options_of_a_load_test_are_in_groups() -> None:
    done = smscode("load", "--help")
    headings = re.findall(r"^(\w[\w ]*):$", done.stdout, re.MULTILINE)
    groups = [
        "Target",
        "Load",
        "Data",
        "HTTP",
        "Budget",
        "Verdict",
        "Capacity",
        "Expected service",
        "Monitoring",
        "Output",
    ]
    assert headings == ["Arguments", *groups, "Options", "Examples"]
    assert "--help" in done.stdout.partition("\nOptions:\n")[2].partition("Examples:")[0]


def test_the_version_is_that_of_the_package() -> None:
    done = smscode("--version")
    assert (done.returncode, re.fullmatch(r"smscode \d+\.\d+\.\d+\n", done.stdout) is not None) == (0, True)


def test_a_group_without_a_command_shows_its_help_and_is_exit_2() -> None:
    done = smscode("app")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(r"create +Create an app", done.stderr)


# The examples.


def matches(shown: list[str], output: str) -> None:
    """Compare an output with an example's: "..." stands for any text, a number for any number, blanks for one."""
    parts = [re.escape(part.strip()) for part in " ".join(" ".join(shown).split()).split("...")]
    pattern = ".*".join(re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", part) for part in parts)
    assert re.search(pattern, " ".join(output.split()), re.DOTALL), (shown, output)


def run(line: str, folder: Path, env: dict[str, str], **names: str) -> subprocess.CompletedProcess[str]:
    """Run an example in a folder, with the names of the help replaced."""
    words = [names.get(word, word) for word in shlex.split(line)]
    return smscode(*words[1:], env=env, cwd=folder)


@pytest.fixture
def settings(sandbox: Running) -> dict[str, str]:
    return {
        "SMSCODE_BASE_URL": sandbox.url,
        "SMSCODE_APP_KEY": sandbox.app_key,
        "SMSCODE_MASTER_SECRET": sandbox.master_secret,
    }


@pytest.mark.parametrize("line", range(2))
def test_the_examples_of_send_and_verify_run(
    sandbox: Running, settings: dict[str, str], line: int, tmp_path: Path
) -> None:
    command, output = examples(("send",))[line]
    mobile = next(sandbox.mobiles)
    sent = run(command, tmp_path, settings, **{"13800138000": mobile, "+8613800138001": f"+86{mobile}"})
    assert sent.returncode == 0, sent.stderr
    assert [len(it) for it in sent.stdout.splitlines()] == [len(it) for it in output]
    command, output = examples(("verify",))[line]
    msg_id = re.sub(r'.*: "|"}|\n', "", sent.stdout)
    names = {shlex.split(command)[2]: msg_id, "123456": sandbox.peek(msg_id), "654321": "wrong"}
    verified = run(command, tmp_path, settings, **names)
    assert (verified.returncode, verified.stdout.splitlines()) == (line, output)


def test_the_examples_of_what_if_run(tmp_path: Path) -> None:
    assert smscode("simulate", "--days", "2", "--calls", "20k", "--out", "small", cwd=tmp_path).returncode == 0
    for command, output in examples(("what-if",)):
        done = run(command, tmp_path, {})
        assert done.returncode == 0, done.stderr
        matches(output, done.stdout)


@pytest.mark.parametrize(("command", "output"), examples(("codes",)))
def test_the_examples_of_codes_run(command: str, output: list[str], tmp_path: Path) -> None:
    done = run(command, tmp_path, {})
    assert done.returncode == 0
    matches(output, done.stdout)


def test_the_examples_of_simulate_and_report_run(tmp_path: Path) -> None:
    for command, output in examples(("simulate",)):
        done = run(command, tmp_path, {})
        assert done.returncode == 0, done.stderr
        matches(output, done.stdout)
    line = '1.2.3.4 - - [06/Nov/2026:10:%02d:00 +0000] "POST /v1/codes HTTP/1.1" 200 48 "-" "-"\n'
    (tmp_path / "access.log").write_text("".join(line % minute for minute in range(60)))
    shutil.copytree(tmp_path / "small", tmp_path / "before")
    ours = {"runs/20261129T231500Z": "small", "runs/after": "small", "runs/before": "before"}
    for command, output in examples(("report",)):
        done = run(command, tmp_path, {}, **ours)
        assert done.returncode == 0, done.stderr
        matches(output, done.stdout)


def test_the_examples_of_trend_run(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs")
    for command, output in examples(("trend",)):
        done = run(command, tmp_path, {})
        assert done.returncode == 0, done.stderr
        matches(output, done.stdout)
    assert (tmp_path / "trend.html").exists()


@pytest.mark.parametrize(("command", "output"), examples(("load",)))
def test_the_examples_of_load_run(command: str, output: list[str], tmp_path: Path) -> None:
    done = smscode_process(*shlex.split(command.replace("--duration 10s", "--duration 3s"))[1:], env={}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    matches(output, done.stdout)


def test_the_examples_of_the_administration_run(tmp_path: Path) -> None:
    env = {"SMSCODE_STORE": _STORE}
    made = json.loads(smscode("app", "create", "--json", env=env, cwd=tmp_path).stdout)
    administration = [path for path in COMMANDS if len(path) == 2 and path[0] in ("app", "template")]
    assert len(administration) >= 12
    for path in administration:
        for command, output in examples(path):
            done = run(command, tmp_path, {}, APP_KEY=made["app_key"])
            assert done.returncode == 0, (command, done.stderr)
            matches(output, done.stdout)


def test_the_examples_of_message_show_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "serve", "--port", "0", "--json", "--store", _STORE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, text=True) as process:
        try:
            assert process.stdout
            msg_id = Running(process, **json.loads(process.stdout.readline())).send()
        finally:
            process.terminate()
            process.wait(240)
    for line, output in examples(("message", "show")):
        done = run(line, tmp_path, {}, MSG_ID=msg_id)
        assert done.returncode == 0, done.stderr
        matches([it.replace("MSG_ID", msg_id) for it in output], done.stdout)


def first_lines(line: str, lines: int, folder: Path, env: dict[str, str]) -> str:
    """Start a command of an example, return the first lines of its output, and end it."""
    command = [sys.executable, "-m", "toolkit", *shlex.split(line)[1:]]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=folder, env=env, text=True, **output) as process:  # type: ignore[call-overload]
        try:
            return "".join(process.stdout.readline() for _ in range(lines))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=240)


@pytest.mark.parametrize(("command", "output"), examples(("serve",)))
def test_the_examples_of_serve_run(command: str, output: list[str], tmp_path: Path) -> None:
    port = "--port 0"
    shown = first_lines(command.replace("--port 8018", port), 5 if "--json" not in command else 1, tmp_path, {})
    matches([re.sub(r"127.0.0.1:8018", "127.0.0.1:...", it) for it in output], shown)


@pytest.mark.parametrize(("command", "output"), examples(("deliver",)))
def test_the_examples_of_deliver_run(command: str, output: list[str], tmp_path: Path) -> None:
    need_redis()
    with redis_server(tmp_path / "redis") as server:
        env = {"SMSCODE_WEBHOOK_URL": "http://127.0.0.1:9/sms", "SMSCODE_WEBHOOK_SECRET": "secret"}
        line = command.replace("redis://127.0.0.1:6379", server.url).replace("9101", "0")
        matches(
            [it.replace("9101", "...") for it in output],
            first_lines(line, len(output), tmp_path, env),
        )


@pytest.mark.parametrize(("command", "output"), examples(("lab",)))
def test_the_examples_of_lab_reach_jupyterlab_with_its_options(command: str, output: list[str], tmp_path: Path) -> None:
    line = command if " -- " in command else f"{command} --"
    done = smscode_process(*shlex.split(f"{line} --version")[1:], cwd=tmp_path)  # JupyterLab prints it and ends
    assert (done.returncode, re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout) is not None) == (0, True), done.stderr
    matches(output, done.stderr)


# README and docs.


def documented() -> list[tuple[str, str]]:
    """The command lines in the code blocks of README and docs, with their page."""
    found = []
    for page in [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        blocks = re.findall(r"^```(?:sh|console|bash)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.M)
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\||\$\(", line.partition(" # ")[0]):
                words = part.strip().removeprefix("$ ").removeprefix(".venv/bin/")
                if words.startswith("smscode "):
                    found.append((page.name, re.split(r"\s[12&]?>|\)$", words)[0]))
    return found


def test_every_command_line_in_readme_and_docs_has_known_options_with_valid_values() -> None:
    lines = documented()
    assert len(lines) > 30
    wrong = []
    for page, line in lines:
        if not re.search(r"\.\.\.|\$|\[|<", line):
            try:
                words = shlex.split(line)
            except ValueError:
                continue  # a quoted text that contains a separator of shells
            command = typer.main.get_command(app)
            try:
                parse(command, words)
            except Exception as problem:
                wrong.append((page, line, str(problem)))
    assert wrong == []


def parse(command: Any, words: list[str]) -> None:
    context = command.make_context(words[0], words[1:], resilient_parsing=False)
    while rest := [*getattr(context, "_protected_args", ()), *context.args]:  # a group's command
        name, inner, rest = context.command.resolve_command(context, rest)
        context = inner.make_context(name, rest, parent=context)
