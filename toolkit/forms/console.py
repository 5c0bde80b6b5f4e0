"""Console: the forms as a web page on this machine, for whoever has its token. It asks no other host for anything.

Voilà runs a notebook for each page that is opened, and ends its kernel, and so what the forms had started, when the
page is closed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from jupyter_core.utils import run_sync
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError
from traitlets.config import Config

from toolkit.api.errors import RunError

HOST, PORT = "127.0.0.1", 8866
_PAGE = Path(str(files("toolkit.forms"))) / "page"
_PING_MS = 30_000
_SILENT_MS = 3 * _PING_MS  # the first ping is sent after one of these, so no less than two would do
_GONE_S = 600  # after which a kernel ends whose page is gone, and didn't say so


class Kernels(AsyncMappingKernelManager):
    """Runs kernels where the console was started: there are the settings, and there go the runs."""

    def cwd_for_path(self, path: str, **_: Any) -> str:
        """Return the folder that a kernel runs in."""
        return os.getcwd()


def serve(port: int = PORT, announce: Callable[[str], object] = print, opens_browser: bool = False) -> None:
    """Serve the console until it is interrupted; ``announce`` gets its URL, token and all. Raise RunError."""
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(_PAGE), os.environ.get("JUPYTER_PATH")]))
    from voila.app import Voila

    class Console(Voila):
        """Voilà, which tells its URL once it listens, and ends its kernels while their sockets are still there."""

        def launch_browser(self) -> None:
            url = f"http://{HOST}:{self.port}/?token={self.token}"
            announce(url)
            if opens_browser:
                webbrowser.open(url)

        def stop(self) -> None:
            for kernel_id in self.kernel_manager.list_kernel_ids():
                with suppress(HTTPError):  # its page is being closed, and was first
                    run_sync(self.kernel_manager.shutdown_kernel)(kernel_id)
            shutil.rmtree(self.connection_dir, ignore_errors=True)

    app = Console(config=_config(_free(port)))
    app.initialize([str(_PAGE / "console.ipynb")])
    app.start()


def _free(port: int) -> int:
    """Return the port, or a free one for 0; raise RunError where it is taken."""
    try:
        with socket.create_server((HOST, port)) as free:
            return int(free.getsockname()[1])
    except OSError as problem:
        raise RunError(f"port {port} can't be used ({problem.strerror}): give another --port") from None


def _allow_ending(handler: Any, **_: Any) -> None:
    """Give the page the cookie that it needs to have its kernel ended when it is closed."""
    _ = handler.xsrf_token


def _config(port: int) -> Config:
    return Config(
        {
            "Voila": {
                "ip": HOST,
                "port": port,
                "port_retries": 0,
                "token": secrets.token_urlsafe(24),
                "open_browser": True,  # of which ``launch_browser`` makes an announcement
                "root_dir": str(_PAGE),
                "log_level": "ERROR",
                "tornado_settings": {"ws_ping_interval": _PING_MS, "ws_ping_timeout": _SILENT_MS},
            },
            "VoilaConfiguration": {
                "template": "smscode",
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "file_allowlist": [],
                "multi_kernel_manager_class": Kernels,
                "prelaunch_hook": _allow_ending,
            },
            "Kernels": {"cull_idle_timeout": _GONE_S, "cull_interval": 60, "cull_connected": False},
            # Sockets in a folder of this user's instead of TCP ports, which everybody on the machine could reach.
            "KernelManager": {"transport": "ipc"},
            "NotebookNotary": {"db_file": ":memory:", "secret": secrets.token_bytes(32)},
        }
    )
