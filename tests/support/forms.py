"""Forms as the browser uses them: what is typed, pressed, and saved."""

from __future__ import annotations

from typing import Any

import ipywidgets


def state() -> str:
    """Return all that a notebook would be saved with of any widget."""
    return repr(ipywidgets.Widget.get_manager_state(drop_defaults=False))


def press(button: Any) -> None:
    """Press a button, which can't be pressed where it is disabled."""
    assert not button.disabled
    button.click()


def type_into(field: Any, text: str, enter: bool = False) -> None:
    """Type text into a field as the browser does."""
    field._receive(field, {"typed": text}, [])
    if enter:
        field._receive(field, {"entered": True}, [])
