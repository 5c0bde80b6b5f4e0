"""What `import toolkit` costs and gives, each in an interpreter of its own."""

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

import toolkit

# Lets an interpreter import nothing but the standard library and what stands in `allowed`.
BLOCKER = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
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
