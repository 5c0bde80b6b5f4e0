"""Choose a question about calls, and show the report's sections that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import ipywidgets as widgets

from toolkit.forms.parts.background_task import showing_problems
from toolkit.forms.parts.call_filter import CallFilter, NamedCalls
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.forms.widgets.templates import render
from toolkit.outcome_colours import pair_of
from toolkit.report import html
from toolkit.report.model import Figure, Section, Table

ShownCalls: TypeAlias = tuple[NamedCalls, CallFilter]

_NOTHING = ""  # a Dropdown takes None as "no option is chosen"


class QuestionChooser:
    """A dropdown of questions, and below it the answer to the chosen one.

    ``build`` yields the sections that answer a question about calls. ``on_choice`` is called when the choice changed;
    it has to run ``answer`` in a thread.
    """

    def __init__(
        self,
        label: str,
        nothing: str,
        build: Callable[[Any, NamedCalls, CallFilter], Iterator[Section]],
        on_choice: Callable[[], object],
    ) -> None:
        self._nothing, self._build, self._on_choice = nothing, build, on_choice
        self._answered: tuple[Any, ShownCalls | None] | None = (_NOTHING, None)
        self._is_updating = False
        self.choice = widgets.Dropdown(description=label, options=[(nothing, _NOTHING)])
        self.status, self.shown = HtmlPanel(live=True), HtmlPanel(name="sms-sections")
        self.choice.observe(lambda _: self._choose(), "value")
        self.offer([])

    def offer(self, options: Iterable[tuple[str, Any]]) -> None:
        """Replace the options. The current choice is kept if it is among them."""
        chosen, offered = self.choice.value, list(options)
        self._is_updating = True
        self.choice.options = [(self._nothing, _NOTHING), *offered]
        if any(chosen == value for _, value in offered):
            self.choice.value = chosen
        self._is_updating = False
        self.choice.layout.display = "" if offered else "none"
        if self.choice.value != chosen:
            self._choose()

    def is_answered(self, calls: ShownCalls) -> bool:
        """Return whether the answer to the chosen question is shown for these calls."""
        return self._answered == self._question(calls)

    def answer(self, calls: ShownCalls, is_wanted: Callable[[], bool]) -> None:
        """Answer the chosen question, and show the answer unless the question or the calls changed in the meantime."""
        question = self._answered = self._question(calls)
        self.shown.html = self.status.html = ""
        if question[0] == _NOTHING:
            return
        self.status.html = render("busy", text="Computing …")
        with showing_problems(lambda problem: setattr(self.status, "html", render("problem", text=problem))):
            pieces: list[str] = []
            for section in self._build(question[0], *calls):
                for piece in _render(section):
                    if not is_wanted() or self._question(calls) != question:
                        self._answered = None
                        return
                    pieces.append(piece)
            self.shown.html = "".join(pieces) or render("no_answer")
            self.status.html = ""

    def _question(self, calls: ShownCalls) -> tuple[Any, ShownCalls | None]:
        return self.choice.value, None if self.choice.value == _NOTHING else calls

    def _choose(self) -> None:
        if not self._is_updating:
            self._on_choice()


def _render(section: Section) -> Iterator[str]:
    """Yield the HTML of a section in pieces, so that the caller can stop before a picture is drawn."""
    yield render("section", section=section)
    for part in section.parts:
        if isinstance(part, Table):
            yield render("table", table=part, label=part.title or section.title, look=pair_of)
        elif isinstance(part, Figure):
            wide, narrow = html.draw(part)
            yield render("picture", figure=part, wide=wide, narrow=narrow)
