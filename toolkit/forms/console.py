"""Serve the forms as a web page on this machine, protected by a token. The page loads nothing from other hosts.

Voilà runs a notebook for each open page. When the page is closed, the notebook's kernel is ended, and with it the
sandbox that the forms started. Runs go on: each has a process of its own, see ``toolkit.detached_run``.

A kernel that was killed is not started again: the new one would not have the page's widgets. Within seconds the page
offers to load itself again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jupyter_core.utils import run_sync
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated
from traitlets.config import Config

from toolkit import number_format
from toolkit.api.errors import InputError, RunError
from toolkit.forms.parts.jupyter_server import CONSOLE_VARIABLE
from toolkit.forms.parts.page_assets import EXTENSIONS, Asset, assets_url, widgets_url
from toolkit.forms.widgets.modules import STYLE_NAME, URL_VARIABLE
from toolkit.runs.live_run import find_live

HOST, PORT = "127.0.0.1", 8866
_PAGE = Path(str(files("toolkit.forms"))) / "page"
_PING_MS = 30_000
_SILENT_MS = 3 * _PING_MS  # the first ping is sent after _PING_MS, so the timeout has to be at least twice that
_RUNS_URL = "/runs-of/"
_MEDIA_TYPES = {
    "report.html": "text/html; charset=utf-8",
    "calls.parquet": "application/vnd.apache.parquet",
    "calls.csv": "text/csv; charset=utf-8",
}
_SOURCES = {"calls.csv": "calls.parquet"}
_OTHER_WAYS = "Open the run in Runs and filter its calls, or download its Parquet file, which has no limit."
_REPORT_POLICY = "sandbox allow-popups; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
_GONE_S = 600  # a kernel ends after this time without its page, e.g. when a laptop was closed
_NEXT_SPARE_S = 5.0  # until the page has opened, whose browser needs the processor


class Kernels(AsyncMappingKernelManager):
    """Runs kernels in the folder where the console was started, which has the settings and the runs.

    A spare kernel has imported the forms already: that takes most of the time in which a page opens.
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
        """Return the id of the spare kernel, or of a new one."""
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
        """End a kernel whose page was closed, but not the spare one, which had no page yet."""
        if kernel_id != self._spare_id:
            await super().cull_kernel_if_idle(kernel_id)  # type: ignore[no-untyped-call]


class RunFile(JupyterHandler):
    """Serves the report and the calls of a run in the folder where the console was started.

    The browser sends the console's cookie, so an address needs no token. A report runs no script; its page may not do
    anything in the console's name.
    """

    def set_default_headers(self) -> None:
        """Set the headers of every response."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", _REPORT_POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    @authenticated
    async def get(self, path: str) -> None:
        """Send a file."""
        file = Path.cwd() / path
        media_type = _MEDIA_TYPES.get(file.name, "")
        inside = file.resolve().is_relative_to(Path.cwd().resolve())
        if not media_type or not inside or not (file.parent / _SOURCES.get(file.name, file.name)).is_file():
            raise HTTPError(404)
        try:
            content = await IOLoop.current().run_in_executor(None, _read_file, file)
        except (InputError, OSError) as problem:
            self.set_status(HTTPStatus.UNPROCESSABLE_ENTITY)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            await self.finish(f"{file.name} can't be sent: {problem}.\n\n{_OTHER_WAYS}\n")
            return
        self.set_header("Content-Type", media_type)
        if file.name != "report.html":
            self.set_header("Content-Disposition", f'attachment; filename="{file.parent.name}.{file.suffix[1:]}"')
        await self.finish(content)


def _read_file(file: Path) -> bytes:
    """Return the content of a file of a run. The CSV file is made of the run's calls."""
    if file.suffix != ".csv":
        return file.read_bytes()
    from toolkit.analysis import read
    from toolkit.forms.parts.call_filter import to_csv

    return to_csv(read(file.parent))


