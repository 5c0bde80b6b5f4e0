"""Show the searches for the capacity and the probes of a folder as an HTML table."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit import number_format
from toolkit.forms.parts.jupyter_server import JupyterServer
from toolkit.forms.parts.load_result import file_links
from toolkit.forms.parts.run_verdict import answer_of, verdict_of
from toolkit.forms.parts.runs_folder import RunEntry
from toolkit.forms.widgets.templates import render

_MAX_ROWS = 20  # the latest


def outcomes_html(runs: Sequence[RunEntry], server: JupyterServer | None = None) -> str:
    """Return the HTML table of the latest 20 searches or probes, latest first. ``server`` serves their files."""
    rows = [
        {
            "name": it.folder.name,
            "target": it.live.target if it.live else it.summary.get("settings", {}).get("target"),
            "verdict": verdict_of(it),
            "answer": (it.live.load if it.live else answer_of(it)) or number_format.MISSING,
            "links": list(file_links(it, server)),
        }
        for it in runs[:_MAX_ROWS]
    ]
    return render("outcomes", rows=rows, more=max(0, len(runs) - _MAX_ROWS))
