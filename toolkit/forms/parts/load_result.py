"""Show the question before a load test, and the figures of a running and of a finished one, as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolkit import number_format
from toolkit.api.errors import RunError
from toolkit.api.return_codes import ReturnCode
from toolkit.forms.parts.call_filter import MAX_DOWNLOAD
from toolkit.forms.parts.jupyter_server import JupyterServer, find_server
from toolkit.forms.parts.live_results import LiveResults
from toolkit.forms.parts.run_verdict import verdict_of
from toolkit.forms.parts.runs_folder import RunEntry, read_summary
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LoadTest
from toolkit.outcome_colours import MUTED, PRIMARY, colours_of
from toolkit.runs.arrival_counts import ArrivalCounts
from toolkit.runs.check_results import figure_rows
from toolkit.runs.live_run import LiveRun
from toolkit.runs.progress import Progress
from toolkit.runs.thresholds import Status
from toolkit.settings import Target

_CHIPS = {Status.PASS: "sms-safe", Status.FAIL: "sms-failed", Status.NO_DATA: ""}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run: its folder and the content of its run.json."""

    folder: Path
    summary: dict[str, Any]


_MAX_ROWS = 20  # of the table of runs: the latest


def question_html(load_test: LoadTest, target: Target) -> str:
    """Return the HTML that names the messages and the cost of a load on a real target, before it starts."""
    cap, price = load_test.cap(), load_test.price
    cost = number_format.money(cap * price.per_send, price.currency) if cap and price else ""
    return render("load_question", url=target.base_url, cap=cap, cost=cost)


def facts_html(live: LiveResults, paces: Sequence[ArrivalCounts], run: LiveRun, progress: Progress) -> str:
    """Return the HTML of a running load test's figures."""
    return render("facts", facts=list(_facts(live, paces, run, progress)))


def _facts(
    live: LiveResults, paces: Sequence[ArrivalCounts], run: LiveRun, progress: Progress
) -> Iterator[tuple[str, str, str]]:
    rate = progress.calls_per_s
    yield "Calls", number_format.MISSING if rate is None else f"{rate:,.0f}", "/s"
    if progress.in_flight:
        yield "In flight", f"{progress.in_flight:,}", f"oldest {progress.oldest_s:.1f} s"
    if paces:
        yield "Journeys", f"{paces[-1].achieved_per_s:,.0f}", f"of {paces[-1].intended_per_s:,.0f}/s"
    for percentile, ms in live.waited_ms().items():
        yield f"Response time, p{percentile:g}", number_format.milliseconds(ms), "ms"
    if run.price_per_send and run.currency:
        yield (
            "Cost" if run.is_real else "Simulated cost",
            number_format.amount_text(live.messages * Decimal(run.price_per_send), run.currency),
            run.currency,
        )
    yield "Messages", f"{live.messages:,}", f"of {run.max_messages:,}" if run.max_messages else ""


def read_finished(folder: Path) -> FinishedRun:
    """Return the load test of a folder; raise RunError if it has no result."""
    summary = read_summary(folder)
    if "calls" not in summary:
        raise RunError(
            f"the run {folder.name} failed or was killed, so it is incomplete and nothing passes;"
            f" smscode report {folder} reports on the calls that it has recorded"
        )
    return FinishedRun(folder, summary)


def result_html(run: FinishedRun) -> str:
    """Return the HTML of a finished load test: verdicts, checks, remarks, cost, and the report's link or its path."""
    summary, page, server = run.summary, run.folder / "report.html", find_server()
    link = server.link(page) if server else ""
    verdicts = []
    for it in summary["verdicts"]:
        value = number_format.measured(it["value"], it["unit"], it["limit"])
        verdicts.append((it["status"], _CHIPS[Status(it["status"])], it["threshold"], value))
    checks = [
        (
            it["status"],
            _CHIPS[Status(it["status"])],
            it.get("reason") or it["description"],
            list(figure_rows(it["figures"])),
        )
        for it in summary["checks"]
    ]
    notices = list(summary["remarks"])
    notices += [note for note in summary["settings"].get("notes") or () if not any(note in it for it in notices)]
    spent = summary["spent"]
    total = [number_format.plural(summary["calls"], "call"), number_format.plural(spent["messages"], "message")]
    if spent["cost"] is not None:
        total.append(number_format.money(float(spent["cost"]), spent["currency"]))
    return render("result", verdicts=verdicts, checks=checks, remarks=notices, total=total, page=page, link=link)


def runs_html(runs: Sequence[RunEntry], server: JupyterServer | None = None) -> str:
    """Return the HTML table of the latest 20 runs, latest first. ``server`` serves their files."""
    earlier = len(runs) - _MAX_ROWS
    more = number_format.plural(earlier, "earlier run") if earlier > 0 else ""
    return render("runs", rows=[_run_row(it, server) for it in runs[:_MAX_ROWS]], more=more)


def _run_row(run: RunEntry, server: JupyterServer | None) -> dict[str, Any]:
    summary = run.summary
    verdicts = [*summary.get("verdicts", ()), *summary.get("checks", ())]
    passed = sum(it.get("status") == Status.PASS for it in verdicts)
    word = verdict_of(run).word
    look = {"PASS": colours_of(ReturnCode.SUCCESS), "FAIL": colours_of(ReturnCode.SERVER_ERROR)}.get(word, MUTED)
    verdict = f"{passed} of {len(verdicts)} passed" if verdicts else number_format.MISSING
    if run.live:
        verdict, look = "running", PRIMARY
    elif run.is_incomplete:
        verdict, look = "incomplete", colours_of(ReturnCode.SERVER_ERROR)
    elif word not in ("PASS", "FAIL", "NO VERDICT"):
        verdict = word.lower()
    duration_s = summary.get("duration_s")
    return {
        "name": run.folder.name,
        "scenario": run.scenario or number_format.MISSING,
        "load": load_text(run),
        "calls": f"{summary['calls']:,}" if run.has_result else number_format.MISSING,
        "duration": number_format.MISSING if duration_s is None else number_format.duration(duration_s),
        "passed": verdict,
        "look": look,
        "links": list(file_links(run, server)),
    }


def load_text(run: RunEntry) -> str:
    """Return the load of a run in words, e.g. "50/s" or "8 users"."""
    if run.live:
        return run.live.load or number_format.MISSING
    settings = run.summary.get("settings", {})
    users = number_format.plural(settings["users"], "user") if settings.get("users") else ""
    rate = settings.get("stages") or (f"{settings['rate_per_s']:g}/s" if settings.get("rate_per_s") else "")
    return rate or users or number_format.MISSING


def file_links(run: RunEntry, server: JupyterServer | None) -> Iterator[tuple[str, str, bool]]:
    """Yield the name and the address of the files that the server serves of a run, and whether they are saved.

    A live run has none. The link of a CSV file that would be too large opens a page with the reason.
    """
    if server is None or run.live:
        return
    names = {"Report": "report.html", "Parquet": "calls.parquet"} | ({"CSV": "calls.csv"} if server.runs_url else {})
    for label, name in names.items():
        # The console makes the CSV from the Parquet file.
        source = run.folder / ("calls.parquet" if label == "CSV" else name)
        if source.exists() and (link := server.link(run.folder / name)):
            yield label, link, label == "Parquet" or (label == "CSV" and run.summary.get("calls", 0) <= MAX_DOWNLOAD)
