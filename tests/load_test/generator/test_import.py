"""In a process whose event loop runs, importing the load generator is an error, and the process goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.filterwarnings("default")  # what the kernel's own libraries deprecate is not ours

PACKAGE = Path(__file__).parents[3] / "toolkit/load_test/generator"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parents[2]).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
TRY_TO_IMPORT = f"""
import importlib

def try_to_import(names={MODULES!r}):
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as problem:
            told.append(str(problem))

told = []
"""
IN_A_THREAD = """
import threading
thread = threading.Thread(target=try_to_import)
thread.start()
thread.join()
"""
SHOW = "print(len(told), *set(told))"
GEVENT_IS_LOADED = "import sys; 'gevent' in sys.modules"


def in_a_kernel(*cells: str) -> list[str]:
    """Run cells in a new kernel, and return the text that each one shows."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120).execute()
    return ["\n".join(it.get("text") or it["data"]["text/plain"] for it in cell.outputs) for cell in notebook.cells]


@pytest.mark.parametrize("run", ["try_to_import()", IN_A_THREAD], ids=["cell", "thread"])
def test_every_module_refuses_to_be_imported_in_a_jupyter_kernel_which_goes_on(run: str) -> None:
    assert len(MODULES) > 20
    _, _, told, loaded, answer = in_a_kernel(TRY_TO_IMPORT, run, SHOW, GEVENT_IS_LOADED, "6 * 7")
    count, sentence = told.split(" ", 1)
    assert int(count) == len(MODULES)
    assert sentence.count("event loop runs") == 1
    assert "smscode load" in sentence
    assert (loaded, answer) == ("False", "42")


def test_it_refuses_inside_a_coroutine_of_any_program() -> None:
    program = "import asyncio\nasync def main():\n    import toolkit.load_test.generator.user\nasyncio.run(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: the load generator can't be imported where")
