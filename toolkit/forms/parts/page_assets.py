"""Serve the scripts and style sheets of the console's page, compressed and with headers that let browsers cache them.

The path has a digest of the installed versions, so a browser requests a file only once, and again after an upgrade. A
file is compressed once.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tornado.ioloop import IOLoop
from tornado.web import HTTPError, RequestHandler

from toolkit.forms.widgets import modules

EXTENSIONS = ("@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget")
"""The extensions that the page needs. The first has the widgets' manager, which takes their code from the second."""

_WIDGETS = "widgets"
_LEVEL = 6
_KEEP = "public, max-age=31536000, immutable"


@cache
def assets_url() -> str:
    """Return the path of all assets, with a digest of their versions when it was first called."""
    packages = ("voila", "ipywidgets", "jupyterlab_widgets", "anywidget")
    parts = [f"{it} {version(it)}" for it in packages] + [modules.read(it) for it in modules.names()]
    return f"/assets/{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}/"


def widgets_url() -> str:
    """Return the path of the widgets' modules."""
    return f"{assets_url()}{_WIDGETS}/"


class Asset(RequestHandler):
    """Serves ``<folder>/<path>``: a widget's module, or a file of the first root of the folder that has it."""

    def initialize(self, roots: Mapping[str, Sequence[str]]) -> None:
        """Set the root directories by the name of the folder in the path."""
        self._roots = roots

    async def get(self, folder: str, path: str) -> None:
        """Send a file, compressed if the browser can read that."""
        content, compressed = await IOLoop.current().run_in_executor(None, self._read, folder, path)
        self.set_header("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream")
        self.set_header("Cache-Control", _KEEP)
        self.set_header("Vary", "Accept-Encoding")
        self.set_header("X-Content-Type-Options", "nosniff")
        if compressed and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            content = compressed
        self.finish(content)

    def _read(self, folder: str, path: str) -> tuple[bytes, bytes]:
        if folder == _WIDGETS:
            if path not in modules.names():
                raise HTTPError(404)
            return _compress(modules.read(path).encode())
        for root in map(Path, self._roots.get(folder, ())):
            file = (root / path).resolve()
            if file.is_relative_to(root.resolve()) and file.is_file():
                return _read_file(file)
        raise HTTPError(404)


@cache
def _read_file(file: Path) -> tuple[bytes, bytes]:
    return _compress(file.read_bytes())


def _compress(content: bytes) -> tuple[bytes, bytes]:
    """Return a content and its compressed form, b"" if that is not smaller."""
    compressed = gzip.compress(content, _LEVEL)
    return content, compressed if len(compressed) < len(content) else b""
