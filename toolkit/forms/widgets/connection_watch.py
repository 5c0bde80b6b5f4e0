"""Add the forms' CSS to a page, and show there that the connection to this kernel is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anywidget
import traitlets

from toolkit.forms.widgets.modules import module, style


def kernel_id() -> str:
    """Return the id that the Jupyter server has for this kernel; "" outside of a kernel."""
    if "ipykernel.kernelapp" not in sys.modules:  # it replaces how widgets are connected, so only a kernel imports it
        return ""
    from ipykernel.connect import get_connection_file

    try:
        return Path(get_connection_file()).stem.removeprefix("kernel-")
    except RuntimeError:
        return ""


class ConnectionWatch(anywidget.AnyWidget):
    """Shows a banner while the kernel, its server or the network is gone, and disables the form."""

    _esm = module("connection_watch.js")
    _css = style(Path(__file__).with_name("style.css"))

    kernel_id = traitlets.Unicode().tag(sync=True)
    process_id = traitlets.Int().tag(sync=True)
    own_id = traitlets.Unicode().tag(sync=True)  # with which the browser finds its model, and whether that is connected

    def __init__(self) -> None:
        super().__init__(kernel_id=kernel_id(), process_id=os.getpid())
        self.own_id = self.model_id
        self.on_msg(lambda *_: self.send({"answers": True}))
