"""Run the notebooks again and keep their outputs: all, or those whose names are given. Run it from anywhere."""

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
TIMEOUT_S = 60
# Warnings are errors; but for this one, which ipykernel raises at itself while it ends.
WARNINGS = "error,ignore::PendingDeprecationWarning:ipykernel.kernelbase"
WIDGET = "application/vnd.jupyter.widget-view+json"  # what it shows is in a kernel, and where there is none, nothing
COLOURS = 128  # of a kept picture, which makes it a fifth as large


def main(*names: str) -> None:
    """Run them, and write them where they are."""
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
    """Return a notebook with the outputs of a fresh kernel in a folder, as they may be kept."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        record_timing=False,
        store_widget_state=False,  # that of forms, with what was typed into them
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | {"PYTHONWARNINGS": WARNINGS})
    notebook.metadata.get("language_info", {}).pop("version", None)
    for output in outputs(notebook):
        output.get("data", {}).pop(WIDGET, None)
    return notebook


def outputs(notebook: Any) -> Iterator[Any]:
    """Yield what the cells of a notebook have put out."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def shrink(output: Any) -> None:
    """Keep a picture in few colours, and nothing else that a PNG can hold."""
    if picture := output.get("data", {}).get("image/png"):
        shrunk = io.BytesIO()
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(shrunk, "PNG", optimize=True)
        output["data"]["image/png"] = base64.b64encode(shrunk.getvalue()).decode("ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
