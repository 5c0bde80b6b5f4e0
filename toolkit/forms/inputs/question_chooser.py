"""QuestionChooser: a choice of questions about calls, and beneath it the answer to the one that is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import ipywidgets as widgets

from toolkit.forms.inputs.call_filter import CallFilter, NamedCalls
from toolkit.forms.parts import report_sections
from toolkit.forms.parts.background_task import showing_problems
from toolkit.forms.parts.templates import render
from toolkit.forms.widgets.html_panel import HtmlPanel
from toolkit.report.model import Section

ShownCalls: TypeAlias = tuple[NamedCalls, CallFilter]

_NOTHING = ""  # not None, which to a Dropdown is that nothing was chosen


class QuestionChooser:
    """Asks with ``tell`` what is chosen in ``choice``, which offers ``nothing`` and what it is given to ``offer``.

    ``on_choice`` is called when something else was chosen; it is to have ``answer`` called, in a thread.
    """

    def __init__(
        self,
        label: str,
        nothing: str,
        tell: Callable[[Any, NamedCalls, CallFilter], Iterator[Section]],
        on_choice: Callable[[], object],
    ) -> None:
        self._nothing, self._tell, self._on_choice = nothing, tell, on_choice
        self._answered: tuple[Any, ShownCalls | None] | None = (_NOTHING, None)
        self._is_offering = False
        self.choice = widgets.Dropdown(description=label, options=[(nothing, _NOTHING)])
        self.status, self.shown = HtmlPanel(live=True), HtmlPanel(name="sms-told")
        self.choice.observe(lambda _: self._choose(), "value")
        self.offer([])

    def offer(self, options: Iterable[tuple[str, Any]]) -> None:
        """Let something else be chosen; what was chosen still is, where it is still there."""
        chosen, offered = self.choice.value, list(options)
        self._is_offering = True
        self.choice.options = [(self._nothing, _NOTHING), *offered]
        if any(chosen == value for _, value in offered):
            self.choice.value = chosen
        self._is_offering = False
        self.choice.layout.display = "" if offered else "none"
        if self.choice.value != chosen:
            self._choose()

    def is_answered(self, looked: ShownCalls) -> bool:
        """Tell whether what is chosen was answered, of what is looked at."""
        return self._answered == self._asked(looked)

    def answer(self, looked: ShownCalls, is_wanted: Callable[[], bool]) -> None:
        """Answer what is chosen, and show that, unless something else was chosen or looked at meanwhile."""
        asked = self._answered = self._asked(looked)
        self.shown.html = self.status.html = ""
        if asked[0] == _NOTHING:
            return
        self.status.html = render("busy", text="Working it out …")
        with showing_problems(self._show_problem):
            found: list[str] = []
            for piece in self._pieces(asked[0], looked):
                if not is_wanted() or self._asked(looked) != asked:
                    self._answered = None
                    return
                found.append(piece)
            self.shown.html = "".join(found) or render("untold")
            self.status.html = ""

    def _asked(self, looked: ShownCalls) -> tuple[Any, ShownCalls | None]:
        return self.choice.value, None if self.choice.value == _NOTHING else looked

    def _pieces(self, chosen: Any, looked: ShownCalls) -> Iterator[str]:
        for section in self._tell(chosen, *looked):
            yield from report_sections.pieces(section)

    def _choose(self) -> None:
        if not self._is_offering:
            self._on_choice()

    def _show_problem(self, problem: str) -> None:
        self.status.html = render("problem", text=problem)