def serve(
    port: int = PORT,
    announce: Callable[[str], object] = print,
    opens_browser: bool = False,
    report_run: Callable[[str], object] = print,
) -> None:
    """Serve the console until it is interrupted.

    Args:
        port: TCP port on loopback; 0 takes a free one.
        announce: Called with its URL, which contains the token.
        opens_browser: Whether to open it in a browser.
        report_run: Called at the end with a sentence for each run that goes on.

    Raises:
        RunError: The port is in use.
    """
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(_PAGE), os.environ.get("JUPYTER_PATH")]))
    from voila.app import Voila

    class Console(Voila):
        """Voilà, but it announces its URL when it listens, and ends kernels before their sockets are removed."""

        def init_settings(self) -> dict[str, Any]:
            settings: dict[str, Any] = super().init_settings()
            settings["compress_response"] = True
            settings["jinja2_env"].loader.searchpath[:0] = self.template_paths  # for the page that asks for the token
            return settings

        def launch_browser(self) -> None:
            url = f"http://{HOST}:{self.port}/?token={self.token}"
            IOLoop.current().add_callback(self.kernel_manager.prepare)
            announce(url)
            if opens_browser:
                webbrowser.open(url)

        def init_handlers(self) -> list[Any]:
            roots = {"static": self.static_paths, "labextensions": self.labextensions_path}
            return [
                (f"{_RUNS_URL}(.+)", RunFile),
                (f"{assets_url()}([a-z]+)/(.+)", Asset, {"roots": roots}),
                *super().init_handlers(),
            ]

        def stop(self) -> None:
            for kernel_id in self.kernel_manager.list_kernel_ids():
                with suppress(HTTPError):  # the page was closed at the same time
                    run_sync(self.kernel_manager.shutdown_kernel)(kernel_id)
            shutil.rmtree(self.connection_dir, ignore_errors=True)

    logging.getLogger("tornado.general").setLevel(logging.ERROR)  # it takes jupyter_server's ping times for seconds
    port, token = _find_port(port), secrets.token_urlsafe(24)
    about = {"url": f"http://{HOST}:{port}/", "token": token, "root": os.getcwd(), "runs_url": _RUNS_URL}
    os.environ[CONSOLE_VARIABLE] = json.dumps(about)  # for the kernels
    os.environ[URL_VARIABLE] = widgets_url()
    app = Console(config=_config(port, token))
    app.initialize([str(_PAGE / "console.ipynb")])
    app.start()
    for folder, live in find_live(Path("runs")).items():
        away = (
            f", but is stopped after {number_format.duration(live.max_away_s)} without a page"
            if live.max_away_s
            else ""
        )
        report_run(f"{folder} goes on{away}. To stop it now and write its report: kill {live.pid}")


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


def _complete_page_config(page_config: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the toolkit's version for the page's footer, and the URLs of the page's scripts and styles."""
    return page_config | {
        "toolkitVersion": version("sms-code-toolkit"),
        "fullStaticUrl": f"{assets_url()}static",
        "fullLabextensionsUrl": f"{assets_url()}labextensions",
        "styleUrl": f"{widgets_url()}{STYLE_NAME}",
    }


def _config(port: int, token: str) -> Config:
    return Config(
        {
            "Voila": {
                "ip": HOST,
                "port": port,
                "port_retries": 0,
                "token": token,
                "open_browser": True,  # makes Voilà call launch_browser
                "root_dir": str(_PAGE),
                "log_level": "ERROR",
                "tornado_settings": {
                    "ws_ping_interval": _PING_MS,
                    "ws_ping_timeout": _SILENT_MS,
                    "websocket_compression_options": {},
                },
            },
            "VoilaConfiguration": {
                "template": "smscode",
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "file_allowlist": [],
                "multi_kernel_manager_class": Kernels,
                "prelaunch_hook": _set_xsrf_cookie,
                "page_config_hook": _complete_page_config,
                "extension_allowlist": list(EXTENSIONS),
            },
            "Kernels": {"cull_idle_timeout": _GONE_S, "cull_interval": 60, "cull_connected": False},
            "AsyncIOLoopKernelRestarter": {"restart_limit": 0, "time_to_dead": 1.0},
            # Sockets in a private folder: other users of the machine could connect to TCP ports.
            "KernelManager": {"transport": "ipc"},
            "NotebookNotary": {"db_file": ":memory:", "secret": secrets.token_bytes(32)},
        }
    )
