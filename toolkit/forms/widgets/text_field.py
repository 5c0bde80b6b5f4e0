"""Field: one line to type into, with its label above, and what is wrong with it beside it.

What is typed never becomes part of the widget's state, which a notebook may be saved with: it comes as messages, and is
kept in this process alone. So a mobile, a code or a secret that was typed is in no saved notebook.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class TextField(anywidget.AnyWidget):
    """A field; ``kind`` is text, password, number or lines (several of text).

    ``value`` is what stands in it. ``help`` is shown below, ``error`` in its place where there is one.
    """

    _esm = Path(__file__).with_name("text_field.js")

    label = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Enum(("text", "password", "number", "lines"), "text").tag(sync=True)
    help = traitlets.Unicode().tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(self, label: str, value: str = "", **traits: Any) -> None:
        super().__init__(label=label, **traits)
        self._value = value
        self._on_enter: Callable[[], object] = lambda: None
        self.on_msg(self._receive)

    @property
    def value(self) -> str:
        """What stands in the field."""
        return self._value

    @value.setter
    def value(self, value: str) -> None:
        self._value = value
        self._show()

    def take(self) -> str:
        """Return what stands in the field, and empty it."""
        value, self.value = self._value, ""
        return value

    def on_enter(self, callback: Callable[[], object]) -> None:
        """Have something called when Enter is pressed."""
        self._on_enter = callback

    def read(self, parse: Callable[[str], Any]) -> Any:
        """Return what ``parse`` makes of the value; where it raises ValueError, show that beside the field: None."""
        self.error = ""
        try:
            return parse(self._value.strip())
        except ValueError as problem:
            self.error = str(problem)
            return None

    def _show(self) -> None:
        self.send({"show": "" if self.kind == "password" else self._value})

    def _receive(self, _: object, content: dict[str, Any], __: object) -> None:
        if "typed" in content:
            self._value = content["typed"]
            self.error = ""
        if content.get("entered"):
            self._on_enter()
        if content.get("asks"):
            self._show()
