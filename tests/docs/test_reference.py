"""The built site describes each command, option, setting, exit code, return code, HTTP response and public name."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main
import yaml
from pydantic import BaseModel

import toolkit
from toolkit import settings
from toolkit.api.return_codes import ReturnCode
from toolkit.cli import app
from toolkit.load_test.launch.scenarios import scenarios
from toolkit.load_test.plan.options import declared
from toolkit.runs.exit_codes import ExitCode

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.yaml"
PUBLIC = (
    "toolkit",
    "toolkit.analysis",
    "toolkit.analysis.charts",
    "toolkit.forms",
    "toolkit.simulation",
    "toolkit.testing",
)
DEFINED = ("toolkit.settings", "toolkit.price_list", "toolkit.load_and_report")


def source(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text(encoding="utf-8")


def text(site: Path, page: str) -> str:
    """Return the text of a page's article, with single blanks."""
    article = re.search(r"<article.*</article>", source(site, page), re.DOTALL)
    assert article
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", article[0])).split())


def ids(site: Path, page: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', source(site, page)))


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for each, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {each}")


def test_every_command_and_option_is_described(site: Path) -> None:
    known = ids(site, "reference/cli")
    found = dict(commands(typer.main.get_command(app), "smscode"))
    assert len(found) > 20
    missing = [name for name in found if name.replace(" ", "-") not in known]
    for name, command in found.items():
        options = [option for it in command.params for option in it.opts if option.startswith("-")]
        wanted = [f"cmdoption-{name.replace(' ', '-')}-{option.lstrip('-')}" for option in options]
        missing += [it for it in wanted if it not in known]
    assert missing == []


@pytest.mark.parametrize("model", [settings._TargetSettings, settings.ServiceSettings])
def test_every_setting_is_described_with_its_variable(site: Path, model: type[BaseModel]) -> None:
    shown = text(site, "reference/settings")
    assert [name for name in model.model_fields if f" {name} SMSCODE_{name.upper()} " not in shown] == []


def test_every_variable_of_the_load_generator_is_described(site: Path) -> None:
    shown = text(site, "reference/settings")
    options = [it for it in declared().values() if it.variable]
    assert [it.variable for it in options if f" {it.variable} {it.argument} " not in shown] == []


def test_every_option_of_a_load_test_is_described(site: Path) -> None:
    shown = text(site, "reference/python/load-and-report")
    assert [name for name, it in declared().items() if f" {name} {it.flag or '–'} " not in shown] == []


def test_every_exit_code_and_return_code_is_described(site: Path) -> None:
    shown = text(site, "reference/exit-codes")
    assert " ".join(f"{int(code)} {code.description}" for code in ExitCode) in shown
    shown = text(site, "reference/return-codes")
    assert [int(code) for code in ReturnCode if f"{int(code)} {code.message}" not in shown] == []


def test_every_scenario_is_described(site: Path) -> None:
    shown = text(site, "guides/load-testing")
    assert [name for name in scenarios() if f" {name} " not in shown] == []


def test_every_operation_and_response_of_the_http_api_is_described(site: Path) -> None:
    shown = text(site, "reference/http-api")
    for path, item in yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))["paths"].items():
        for verb, operation in item.items():
            if verb != "parameters":
                found = re.search(rf"{verb.upper()} {re.escape(path)} .*?(?=(?:GET|POST|PUT|DELETE) /|$)", shown)
                assert found, path
                assert [it for it in operation["responses"] if f" {it} :" not in found[0]] == []


def defined(module: ModuleType) -> list[str]:
    """Return the public functions and classes that a module defines."""
    found = inspect.getmembers(module, lambda it: inspect.isfunction(it) or inspect.isclass(it))
    return [name for name, it in found if it.__module__ == module.__name__ and not name.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_exported_name_is_described(site: Path, name: str) -> None:
    known = ids(site, f"reference/python/{name.replace('.', '-')}")
    assert [it for it in import_module(name).__all__ if f"{name}.{it}" not in known] == []


@pytest.mark.parametrize("name", DEFINED)
def test_every_public_function_of_settings_and_load_tests_is_described(site: Path, name: str) -> None:
    known = {it for page in ("settings", "load-and-report") for it in ids(site, f"reference/python/{page}")}
    names = defined(import_module(name))
    assert names
    assert [it for it in names if f"{name}.{it}" not in known] == []


def test_every_journey_step_and_check_is_described(site: Path) -> None:
    known = ids(site, "reference/python/load-generator")
    root = Path(toolkit.__file__).parent / "load_test/generator"
    files = [*root.glob("journeys/[a-z]*.py"), root / "steps.py", root / "checks/registry.py"]
    names = [
        f"toolkit.load_test.generator.{'.'.join(file.relative_to(root).with_suffix('').parts)}.{name}"
        for file in files
        for name in re.findall(r"^(?:def|class) ([a-zA-Z]\w*)", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(names) > 20
    assert [name for name in names if name not in known] == []


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    anchors = {page: set(re.findall(r'\b(?:id|name)="([^"]*)"', content)) for page, content in pages.items()}
    broken = []
    for page, content in pages.items():
        for link in set(re.findall(r'<a\b[^>]*\bhref="([^"]*)"', content)):
            target = urlsplit(html.unescape(link))
            if target.scheme:
                continue
            file = (page.parent / unquote(target.path)).resolve() if target.path else page
            fragment = unquote(target.fragment)
            if not file.exists() or (fragment and file in anchors and fragment not in anchors[file]):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_every_name_in_a_text_is_linked_with_its_reference(site: Path) -> None:
    texts = [site / "tutorial.html", *site.glob("guides/*.html"), *site.glob("concepts/*.html")]
    roles = {
        page.name: re.findall(r"(.)<code class=.xref py[^>]*>", page.read_text(encoding="utf-8")) for page in texts
    }
    assert sum(map(len, roles.values())) > 5
    assert [name for name, before in roles.items() if set(before) - {">"}] == []
