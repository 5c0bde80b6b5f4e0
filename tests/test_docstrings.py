"""Run the examples in docstrings."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import toolkit

ROOT = Path(toolkit.__file__).parent


def modules_with_examples() -> list[str]:
    paths = [path for path in ROOT.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in paths]
    return sorted(name.removesuffix(".__init__") for name in names)


def needs_locust(module: str) -> bool:
    """Return whether importing a module patches the process with gevent."""
    return module.startswith("toolkit.load_test.generator")


@pytest.mark.parametrize("name", [it for it in modules_with_examples() if not needs_locust(it)])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0


def test_the_examples_of_the_generator_are_true() -> None:
    names = [it for it in modules_with_examples() if needs_locust(it)]
    script = (
        "import doctest, importlib, sys\n"
        "sys.exit(sum(doctest.testmod(importlib.import_module(name)).failed for name in sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
