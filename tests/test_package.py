"""What `import toolkit` costs and gives, each in an interpreter of its own."""

import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from readme_renderer import markdown

import toolkit

ROOT = Path(__file__).parent.parent

# Lets an interpreter find nothing but the standard library and what stands in `allowed`.
BLOCKER = """
import sys

class Finder:
    finders = tuple(sys.meta_path)

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names | allowed or top.startswith("_") or top.endswith("__mypyc"):
            return next(filter(None, (it.find_spec(name, path, target) for it in self.finders)), None)

    def find_distributions(self, context):
        for finder in self.finders:
            yield from getattr(finder, "find_distributions", lambda _: ())(context)

sys.meta_path[:] = [Finder()]
"""
LOADED = """
import sys
before = set(sys.modules)
import toolkit
print(*sorted({name.partition(".")[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names))
"""


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def httpx_and_its_dependencies() -> set[str]:
    names = {"toolkit", "httpx", "httpcore", "h11", "anyio", "certifi", "idna", "sniffio", "typing_extensions"}
    required = {requirement.split(";")[0].split(">")[0].split("=")[0].strip() for requirement in _requirements()}
    assert required <= names
    return names


def _requirements() -> list[str]:
    return [line for line in metadata.requires("httpx") or [] if "extra ==" not in line]


def test_importing_it_loads_nothing_outside_of_the_standard_library() -> None:
    assert python(LOADED) == "toolkit"


def test_its_blocking_client_needs_httpx_alone() -> None:
    allowed = httpx_and_its_dependencies()
    use = "from toolkit import Client, Timeout; Client('https://127.0.0.1', 'key', 'secret', timeout=Timeout()).close()"
    python(f"allowed = {allowed!r}{BLOCKER}{use}")


def test_every_name_it_promises_is_there_with_httpx_alone() -> None:
    allowed = httpx_and_its_dependencies()
    python(f"allowed = {allowed!r}{BLOCKER}import toolkit\nfor name in toolkit.__all__: getattr(toolkit, name)")


def test_its_codes_errors_wire_and_records_need_the_standard_library_alone() -> None:
    python(
        "allowed = {'toolkit'}"
        + BLOCKER
        + "import toolkit.api.return_codes, toolkit.api.errors, toolkit.api.wire, toolkit.records.call_record"
    )


@pytest.mark.parametrize("name", toolkit.__all__)
def test_a_name_it_promises_is_its_own(name: str) -> None:
    assert getattr(toolkit, name).__module__.startswith("toolkit.")


def test_its_names_are_sorted() -> None:
    assert toolkit.__all__ == sorted(toolkit.__all__)


def test_every_error_is_among_its_names() -> None:
    errors = importlib.import_module("toolkit.api.errors")
    # Those of the service and of load tests are raised by programs, not by the core.
    raised = {name for name in vars(errors) if name.endswith("Error")} - {"RunError", "StoreError"}
    assert raised == {name for name in toolkit.__all__ if name.endswith("Error")}


def test_a_name_it_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = toolkit.nothing


# The extras.


def modules_of(extra: str) -> set[str]:
    """The top-level modules that an extra installs, and toolkit itself."""
    found, todo = set(), [("sms-code-toolkit", extra)]
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in found:
            continue
        found.add((name, wanted))
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": wanted}):
                todo += [(needed.name, it) for it in ("", *needed.extras)]
    names = {canonicalize_name(name) for name, _ in found}
    homes = metadata.packages_distributions().items()
    return {"toolkit"} | {module for module, dists in homes if names & {canonicalize_name(it) for it in dists}}


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("service", ["service"]),
        ("testing", ["testing"]),
        ("analysis", ["records", "runs", "analysis", "simulation", "report"]),
        ("load", ["load_test.plan", "load_test.launch", "load_and_report", "service", "cli"]),
        ("notebook", ["forms.call_form", "forms.limits_form", "forms.calls_view"]),
        ("console", ["forms"]),
    ],
)
def test_an_extra_brings_all_that_its_packages_import(extra: str, packages: list[str]) -> None:
    code = f"""
allowed = {modules_of(extra)!r}
{BLOCKER}
import importlib, pkgutil
for name in {packages!r}:
    package = importlib.import_module("toolkit." + name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", ()), package.__name__ + "."):
        importlib.import_module(module.name)
"""
    python(code)


def test_the_extra_load_brings_all_that_the_load_generator_imports() -> None:
    generator = "import toolkit.load_test.generator.__main__, toolkit.load_test.generator.user"
    python(f"allowed = {modules_of('load')!r}{BLOCKER}{generator}")


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve --port 0", "service"),
        ("deliver --store redis://127.0.0.1:1 --provider webhook", "service"),
        ("app list --store sqlite:///a.db", "service"),
        ("load --duration 1s", "load"),
        ("report .", "analysis"),
        ("trend .", "analysis"),
        ("what-if .", "analysis"),
        ("probe", "analysis"),
        ("simulate --days 1 --calls 2k", "analysis"),
        ("console --no-browser", "console"),
        ("lab", "console"),
    ],
)
def test_a_command_without_its_extra_names_it(command: str, extra: str, tmp_path: Path) -> None:
    run = f"import sys\nsys.argv = ['smscode', *{command.split()!r}]\nfrom toolkit.cli import main\nmain()"
    code = f"allowed = {modules_of('')!r}{BLOCKER}{run}"
    env = {"SMSCODE_WEBHOOK_URL": "http://127.0.0.1:9/", "SMSCODE_WEBHOOK_SECRET": "s"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path, env=env
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    name = command.split()[0]
    assert line.startswith(
        f"smscode: smscode {name} needs the {extra} extra: pip install 'sms-code-toolkit[{extra}]' ("
    )
    assert list(tmp_path.iterdir()) == []


# The metadata.


def test_the_page_of_a_package_index_has_absolute_links_and_renders() -> None:
    metadata_of = ProjectMetadata(str(ROOT), PluginManager())
    page = metadata_of.core.readme
    source = metadata_of.core.urls["Source"]
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 20
    assert [it for it in links if not it.startswith(("https://", "http://127.0.0.1", "#"))] == []
    files = [it.removeprefix(source).partition("#")[0] for it in links if it.startswith(source)]
    assert [it for it in files if not (ROOT / it).exists()] == []
    assert markdown.render(page) is not None


def test_the_classifiers_name_each_python_from_the_lowest_on() -> None:
    found = [it.rpartition(" :: ")[2] for it in metadata.metadata("sms-code-toolkit").get_all("Classifier") or []]
    assert [it for it in found if it.startswith("3.")] == ["3.11", "3.12", "3.13", "3.14"]
