"""Ask before a page is left while a load test is running."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class LeaveGuard(anywidget.AnyWidget):
    """Makes the browser ask before its page is closed or loaded again, while ``asks`` is true. Shows nothing itself."""

    _esm = Path(__file__).with_name("leave_guard.js")

    asks = traitlets.Bool(False).tag(sync=True)
