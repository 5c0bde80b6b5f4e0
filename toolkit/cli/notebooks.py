"""`smscode console` and `lab`: serve the forms as a web page, and open the notebooks in JupyterLab."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.output import say

_CONFIG_PATH = "JUPYTER_CONFIG_PATH"

# On loopback, stopped by one Ctrl-C, kernels on Unix sockets of this user, no requests to other hosts.
_LAB = (
    "--ip=127.0.0.1",
    "-y",
    "--KernelManager.transport=ipc",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)

NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Open no browser. Default: one is opened.")]


def console(
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port on loopback; 0 takes a free one.")] = 8866,
    no_browser: NoBrowser = False,
) -> None:
    """Serve the forms as a web page: calls, load tests, rate limits and runs. Prints its URL with a token."""
    from toolkit.forms.console import serve

    serve(port, _announce, opens_browser=not no_browser)


def _announce(url: str) -> None:
    say("The console is at this address, which contains its token. Ctrl-C stops it.")
    print(url, flush=True)


def lab(
    folder: Annotated[Path, typer.Argument(help="Folder for the notebooks; existing ones are kept.")] = Path(
        "smscode-notebooks"
    ),
    more: Annotated[
        list[str] | None,
        typer.Argument(help="Options of JupyterLab, e.g. -- --allow-root. Default: none.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port on loopback; 0 takes a free one.")] = 8888,
    no_browser: NoBrowser = False,
) -> None:
    """Copy the notebooks to a folder and open it in JupyterLab."""
    from toolkit.forms.notebooks import SETTINGS, copy_to

    say(f"Notebooks copied to {folder}: {', '.join(it.name for it in copy_to(folder)) or 'none, all are there'}")
    options = [*_LAB, f"--port={port}", f"--ServerApp.root_dir={folder.resolve()}", *(more or [])]
    if no_browser:
        options.append("--no-browser")
    os.environ[_CONFIG_PATH] = os.pathsep.join(filter(None, [str(SETTINGS), os.environ.get(_CONFIG_PATH)]))
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options])
