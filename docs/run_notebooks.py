"""Run the notebooks and store their outputs: all of them, or those that are named.

A form needs a kernel, which a code host does not have. So each notebook runs a second time, as a page in Debian's
chromium, and a picture of each form is stored in place of its widget.

Example: `python docs/run_notebooks.py 03_load_test`.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
TIMEOUT_S = 600  # of a cell, on a busy machine
# Warnings are errors, except one that ipykernel raises while it shuts down.
WARNINGS = "error,ignore::PendingDeprecationWarning:ipykernel.kernelbase"
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURE = "image/png"
PAGE_PX, LONGEST_PX = 4000, 1600  # heights of the page that shows a form, and of the part of it that is stored
COLOURS = 128  # of a stored picture: makes it a fifth as large


def main(*names: str) -> None:
    """Run the notebooks and write them back."""
    for path in NOTEBOOKS:
        if names and path.stem not in names:
            continue
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        show_forms(notebook, path)
        for output in outputs(notebook):
            shrink(output)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - began_s:.0f} s")


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook in a new kernel in ``folder``, and return it with the outputs that can be stored.

    The error of a cell that takes too long shows where each thread of the kernel is.
    """
    notebook, stacks = nbformat.read(path, as_version=4), folder / "stacks.txt"
    dump = f"import faulthandler; faulthandler.dump_traceback_later({TIMEOUT_S}, file=open({str(stacks)!r}, 'w'))"
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S + 60,
        extra_arguments=[f"--IPKernelApp.exec_lines={dump}"],
        record_timing=False,
        store_widget_state=False,  # it would contain the text typed into the forms
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=os.environ | {"PYTHONWARNINGS": WARNINGS})
    except CellTimeoutError as problem:
        problem.add_note(stacks.read_text())
        raise
    notebook.metadata.get("language_info", {}).pop("version", None)
    for output in outputs(notebook):
        data = output.get("data", {})
        if PICTURE in data:  # beside it stands the same with tooltips, which takes scripts
            data.pop("text/html", None)
    return notebook


def outputs(notebook: Any) -> Iterator[Any]:
    """Yield the outputs of all cells of a notebook."""
    for cell in notebook.cells:
        yield from cell.get("outputs", [])


def show_forms(notebook: Any, path: Path) -> None:
    """Replace the widget of each form in a notebook's outputs by a picture.

    JupyterLab would prefer a widget beside the picture, and show "model not found" until the cell is run.
    """
    forms = [it for it in outputs(notebook) if it.get("data", {}).pop(WIDGET, None)]
    for output, picture in zip(forms, pictures_of_forms(path), strict=True):
        output["data"][PICTURE] = base64.b64encode(picture).decode("ascii")
        output["metadata"][PICTURE] = {"alt": f"The form {output['data']['text/plain']}"}


def pictures_of_forms(path: Path) -> list[bytes]:
    """Run a notebook as a page in a browser, and return a PNG of each form."""
    from screenshots import SLOW_MS, chromium

    with (
        tempfile.TemporaryDirectory() as folder,
        serving(path, Path(folder)) as url,
        chromium(PAGE_PX, pixels=1) as page,
    ):
        page.goto(url, timeout=TIMEOUT_S * 1000)
        forms = page.locator(".jp-OutputArea-output").filter(has=page.locator(".sms-form"))
        forms.last.wait_for(timeout=SLOW_MS)
        page.wait_for_load_state("networkidle")
        return [it.screenshot(animations="disabled") for it in forms.all()]


@contextmanager
def serving(path: Path, folder: Path) -> Iterator[str]:
    """Serve the outputs of a notebook, which is run in ``folder`` for each page, and yield the URL."""
    shutil.copy(path, folder)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    options = ["--strip_sources=True", "--no-browser", "--Voila.log_level=ERROR", "--KernelManager.transport=ipc"]
    command = [sys.executable, "-m", "voila", path.name, "--port", str(port), *options]
    with subprocess.Popen(command, cwd=folder) as server:
        try:
            while server.poll() is None:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def shrink(output: Any) -> None:
    """Reduce a picture to few colours, cut off what is too long, and drop its metadata."""
    if picture := output.get("data", {}).get(PICTURE):
        shrunk = io.BytesIO()
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        image = image.crop((0, 0, image.width, min(image.height, LONGEST_PX)))
        image.quantize(COLOURS, dither=Image.Dither.NONE).save(shrunk, "PNG", optimize=True)
        output["data"][PICTURE] = base64.b64encode(shrunk.getvalue()).decode("ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
