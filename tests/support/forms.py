"""Forms as the browser uses them: what is typed, pressed, and saved."""

from __future__ import annotations

import time
from collections.abc import Callable
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


def wait_until(is_true: Callable[[], object]) -> None:
    """Wait for another thread or process."""
    until = time.monotonic() + 240
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.1)  # nothing tells when it has done something
