"""A button that makes a file when it is pressed, and sends it to the browser in pieces below the server's limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from toolkit.forms.widgets.modules import module

PIECE_BYTES = 400_000  # Jupyter's server limits messages to 1 MB/s, with short bursts above that


class DownloadButton(anywidget.AnyWidget):
    """A download button. ``make`` returns the file's content, and ``begin`` runs a job in a thread."""

    _esm = module("download_button.js")

    label = traitlets.Unicode().tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self, label: str, name: str, make: Callable[[], bytes], begin: Callable[[Callable[[], object]], object]
    ) -> None:
        super().__init__(label=label)
        self._name, self._make, self._begin = name, make, begin
        self._file = b""
        self.add_class("sms-download")
        self.on_msg(self._receive)

    def _receive(self, _: object, content: dict[str, Any], __: object) -> None:
        """Handle a message of the browser: a press of the button, or a request for the piece at an offset."""
        if "from" in content:
            self._send_piece(content["from"])
        else:
            self._begin(self._make_file)

    def _make_file(self) -> None:
        self._file = self._make()
        self._send_piece(0)

    def _send_piece(self, start: int) -> None:
        piece = self._file[start : start + PIECE_BYTES]
        about = {"name": self._name, "from": start, "of": len(self._file)}
        self.send(about, buffers=[piece])
        if start + len(piece) >= len(self._file):
            self._file = b""
