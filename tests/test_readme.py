"""README and docs agree with the program."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from support.service import Running, smscode

from toolkit import analysis
from toolkit.cli import app
from toolkit.cli.send_verify import markdown_table
from toolkit.load_test.launch.scenarios import scenarios

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_return_codes_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs/reference/return-codes.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- codes.*?-->\n(.*)\n<!-- /codes -->", page, re.DOTALL)
    assert match
    assert match[1] == markdown_table(), "run `smscode codes --markdown` and put it into docs/reference/return-codes.md"


def test_every_command_and_every_scenario_is_documented() -> None:
    names = [it.name or it.callback.__name__.replace("_", "-") for it in app.registered_commands if it.callback]
    names += [it.name for it in app.registered_groups if isinstance(it.name, str)]
    pages = README + "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    assert [name for name in names if f"smscode {name}" not in pages] == []
    assert [name for name in scenarios() if f"`{name}`" not in pages] == []


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 130


def test_the_example_of_the_client_runs(sandbox: Running) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    mobile, code = next(sandbox.mobiles), iter(["000000x"])
    text = example[1].replace("http://127.0.0.1:8018", sandbox.url).replace("13800138000", mobile)
    text = text.replace('app_key="..."', f'app_key="{sandbox.app_key}"')
    text = text.replace('master_secret="..."', f'master_secret="{sandbox.master_secret}"')
    said: list[str] = []
    names = {"input": lambda _: next(code), "print": lambda *values: said.append(" ".join(map(str, values)))}
    exec(compile(text, "README.md", "exec"), names)
    assert said == ["False invalid code"]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_output_of_a_load_test_has_the_lines_of_the_readme(page: str, short_load: str) -> None:
    block = re.search(r"```console\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert block
    progress, *table, ellipsis, report = block[1].splitlines()
    printed = [_shape(line) for line in short_load.splitlines()]
    assert ellipsis == "..."
    assert [_shape(line) for line in table] == printed[printed.index(_shape(table[0])) :][: len(table)]
    assert _shape(report) in printed
    assert any(line.startswith(_shape(progress).partition(" messages")[0]) for line in printed)


def _shape(line: str) -> str:
    """Return a line with each number as 0, without the width of columns."""
    return re.sub(r"[\d,.]+T?\d*Z?", "0", " ".join(line.split()))


@pytest.fixture(scope="module")
def short_load(tmp_path_factory: pytest.TempPathFactory) -> str:
    options = ["--rate", "20", "--duration", "2s", "--threshold", "p99(send.caller_ms) < 10000"]
    done = smscode("load", *options, cwd=tmp_path_factory.mktemp("load"))
    return done.stderr + done.stdout


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_relative_links_and_their_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", it.lower()).replace(" ", "-") for it in headings}, (
                f"{target}#{anchor}"
            )


def test_every_function_of_the_analysis_and_every_option_of_the_report_is_documented() -> None:
    told = (ROOT / "docs/guides/analysis.md").read_text(encoding="utf-8")
    functions = [
        name for name in analysis.__all__ if name.islower() and name not in {"duration_s", "from_records", "span"}
    ]
    assert [name for name in functions if f"`{name}`" not in told and f"analysis.{name}(" not in told] == ["wilson"]
    options = re.findall(r"--[a-z-]+", smscode("report", "--help").stdout)
    told = (ROOT / "docs/guides/reports.md").read_text(encoding="utf-8")
    assert sorted(set(options) - set(re.findall(r"--[a-z-]+", told)) - {"--help", "--json"}) == []


ARCHITECTURE = (ROOT / "docs/concepts/architecture.md").read_text(encoding="utf-8")


def test_the_modules_that_the_architecture_page_names_exist() -> None:
    names = re.findall(r"`([\w/]+\.(?:py|lua))`", ARCHITECTURE)
    assert names
    assert [name for name in names if not (ROOT / "toolkit" / name).exists()] == []


def test_the_layers_on_the_architecture_page_are_those_that_ci_checks() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    block = re.search(r"```\n(cli .*?)```", ARCHITECTURE, re.DOTALL)
    assert block
    assert [re.split(r"\s{2,}", line)[0] for line in block[1].splitlines()] == layers
