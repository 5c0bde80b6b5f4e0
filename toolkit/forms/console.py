"""Serve the forms as a web page on this machine, protected by a token. The page loads nothing from other hosts.

Voilà runs a notebook for each open page. When the page is closed, Voilà ends the notebook's kernel, and with it the
sandbox and load tests that the forms started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jupyter_core.utils import run_sync
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from tornado.web import HTTPError
from traitlets.config import Config

from toolkit.api.errors import RunError

HOST, PORT = "127.0.0.1", 8866
_PAGE = Path(str(files("toolkit.forms"))) / "page"
_PING_MS = 30_000
_SILENT_MS = 3 * _PING_MS  # the first ping is sent after _PING_MS, so the timeout has to be at least twice that
_GONE_S = 600  # a kernel ends after this time without its page, e.g. when a laptop was closed
_NEXT_SPARE_S = 5.0  # until the page has opened, whose browser needs the processor


class Kernels(AsyncMappingKernelManager):
    """Runs kernels in the folder where the console was started: it has the settings and gets the runs.

    One kernel more than there are pages has imported the forms, which takes longer than all else of opening a page.
    """

    _spare: asyncio.Task[str] | None = None

    def cwd_for_path(self, path: str, **_: Any) -> str:
        """Return the working directory of a kernel."""
        return os.getcwd()

    @property
    def _spare_id(self) -> str | None:
        """The spare kernel's id; None while it starts, and after it has ended."""
        spare = self._spare
        is_alive = spare and spare.done() and not spare.exception() and spare.result() in self
        return spare.result() if spare and is_alive else None

    async def start_kernel(self, **options: Any) -> str:  # type: ignore[override]
        """Take the spare kernel, or start one, and return its id."""
        if kernel_id := self._spare_id:
            self.prepare(_NEXT_SPARE_S)
            return kernel_id
        return await self._start(**options)

    def prepare(self, wait_s: float = 0.0) -> None:
        """Start the spare kernel after a time. Call it in the event loop."""

        async def start() -> str:
            await asyncio.sleep(wait_s)
            return await self._start()

        self._spare = asyncio.create_task(start())

    async def _start(self, **options: Any) -> str:
        importing = ["--IPKernelApp.exec_lines=import toolkit.forms"]
        kernel_id: str = await super().start_kernel(**options, extra_arguments=importing)
        return kernel_id

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """End a kernel whose page has gone; the spare one never had a page."""
        if kernel_id != self._spare_id:
            await super().cull_kernel_if_idle(kernel_id)  # type: ignore[no-untyped-call]


def serve(port: int = PORT, announce: Callable[[str], object] = print, opens_browser: bool = False) -> None:
    """Serve the console until it is interrupted. ``announce`` gets its URL with the token. Raises RunError."""
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(_PAGE), os.environ.get("JUPYTER_PATH")]))
    from voila.app import Voila

    class Console(Voila):
        """Voilà, but it announces its URL when it listens, and ends kernels before their sockets are removed."""

        def init_settings(self) -> dict[str, Any]:
            settings: dict[str, Any] = super().init_settings()
            settings["jinja2_env"].loader.searchpath[:0] = self.template_paths  # for the page that asks for the token
            return settings

        def launch_browser(self) -> None:
            url = f"http://{HOST}:{self.port}/?token={self.token}"
            IOLoop.current().add_callback(self.kernel_manager.prepare)
            announce(url)
            if opens_browser:
                webbrowser.open(url)

        def stop(self) -> None:
            for kernel_id in self.kernel_manager.list_kernel_ids():
                with suppress(HTTPError):  # the page was closed at the same time
                    run_sync(self.kernel_manager.shutdown_kernel)(kernel_id)
            shutil.rmtree(self.connection_dir, ignore_errors=True)

    logging.getLogger("tornado.general").setLevel(logging.ERROR)  # it takes jupyter_server's ping times for seconds
    app = Console(config=_config(_find_port(port)))
    app.initialize([str(_PAGE / "console.ipynb")])
    app.start()


def _find_port(port: int) -> int:
    """Return the port, or a free one for 0. Raises RunError if the port is in use."""
    try:
        with socket.create_server((HOST, port)) as free:
            return int(free.getsockname()[1])
    except OSError as problem:
        raise RunError(f"can't use port {port}: {problem.strerror}; choose another one with --port") from None


def _set_xsrf_cookie(handler: Any, **_: Any) -> None:
    """Set the XSRF cookie: without it, the page's request to end its kernel would be refused."""
    _ = handler.xsrf_token


def _add_version(page_config: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the toolkit's version, which the page's footer shows."""
    return page_config | {"toolkitVersion": version("sms-code-toolkit")}


def _config(port: int) -> Config:
    return Config(
        {
            "Voila": {
                "ip": HOST,
                "port": port,
                "port_retries": 0,
                "token": secrets.token_urlsafe(24),
                "open_browser": True,  # makes Voilà call launch_browser
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
                "prelaunch_hook": _set_xsrf_cookie,
                "page_config_hook": _add_version,
            },
            "Kernels": {"cull_idle_timeout": _GONE_S, "cull_interval": 60, "cull_connected": False},
            # Sockets in a private folder: other users of the machine could connect to TCP ports.
            "KernelManager": {"transport": "ipc"},
            "NotebookNotary": {"db_file": ":memory:", "secret": secrets.token_bytes(32)},
        }
    )
