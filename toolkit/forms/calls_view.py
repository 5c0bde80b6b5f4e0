"""Show calls as tables and charts, filter them, answer questions about them, and download them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from toolkit.analysis import Calls, interactive_charts
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.api.errors import InputError
from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint
from toolkit.forms.inputs.question_chooser import QuestionChooser, ShownCalls
from toolkit.forms.parts import call_figures, call_filter, report_questions
from toolkit.forms.parts.background_task import BackgroundTask
from toolkit.forms.parts.call_filter import CallFilter, NamedCalls
from toolkit.forms.widgets.chart import Chart
from toolkit.forms.widgets.displayed import Displayed
from toolkit.forms.widgets.download_button import DownloadButton
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.layout import actions, card, columns, form
from toolkit.forms.widgets.templates import render
from toolkit.forms.widgets.text_field import TextField
from toolkit.outcome_colours import outcome_name
from toolkit.report.sections.changes import PERIOD
from toolkit.settings import load_timezone

_ALL = "all"  # a Dropdown takes None as "no option is chosen"


class ReportView(Displayed):
    """Shows calls: the result of ``analysis.read``, or a frame. ``show`` replaces them with other calls.

    ``filter`` is the current filter. Dragging over the chart selects a period, as the two time fields do, and shows the
    differences from other times. ``ask`` answers questions of the report about the filtered calls, ``against`` compares
    them with another run. Times are in the time zone of ``smscode.toml``.
    """

    def __init__(self, calls: IntoCalls | None = None, name: str = "calls") -> None:
        self.timezone = load_timezone()
        self._opened: NamedCalls | None = None
        self.filter = CallFilter()
        self._shown: ShownCalls | None = None
        self.endpoint = _dropdown("Call", [(it.value, it) for it in Endpoint])
        self.kind = _dropdown("Kind", [(it.value, it) for it in Kind])
        self.outcome, self.template = _dropdown("Return code"), _dropdown("Template")
        self.prefix = TextField("Mobile prefix", hint="1380013", help="Up to 7 digits. Press Enter to apply.")
        self.since = TextField(f"From ({self.timezone})", hint="2026-11-01T14:05", help="Or drag over the chart.")
        self.until = TextField(f"Until ({self.timezone})", hint="2026-11-01T15:00", help="Press Enter to apply.")
        self.reset = widgets.Button(description="Clear filters")
        self.chart, self.tail = Chart(), Chart()
        self._progress, self._facts = HtmlPanel(live=True), HtmlPanel(render("no_calls"))
        self._codes, self._latency = HtmlPanel(), HtmlPanel()
        self._work = BackgroundTask(self._show_busy, self._show_problem)
        self.downloads = [
            DownloadButton(label, f"{name}.{label.lower()}", make, self._work.begin)
            for label, make in (("CSV", self.csv), ("Parquet", self.parquet), ("HTML", self.html))
        ]
        self.ask = QuestionChooser("Question", "Choose a question", report_questions.build_answer, self._ask)
        self.against = QuestionChooser("Compare with", "Choose a run", report_questions.build_comparison, self._ask)
        self.ask.offer((it, it) for it in report_questions.QUESTIONS)
        self._is_updating = False
        self._connect()
        self.widget = self._lay_out()
        if calls is not None:
            self.show(calls, name)

    @property
    def calls(self) -> Calls:
        """The filtered calls, for ``analysis``. Raises InputError if no calls are shown."""
        return self.filter.apply(self._require_calls().calls)

    def show(self, calls: IntoCalls, name: str = "calls", folders: Sequence[Path] = ()) -> None:
        """Show other calls without a filter. ``folders`` are those of the runs that the calls belong to."""
        self._opened, self.filter = NamedCalls(call_filter.as_calls(calls), name, tuple(folders)), CallFilter()
        self._work.begin(self._catch_up)

    def select(self, chosen: CallFilter) -> None:
        """Apply a filter."""
        self.filter = chosen
        self._work.begin(self._catch_up)

    def clear_filters(self) -> None:
        """Show all calls again."""
        self._clear()
        self._choose()

    def csv(self) -> bytes:
        """Return the filtered calls as CSV."""
        return call_filter.to_csv(self.calls)

    def parquet(self) -> bytes:
        """Return the filtered calls as Parquet."""
        return call_filter.to_parquet(self.calls)

    def html(self) -> bytes:
        """Return the report of the filtered calls as an HTML page."""
        opened = self._require_calls()
        return call_filter.to_html(self.calls, opened.name, report_questions.prices_of(opened))

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until everything is shown."""
        self._work.wait(timeout_s)

    def __repr__(self) -> str:
        return f"ReportView({self._opened.name!r})" if self._opened else "ReportView()"

    def _require_calls(self) -> NamedCalls:
        if self._opened is None:
            raise InputError("no calls are shown: open a run first")
        return self._opened

    def _connect(self) -> None:
        for dropdown in (self.endpoint, self.kind, self.outcome, self.template):
            dropdown.observe(lambda _: self._choose(), "value")
        for field in (self.prefix, self.since, self.until):
            field.on_enter(self._choose)
        self.reset.on_click(lambda _: self.clear_filters())
        self.chart.observe(lambda change: self._drag(change["new"]), "selection")

    def _lay_out(self) -> Any:
        filters = card(
            "Filters",
            columns(self.endpoint, self.kind, self.outcome, self.template),
            columns(self.prefix, self.since, self.until),
            actions(self.reset, *self.downloads),
        )
        shown = [
            card("Return codes over time", self._progress, self._facts, self.chart),
            card("Return codes", self._codes),
            card("Latency", self._latency, self.tail),
            card(
                "Questions",
                columns(self.ask.choice, self.against.choice),
                *(self.ask.status, self.ask.shown, self.against.status, self.against.shown),
            ),
        ]
        self._parts = [filters, *shown[1:]]
        self._reveal()
        return form(filters, *shown, name="sms-view")

    def _choose(self) -> None:
        """Apply the values of the fields as the filter."""
        if self._is_updating or self._opened is None:
            return
        prefix, (since, until) = (
            self.prefix.read(_read_prefix),
            (
                field.read(lambda text: parse_time_ns(text, self.timezone) if text else 0)
                for field in (self.since, self.until)
            ),
        )
        if None not in (prefix, since, until):
            dropdowns = (self.endpoint, self.kind, self.outcome, self.template)
            chosen = CallFilter(*(None if it.value == _ALL else it.value for it in dropdowns))
            self.select(replace(chosen, prefix=prefix or None, since_ns=since or None, until_ns=until or None))

    def _ask(self) -> None:
        if not self._is_caught_up():
            self._work.begin(self._catch_up)

    def _drag(self, chosen: list[float]) -> None:
        if self._is_updating:
            return
        self.since.value, self.until.value = (_write_time(it, self.timezone) for it in chosen or (None, None))
        self._choose()
        if chosen:
            self.ask.choice.value = PERIOD

    def _clear(self) -> None:
        self._is_updating = True
        for dropdown in (self.endpoint, self.kind, self.outcome, self.template):
            dropdown.value = _ALL
        for field in (self.prefix, self.since, self.until):
            field.value = field.error = ""
        self.chart.selection = []
        self._is_updating = False

    # These methods run in a thread.

    def _catch_up(self) -> None:
        """Show the filtered calls and the answers, again if the filter or a question changed in the meantime."""
        while not self._is_caught_up():
            wanted = self._wanted()
            if wanted and not self._is_shown():
                self._show(wanted)
            else:
                for answer in self._unanswered():
                    answer()
                    break

    def _wanted(self) -> ShownCalls | None:
        return (self._opened, self.filter) if self._opened else None

    def _is_caught_up(self) -> bool:
        return self._is_shown() and not any(self._unanswered())

    def _is_shown(self) -> bool:
        return self._shown == self._wanted()

    def _unanswered(self) -> Iterator[Callable[[], None]]:
        """Yield a function that answers each question whose answer is not shown yet."""
        wanted = self._shown
        for asking in (self.ask, self.against):
            if wanted and not asking.is_answered(wanted):
                yield partial(asking.answer, wanted, self._is_shown)

    def _show_options(self) -> None:
        """Offer the values that occur in the calls as options of the filters."""
        choices = call_filter.choices(self.calls)
        self._clear()
        self._is_updating = True
        self.outcome.options = [("All", _ALL), *((outcome_name(it), it) for it in choices.outcomes)]
        self.template.options = [("All", _ALL), *((str(it), it) for it in choices.templates)]
        self._is_updating = False
        self._reveal()

    def _show(self, wanted: ShownCalls) -> None:
        before, self._shown = self._shown, wanted
        opened, chosen = wanted
        if before is None or before[0] is not opened:
            self._show_options()
        figures = call_filter.figures(chosen.apply(opened.calls))
        self._facts.html = call_figures.facts_html(figures)
        self._codes.html = call_figures.codes_html(figures.codes)
        self._latency.html = call_figures.latency_html(figures.latency)
        self._is_updating, self.chart.selection = True, []
        self._is_updating = False
        self.chart.draw(interactive_charts.over_time(figures.over_time))
        self.tail.draw(interactive_charts.latency(figures.tail))
        self._progress.html = ""

    def _reveal(self) -> None:
        for part in self._parts:
            part.layout.display = "none" if self._opened is None else ""

    def _show_busy(self, is_busy: bool) -> None:
        is_computing = is_busy and not (self._is_shown() and any(self._unanswered()))
        self._progress.html = render("busy", text="Computing …") if is_computing else ""
        for download in self.downloads:
            download.disabled = is_busy or self._opened is None
        if not is_busy and not self._is_caught_up():  # the filter or a question changed after the last check
            self._work.begin(self._catch_up)

    def _show_problem(self, problem: str) -> None:
        self._facts.html = render("problem", text=problem)


def _dropdown(label: str, options: Iterable[tuple[str, Any]] = ()) -> Any:
    return widgets.Dropdown(description=label, options=[("All", _ALL), *options])


def _read_prefix(text: str) -> str:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 7):
        raise InputError("expected up to 7 digits, e.g. 1380013")
    return text


def _write_time(at_s: float | None, timezone: str) -> str:
    if at_s is None:
        return ""
    return f"{pd.Timestamp(at_s, unit='s', tz='UTC').tz_convert(timezone):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
