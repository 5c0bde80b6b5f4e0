"""Query the Jupyter server of this kernel: whether a page is connected, and the links of files.

The server has a websocket for each page. A page cannot report regularly that it is open, because browsers delay the
timers of tabs in the background.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

from toolkit.forms.widgets.connection_watch import kernel_id

CONSOLE_VARIABLE = "SMSCODE_CONSOLE"  # set by the console for its kernels: a JSON object
_TIMEOUT_S = 5.0
_FINDING = threading.Lock()  # the variable can be taken only once


@dataclass(frozen=True, slots=True)
class JupyterServer:
    """The server of this kernel. ``runs_url``: where the console serves the files of runs, "" in a notebook."""

    url: str
    token: str = field(repr=False)
    kernel_id: str
    root: Path
    runs_url: str = ""

    def is_page_connected(self) -> bool:
        """Return whether a page is connected to this kernel; False if the server does not answer.

        True if it refuses the token, as behind JupyterHub: then it is unknown, as without a server.
        """
        request = urllib.request.Request(f"{self.url}api/kernels/{self.kernel_id}")
        request.add_header("Authorization", f"token {self.token}")
        context = ssl._create_unverified_context()  # its own certificate; the address is one of this machine
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with direct.open(request, timeout=_TIMEOUT_S) as response:
                return bool(json.load(response)["connections"])
        except urllib.error.HTTPError as problem:
            return problem.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        except (OSError, ValueError, KeyError):
            return False

    def link(self, file: Path) -> str:
        """Return the link of a file below the server's folder, without the token; "" if it is elsewhere."""
        try:
            path = file.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            return ""
        return f"{self.runs_url or urlsplit(self.url).path + 'files/'}{quote(path)}"


def find_server() -> JupyterServer | None:
    """Return the Jupyter server that started this kernel; None without one, e.g. in VS Code, Colab or a shell."""
    with _FINDING:
        return _find_server()


@cache
def _find_server() -> JupyterServer | None:
    if not (kernel := kernel_id()):
        return None
    if console := os.environ.pop(CONSOLE_VARIABLE, ""):  # no child of this process needs the token
        about = json.loads(console)
        return JupyterServer(about["url"], about["token"], kernel, Path(about["root"]), about["runs_url"])
    from jupyter_core.paths import jupyter_runtime_dir

    try:
        file = Path(jupyter_runtime_dir()) / f"jpserver-{os.environ.get('JPY_PARENT_PID')}.json"
        about = json.loads(file.read_text(encoding="utf-8"))
        return JupyterServer(about["url"], about["token"], kernel, Path(about["root_dir"]))
    except (OSError, ValueError, KeyError):
        return None


def is_page_connected() -> bool:
    """Return whether a page is connected to this kernel.

    Without a Jupyter server this process is itself the connection: it lives as long as its notebook is open.
    """
    server = find_server()
    return server is None or server.is_page_connected()
