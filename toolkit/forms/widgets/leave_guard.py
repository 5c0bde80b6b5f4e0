"""Ask before a page is left while a run goes on."""

from __future__ import annotations

import anywidget
import traitlets

from toolkit.forms.widgets.modules import module


class LeaveGuard(anywidget.AnyWidget):
    """Makes the browser ask before its page is closed or loaded again, while ``asks`` is true. Shows nothing itself."""

    _esm = module("leave_guard.js")

    asks = traitlets.Bool(False).tag(sync=True)
