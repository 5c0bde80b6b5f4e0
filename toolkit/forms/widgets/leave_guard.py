"""Make the browser ask before a page is left while a run goes on."""

from __future__ import annotations

import anywidget
import traitlets

from toolkit.forms.widgets.modules import module


class LeaveGuard(anywidget.AnyWidget):
    """An invisible widget: while ``asks`` is true, the browser asks before its page is closed or loaded again."""

    _esm = module("leave_guard.js")

    asks = traitlets.Bool(False).tag(sync=True)
