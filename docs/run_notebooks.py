"""Run the notebooks and store their outputs: all of them, or those that are named.

Example: `python docs/run_notebooks.py 03_load_test`.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
TIMEOUT_S = 600  # of a cell, on a busy machine
# Warnings are errors, except one that ipykernel raises while it shuts down.
WARNINGS = "error,ignore::PendingDeprecationWarning:ipykernel.kernelbase"
WIDGET = "application/vnd.jupyter.widget-view+json"  # a widget shows nothing without a running kernel
PICTURE = "image/png"
COLOURS = 128  # of a stored picture: makes it a fifth as large


def main(*names: str) -> None:
    """Run the notebooks and write them back."""
    for path in NOTEBOOKS:
        if names and path.stem not in names:
            continue
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        for output in outputs(notebook):
            shrink(output)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - began_s:.0f} s")


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook in a new kernel in ``folder``, and return it with the outputs that can be stored."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        record_timing=False,
        store_widget_state=False,  # it would contain the text typed into the forms
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | {"PYTHONWARNINGS": WARNINGS})
    notebook.metadata.get("language_info", {}).pop("version", None)
    for output in outputs(notebook):
        data = output.get("data", {})
        data.pop(WIDGET, None)
        if PICTURE in data:  # beside it stands the same with tooltips, which takes scripts
            data.pop("text/html", None)
    return notebook


def outputs(notebook: Any) -> Iterator[Any]:
    """Yield the outputs of all cells of a notebook."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def shrink(output: Any) -> None:
    """Reduce a picture to few colours and drop its metadata."""
    if picture := output.get("data", {}).get(PICTURE):
        shrunk = io.BytesIO()
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(shrunk, "PNG", optimize=True)
        output["data"][PICTURE] = base64.b64encode(shrunk.getvalue()).decode("ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
