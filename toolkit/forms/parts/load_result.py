"""Show the question before a load test, and the figures of a running and of a finished one, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.forms.parts.live_results import LiveResults
from toolkit.forms.widgets.templates import render
from toolkit.load_and_report import LoadTest
from toolkit.outcome_colours import MUTED, colours_of
from toolkit.runs.arrival_counts import ArrivalCounts
from toolkit.runs.check_results import figure_rows
from toolkit.runs.progress import Progress
from toolkit.runs.thresholds import Status
from toolkit.settings import Target

_CHIPS = {Status.PASS: "sms-safe", Status.FAIL: "sms-failed", Status.NO_DATA: ""}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run: its folder and the content of its run.json."""

    folder: Path
    summary: dict[str, Any]


def question_html(load_test: LoadTest, target: Target) -> str:
    """Return the HTML that names the messages and the cost of a load on a real target, before it starts."""
    cap, price = load_test.cap(), load_test.price
    cost = number_format.money(cap * price.per_send, price.currency) if cap and price else ""
    return render("load_question", url=target.base_url, cap=cap, cost=cost)


def facts_html(
    live: LiveResults, paces: Sequence[ArrivalCounts], load_test: LoadTest, progress: Progress, is_real: bool
) -> str:
    """Return the HTML of a running load test's figures. ``is_real``: its messages cost money."""
    return render("facts", facts=list(_facts(live, paces, load_test, progress, is_real)))


def _facts(
    live: LiveResults, paces: Sequence[ArrivalCounts], load_test: LoadTest, progress: Progress, is_real: bool
) -> Iterator[tuple[str, str, str]]:
    rate = progress.calls_per_s
    yield "Calls", number_format.MISSING if rate is None else f"{rate:,.0f}", "/s"
    if progress.in_flight:
        yield "In flight", f"{progress.in_flight:,}", f"oldest {progress.oldest_s:.1f} s"
    if paces:
        yield "Journeys", f"{paces[-1].achieved_per_s:,.0f}", f"of {paces[-1].intended_per_s:,.0f}/s"
    for percentile, ms in live.waited_ms().items():
        yield f"Response time, p{percentile:g}", number_format.milliseconds(ms), "ms"
    if load_test.price:
        yield (
            "Cost" if is_real else "Simulated cost",
            number_format.amount_text(live.messages * load_test.price.per_send, load_test.price.currency),
            load_test.price.currency,
        )
    yield "Messages", f"{live.messages:,}", f"of {cap:,}" if (cap := load_test.cap()) else ""


def result_html(summary: dict[str, Any], page: Path, notes: Iterable[str]) -> str:
    """Return the HTML of a finished load test: verdicts, checks and remarks."""
    verdicts = []
    for it in summary["verdicts"]:
        value = number_format.measured(it["value"], it["unit"], it["limit"])
        verdicts.append((it["status"], _CHIPS[Status(it["status"])], it["threshold"], value))
    checks = [
        (it["status"], _CHIPS[Status(it["status"])], it.get("reason") or it["says"], list(figure_rows(it["figures"])))
        for it in summary["claims"]
    ]
    notices = list(summary["remarks"])
    notices += [note for note in notes if not any(note in remark for remark in notices)]
    return render("result", verdicts=verdicts, checks=checks, remarks=notices, page=page)


def runs_html(runs: Sequence[FinishedRun]) -> str:
    """Return the HTML table of runs, latest first."""
    return render("runs", rows=[_run_row(it) for it in reversed(runs)])


def _run_row(run: FinishedRun) -> dict[str, Any]:
    summary = run.summary
    settings, verdicts = summary["settings"], [*summary["verdicts"], *summary["claims"]]
    rate = settings["stages"] or f"{settings['rate_per_s']:g}/s" if not settings["users"] else ""
    load = rate or f"{settings['users']} users"
    passed = sum(it["status"] == Status.PASS for it in verdicts)
    colours = colours_of(ReturnCode.SUCCESS if passed == len(verdicts) else ReturnCode.SERVER_ERROR)
    return {
        "name": run.folder.name,
        "scenario": settings["scenario"],
        "load": load,
        "calls": f"{summary['calls']:,}",
        "duration": number_format.duration(summary["duration_s"]),
        "passed": f"{passed} of {len(verdicts)} passed" if verdicts else number_format.MISSING,
        "look": colours if verdicts else MUTED,
    }
