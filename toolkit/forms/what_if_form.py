"""Replay recorded sends through other rules; show what each set of rules saves and loses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from toolkit.analysis import Calls, RuleSet, read, recorded_sends, side_by_side, what_if, what_if_sweep
from toolkit.analysis.other_rules.what_if import remarks
from toolkit.api.errors import InputError, SettingsError
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.widgets.displayed import Displayed
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.outcome_colours import pair_of
from toolkit.price_list import PriceList
from toolkit.report import html, table_columns
from toolkit.report.model import Figure
from toolkit.report.source_remarks import unread_remarks
from toolkit.settings import load_prices, load_timezone

COMPARE, SWEEP = "compare", "sweep"
_MAX_SETS = 6  # more columns are too narrow to read
_COUNTS, _WINDOWS_S = (1, 2, 3, 5, 10), (30, 60, 300, 3600, 86_400)


class WhatIfForm(Displayed):
    """Compares sets of rules on recorded sends, or sweeps over the counts and windows of one rule.

    Display it in a notebook. ``calls`` are used while the field "Log" is empty; ``prices`` while "Prices" is.
    """

    def __init__(self, calls: Calls | None = None, prices: PriceList | None = None) -> None:
        self._calls, self._prices = calls, prices
        modes = [("Compare sets of rules", COMPARE), ("Sweep over counts and windows", SWEEP)]
        self.mode = widgets.Dropdown(description="Mode", options=modes)
        self.log = TextField("Log", "", hint="runs/20261123T090434Z", help="A run's folder, or files of calls.")
        self.rules = TextField(
            "Rules",
            "1/30s 3/3600s\n1/120s 5/3600s",
            kind="lines",
            help="Each line is a set of rules that apply together.",
        )
        self.blocked = TextField("Blocked prefixes", "", hint="1700123", help="First digits, separated by spaces.")
        self.prices = TextField("Prices", "", hint="prices.toml", help="Leave empty for those of smscode.toml.")
        self.start = widgets.Button(description="Compare", button_style="primary")
        self._result = HtmlPanel(live=True)
        self._progress = HtmlPanel(live=True)
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self.mode.observe(lambda _: self._enable(), "value")
        self.start.on_click(lambda _: self.begin())
        options = card(
            "Other rules",
            columns(self.mode, self.log),
            self.rules,
            columns(self.blocked, self.prices),
            actions(self.start),
            self._progress,
        )
        self.widget = form(options, card("Result", self._result), name="sms-what-if")
        self._result.html = render(
            "note", text="Choose a log and rules. The sends of the log are replayed; no message is sent."
        )
        self._enable()

    def begin(self) -> None:
        """Check the fields, and start."""
        log = self.log.read(self._read_log)
        blocked = self.blocked.read(_read_blocked)
        rule_sets = () if self.mode.value == SWEEP or blocked is None else self.rules.read(_reader(blocked))
        prices = self.prices.read(self._read_prices)
        if None not in (log, blocked, rule_sets, prices):
            self._work.begin(lambda: self._replay(log, rule_sets, prices))

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the result is shown."""
        self._work.wait(timeout_s)

    def __repr__(self) -> str:
        return "WhatIfForm()"

    def _read_log(self, text: str) -> str:
        if not text and self._calls is None:
            raise InputError("enter a run's folder or files of calls, e.g. runs/20261123T090434Z")
        return text

    def _read_prices(self, text: str) -> PriceList:
        try:
            return load_prices(Path(text)) if text else self._prices or load_prices()
        except SettingsError as problem:
            raise InputError(str(problem)) from None

    # This method runs in a thread.

    def _replay(self, log: str, rule_sets: Sequence[RuleSet], prices: PriceList) -> None:
        calls = read(log) if log or self._calls is None else self._calls
        sends = recorded_sends(calls, load_timezone())

        def progress(done: int, total: int) -> None:
            self._progress.html = render("busy", text=f"Replaying: {done:,} of {total:,}")

        if self.mode.value == SWEEP:
            frame = what_if_sweep(sends, _COUNTS, _WINDOWS_S, prices, on_progress=progress)
            shown = frame[frame["is_best"]].sort_values("users_lost")
            part = table_columns.table(
                "sweep", shown, _SWEEP_COLUMNS, note="The rules that no other rule is better than."
            )
            figure = Figure("what_if_sweep", frame, "Savings and lost users of each rule")
        else:
            frame = what_if(sends, rule_sets, prices, on_progress=progress)
            text = side_by_side(frame)
            heads = [table_columns.text(str(name), str(name), is_number=name != "figure") for name in text.columns]
            part = table_columns.table("what_if", text, heads)
            figure = Figure("what_if", frame, "Savings and lost users of each set of rules")
        wide, narrow = html.draw(figure)
        lines = [*unread_remarks(calls.sources), *remarks(sends, frame, rule_sets)]
        self._result.html = "".join(
            [
                *(render("note", text=line) for line in lines),
                render("table", table=part, label="Result", look=pair_of),
                render("picture", figure=figure, wide=wide, narrow=narrow),
            ]
        )

    def _show_busy(self, is_busy: bool) -> None:
        self._progress.html = render("busy", text="Reading …") if is_busy else ""
        for field in (self.start, self.mode, self.log, self.rules, self.blocked, self.prices):
            field.disabled = is_busy

    def _show_problem(self, problem: str) -> None:
        self._result.html = render("problem", text=problem)

    def _enable(self) -> None:
        sweeps = self.mode.value == SWEEP
        self.start.description = "Sweep" if sweeps else "Compare"
        self.rules.layout.display = self.blocked.layout.display = "none" if sweeps else ""


_SWEEP_COLUMNS = (
    table_columns.text("rule_set", "rule"),
    table_columns.count("messages_saved"),
    table_columns.money("money_saved"),
    table_columns.count("users_lost"),
    table_columns.count("users_lost_low", "at least"),
    table_columns.count("users_lost_high", "at most"),
)


def _read_blocked(text: str) -> tuple[str, ...]:
    return RuleSet(blocked=tuple(text.replace(",", " ").split())).blocked


def _reader(blocked: tuple[str, ...]) -> Any:
    def read_sets(text: str) -> list[RuleSet]:
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines and not blocked:
            raise InputError("enter rules, e.g. 1/60s, or blocked prefixes")
        if len(lines) > _MAX_SETS:
            raise InputError(f"enter at most {_MAX_SETS} sets of rules")
        sets = [RuleSet.parse(line, blocked) for line in lines]
        return list(dict.fromkeys(sets)) or [RuleSet(blocked=blocked)]

    return read_sets
