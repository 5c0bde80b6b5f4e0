"""Show the live runs, the last runs with their verdicts, and the state of the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import metadata, version
from pathlib import Path
from urllib.parse import urlsplit

from toolkit import number_format
from toolkit.api.errors import SettingsError
from toolkit.forms.parts.jupyter_server import JupyterServer, find_server
from toolkit.forms.parts.load_result import file_links, load_text
from toolkit.forms.parts.poller import Poller
from toolkit.forms.parts.run_verdict import verdict_of
from toolkit.forms.parts.runs_folder import RunEntry, RunsWatcher
from toolkit.forms.parts.sandbox_state import read_sandbox_state
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.widgets.displayed import Displayed
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.load_test.plan.target_guard import doubt_of, is_this_machine
from toolkit.runs.live_run import RunKind
from toolkit.runs.run_folder import SUMMARY_NAME
from toolkit.settings import find_target

_MAX_ROWS = 8  # of the table of runs: the latest
_READ_SANDBOX_EVERY_S = 3.0
_CHECK_CONFIGURED_EVERY_S = 60.0  # it counts and logs the calls, and refused credentials may raise an alarm there
_TABS = {RunKind.LOAD_TEST: "load", RunKind.SEARCH: "capacity", RunKind.PROBE: "probe"}


class Overview(Displayed):
    """Shows the runs of the folder ``out`` with their verdicts, and the state of the targets. It starts nothing.

    ``sandbox`` is that of the other forms. The configured target is called only if it is on this machine.
    """

    def __init__(self, sandbox: Sandbox | None = None, out: str | Path = "runs") -> None:
        self._sandbox, self._out = sandbox or Sandbox(), Path(out)
        self._server = find_server()
        reading = render("busy", text="Reading …")
        self._live, self._last, self._state = HtmlPanel(reading, live=True), HtmlPanel(reading), HtmlPanel(reading)
        self._links = HtmlPanel(links_html(self._out, (), self._server))
        self._reading = threading.Lock()  # an older state must not replace a newer one
        self._shown, self._configured = 0, ("", "", "")
        top = columns(card("Running now", self._live), card("Sandbox", self._state))
        self.widget = form(top, card("Last runs", self._last), card("Links", self._links), name="sms-overview")
        self._watcher = RunsWatcher(self._out, self.show_runs)
        self._pollers = (
            Poller(self.show_state, _READ_SANDBOX_EVERY_S),
            Poller(self.check_configured, _CHECK_CONFIGURED_EVERY_S),
        )

    def show_runs(self, runs: Sequence[RunEntry]) -> None:
        """Show the runs of the folder, latest first."""
        self._shown = len(runs)
        self._live.html = live_html(runs, self._server)
        self._last.html = last_runs_html(runs, self._server)
        self._links.html = links_html(self._out, runs, self._server)

    def show_state(self) -> None:
        """Read the sandbox's counters, and show its state."""
        with self._reading:
            url = self._sandbox.metrics_url
            state = read_sandbox_state(url) if url else None
            self._state.html = render(
                "sandbox_state",
                state=state,
                url=self._sandbox.url,
                since=f"{state.started:%H:%M:%S} UTC" if state and state.started else "",
                version=version("sms-code-toolkit"),
                configured=self._configured,
            )

    def check_configured(self) -> None:
        """Check whether the configured target is a sandbox, and show the result."""
        with self._reading:
            self._configured = _configured()
        self.show_state()

    def close(self) -> None:
        """End the watch of the folder and of the targets."""
        self._watcher.close()
        for poller in self._pollers:
            poller.close()

    def __repr__(self) -> str:
        return f"Overview({self._shown} runs)"


def live_html(runs: Sequence[RunEntry], server: JupyterServer | None) -> str:
    """Return the HTML of the runs that go on."""
    rows = []
    for run in runs:
        if run.live:
            target = urlsplit(run.live.target).netloc if run.live.target else "a sandbox of its own"
            times = " ".join(_times(run.folder, run.live.run_time_s))
            rows.append(
                (run.title or run.folder.name, load_text(run), target, run.live.is_real, times, _TABS[run.kind])
            )
    return render("live_runs", rows=rows, is_console=_is_console(server))


def _times(folder: Path, run_time_s: float | None) -> Iterator[str]:
    """Yield the start of a live run, which is the time of run.json, and its planned end if it has one."""
    try:
        started = datetime.fromtimestamp((folder / SUMMARY_NAME).stat().st_mtime, UTC)
    except OSError:  # it is just starting
        return
    yield f"since {started:%H:%M:%S}"
    if run_time_s:
        yield f"until about {started + timedelta(seconds=run_time_s):%H:%M:%S}"
    yield "UTC"


def last_runs_html(runs: Sequence[RunEntry], server: JupyterServer | None) -> str:
    """Return the HTML table of the latest 8 runs that have ended, each with its verdict and its reason."""
    ended = [it for it in runs if not it.live]
    rows = [
        {
            "name": it.folder.name,
            "scenario": it.title or number_format.MISSING,
            "load": load_text(it),
            "calls": f"{it.summary['calls']:,}" if it.has_result else number_format.MISSING,
            "verdict": verdict_of(it),
            "links": list(file_links(it, server)),
        }
        for it in ended[:_MAX_ROWS]
    ]
    earlier = len(ended) - _MAX_ROWS
    more = number_format.plural(earlier, "earlier run") if earlier > 0 else ""
    return render("last_runs", rows=rows, more=more, is_empty=not runs, is_console=_is_console(server))


def links_html(out: Path, runs: Sequence[RunEntry], server: JupyterServer | None) -> str:
    """Return the HTML of the links: the latest report, the folder of the runs, and the documentation."""
    reports = (link for run in runs for label, link, _ in file_links(run, server) if label == "Report")
    return render(
        "links", report=next(reports, ""), folder=out.resolve(), docs=_docs_url(), is_console=_is_console(server)
    )


def _docs_url() -> str:
    """Return the address of the documentation that the package's metadata has; "" for a placeholder."""
    entries = metadata("sms-code-toolkit").get_all("Project-URL") or []
    url = dict(it.split(", ", 1) for it in entries).get("Documentation", "")
    return "" if (urlsplit(url).hostname or "").endswith(".example") else url


def _is_console(server: JupyterServer | None) -> bool:
    """Return whether the page has tabs, which links can open."""
    return bool(server and server.runs_url)


def _configured() -> tuple[str, str, str]:
    """Return the configured target's host, the CSS class of its state, and its state; three empty texts without one."""
    try:
        target = find_target()
    except SettingsError as problem:
        return "Configured target", "sms-failed", f"Its settings are invalid: {problem}"
    if target is None:
        return "", "", ""
    host = urlsplit(target.base_url).netloc
    if not is_this_machine(target.base_url):
        return host, "sms-real", "The configured target. It is not on this machine, so it was not called."
    if doubt := doubt_of(target):
        return host, "sms-failed", f"The configured target is not known to be a sandbox: {doubt}."
    return host, "sms-safe", "The configured target. It answers, and is a sandbox."
