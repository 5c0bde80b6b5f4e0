"""Result: the figures of a load test, while it is on and when it is over, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.forms.parts.colour_pairs import MUTED, ColourPair, colours_of
from toolkit.forms.parts.live_results import LiveResults
from toolkit.forms.parts.templates import render
from toolkit.load_and_report import LoadTest
from toolkit.report.run_result import remarks
from toolkit.runs.arrival_counts import ArrivalCounts
from toolkit.runs.check_results import figure_rows
from toolkit.runs.thresholds import Status

_CHIPS = {Status.PASS: "sms-safe", Status.FAIL: "sms-failed", Status.NO_DATA: ""}


@dataclass(frozen=True, slots=True)
class Run:
    """A run that a form made: its folder, and what its run.json holds."""

    folder: Path
    summary: dict[str, Any]


def facts_html(
    live: LiveResults, paces: Sequence[ArrivalCounts], load_test: LoadTest, calls_per_s: float, is_real: bool
) -> str:
    """Show the figures of a load test so far; ``is_real``: its messages cost money."""
    return render("facts", facts=list(_facts(live, paces, load_test, calls_per_s, is_real)))


def _facts(
    live: LiveResults, paces: Sequence[ArrivalCounts], load_test: LoadTest, calls_per_s: float, is_real: bool
) -> Iterator[tuple[str, str, str]]:
    yield "Calls", f"{calls_per_s:,.0f}", "/s"
    if paces:
        yield "Journeys", f"{paces[-1].achieved_per_s:,.0f}", f"of {paces[-1].intended_per_s:,.0f}/s"
    for percentile, ms in live.waited_ms().items():
        yield f"Waited, p{percentile:g}", number_format.milliseconds(ms), "ms"
    if load_test.price:
        yield (
            "Spent" if is_real else "Would cost",
            amount(live.messages * load_test.price.per_send),
            load_test.price.currency,
        )
    yield "Messages", f"{live.messages:,}", f"of {cap:,}" if (cap := load_test.cap()) else ""


def result_html(summary: dict[str, Any], page: Path, notes: Iterable[str]) -> str:
    """Show how a load test that is over turned out."""
    verdicts = [
        (it["status"], _CHIPS[Status(it["status"])], it["threshold"], _value(it["value"], it["unit"]))
        for it in summary["verdicts"]
    ]
    claims = [
        (it["status"], _CHIPS[Status(it["status"])], it["says"], list(figure_rows(it["figures"])))
        for it in summary["claims"]
    ]
    told = list(remarks(summary["settings"]))
    told += [note for note in notes if not any(note in remark for remark in told)]
    return render("result", verdicts=verdicts, claims=claims, remarks=told, page=page)


def amount(money: Decimal) -> str:
    """Word an amount of money, without the currency: exact, in two decimals or more."""
    cents = money.quantize(Decimal("0.01"))
    return f"{cents if cents == money else money.normalize():,f}"


def _value(value: float | None, unit: str) -> str:
    return number_format.MISSING if value is None else f"{number_format.precise_number(value)} {unit}"


def runs_html(runs: Sequence[Run]) -> str:
    """Show runs as a table, the latest first."""
    return render("runs", rows=[_run_row(it) for it in reversed(runs)])


def _run_row(run: Run) -> dict[str, Any]:
    summary = run.summary
    settings, verdicts = summary["settings"], [*summary["verdicts"], *summary["claims"]]
    kept = sum(it["status"] == Status.PASS for it in verdicts)
    return {
        "name": run.folder.name,
        "scenario": settings["scenario"],
        "pace": _pace(settings),
        "calls": f"{summary['calls']:,}",
        "duration": number_format.duration(summary["duration_s"]),
        "kept": f"{kept} of {len(verdicts)} kept" if verdicts else number_format.MISSING,
        "look": _verdict_look(len(verdicts), kept),
    }


def _pace(settings: dict[str, Any]) -> str:
    if settings["users"]:
        return f"{settings['users']} users"
    return settings["stages"] or f"{settings['rate_per_s']:g}/s"


def _verdict_look(verdicts: int, kept: int) -> ColourPair:
    if not verdicts:
        return MUTED
    return colours_of(ReturnCode.SUCCESS if kept == verdicts else ReturnCode.SERVER_ERROR)
