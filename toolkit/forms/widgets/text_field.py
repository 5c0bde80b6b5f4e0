"""A text field with a label above it and an error message below it.

The typed text is not part of the widget's state, because a notebook is saved with that state. The browser sends the
text as messages, and only this process keeps it. So no saved notebook contains a typed mobile, code or secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from toolkit.forms.widgets.modules import module


class TextField(anywidget.AnyWidget):
    """A text field. ``kind`` is text, password, number or lines (several lines of text).

    ``help`` is shown below the field; ``error`` replaces it. ``hint`` is the placeholder.
    """

    _esm = module("text_field.js")

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
        """The text in the field."""
        return self._value

    @value.setter
    def value(self, value: str) -> None:
        self._value = value
        self._show()

    def take(self) -> str:
        """Return the text in the field, and clear the field."""
        value, self.value = self._value, ""
        return value

    def on_enter(self, callback: Callable[[], object]) -> None:
        """Set the function that is called when Enter is pressed."""
        self._on_enter = callback

    def read(self, parse: Callable[[str], Any]) -> Any:
        """Return the parsed text; if ``parse`` raises ValueError, show its message and return None."""
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
