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

NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Open no browser.", show_default=False)]
Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port on loopback; 0 takes a free one.", metavar="PORT")]


def console(port: Port = 8866, no_browser: NoBrowser = False) -> None:
    """Serve the forms as a web page: calls, load tests, rate limits, other rules and runs. Prints its URL with a token.

    Examples:
        $ smscode console
        http://127.0.0.1:8866/?token=...

        On a machine without a browser, at a free port:

        $ smscode console --no-browser --port 0
        http://127.0.0.1:...

    """
    from toolkit.forms.console import serve

    serve(port, _announce, opens_browser=not no_browser, report_run=say)


def _announce(url: str) -> None:
    say("The console is at this address, which contains its token. Ctrl-C stops it.")
    print(url, flush=True)


def lab(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folder for the notebooks, in which existing ones are kept; after --, options of JupyterLab.",
            metavar="[FOLDER] [-- OPTION...]",
            show_default="smscode-notebooks",
        ),
    ] = None,
    port: Port = 8888,
    no_browser: NoBrowser = False,
) -> None:
    """Copy the notebooks to a folder and open it in JupyterLab.

    Examples:
        $ smscode lab
        Notebooks copied to smscode-notebooks: ...

        As root in a container:

        $ smscode lab my-notebooks --no-browser -- --allow-root
        Notebooks copied to my-notebooks: ...

    """
    from toolkit.forms.notebooks import SETTINGS, copy_to

    more = list(arguments or ())
    folder = Path(more.pop(0) if more and not more[0].startswith("-") else "smscode-notebooks")
    say(f"Notebooks copied to {folder}: {', '.join(it.name for it in copy_to(folder)) or 'none, all are there'}")
    options = [*_LAB, f"--port={port}", f"--ServerApp.root_dir={folder.resolve()}", *more]
    if no_browser:
        options.append("--no-browser")
    os.environ[_CONFIG_PATH] = os.pathsep.join(filter(None, [str(SETTINGS), os.environ.get(_CONFIG_PATH)]))
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options])
