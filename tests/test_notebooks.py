"""The notebooks run top to bottom in a fresh kernel, and what they keep is fit to be read by others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.filterwarnings("default")  # what the kernel's own libraries deprecate is not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is_kept(path: Path, tmp_path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    ran = nbformat.from_dict(kept)
    NotebookClient(ran, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shapes = [[(output["output_type"], sorted(output.get("data", {}))) for output in outputs(it)] for it in (ran, kept)]
    assert shapes[0] == shapes[1], "run it again and keep its outputs"
    assert all(output["output_type"] != "stream" for output in outputs(ran)), "a warning is shown"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_no_secret_no_whole_mobile_and_no_path(path: Path) -> None:
    shown = repr([output.get("data", output) for output in outputs(nbformat.read(path, as_version=4))])
    text = re.sub(r"<svg.*?</svg>", "", shown)
    assert not re.search(r"\b1[3-9][0-9]{9}\b|\b[0-9a-f]{24}\b|/home/|/root/|/tmp/|/work/", text)


def test_the_first_calls_show_every_kind_of_answer() -> None:
    (path,) = (path for path in NOTEBOOKS if path.stem == "01_first_calls")
    shown = repr(outputs(nbformat.read(path, as_version=4)))
    for what in ("invalid code", "success", "verified code", "RATE", "ACCOUNT", "REQUEST", "SERVER", "<svg"):
        assert what in shown, what
