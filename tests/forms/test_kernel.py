"""Forms in a Jupyter kernel of their own: what ends with it, and what a notebook is saved with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from support.processes import of_run, wait_gone
from support.waiting import wait_until
from traitlets.config import Config

from toolkit.runs.live_run import read_live

pytestmark = pytest.mark.filterwarnings("default")  # what the kernel's own libraries deprecate is not ours
MOBILE = "13800138006"
BEGIN = {
    "LoadForm": 'form.fields.duration.value, form.fields.amount.value = "10m", "1"',
    "CapacityForm": 'form.duration.value, form.first.value = "10m", "1"',
    "ProbeForm": 'form.messages.value, form.speed.value = "50", "1"',
}

STOP = """
import sys
import threading
from toolkit import forms

form, shown = getattr(forms, sys.argv[1])(out=sys.argv[2]), threading.Event()
form.controls.progress.observe(lambda change: sys.argv[3] in change["new"] and shown.set(), "html")
shown.wait(240)
form.controls.stop.click()
form.wait(240)
"""


@contextmanager
def loading(tmp_path: Path, form: str = "LoadForm") -> Iterator[tuple[KernelManager, list[psutil.Process]]]:
    """Start a run from a form in a kernel, and give all processes that this takes but for the kernel's own."""
    manager = KernelManager(config=Config({"KernelManager": {"transport": "ipc"}}))
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=240)
        show = f"from toolkit.forms import {form}\nform = {form}(out={str(tmp_path / 'runs')!r})"
        client.execute_interactive(f"{show}\n{BEGIN[form]}\nform.start.click()", timeout=240)
        wait_until(lambda: list(tmp_path.glob("runs/**/*.msgpack")) or list(tmp_path.glob("runs/*/progress.txt")))
        yield manager, psutil.Process(manager.provisioner.pid).children(recursive=True)  # type: ignore[union-attr]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_interrupting_an_idle_kernel_ends_its_load_test_and_keeps_what_ran(tmp_path: Path) -> None:
    with loading(tmp_path) as (manager, _):
        manager.interrupt_kernel()
        wait_gone(of_run(tmp_path))
        wait_until(lambda: list(tmp_path.glob("runs/*/report.html")))
        assert manager.is_alive()
    (run,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(run.read_text())["settings"]["ended"] == "interrupted"


@pytest.mark.parametrize(
    ("form", "shown", "result"),
    [
        ("LoadForm", "Loading:", "run.json"),
        ("CapacityForm", "Trial at 1/s", "capacity.json"),
        ("ProbeForm", "of the target", "probe.json"),
    ],
)
def test_a_run_goes_on_without_its_kernel_and_is_stopped_from_another_form(
    tmp_path: Path, form: str, shown: str, result: str
) -> None:
    with loading(tmp_path, form) as (manager, started):
        (folder,) = (tmp_path / "runs").iterdir()
        live = read_live(folder)
        assert live
        manager.shutdown_kernel(now=True)
        assert psutil.pid_exists(live.pid)
        stop = [sys.executable, "-c", STOP, form, str(tmp_path / "runs"), shown]  # as another notebook does
        subprocess.run(stop, check=True)
        wait_gone(started)
    assert read_live(folder) is None
    found = json.loads((folder / result).read_text())
    assert (found["settings"] if form == "LoadForm" else found)["ended"] == "interrupted"


SAVED = """
from toolkit.forms import CallForm
form = CallForm()
form.mobile.value = "{mobile}"
form.send.click()
form.wait()
form.peek.click()
form.wait()
form.verify.click()
form.wait()
target = form.chooser.target()
open("secrets.txt", "w").write(target.master_secret + " " + form.code.value)
form.close()
form
"""


def test_a_notebook_that_was_executed_is_saved_without_mobile_code_and_secret(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SAVED.format(mobile=MOBILE))])
    client = NotebookClient(
        notebook, timeout=240, store_widget_state=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    notebook.cells[0].source = ""  # which a person typed
    kept = nbformat.writes(notebook)
    assert "50000 success" in kept
    assert MOBILE[:7] in kept
    for secret in (MOBILE, *(tmp_path / "secrets.txt").read_text().split()):
        assert secret not in kept
